use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

use super::blocking::blocking;
use super::{Bucket, DirectoryBucket, MemoryBucket, S3Credentials};
use crate::net::masked;
use crate::types::{Error, ErrorKind, Result};

/// What a bucket's URL may look like, for messages.
pub(super) const FORMS: &str = "s3://bucket/prefix?endpoint=URL&region=NAME, file:///folder or memory://name";

/// A look at a lease in a folder or in memory costs a few microseconds.
const CHEAP_WATCH: Duration = Duration::from_millis(50);

/// The buckets of this process by name: they live as long as it does.
static MEMORY: Mutex<BTreeMap<String, MemoryBucket>> = Mutex::new(BTreeMap::new());

/// What a URL may leave out. What it says itself comes first.
#[derive(Clone, Default)]
pub struct UrlOptions {
    /// The S3 server's URL, if it is not Amazon's.
    pub endpoint: Option<String>,
    /// The S3 region.
    pub region: Option<String>,
    /// The key for S3; otherwise what the AWS tools would take: environment, profile, instance.
    pub credentials: Option<S3Credentials>,
    /// A folder has to be there already, and nothing is made in it before the first write.
    pub existing: bool,
}

/// Shows no secret.
impl fmt::Debug for UrlOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UrlOptions")
            .field("endpoint", &self.endpoint.as_deref().map(masked))
            .field("region", &self.region)
            .field("credentials", &self.credentials)
            .field("existing", &self.existing)
            .finish()
    }
}

/// What a URL names.
#[derive(Clone)]
pub struct Opened {
    /// The bucket.
    pub bucket: Arc<dyn Bucket>,
    /// What the keys begin with: empty, or it ends in a slash.
    pub root: String,
    /// How often a lease that is kept here may be looked at to see a change soon; `None` where every look
    /// costs money.
    pub watch_every: Option<Duration>,
}

/// Opens the bucket that a URL names:
///
/// - `s3://bucket/prefix`, with `endpoint`, `region`, `access_key_id`, `secret_access_key` and
///   `session_token` as query parameters. Nothing is asked of the server yet.
/// - `file:///folder`, an absolute path; the folder is created if it is not there.
/// - `memory://name/prefix`: in this process, the same for the same name, as long as the process lives.
///
/// Anything else is `InvalidConfig`.
pub async fn open_url(url: &str, options: &UrlOptions) -> Result<Opened> {
    let parsed = parse(url)?;
    match parsed.scheme() {
        "s3" => open_s3(&parsed, options).await,
        "file" => {
            let folder = folder(&parsed)?;
            let existing = options.existing;
            let bucket = blocking(move || match existing {
                true => DirectoryBucket::existing(folder),
                false => DirectoryBucket::open(folder),
            });
            let bucket = bucket.await?;
            let root = String::new();
            Ok(Opened { bucket: Arc::new(bucket), root, watch_every: Some(CHEAP_WATCH) })
        }
        "memory" => {
            no_parameters(&parsed)?;
            let name = parsed.host_str().unwrap_or_default();
            let mut buckets = MEMORY.lock();
            let bucket =
                buckets.entry(name.to_owned()).or_insert_with(|| MemoryBucket::new().named(name)).clone();
            let root = root(&parsed)?;
            Ok(Opened { bucket: Arc::new(bucket), root, watch_every: Some(CHEAP_WATCH) })
        }
        scheme => Err(unknown(scheme)),
    }
}

pub(super) fn unknown(scheme: &str) -> Error {
    // The text may be anything, also a secret: only what looks like a scheme is shown.
    let is_word = scheme.len() <= 8 && scheme.bytes().all(|byte| byte.is_ascii_lowercase());
    invalid(match is_word {
        true => format!("a bucket cannot be opened by {scheme}:; use {FORMS}"),
        false => format!("this is no URL of a bucket; use {FORMS}"),
    })
}

