use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::error::statement_error;
use super::raw::open_connection;
use crate::types::Result;

/// How far a checkpoint came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CheckpointProgress {
    /// How many frames the WAL has.
    pub(crate) frames: u32,
    /// How many of them are in the database file.
    pub(crate) backfilled: u32,
}

/// Copies the WAL into the database file, on a connection of its own, without stopping anybody.
pub(crate) struct Checkpointer {
    conn: Connection,
}

impl Checkpointer {
    /// A checkpointer of an existing database.
    pub(crate) fn open(path: &Path) -> Result<Checkpointer> {
        let conn = open_connection(path)?;
        // Somebody else's checkpoint does the same work: no need to wait for it.
        conn.busy_timeout(Duration::ZERO).map_err(|error| statement_error("opening", error))?;
        Ok(Checkpointer { conn })
    }

    /// Copies what no reader is in the way of. `None` if another checkpoint is running.
    ///
    /// The WAL is on the disk before the first page is copied. If all of it was copied, the database file is on
    /// the disk too.
    pub(crate) fn passive(&mut self) -> Result<Option<CheckpointProgress>> {
        let (busy, frames, backfilled) = self
            .conn
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
                Ok((row.get::<_, bool>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
            })
            .map_err(|error| statement_error("checkpointing", error))?;
        // Both numbers are -1 if the WAL could not even be looked at.
        let counts = u32::try_from(frames).ok().zip(u32::try_from(backfilled).ok());
        Ok(counts.filter(|_| !busy).map(|(frames, backfilled)| CheckpointProgress { frames, backfilled }))
    }
}
