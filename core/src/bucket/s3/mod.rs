//! Amazon S3 and what speaks like it.

mod failure;
mod multipart;
mod options;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, DateTime, DateTimeFormat};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use super::blocking::blocking;
use super::{
    Body, Bucket, Delete, Layout, Listed, Listing, Object, PAGE, Put, PutMode, PutOptions, Range, Version,
    covered,
};
use crate::types::{Error, ErrorKind, Result};
use failure::{Failure, unanswered};
pub use options::S3Options;

/// What is larger than this goes up in parts.
const SINGLE_PUT: u64 = 16 << 20;

/// Where Litestream looks for the time of a log file, in the object's metadata: RFC 3339 with a fraction.
const TIMESTAMP: &str = "litestream-timestamp";

/// A bucket of an S3 store.
///
/// Nothing is tried twice: an answer that did not come is an error, as is a 409, which S3 gives to
/// conditional writes that ran into one another. Bodies above 16 MiB go up in parts of 8 MiB or more, three
/// at a time, so that about 24 MiB of a file are in memory. A crash or a cancelled call in the middle of that
/// leaves parts that no reader sees; let a lifecycle rule of the bucket abort incomplete uploads.
///
/// The clock is the `Date` of the server's answers. Clones share the connections.
#[derive(Clone)]
pub struct S3Bucket {
    client: Client,
    bucket: Arc<str>,
    description: Arc<str>,
    /// How long an answer's body may make no progress.
    patience: Duration,
}

impl S3Bucket {
    /// The bucket with these settings. May ask the machine for its credentials' source and region, but
    /// nothing of the bucket: what is wrong with it, the first call tells.
    pub async fn open(options: S3Options) -> Result<S3Bucket> {
        let client = options.client().await?;
        Ok(S3Bucket {
            client,
            bucket: options.bucket.as_str().into(),
            description: options.describe().into(),
            patience: options.operation_timeout,
        })
    }

    async fn head(&self, key: &str, range: Range) -> Result<Option<Object>> {
        let answer = self.client.head_object().bucket(&*self.bucket).key(key).send().await;
        let head = match answer {
            Ok(head) => head,
            Err(error) => {
                let failure = Failure::of(error);
                // The answer to a HEAD has no body that could say more.
                return if failure.status == Some(404) {
                    Ok(None)
                } else {
                    Err(failure.error(self, "HEAD", key))
                };
            }
        };
        let size = size(self, key, head.content_length())?;
        if !covered(range, size).is_empty() {
            return Err(unanswered(self, "HEAD", key, "the object changed while it was read"));
        }
        Ok(Some(Object {
            body: Bytes::new(),
            version: version(self, key, head.e_tag())?,
            size,
            last_modified_ms: millis(self, key, head.last_modified())?,
        }))
    }

    async fn put_whole(&self, key: &str, body: Bytes, options: &PutOptions) -> Result<Put> {
        let request = self
            .client
            .put_object()
            .bucket(&*self.bucket)
            .key(key)
            .set_metadata(timestamp_metadata(options.timestamp_ms))
            .body(ByteStream::from(body));
        let request = match &options.mode {
            PutMode::Create => request.if_none_match("*"),
            PutMode::Replace(version) => request.if_match(e_tag(version)),
            PutMode::Overwrite => request,
        };
        match request.send().await {
            Ok(done) => Ok(Put::Stored(version(self, key, done.e_tag())?)),
            Err(error) => Failure::of(error).refused(self, "PUT", key, &options.mode),
        }
    }

    /// Reads the body to its end. Each piece has to come within the limit of time, not the whole.
    async fn collect(&self, key: &str, mut answer: GetObjectOutput) -> Result<Bytes> {
        let promised = answer.content_length().and_then(|length| usize::try_from(length).ok());
        let mut body = BytesMut::with_capacity(promised.unwrap_or_default().min(SINGLE_PUT as usize));
        let mut stream = std::mem::take(&mut answer.body);
        loop {
            match tokio::time::timeout(self.patience, stream.try_next()).await {
                Ok(Ok(Some(piece))) => body.extend_from_slice(&piece),
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(unanswered(self, "GET", key, &failure::chain(&error))),
                Err(_) => return Err(unanswered(self, "GET", key, "the body stopped coming")),
            }
        }
        if promised.is_some_and(|promised| promised != body.len()) {
            return Err(unanswered(self, "GET", key, "the body came in part"));
        }
        Ok(body.freeze())
    }
}