pub(super) fn parse(url: &str) -> Result<Url> {
    let parsed = Url::parse(url).map_err(|_| {
        let hint = match std::path::absolute(url) {
            Ok(path) if !url.contains("://") => Url::from_file_path(path).ok(),
            _ => None,
        };
        // The text may hold a secret: show it only if it can be nothing but a path.
        match hint {
            Some(hint) if !url.contains(['?', '@', '&']) => {
                invalid(format!("{url:?} is no URL; for a folder write {hint}"))
            }
            _ => invalid(format!("the bucket's URL cannot be read; use {FORMS}")),
        }
    })?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(invalid(format!("a bucket's URL has no user and no password; use {FORMS}")));
    }
    Ok(parsed)
}

pub(super) fn folder(url: &Url) -> Result<PathBuf> {
    no_parameters(url)?;
    let folder = url.to_file_path().ok().filter(|_| url.host_str().is_none());
    folder
        .ok_or_else(|| invalid(format!("{url} names no absolute path; write three slashes: file:///folder")))
}

fn no_parameters(url: &Url) -> Result<()> {
    match url.query().or(url.fragment()) {
        None => Ok(()),
        Some(_) => Err(invalid(format!("a {}: URL takes no parameters", url.scheme()))),
    }
}

/// The path of the URL as a prefix of keys.
pub(super) fn root(url: &Url) -> Result<String> {
    let path = percent_decoded(url.path())?;
    let path = path.trim_matches('/');
    if path.split('/').any(|name| matches!(name, "." | "..")) || path.contains("//") {
        return Err(invalid(format!("{path:?} is no prefix")));
    }
    Ok(if path.is_empty() { String::new() } else { format!("{path}/") })
}

fn percent_decoded(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digit = |b: &u8| (*b as char).to_digit(16).map(|digit| digit as u8);
                let (Some(high), Some(low)) = (digit(high), digit(low)) else {
                    return Err(invalid(format!("{text:?} has a % without two digits")));
                };
                bytes.push(high << 4 | low);
                tail
            }
            _ => {
                bytes.push(*first);
                tail
            }
        };
    }
    String::from_utf8(bytes).map_err(|_| invalid(format!("{text:?} is not UTF-8")))
}

#[cfg(not(feature = "s3"))]
async fn open_s3(_url: &Url, _options: &UrlOptions) -> Result<Opened> {
    Err(invalid("this build has no S3: switch on the feature `s3`".to_owned()))
}

#[cfg(feature = "s3")]
async fn open_s3(url: &Url, options: &UrlOptions) -> Result<Opened> {
    use super::{S3Bucket, S3Options};

    let bucket = url.host_str().filter(|host| !host.is_empty());
    let bucket = bucket.ok_or_else(|| invalid(format!("the URL names no bucket; use {FORMS}")))?;
    let mut settings = S3Options {
        endpoint: options.endpoint.clone(),
        region: options.region.clone(),
        credentials: options.credentials.clone(),
        ..S3Options::new(bucket)
    };
    let (mut id, mut secret, mut token) = (None, None, None);
    for (name, value) in url.query_pairs() {
        let value = Some(value.into_owned());
        match &*name {
            "endpoint" => settings.endpoint = value,
            "region" => settings.region = value,
            "access_key_id" => id = value,
            "secret_access_key" => secret = value,
            "session_token" => token = value,
            // The name may be the end of a secret with an `&` in it.
            _ => {
                let message = "the parameters of an s3: URL are endpoint, region, access_key_id, \
                               secret_access_key and session_token";
                return Err(invalid(message.to_owned()));
            }
        }
    }
    match (id, secret) {
        (Some(access_key_id), Some(secret_access_key)) => {
            let session_token = token;
            settings.credentials = Some(S3Credentials { access_key_id, secret_access_key, session_token });
        }
        (None, None) if token.is_none() => {}
        _ => {
            let message = "access_key_id and secret_access_key go together in an s3: URL";
            return Err(invalid(message.to_owned()));
        }
    }
    let root = root(url)?;
    Ok(Opened { bucket: Arc::new(S3Bucket::open(settings).await?), root, watch_every: None })
}

pub(super) fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}
