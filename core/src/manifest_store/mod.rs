//! The port to the store of manifests, and its adapters.
//!
//! A manifest is a small versioned blob with an epoch that never goes back. It is the commit point of a log in a
//! bucket without conditional writes; everywhere else it is a hint that says how far the log is, and wakes followers.

mod fenced_bucket;
mod fenced_copies;
mod fenced_manifest;
#[cfg(test)]
mod fenced_simulation_tests;
mod fenced_slots;
#[cfg(test)]
mod fenced_tests;
mod http;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod laws;
mod register;

use async_trait::async_trait;
use std::sync::Arc;

use crate::types::{Epoch, Error, ErrorKind, Result};
pub(crate) use fenced_bucket::FencedBucket;
pub use http::HttpManifestStore;
pub use register::RegisterManifestStore;

/// Manifests are refused above this size in bytes, by every store: some have a limit of one million.
pub const MAX_MANIFEST_BYTES: usize = 512 * 1024;

/// Versioned blobs by key, each with an epoch that never goes back.
///
/// Where the log is fenced by it, the manifest is part of what makes the log safe: a store must not lose what it
/// acknowledged. An `Err` from a write leaves open whether it took place.
#[async_trait]
pub trait ManifestStore: Send + Sync + 'static {
    /// The store's name for people, without secrets.
    fn describe(&self) -> String;

    /// The manifest at `key`; `None` if there never was one. It may be an older one than the newest, but never older
    /// than one that this store object has read or written before.
    async fn read(&self, key: &str) -> Result<Option<Manifest>>;

    /// Stores a manifest if the one at `key` still has the version `expected` (`None`: if there is none), and its
    /// epoch is not above `epoch`. A body above [`MAX_MANIFEST_BYTES`] is `LimitExceeded`, and nothing is changed.
    async fn put(
        &self,
        key: &str,
        epoch: Epoch,
        body: &[u8],
        expected: Option<&ManifestVersion>,
    ) -> Result<ManifestPut>;

    /// Whether the manifest had this version at some moment after the call began: a linearizable look. A store that
    /// cannot promise that for reads writes the same manifest again under the condition of its version. Gives the
    /// version that it has now; `None` if it had another.
    async fn confirm(&self, key: &str, version: &ManifestVersion) -> Result<Option<ManifestVersion>>;

    /// Returns when `key` may have another version than `version`. A store that cannot watch never returns, which is
    /// the default: the caller polls as well.
    async fn changed(&self, key: &str, version: Option<&ManifestVersion>) {
        let _ = (key, version);
        std::future::pending::<()>().await;
    }
}

/// Refuses a body above [`MAX_MANIFEST_BYTES`].
fn check_size(body: &[u8]) -> Result<()> {
    if body.len() <= MAX_MANIFEST_BYTES {
        return Ok(());
    }
    let message = format!("a manifest of {} bytes: at most {MAX_MANIFEST_BYTES}", body.len());
    Err(Error::new(ErrorKind::LimitExceeded, message))
}

/// Where the manifest of a log is.
#[derive(Clone)]
pub(crate) struct ManifestPlace {
    /// The store.
    pub(crate) store: Arc<dyn ManifestStore>,
    /// The manifest's key in it.
    pub(crate) key: String,
}

/// What is at a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The epoch of who wrote it. A later manifest never has a lower one.
    pub epoch: Epoch,
    /// The bytes.
    pub body: Vec<u8>,
    /// What the next put names.
    pub version: ManifestVersion,
}

/// The version of a manifest: no two manifests of a key ever have the same.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ManifestVersion(pub String);

/// The definite answer to a put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ManifestPut {
    /// It was stored, and this is its version.
    Done(ManifestVersion),
    /// The manifest has another version; nothing was changed.
    Lost,
    /// The manifest is of this epoch, which is above the put's; nothing was changed.
    Outranked {
        /// The manifest's epoch.
        epoch: Epoch,
    },
}

#[async_trait]
impl<T: ManifestStore + ?Sized> ManifestStore for Arc<T> {
    fn describe(&self) -> String {
        (**self).describe()
    }
    async fn read(&self, key: &str) -> Result<Option<Manifest>> {
        (**self).read(key).await
    }
    async fn put(
        &self,
        key: &str,
        epoch: Epoch,
        body: &[u8],
        expected: Option<&ManifestVersion>,
    ) -> Result<ManifestPut> {
        (**self).put(key, epoch, body, expected).await
    }
    async fn confirm(&self, key: &str, version: &ManifestVersion) -> Result<Option<ManifestVersion>> {
        (**self).confirm(key, version).await
    }
    async fn changed(&self, key: &str, version: Option<&ManifestVersion>) {
        (**self).changed(key, version).await;
    }
}
