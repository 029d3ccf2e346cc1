//! The handle and the builder: what applications see.

mod async_verbs;
mod builder;
mod cluster;
mod engine;
mod handle;
mod local;
mod log_source;
mod node_engine;
mod node_session;
mod restore;
mod session;
mod store_url;
mod transaction;

pub use builder::Builder;
pub use handle::HaQLite;
pub use restore::{Restore, RestoredDatabase};
pub use session::Session;
pub use transaction::Transaction;
