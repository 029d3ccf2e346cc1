//! haqlite: one SQLite database that survives the loss of a machine, with one line of code and a bucket.

#[cfg(not(unix))]
compile_error!("haqlite needs Unix: its log capture stands on POSIX locks and shared memory");

pub mod bucket;
mod client;
mod database;
mod election;
pub mod lease_store;
pub mod ltx;
mod replication;
mod runtime;
mod server;
mod sqlite;
pub mod types;
pub mod wal;

pub use database::{Builder, HaQLite, Restore, RestoredDatabase, Session, Transaction};
pub use runtime::{RoleEvents, Subscription};
pub use sqlite::{LocalRow, RowCursor};
pub use types::{
    BatchResult, Bookmark, Consistency, CoordinatorConfig, Durability, Error, ErrorKind, Event,
    ExecuteResult, FromColumn, FromValue, HaMode, LeaseConfig, NodeId, Outcome, Params, Position,
    ReadOptions, Result, Role, Row, Rows, SqlValue, Statement, Status, TxMode, ValueRef, validate_mode_role,
};
