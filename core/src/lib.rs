//! haqlite: one SQLite database that survives the loss of a machine, with one line of code and a bucket.
//!
//! Several processes open the same database name on the same bucket. One of them leads: it takes writes and ships
//! what SQLite commits to the bucket. The others follow with a live local copy, serve reads from it and forward
//! writes. When the leader dies, another node takes over.
//!
//! ```no_run
//! use haqlite::{HaQLite, SqlValue};
//!
//! # async fn quick_start() -> haqlite::Result<()> {
//! let db = HaQLite::builder()
//!     .bucket("s3://my-bucket")
//!     .open("/data/my.db", "CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT);")
//!     .await?;
//!
//! // Writes: forwarded to the leader automatically.
//! let added = db.execute("INSERT INTO users (name) VALUES (?1)", &[SqlValue::Text("Alice".into())])?;
//!
//! // Reads: always local.
//! let count: i64 = db.query_row_local("SELECT COUNT(*) FROM users", &[], |row| row.get(0))?;
//!
//! // Not needed in general, but now Alice survives the loss of this machine.
//! db.wait_durable(&added.bookmark, std::time::Duration::from_secs(10)).await?;
//!
//! db.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! - [`HaQLite`] is the handle with the SQL verbs, [`Builder`] opens it, [`HaQLite::local`] opens one without a
//!   cluster.
//! - A write that returned is committed on the leader; [`HaQLite::wait_durable`] waits until the bucket has it, and in
//!   [`Durability::Cloud`] every write does. [`Durability`] says what can be lost otherwise.
//! - The lease can be elsewhere than the log, and a manifest can wake followers: [`Builder::lease_url`],
//!   [`Builder::manifest_url`], or `HAQLITE_LEASE_URL` and `HAQLITE_MANIFEST_URL`.
//! - An [`Error`] has a kind, what to do, and an [`Outcome`], what became of the write.
//! - [`Restore`] makes a database from the bucket alone, [`Follow`] keeps a read-only copy current, [`LogTools`] shows
//!   what the log is. The binary `haqlite` (feature `cli`) does the same from a shell.
//! - [`bucket::Bucket`], [`lease_store::LeaseStore`] and [`manifest_store::ManifestStore`] are the ports for stores of
//!   your own; `haqlite::testing` (feature `testing`) is what they must keep. [`StoreServer`] serves leases and manifests
//!   over HTTP.

#[cfg(not(unix))]
compile_error!("haqlite needs Unix: its log capture stands on POSIX locks and shared memory");

pub mod bucket;
#[cfg(feature = "cli")]
pub mod cli;
mod client;
mod database;
mod election;
pub mod lease_store;
pub mod ltx;
pub mod manifest_store;
mod net;
mod replication;
mod runtime;
mod server;
mod sqlite;
mod store_server;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod types;
pub mod wal;

pub use database::{
    Builder, Follow, HaQLite, LeaseInfo, LevelInfo, LogFileInfo, LogInfo, LogTools, ReadReplica,
    ReplicaStatus, Restore, RestorePoint, RestoredDatabase, Session, Transaction, Verify,
};
pub use runtime::{RoleEvents, Subscription};
pub use sqlite::{LocalRow, RowCursor};
pub use store_server::{RunningStoreServer, StoreServer, StoreServerLimits};
pub use types::{
    BatchResult, Bookmark, Check, Compaction, Consistency, CoordinatorConfig, Durability, Error, ErrorKind,
    Event, ExecuteResult, FromColumn, FromValue, HaMode, LeaseConfig, LocalReads, NodeId, NodeInfo, Outcome,
    Params, Position, Problem, Progress, ReadOptions, Result, Retention, Role, Row, Rows, SqlValue,
    Statement, Status, Timestamp, TxMode, ValueRef, VerifyReport, validate_mode_durability,
    validate_mode_role,
};
