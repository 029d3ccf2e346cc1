use std::sync::Arc;

use super::builder::Builder;
use crate::bucket::{Bucket, Opened, UrlOptions, open_url};
use crate::lease_store::{BucketLeaseStore, LeaseStore};
use crate::runtime::complete;
use crate::types::{Error, ErrorKind, Result};

/// The stores that a builder names, opened.
pub(super) struct Stores {
    pub(super) bucket: Arc<dyn Bucket>,
    /// What the bucket's URL puts before every key.
    pub(super) root: String,
    pub(super) lease: Arc<dyn LeaseStore>,
    /// The same of the lease's URL, if it has one of its own.
    pub(super) lease_root: Option<String>,
}

/// Opens what the builder or the environment names. Nothing is guessed: without a bucket or a lease store
/// this is `InvalidConfig` with all ways to name one.
pub(super) fn open_stores(builder: &Builder) -> Result<Stores> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let storage_url = builder
        .storage_url
        .clone()
        .or_else(|| builder.bucket.clone())
        .or_else(|| variable("HAQLITE_STORAGE_URL"));
    let storage = match (&builder.storage, &storage_url) {
        (Some(bucket), _) => Opened { bucket: Arc::clone(bucket), root: String::new(), watch_every: None },
        (None, Some(url)) => open(builder, url)?,
        (None, None) => {
            return Err(missing(
                "no bucket",
                "`.bucket(url)`, `.storage_url(url)` or `.storage(store)`",
                "HAQLITE_STORAGE_URL",
            ));
        }
    };
    let lease_url = builder.lease_url.clone().or_else(|| match builder.bucket {
        Some(_) => None,
        None => variable("HAQLITE_LEASE_URL"),
    });
    let (lease, lease_root): (Arc<dyn LeaseStore>, _) = match (&builder.lease_store, lease_url.as_deref()) {
        (Some(store), _) => (Arc::clone(store), None),
        // In the bucket of the log.
        (None, Some("s3")) => (over(&storage), None),
        (None, Some(url)) => {
            let opened = open(builder, &lease_bucket_url(url)?)?;
            let root = opened.root.clone();
            (over(&opened), Some(root))
        }
        (None, None) if builder.bucket.is_some() => (over(&storage), None),
        (None, None) => {
            return Err(missing(
                "no lease store",
                "`.bucket(url)`, `.lease_url(url)` or `.lease_store(store)`",
                "HAQLITE_LEASE_URL",
            ));
        }
    };
    Ok(Stores { bucket: storage.bucket, root: storage.root, lease, lease_root })
}

fn open(builder: &Builder, url: &str) -> Result<Opened> {
    let options = UrlOptions {
        endpoint: builder.endpoint.clone(),
        region: builder.region.clone(),
        credentials: builder.credentials.clone(),
        ..UrlOptions::default()
    };
    open_storage(url, options)
}

/// Opens the bucket that a URL names.
pub(super) fn open_storage(url: &str, options: UrlOptions) -> Result<Opened> {
    let url = url.to_owned();
    complete(async move { open_url(&url, &options).await })?
}

fn over(opened: &Opened) -> Arc<dyn LeaseStore> {
    let store = BucketLeaseStore::new(Arc::clone(&opened.bucket));
    match opened.watch_every {
        Some(every) => Arc::new(store.watching(every)),
        None => Arc::new(store),
    }
}

fn lease_bucket_url(url: &str) -> Result<String> {
    let scheme = url.split("://").next().unwrap_or_default();
    match scheme {
        "nats" | "etcd" | "http" | "https" => Err(Error::new(
            ErrorKind::NotImplemented,
            format!(
                "leases in {scheme}: are not implemented yet; use s3://, file:// or `.lease_store(store)`"
            ),
        )),
        _ => Ok(url.to_owned()),
    }
}

fn missing(what: &str, methods: &str, variable: &str) -> Error {
    let message = format!(
        "{what} is configured: use {methods}, or set {variable}; a URL is s3://bucket/prefix, file:///folder \
         or memory://name"
    );
    Error::new(ErrorKind::InvalidConfig, message)
}
