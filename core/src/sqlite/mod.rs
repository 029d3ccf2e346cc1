//! SQLite: connections, the write gate, WAL capture and WAL injection. The only floor with `unsafe`.
#![allow(unsafe_code)]

mod wal_handle;

pub(crate) use wal_handle::{
    CheckpointProgress, Checkpointer, MainFile, PageSource, Published, Snapshot, WalHandle,
    self_test as wal_self_test,
};
