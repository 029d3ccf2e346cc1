use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::super::join_all;
use super::failure::{Failure, unanswered};
use super::{Put, PutMode, PutOptions, S3Bucket, Source, timestamp_metadata, version};
use crate::types::{Error, ErrorKind, Result};

/// The size of a part, unless there would be too many.
const PART: u64 = 8 << 20;

/// Most parts that S3 takes.
const PARTS: u64 = 10_000;

/// How many parts are on their way, and in memory, at a time.
const LANES: usize = 3;

/// Stores the body by an upload in parts; the condition is judged at the end. What fails is aborted.
pub(super) async fn upload(bucket: &S3Bucket, key: &str, body: &Source, options: &PutOptions) -> Result<Put> {
    let created = bucket
        .client
        .create_multipart_upload()
        .bucket(&*bucket.bucket)
        .key(key)
        .set_metadata(timestamp_metadata(options.timestamp_ms))
        .send()
        .await
        .map_err(|error| Failure::of(error).error(bucket, "begin the upload of", key))?;
    let id = created.upload_id().ok_or_else(|| unanswered(bucket, "begin the upload of", key, "no id"))?;
    let upload = Upload { bucket, key, id };
    let result = match upload.send_parts(body).await {
        Ok(parts) => upload.complete(parts, &options.mode).await,
        Err(error) => Err(error),
    };
    if !matches!(result, Ok(Put::Stored(_))) {
        upload.abort().await;
    }
    result
}

struct Upload<'a> {
    bucket: &'a S3Bucket,
    key: &'a str,
    id: &'a str,
}

impl Upload<'_> {
    /// Several lanes, each of which takes the next part until there is none.
    async fn send_parts(&self, body: &Source) -> Result<Vec<CompletedPart>> {
        let size = PART.max(body.length.div_ceil(PARTS));
        // An empty body is one empty part.
        let count = u32::try_from(body.length.div_ceil(size).max(1))
            .map_err(|_| Error::new(ErrorKind::LimitExceeded, "the body has too many parts"))?;
        let next = AtomicU32::new(0);
        let failed = AtomicBool::new(false);
        let done = Mutex::new(Vec::with_capacity(count as usize));
        let lanes = (0..LANES).map(|_| async {
            while !failed.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    break;
                }
                let offset = u64::from(index) * size;
                let length = size.min(body.length - offset) as usize;
                match self.send_part(body, index as i32 + 1, offset, length).await {
                    Ok(part) => done.lock().push(part),
                    Err(error) => {
                        failed.store(true, Ordering::Relaxed);
                        return Err(error);
                    }
                }
            }
            Ok(())
        });
        join_all(lanes).await.into_iter().collect::<Result<()>>()?;
        let mut parts = done.into_inner();
        parts.sort_by_key(CompletedPart::part_number);
        Ok(parts)
    }

    async fn send_part(
        &self,
        body: &Source,
        number: i32,
        offset: u64,
        length: usize,
    ) -> Result<CompletedPart> {
        let bytes = body.read(offset, length).await?;
        let sent = self
            .bucket
            .client
            .upload_part()
            .bucket(&*self.bucket.bucket)
            .key(self.key)
            .upload_id(self.id)
            .part_number(number)
            .body(ByteStream::from(bytes))
            .send()
            .await
            .map_err(|error| Failure::of(error).error(self.bucket, "upload a part of", self.key))?;
        Ok(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build())
    }

    async fn complete(&self, parts: Vec<CompletedPart>, mode: &PutMode) -> Result<Put> {
        let request = self
            .bucket
            .client
            .complete_multipart_upload()
            .bucket(&*self.bucket.bucket)
            .key(self.key)
            .upload_id(self.id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build());
        let request = match mode {
            PutMode::Create => request.if_none_match("*"),
            PutMode::Replace(_) => unreachable!("BUG: a replacement does not go up in parts"),
            PutMode::Overwrite => request,
        };
        match request.send().await {
            Ok(done) => Ok(Put::Stored(version(self.bucket, self.key, done.e_tag())?)),
            Err(error) => Failure::of(error).refused(self.bucket, "complete the upload of", self.key, mode),
        }
    }

    /// Best effort: parts that stay are seen by no reader.
    async fn abort(&self) {
        let request = self.bucket.client.abort_multipart_upload().bucket(&*self.bucket.bucket);
        if let Err(error) = request.key(self.key).upload_id(self.id).send().await {
            let error = Failure::of(error).error(self.bucket, "abort the upload of", self.key);
            tracing::warn!(%error, "the parts of an upload may stay");
        }
    }
}
