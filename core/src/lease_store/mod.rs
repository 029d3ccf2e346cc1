//! The port to the register that the lease is kept in, and its adapters.

mod bucket;
#[cfg(feature = "etcd")]
mod etcd;
mod http;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod laws;
mod memory;
#[cfg(feature = "nats")]
mod nats;

use async_trait::async_trait;
use std::sync::Arc;

use crate::types::Result;
pub use bucket::BucketLeaseStore;
#[cfg(feature = "etcd")]
pub use etcd::EtcdLeaseStore;
pub use http::HttpLeaseStore;
pub use memory::MemoryLeaseStore;
#[cfg(feature = "nats")]
pub use nats::{NatsLeaseStore, NatsWarning};

/// A compare-and-swap register by key.
///
/// The lease gives liveness, never safety: a store that loses data or answers late costs an election,
/// not a write. An `Err` from a write leaves open whether it took place.
#[async_trait]
pub trait LeaseStore: Send + Sync + 'static {
    /// The store's name for people, without secrets.
    fn describe(&self) -> String;

    /// What is at `key`, with its version; `None` if nothing ever was.
    async fn read(&self, key: &str) -> Result<Option<Register>>;

    /// Whether a read sees every write that finished before it began, whatever happens to the store's servers.
    fn reads_are_linearizable(&self) -> bool {
        true
    }

    /// Stores `body` if there is nothing at `key`.
    async fn create(&self, key: &str, body: &[u8]) -> Result<Swap>;

    /// Stores `body` if `key` still has `version`.
    async fn replace(&self, key: &str, body: &[u8], version: &LeaseVersion) -> Result<Swap>;

    /// Returns when `key` may have another version than `version`. A store that cannot watch never
    /// returns, which is the default: the caller polls as well.
    async fn changed(&self, key: &str, version: Option<&LeaseVersion>) {
        let _ = (key, version);
        std::future::pending::<()>().await;
    }
}

/// What a register holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Register {
    /// The bytes.
    pub body: Vec<u8>,
    /// What a replacement names.
    pub version: LeaseVersion,
}

/// The version of a register: never the same for two different bodies. It may be made from the body, so a
/// writer never writes the same body twice.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LeaseVersion(pub String);

/// The definite answer to a write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Swap {
    /// It was stored, and this is its version.
    Done(LeaseVersion),
    /// Somebody else was first; nothing was changed.
    Lost,
}

#[async_trait]
impl<T: LeaseStore + ?Sized> LeaseStore for Arc<T> {
    fn describe(&self) -> String {
        (**self).describe()
    }
    async fn read(&self, key: &str) -> Result<Option<Register>> {
        (**self).read(key).await
    }
    fn reads_are_linearizable(&self) -> bool {
        (**self).reads_are_linearizable()
    }
    async fn create(&self, key: &str, body: &[u8]) -> Result<Swap> {
        (**self).create(key, body).await
    }
    async fn replace(&self, key: &str, body: &[u8], version: &LeaseVersion) -> Result<Swap> {
        (**self).replace(key, body, version).await
    }
    async fn changed(&self, key: &str, version: Option<&LeaseVersion>) {
        (**self).changed(key, version).await;
    }
}
