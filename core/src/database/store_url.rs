use std::sync::Arc;

use super::store_adapters as adapters;
use super::store_choice::Endpoint;
use crate::bucket::{Opened, UrlOptions, open_url};
use crate::lease_store::{BucketLeaseStore, LeaseStore};
use crate::manifest_store::{ManifestStore, RegisterManifestStore};
use crate::runtime::complete;
use crate::types::{Error, ErrorKind, Result};

/// What the URL of a log's bucket may look like, for messages.
pub(super) const STORAGE_FORMS: &str =
    "s3://bucket/prefix?endpoint=URL&region=NAME, file:///folder or memory://name";

/// What the URL of a lease's or a manifest's store may look like.
pub(super) const FORMS: &str = "`s3` (the log's bucket), s3://bucket/prefix?endpoint=URL&region=NAME, \
    nats://host:port?bucket=NAME, etcd://host:port?prefix=TEXT, http(s)://host:port?token=TOKEN, file:///folder or \
    memory://name";

/// A store, and what its URL puts before every key: empty, or it ends in a slash.
pub(super) struct Placed<S: ?Sized> {
    pub(super) store: Arc<S>,
    pub(super) root: String,
}

/// Where a URL leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// To the log's own bucket.
    LogBucket,
    /// To any bucket.
    Bucket,
    Nats,
    Etcd,
    Http,
}

/// Opens the lease store that a URL names; `storage` is the log's bucket. Asks nothing of the store's server.
pub(super) fn open_lease(
    url: &str,
    storage: &Opened,
    options: &UrlOptions,
) -> Result<Placed<dyn LeaseStore>> {
    match kind(url)? {
        Kind::Http => Ok(at_its_top(adapters::http_lease(url)?)),
        other => open_register(other, url, storage, options),
    }
}

/// Opens the manifest store that a URL names; `storage` is the log's bucket. Asks nothing of the store's server.
pub(super) fn open_manifest(
    url: &str,
    storage: &Opened,
    options: &UrlOptions,
) -> Result<Placed<dyn ManifestStore>> {
    match kind(url)? {
        Kind::Http => Ok(at_its_top(adapters::http_manifest(url)?)),
        other => {
            let register = open_register(other, url, storage, options)?;
            let store = Arc::new(RegisterManifestStore::new(register.store));
            Ok(Placed { store, root: register.root })
        }
    }
}

/// The lease store behind an HTTP server.
pub(super) fn open_lease_endpoint(endpoint: &Endpoint) -> Result<Placed<dyn LeaseStore>> {
    must_be_http(endpoint)?;
    Ok(at_its_top(adapters::http_lease_endpoint(&endpoint.url, token(endpoint))?))
}

/// The manifest store behind an HTTP server.
pub(super) fn open_manifest_endpoint(endpoint: &Endpoint) -> Result<Placed<dyn ManifestStore>> {
    must_be_http(endpoint)?;
    Ok(at_its_top(adapters::http_manifest_endpoint(&endpoint.url, token(endpoint))?))
}

/// Opens the bucket that a URL names.
pub(super) fn open_storage(url: &str, options: UrlOptions) -> Result<Opened> {
    if kind(url).is_ok_and(|kind| kind == Kind::LogBucket) {
        let message = format!(
            "`s3` stands for the log's bucket where a lease or a manifest is meant; the bucket itself is \
             {STORAGE_FORMS}"
        );
        return Err(Error::new(ErrorKind::InvalidConfig, message));
    }
    let url = url.to_owned();
    complete(async move { open_url(&url, &options).await })?
}

/// `InvalidConfig` if a lease or a manifest cannot be where this URL leads, in this build.
#[cfg(feature = "cli")]
pub(crate) fn check_store_url(url: &str) -> Result<()> {
    match kind(url)? {
        Kind::Nats => adapters::nats(url).map(drop),
        Kind::Etcd => adapters::etcd(url).map(drop),
        Kind::Http => adapters::http_lease(url).map(drop),
        Kind::Bucket => crate::bucket::read_url(url).map(drop),
        Kind::LogBucket => Ok(()),
    }
}

fn open_register(
    kind: Kind,
    url: &str,
    storage: &Opened,
    options: &UrlOptions,
) -> Result<Placed<dyn LeaseStore>> {
    match kind {
        Kind::LogBucket => Ok(over(storage)),
        Kind::Bucket => Ok(over(&open_storage(url, options.clone())?)),
        Kind::Nats => Ok(at_its_top(adapters::nats(url)?)),
        Kind::Etcd => Ok(at_its_top(adapters::etcd(url)?)),
        Kind::Http => Err(unknown("http")),
    }
}

/// Registers in a bucket.
fn over(opened: &Opened) -> Placed<dyn LeaseStore> {
    let store = BucketLeaseStore::new(Arc::clone(&opened.bucket));
    let store = match opened.watch_every {
        Some(every) => store.watching(every),
        None => store,
    };
    Placed { store: Arc::new(store), root: opened.root.clone() }
}

/// A store that sees to what its URL says of keys.
fn at_its_top<S: ?Sized>(store: Arc<S>) -> Placed<S> {
    Placed { store, root: String::new() }
}

fn kind(url: &str) -> Result<Kind> {
    let Some((scheme, _)) = url.split_once("://") else {
        return if url == "s3" { Ok(Kind::LogBucket) } else { Err(unknown("")) };
    };
    match scheme.to_ascii_lowercase().as_str() {
        "s3" | "file" | "memory" => Ok(Kind::Bucket),
        // NATS has two names for itself.
        "nats" | "tls" => Ok(Kind::Nats),
        "etcd" => Ok(Kind::Etcd),
        "http" | "https" => Ok(Kind::Http),
        other => Err(unknown(other)),
    }
}

/// The text may hold a secret: only what can be nothing but a scheme is shown.
fn unknown(scheme: &str) -> Error {
    let is_word = (1..=8).contains(&scheme.len()) && scheme.bytes().all(|byte| byte.is_ascii_lowercase());
    let problem = match is_word {
        true => format!("no store is known by {scheme}:"),
        false => "this is no URL of a store".to_owned(),
    };
    Error::new(ErrorKind::InvalidConfig, format!("{problem}; use {FORMS}"))
}

fn must_be_http(endpoint: &Endpoint) -> Result<()> {
    match kind(&endpoint.url) {
        Ok(Kind::Http) => Ok(()),
        Ok(_) | Err(_) => {
            let message = "an endpoint is http://host:port or https://host:port";
            Err(Error::new(ErrorKind::InvalidConfig, message))
        }
    }
}

fn token(endpoint: &Endpoint) -> Option<&str> {
    Some(endpoint.token.as_str()).filter(|token| !token.is_empty())
}
