//! The handle and the builder: what applications see.

mod async_verbs;
mod builder;
mod cluster;
mod engine;
mod handle;
mod local;
mod log_source;
mod log_tools;
mod node_engine;
mod node_session;
mod read_replica;
mod restore;
mod session;
mod store_adapters;
mod store_choice;
mod store_url;
mod stores;
#[cfg(test)]
mod stores_tests;
mod transaction;
mod verify;

pub use builder::Builder;
pub use handle::HaQLite;
pub(crate) use log_source::ManifestSource;
pub use log_tools::{LeaseInfo, LevelInfo, LogFileInfo, LogInfo, LogTools, RestorePoint};
pub use read_replica::{Follow, ReadReplica, ReplicaStatus};
pub use restore::{Restore, RestoredDatabase};
pub use session::Session;
#[cfg(feature = "cli")]
pub(crate) use store_url::check_store_url;
pub use transaction::Transaction;
pub use verify::Verify;
