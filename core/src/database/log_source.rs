use std::path::Path;
use std::sync::Arc;

use super::store_url::{Placed, open_manifest, open_storage};
use crate::bucket::{Bucket, Opened, S3Credentials, UrlOptions};
use crate::manifest_store::{ManifestPlace, ManifestStore};
use crate::runtime::{bucket_of_log, bucket_of_log_later, complete, manifest_key};
use crate::types::{Error, ErrorKind, Result};

/// Which log is meant: a bucket, and a name in it. What the tools that need no node have in common.
#[derive(Clone)]
pub(crate) struct LogSource {
    storage: Storage,
    /// Where the log's manifest is, if it has one.
    pub(crate) manifest: Option<ManifestSource>,
    pub(crate) name: Option<String>,
    pub(crate) prefix: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) credentials: Option<S3Credentials>,
}

#[derive(Clone)]
enum Storage {
    Url(String),
    Bucket(Arc<dyn Bucket>),
}

/// Where a manifest is.
#[derive(Clone)]
pub(crate) enum ManifestSource {
    /// Where this URL leads, in one of the forms of the builder's `manifest_url`.
    Url(String),
    /// In this store.
    Store(Arc<dyn ManifestStore>),
}

/// The place of a log.
#[derive(Clone)]
pub(crate) struct LogPlace {
    pub(crate) bucket: Arc<dyn Bucket>,
    /// Empty, or ending in a slash.
    pub(crate) root: String,
    /// Where its manifest is, if it has one.
    pub(crate) manifest: Option<ManifestPlace>,
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
            manifest: None,
            name: None,
            prefix: "haqlite/".to_owned(),
            endpoint: None,
            region: None,
            credentials: None,
        }
    }

    /// The log's place, where whatever reads or writes it goes through its manifest, if it is fenced by one: one
    /// request asks for that, and `InvalidConfig` says that the manifest must be named. Otherwise as
    /// [`LogSource::locate`].
    pub(crate) fn open(&self, database: Option<&Path>) -> Result<LogPlace> {
        let LogPlace { bucket, root, manifest } = self.locate(database)?;
        let (below, place) = (root.clone(), manifest.clone());
        let bucket = complete(async move { bucket_of_log(bucket, &below, place).await })??;
        Ok(LogPlace { bucket, root, manifest })
    }

    /// As [`LogSource::open`], where nothing is asked of the bucket before the first request.
    pub(crate) fn open_later(&self, database: Option<&Path>) -> Result<LogPlace> {
        let LogPlace { bucket, root, manifest } = self.locate(database)?;
        Ok(LogPlace { bucket: bucket_of_log_later(bucket, &root, manifest.clone()), root, manifest })
    }

    /// Opens the bucket, and makes nothing in it. The log's name is the stem of `database` if none was given;
    /// `InvalidArgument` if there is none either, or no such folder.
    pub(crate) fn locate(&self, database: Option<&Path>) -> Result<LogPlace> {
        let stem = || database?.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = self.name.clone().or_else(stem).ok_or_else(|| {
            Error::new(ErrorKind::InvalidArgument, "which database? Name it as `db_name` does")
        })?;
        let options = UrlOptions {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            credentials: self.credentials.clone(),
            existing: true,
        };
        let storage = match &self.storage {
            Storage::Url(url) => open_storage(url, options.clone())?,
            Storage::Bucket(bucket) => {
                Opened { bucket: Arc::clone(bucket), root: String::new(), watch_every: None }
            }
        };
        let slash = if name.is_empty() { "" } else { "/" };
        let below = |root: &str| format!("{root}{}{name}{slash}", self.prefix);
        let placed = match &self.manifest {
            None => None,
            Some(ManifestSource::Url(url)) => {
                let opened = open_manifest(url, &storage, &options);
                Some(opened.map_err(|error| error.context("the manifest store"))?)
            }
            Some(ManifestSource::Store(store)) => {
                Some(Placed { store: Arc::clone(store), root: String::new() })
            }
        };
        let manifest = placed.map(|placed| ManifestPlace {
            key: manifest_key(&below(&placed.root), storage.bucket.layout()),
            store: placed.store,
        });
        let root = below(&storage.root);
        Ok(LogPlace { root, bucket: storage.bucket, manifest })
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

            /// Where the log's manifest is, if it has one: a URL as of [`Builder::manifest_url`]($crate::Builder::manifest_url).
            pub fn manifest_url(mut self, url: impl Into<String>) -> $tool {
                self.source.manifest = Some($crate::database::ManifestSource::Url(url.into()));
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
                let store = std::sync::Arc::new(store);
                self.source.manifest = Some($crate::database::ManifestSource::Store(store));
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
