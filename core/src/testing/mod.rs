//! What every store must keep, as suites for stores of your own (feature `testing`).
//!
//! Run them against a real server, in a place where nothing else is. Each panics with the name of the law that is
//! broken.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use haqlite::lease_store::MemoryLeaseStore;
//!
//! let store = MemoryLeaseStore::new();
//! haqlite::testing::lease_store_laws(&store, "laws/").await;
//! haqlite::testing::lease_store_watch_laws(&store, "watch/").await;
//! # }
//! ```

pub use crate::bucket::laws::laws as bucket_laws;
pub use crate::lease_store::laws::{laws as lease_store_laws, watch_laws as lease_store_watch_laws};
pub use crate::manifest_store::laws::{laws as manifest_store_laws, watch_laws as manifest_store_watch_laws};
