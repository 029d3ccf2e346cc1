//! SQLite: connections, the write gate, WAL capture and WAL injection. The only floor with `unsafe`.
#![allow(unsafe_code)]

mod wal_handle;

pub(crate) use wal_handle::{
    CheckpointProgress, Checkpointer, PageSource, Published, Snapshot, WalHandle, self_test as wal_self_test,
};
mod appended;
mod backup;
mod cache;
mod check_database;
mod connection;
mod counters;
mod create;
mod cursor;
mod exclusive;
mod failure;
mod gate;
mod hooks;
mod once;
mod policy;
mod pool;
mod row;
mod session;
mod statement;
mod tally;
mod ticket;
mod transaction;
mod writer;
#[cfg(test)]
mod writer_tests;

pub(crate) use backup::backup;
pub(crate) use check_database::check_database;
pub(crate) use connection::{Connection, ConnectionOptions, Place};
pub(crate) use create::create_database;
pub(crate) use exclusive::Exclusive;
pub(crate) use gate::{Clock, Gate, Shut};
pub(crate) use hooks::{Acknowledge, Hooks};
pub(crate) use once::{Once, Request};
pub(crate) use policy::Caller;
pub(crate) use pool::{PoolOptions, ReadPool};
pub(crate) use session::WriterSession;
pub(crate) use ticket::TransactionLimits;
pub(crate) use transaction::WriterTransaction;
pub(crate) use writer::{Writer, WriterOptions};

pub use cursor::RowCursor;
pub use row::LocalRow;
