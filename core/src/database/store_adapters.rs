use std::sync::Arc;

#[cfg(feature = "etcd")]
use crate::lease_store::EtcdLeaseStore;
#[cfg(feature = "nats")]
use crate::lease_store::NatsLeaseStore;
use crate::lease_store::{HttpLeaseStore, LeaseStore};
use crate::manifest_store::{HttpManifestStore, ManifestStore};
use crate::types::Result;
#[cfg(any(not(feature = "nats"), not(feature = "etcd")))]
use crate::types::{Error, ErrorKind};

/// Registers in NATS. `InvalidConfig` in a build without them, as for every scheme with a feature of its own.
#[cfg(feature = "nats")]
pub(super) fn nats(url: &str) -> Result<Arc<dyn LeaseStore>> {
    Ok(Arc::new(NatsLeaseStore::from_url(url)?))
}

#[cfg(not(feature = "nats"))]
pub(super) fn nats(_url: &str) -> Result<Arc<dyn LeaseStore>> {
    Err(without("nats"))
}

/// Registers in etcd.
#[cfg(feature = "etcd")]
pub(super) fn etcd(url: &str) -> Result<Arc<dyn LeaseStore>> {
    Ok(Arc::new(EtcdLeaseStore::from_url(url)?))
}

#[cfg(not(feature = "etcd"))]
pub(super) fn etcd(_url: &str) -> Result<Arc<dyn LeaseStore>> {
    Err(without("etcd"))
}

/// Leases behind HTTP, with the token that the URL has.
pub(super) fn http_lease(url: &str) -> Result<Arc<dyn LeaseStore>> {
    Ok(Arc::new(HttpLeaseStore::from_url(url)?))
}

/// The same with the token apart.
pub(super) fn http_lease_endpoint(url: &str, token: Option<&str>) -> Result<Arc<dyn LeaseStore>> {
    Ok(Arc::new(HttpLeaseStore::new(url, token)?))
}

/// Manifests behind HTTP, with the token that the URL has.
pub(super) fn http_manifest(url: &str) -> Result<Arc<dyn ManifestStore>> {
    Ok(Arc::new(HttpManifestStore::from_url(url)?))
}

/// The same with the token apart.
pub(super) fn http_manifest_endpoint(url: &str, token: Option<&str>) -> Result<Arc<dyn ManifestStore>> {
    Ok(Arc::new(HttpManifestStore::new(url, token)?))
}

#[cfg(any(not(feature = "nats"), not(feature = "etcd")))]
fn without(feature: &str) -> Error {
    let message = format!("{feature}: needs the cargo feature `{feature}`, which this build does not have");
    Error::new(ErrorKind::InvalidConfig, message)
}