#[async_trait]
impl Bucket for S3Bucket {
    fn describe(&self) -> String {
        self.description.to_string()
    }

    fn layout(&self) -> Layout {
        Layout::S3
    }

    async fn get(&self, key: &str, range: Range) -> Result<Option<Object>> {
        let header = match range {
            Range::Whole => None,
            // HTTP has no words for an empty range.
            Range::Part { length: 0, .. } | Range::Last(0) => return self.head(key, range).await,
            Range::Part { offset, length } => {
                let last = offset.saturating_add(length - 1).min(i64::MAX as u64);
                Some(format!("bytes={}-{last}", offset.min(last)))
            }
            Range::Last(length) => Some(format!("bytes=-{}", length.min(i64::MAX as u64))),
        };
        let request = self.client.get_object().bucket(&*self.bucket).key(key).set_range(header);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                let failure = Failure::of(error);
                return match (failure.status, failure.code.as_deref()) {
                    (_, Some("NoSuchKey")) => Ok(None),
                    (Some(416), _) => self.head(key, range).await,
                    _ => Err(failure.error(self, "GET", key)),
                };
            }
        };
        let version = version(self, key, answer.e_tag())?;
        let last_modified_ms = millis(self, key, answer.last_modified())?;
        let whole = answer.content_range().map(whole_size);
        let mut body = self.collect(key, answer).await?;
        let size = match whole {
            Some(size) => size.ok_or_else(|| unanswered(self, "GET", key, "a range of nothing known"))?,
            None => body.len() as u64,
        };
        if whole.is_none() {
            let part = covered(range, size);
            body = body.slice(part.start as usize..part.end as usize);
        }
        Ok(Some(Object { body, version, size, last_modified_ms }))
    }

    async fn put(&self, key: &str, body: Body, options: PutOptions) -> Result<Put> {
        let result = async {
            let body = Source::open(body).await?;
            match options.mode {
                // Some stores take If-Match on a PUT and ignore it at the end of an upload in parts.
                PutMode::Replace(_) if body.length > SINGLE_PUT => {
                    let message = format!("{key}: a replacement has at most {SINGLE_PUT} bytes");
                    return Err(Error::new(ErrorKind::LimitExceeded, message));
                }
                PutMode::Create | PutMode::Overwrite if options.in_parts || body.length > SINGLE_PUT => {
                    return multipart::upload(self, key, &body, &options).await;
                }
                PutMode::Create | PutMode::Replace(_) | PutMode::Overwrite => {}
            }
            let bytes = body.read(0, body.length as usize).await?;
            self.put_whole(key, bytes, &options).await
        };
        result.await.map_err(failure::open_outcome)
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Listing> {
        let request = self
            .client
            .list_objects_v2()
            .bucket(&*self.bucket)
            .prefix(prefix)
            .max_keys(PAGE as i32)
            .set_start_after(start_after.map(str::to_owned));
        let answer = request.send().await.map_err(|error| Failure::of(error).error(self, "LIST", prefix))?;
        let mut objects = Vec::with_capacity(answer.contents().len());
        for found in answer.contents() {
            let key =
                found.key().ok_or_else(|| unanswered(self, "LIST", prefix, "an object without a key"))?;
            objects.push(Listed {
                key: key.to_owned(),
                size: size(self, key, found.size())?,
                last_modified_ms: millis(self, key, found.last_modified())?,
            });
        }
        let more = answer.is_truncated().unwrap_or_default();
        if more && objects.is_empty() {
            return Err(unanswered(self, "LIST", prefix, "there is more after an empty page"));
        }
        Ok(Listing { objects, more })
    }

    async fn delete(&self, key: &str, version: Option<&Version>) -> Result<Delete> {
        let request = self.client.delete_object().bucket(&*self.bucket).key(key);
        match request.set_if_match(version.map(e_tag)).send().await {
            Ok(_) => Ok(Delete::Gone),
            Err(error) => {
                let failure = Failure::of(error);
                match (failure.status, failure.code.as_deref()) {
                    (_, Some("NoSuchKey")) => Ok(Delete::Gone),
                    (Some(412), _) => {
                        // Some stores say so too if there is no object at all.
                        let range = Range::Part { offset: 0, length: 1 };
                        let found = self.get(key, range).await.map_err(failure::open_outcome)?;
                        Ok(if found.is_some() { Delete::Refused } else { Delete::Gone })
                    }
                    _ => Err(failure::open_outcome(failure.error(self, "DELETE", key))),
                }
            }
        }
    }

    async fn now_ms(&self) -> Result<i64> {
        let date = DateOfAnswer::default();
        let request = self.client.list_objects_v2().bucket(&*self.bucket).max_keys(1).prefix("_now");
        request
            .customize()
            .interceptor(date.clone())
            .send()
            .await
            .map_err(|error| Failure::of(error).error(self, "LIST", "_now"))?;
        let text = date.0.lock().take();
        let date = text.and_then(|text| DateTime::from_str(&text, DateTimeFormat::HttpDate).ok());
        millis(self, "_now", date.as_ref())
    }
}

