use super::Layout;
use super::url::{FORMS, folder, invalid, parse, root, unknown};
use crate::types::Result;

/// What a URL says, without opening anything. Nothing of it is secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct UrlFacts {
    /// `s3`, `file` or `memory`.
    pub(crate) scheme: String,
    /// The bucket's name, or the folder.
    pub(crate) bucket: String,
    /// What the keys begin with: empty, or it ends in a slash.
    pub(crate) root: String,
    /// How files are named there.
    pub(crate) layout: Layout,
    /// The S3 server that the URL itself names.
    pub(crate) endpoint: Option<String>,
    /// The region that the URL itself names.
    pub(crate) region: Option<String>,
    /// Whether the URL itself holds a key.
    pub(crate) has_key: bool,
}

/// What a URL says; `InvalidConfig` as `open_url` has it.
pub(crate) fn read_url(url: &str) -> Result<UrlFacts> {
    let parsed = parse(url)?;
    let scheme = parsed.scheme().to_owned();
    let host = parsed.host_str().unwrap_or_default().to_owned();
    let (bucket, root, layout) = match &*scheme {
        "s3" if host.is_empty() => return Err(invalid(format!("the URL names no bucket; use {FORMS}"))),
        "s3" => (host, root(&parsed)?, Layout::S3),
        "file" => (folder(&parsed)?.display().to_string(), String::new(), Layout::Directory),
        "memory" => (host, root(&parsed)?, Layout::Directory),
        scheme => return Err(unknown(scheme)),
    };
    let parameter = |wanted: &str| {
        let found = parsed.query_pairs().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.into_owned())
    };
    let (endpoint, region) = (parameter("endpoint"), parameter("region"));
    let has_key = parameter("access_key_id").is_some();
    Ok(UrlFacts { scheme, bucket, root, layout, endpoint, region, has_key })
}
