//! haqlite: one SQLite database that survives the loss of a machine, with one line of code and a bucket.

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

pub use types::{
    BatchResult, Bookmark, Consistency, CoordinatorConfig, Durability, Error, ErrorKind, Event,
    ExecuteResult, HaMode, LeaseConfig, NodeId, Outcome, Params, Position, ReadOptions, Result, Role, Row,
    Rows, SqlValue, Statement, Status, TxMode, validate_mode_role,
};
