use std::path::Path;
use std::sync::Arc;

use super::store_url::open_storage;
use crate::bucket::{Bucket, Opened, S3Credentials, UrlOptions};
use crate::manifest_store::{ManifestPlace, ManifestStore};
use crate::runtime::{bucket_of_log, complete, manifest_key};
use crate::types::{Error, ErrorKind, Result};

/// Which log is meant: a bucket, and a name in it. What the tools that need no node have in common.
#[derive(Clone)]
pub(crate) struct LogSource {
    storage: Storage,
    pub(crate) name: Option<String>,
    pub(crate) prefix: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) credentials: Option<S3Credentials>,
    pub(crate) manifest: Option<Arc<dyn ManifestStore>>,
}

#[derive(Clone)]
enum Storage {
    Url(String),
    Bucket(Arc<dyn Bucket>),
}

/// The place of a log.
#[derive(Clone)]
pub(crate) struct LogPlace {
    pub(crate) bucket: Arc<dyn Bucket>,
    /// Empty, or ending in a slash.
    pub(crate) root: String,
}

impl LogSource {
    /// In the bucket that this URL names.
    pub(crate) fn url(url: impl Into<String>) -> LogSource {
        LogSource::over(Storage::Url(url.into()))
    }

    /// In this bucket.
    pub(crate) fn bucket(bucket: impl Bucket) -> LogSource {
        LogSource::over(Storage::Bucket(Arc::new(bucket)))
    }

    fn over(storage: Storage) -> LogSource {
        LogSource {
            storage,
            name: None,
            prefix: "haqlite/".to_owned(),
            endpoint: None,
            region: None,
            credentials: None,
            manifest: None,
        }
    }

    /// The log's place, where whatever reads or writes it goes through its manifest, if it is fenced by one: one
    /// request asks for that, and `InvalidConfig` says that the manifest must be named. Otherwise as
    /// [`LogSource::locate`].
    pub(crate) fn open(&self, database: Option<&Path>) -> Result<LogPlace> {
        let LogPlace { bucket, root } = self.locate(database)?;
        let key = manifest_key(&root, bucket.layout());
        let manifest = self.manifest.clone().map(|store| ManifestPlace { store, key });
        let below = root.clone();
        let bucket = complete(async move { bucket_of_log(bucket, &below, manifest).await })??;
        Ok(LogPlace { bucket, root })
    }

    /// Opens the bucket, and makes nothing in it. The log's name is the stem of `database` if none was given;
    /// `InvalidArgument` if there is none either, or no such folder.
    pub(crate) fn locate(&self, database: Option<&Path>) -> Result<LogPlace> {
        let stem = || database?.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = self.name.clone().or_else(stem).ok_or_else(|| {
            Error::new(ErrorKind::InvalidArgument, "which database? Name it as `db_name` does")
        })?;
        let storage = match &self.storage {
            Storage::Url(url) => {
                let options = UrlOptions {
                    endpoint: self.endpoint.clone(),
                    region: self.region.clone(),
                    credentials: self.credentials.clone(),
                    existing: true,
                };
                open_storage(url, options)?
            }
            Storage::Bucket(bucket) => {
                Opened { bucket: Arc::clone(bucket), root: String::new(), watch_every: None }
            }
        };
        let slash = if name.is_empty() { "" } else { "/" };
        let root = format!("{}{}{name}{slash}", storage.root, self.prefix);
        Ok(LogPlace { bucket: storage.bucket, root })
    }
}

/// The methods with which a tool is told which log is meant; it keeps that in its field `source`.
macro_rules! names_a_log {
    ($tool:ident) => {
        impl $tool {
            /// The database's name in the bucket. An empty name stands for files right below the prefix, as
            /// Litestream writes them.
            pub fn db_name(mut self, name: impl Into<String>) -> $tool {
                self.source.name = Some(name.into());
                self
            }

            /// What stands before the name in the bucket; `haqlite/` by default.
            pub fn prefix(mut self, prefix: impl Into<String>) -> $tool {
                self.source.prefix = prefix.into();
                self
            }

            /// The S3 server, if it is not Amazon's.
            pub fn endpoint(mut self, url: impl Into<String>) -> $tool {
                self.source.endpoint = Some(url.into());
                self
            }

            /// The S3 region.
            pub fn region(mut self, region: impl Into<String>) -> $tool {
                self.source.region = Some(region.into());
                self
            }

            /// Where the manifest is, of a log in a bucket without conditional writes.
            pub fn manifest_store(mut self, store: impl $crate::manifest_store::ManifestStore) -> $tool {
                self.source.manifest = Some(std::sync::Arc::new(store));
                self
            }

            /// The key for S3; by default what the AWS tools would take.
            pub fn credentials(mut self, credentials: $crate::bucket::S3Credentials) -> $tool {
                self.source.credentials = Some(credentials);
                self
            }
        }
    };
}

pub(crate) use names_a_log;
