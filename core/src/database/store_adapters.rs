use std::sync::Arc;

use crate::lease_store::LeaseStore;
use crate::manifest_store::ManifestStore;
use crate::types::{Error, ErrorKind, Result};

/// Registers in NATS. `InvalidConfig` in a build without them, as for every scheme of its own feature.
#[cfg(feature = "nats")]
pub(super) fn nats(_url: &str) -> Result<Arc<dyn LeaseStore>> {
    Err(not_built("nats:"))
}

#[cfg(not(feature = "nats"))]
pub(super) fn nats(_url: &str) -> Result<Arc<dyn LeaseStore>> {
    Err(without("nats"))
}

/// Registers in etcd.
#[cfg(feature = "etcd")]
pub(super) fn etcd(_url: &str) -> Result<Arc<dyn LeaseStore>> {
    Err(not_built("etcd:"))
}

#[cfg(not(feature = "etcd"))]
pub(super) fn etcd(_url: &str) -> Result<Arc<dyn LeaseStore>> {
    Err(without("etcd"))
}

/// Leases behind HTTP, with the token that the URL has.
pub(super) fn http_lease(_url: &str) -> Result<Arc<dyn LeaseStore>> {
    Err(not_built("http:"))
}

/// The same with the token apart.
pub(super) fn http_lease_endpoint(_url: &str, _token: Option<&str>) -> Result<Arc<dyn LeaseStore>> {
    Err(not_built("http:"))
}

/// Manifests behind HTTP, with the token that the URL has.
pub(super) fn http_manifest(_url: &str) -> Result<Arc<dyn ManifestStore>> {
    Err(not_built("http:"))
}

/// The same with the token apart.
pub(super) fn http_manifest_endpoint(_url: &str, _token: Option<&str>) -> Result<Arc<dyn ManifestStore>> {
    Err(not_built("http:"))
}

fn not_built(scheme: &str) -> Error {
    Error::new(ErrorKind::NotImplemented, format!("leases and manifests by {scheme} are not implemented yet"))
}

#[cfg(any(not(feature = "nats"), not(feature = "etcd")))]
fn without(feature: &str) -> Error {
    let message = format!("{feature}: needs the cargo feature `{feature}`, which this build does not have");
    Error::new(ErrorKind::InvalidConfig, message)
}
