//! The handle and the builder: what applications see.

mod async_verbs;
mod engine;
mod handle;
mod local;
mod session;
mod transaction;

pub use handle::HaQLite;
pub use session::Session;
pub use transaction::Transaction;