/// A body of which pieces can be read at any place.
pub(super) struct Source {
    content: Content,
    length: u64,
}

enum Content {
    Bytes(Bytes),
    File(Arc<std::fs::File>),
}

impl Source {
    async fn open(body: Body) -> Result<Source> {
        match body {
            Body::Bytes(bytes) => Ok(Source { length: bytes.len() as u64, content: Content::Bytes(bytes) }),
            Body::File(path) => {
                blocking(move || {
                    let opened = std::fs::File::open(&path);
                    let file = opened.and_then(|file| Ok((file.metadata()?.len(), file)));
                    let (length, file) =
                        file.map_err(|e| Error::io(format!("open {}", path.display()), e))?;
                    Ok(Source { content: Content::File(Arc::new(file)), length })
                })
                .await
            }
        }
    }

    async fn read(&self, offset: u64, length: usize) -> Result<Bytes> {
        match &self.content {
            Content::Bytes(bytes) => Ok(bytes.slice(offset as usize..offset as usize + length)),
            Content::File(file) => {
                let file = file.clone();
                blocking(move || {
                    let mut bytes = vec![0; length];
                    file.read_exact_at(&mut bytes, offset)
                        .map_err(|e| Error::io("read the file to be stored", e))?;
                    Ok(bytes.into())
                })
                .await
            }
        }
    }
}

/// Keeps the `Date` header of the answer.
#[derive(Clone, Default, Debug)]
struct DateOfAnswer(Arc<Mutex<Option<String>>>);

impl Intercept for DateOfAnswer {
    fn name(&self) -> &'static str {
        "DateOfAnswer"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        *self.0.lock() = context.response().headers().get("date").map(str::to_owned);
        Ok(())
    }
}

fn timestamp_metadata(timestamp_ms: Option<i64>) -> Option<std::collections::HashMap<String, String>> {
    let text = DateTime::from_millis(timestamp_ms?).fmt(DateTimeFormat::DateTime).ok()?;
    Some([(TIMESTAMP.to_owned(), text)].into())
}

fn version(bucket: &S3Bucket, key: &str, e_tag: Option<&str>) -> Result<Version> {
    let bare = e_tag.map(|e_tag| e_tag.trim_matches('"')).filter(|bare| !bare.is_empty());
    bare.map(|bare| Version(bare.to_owned())).ok_or_else(|| missing(bucket, key, "ETag"))
}

fn e_tag(version: &Version) -> String {
    format!("\"{}\"", version.0.trim_matches('"'))
}

fn size(bucket: &S3Bucket, key: &str, length: Option<i64>) -> Result<u64> {
    length.and_then(|length| u64::try_from(length).ok()).ok_or_else(|| missing(bucket, key, "size"))
}

fn millis(bucket: &S3Bucket, key: &str, date: Option<&DateTime>) -> Result<i64> {
    date.and_then(|date| date.to_millis().ok()).ok_or_else(|| missing(bucket, key, "date"))
}

fn missing(bucket: &S3Bucket, key: &str, what: &str) -> Error {
    let store = bucket.describe();
    Error::new(ErrorKind::StoreUnfit, format!("{store} answers without the {what} of {key}"))
}

/// The size in `bytes 0-9/100`.
fn whole_size(content_range: &str) -> Option<u64> {
    content_range.rsplit_once('/')?.1.parse().ok()
}
