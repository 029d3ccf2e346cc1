use std::sync::Arc;

use super::builder::Builder;
use super::store_choice::{Environment, StorePlace, StoreWords};
use super::store_url::{
    FORMS, Placed, STORAGE_FORMS, open_lease, open_lease_endpoint, open_manifest, open_manifest_endpoint,
    open_storage,
};
use crate::bucket::{Bucket, Opened, UrlOptions};
use crate::lease_store::LeaseStore;
use crate::manifest_store::ManifestStore;
use crate::types::{Error, ErrorKind, Result};

/// The stores that a builder or the environment names, opened.
pub(super) struct Stores {
    pub(super) bucket: Arc<dyn Bucket>,
    /// What the bucket's URL puts before every key.
    pub(super) root: String,
    pub(super) lease: Placed<dyn LeaseStore>,
    pub(super) manifest: Option<Placed<dyn ManifestStore>>,
}

pub(super) const STORAGE: StoreWords = StoreWords {
    what: "bucket",
    store_method: ".storage(bucket)",
    url_method: ".storage_url(url)",
    endpoint_method: "",
    variable: "HAQLITE_STORAGE_URL",
};

pub(super) const LEASE: StoreWords = StoreWords {
    what: "lease store",
    store_method: ".lease_store(store)",
    url_method: ".lease_url(url)",
    endpoint_method: ".lease_endpoint(url, token)",
    variable: "HAQLITE_LEASE_URL",
};

pub(super) const MANIFEST: StoreWords = StoreWords {
    what: "manifest store",
    store_method: ".manifest_store(store)",
    url_method: ".manifest_url(url)",
    endpoint_method: ".manifest_endpoint(url, token)",
    variable: "HAQLITE_MANIFEST_URL",
};

const BUCKET_METHOD: &str = ".bucket(url)";

/// Opens what the builder names, and where it says nothing, what the environment does. Nothing is guessed: what is
/// missing, said twice or unknown is `InvalidConfig` with all ways to say it. No error holds a secret of a URL.
pub(super) fn open_stores(builder: &Builder) -> Result<Stores> {
    open_stores_by(builder, &|name| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
        Some(value.to_string_lossy().into_owned())
    })
}

pub(super) fn open_stores_by(builder: &Builder, environment: Environment<'_>) -> Result<Stores> {
    let storage = open_log(builder, environment)?;
    let options = options(builder);
    let lease = match (builder.lease.place(&LEASE, environment)?, &builder.bucket) {
        // `bucket` says it for both, unless the builder says more.
        (_, Some(_)) if !builder.lease.is_said() => open_lease("s3", &storage, &options)?,
        (Some(StorePlace::Store(store)), _) => Placed { store, root: String::new() },
        (Some(StorePlace::Url { url, from }), _) => open_lease(&url, &storage, &options)
            .map_err(|e| e.context(format!("the lease store of {from}")))?,
        (Some(StorePlace::Endpoint(endpoint)), _) => open_lease_endpoint(&endpoint)
            .map_err(|e| e.context(format!("the lease store of {}", LEASE.endpoint_method)))?,
        (None, _) => return Err(missing(&LEASE, FORMS)),
    };
    let manifest = match builder.manifest.place(&MANIFEST, environment)? {
        Some(StorePlace::Store(store)) => Some(Placed { store, root: String::new() }),
        Some(StorePlace::Url { url, from }) => {
            let opened = open_manifest(&url, &storage, &options);
            Some(opened.map_err(|e| e.context(format!("the manifest store of {from}")))?)
        }
        Some(StorePlace::Endpoint(endpoint)) => {
            let opened = open_manifest_endpoint(&endpoint);
            Some(
                opened
                    .map_err(|e| e.context(format!("the manifest store of {}", MANIFEST.endpoint_method)))?,
            )
        }
        None => None,
    };
    Ok(Stores { bucket: storage.bucket, root: storage.root, lease, manifest })
}

/// The bucket of the log.
fn open_log(builder: &Builder, environment: Environment<'_>) -> Result<Opened> {
    let by_bucket = builder.bucket.as_ref().map(|_| BUCKET_METHOD);
    builder.storage.is_said_once(&STORAGE, by_bucket)?;
    let place = match &builder.bucket {
        Some(url) => Some(StorePlace::Url { url: url.clone(), from: BUCKET_METHOD }),
        None => builder.storage.place(&STORAGE, environment)?,
    };
    match place {
        Some(StorePlace::Store(bucket)) => Ok(Opened { bucket, root: String::new(), watch_every: None }),
        Some(StorePlace::Url { url, from }) => {
            open_storage(&url, options(builder)).map_err(|e| e.context(format!("the bucket of {from}")))
        }
        Some(StorePlace::Endpoint(_)) | None => Err(missing(&STORAGE, STORAGE_FORMS)),
    }
}

pub(super) fn options(builder: &Builder) -> UrlOptions {
    UrlOptions {
        endpoint: builder.endpoint.clone(),
        region: builder.region.clone(),
        credentials: builder.credentials.clone(),
        ..UrlOptions::default()
    }
}

fn missing(words: &StoreWords, forms: &str) -> Error {
    let StoreWords { what, store_method, url_method, endpoint_method, variable } = words;
    let endpoint = match *endpoint_method {
        "" => String::new(),
        method => format!(", `{method}`"),
    };
    let message = format!(
        "no {what} is configured: use `{BUCKET_METHOD}`, `{url_method}`{endpoint} or `{store_method}`, or set \
         {variable}; a URL is {forms}"
    );
    Error::new(ErrorKind::InvalidConfig, message)
}
