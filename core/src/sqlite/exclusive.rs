use std::path::Path;

use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;

use super::failure::from_rusqlite;
use crate::types::{Error, ErrorKind, Result};

/// While this value lives, SQLite lets nobody else into the database.
pub(crate) struct Exclusive(rusqlite::Connection);

impl Exclusive {
    /// Locks the database at the path, if there is one that SQLite can read. `InUse` if anybody has it open.
    ///
    /// The locks are SQLite's own, so connections of this process count as well; one that is idle on a
    /// database without a WAL holds none. What a crash left in a rollback journal is undone; a WAL stays as
    /// it is.
    pub(crate) fn take(path: &Path) -> Result<Option<Exclusive>> {
        match Exclusive::lock(path) {
            Ok(connection) => Ok(Some(Exclusive(connection))),
            Err(error) => match error.kind() {
                ErrorKind::Busy => {
                    let message = format!("{} is open somewhere", path.display());
                    Err(Error::new(ErrorKind::InUse, message).with_source(error))
                }
                // No database, or not one any more.
                ErrorKind::Corrupt => Ok(None),
                ErrorKind::Io if !path.exists() => Ok(None),
                _ => Err(error.context(format_args!("locking {}", path.display()))),
            },
        }
    }

    /// Moves what the WAL holds into the main file, as far as SQLite can read it. The file is then the
    /// database without its WAL.
    pub(crate) fn checkpoint(&self) {
        if let Err(error) = self.0.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            tracing::warn!(%error, "the WAL of a database that is being replaced cannot be read");
        }
    }

    fn lock(path: &Path) -> Result<rusqlite::Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = rusqlite::Connection::open_with_flags(path, flags).map_err(from_rusqlite)?;
        let lock = || -> rusqlite::Result<()> {
            connection.busy_timeout(std::time::Duration::ZERO)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            // In this mode even idle connections in WAL mode are in the way, and the locks stay.
            connection.query_row("PRAGMA locking_mode = EXCLUSIVE", [], |_| Ok(()))?;
            connection.execute_batch("BEGIN EXCLUSIVE; SELECT count(*) FROM sqlite_schema; COMMIT")
        };
        lock().map_err(from_rusqlite)?;
        Ok(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(folder: &Path, mode: &str) -> (std::path::PathBuf, rusqlite::Connection) {
        let path = folder.join(format!("{mode}.db"));
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |_| Ok(())).unwrap();
        connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)").unwrap();
        (path, connection)
    }

    #[test]
    fn a_database_that_anybody_has_open_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        for mode in ["wal", "delete"] {
            let (path, connection) = database(folder.path(), mode);
            if mode == "delete" {
                // Without a WAL only a transaction shows.
                connection.execute_batch("BEGIN; SELECT * FROM t").unwrap();
            }
            assert_eq!(Exclusive::take(&path).err().unwrap().kind(), ErrorKind::InUse, "{mode}");
            drop(connection);
            let taken = Exclusive::take(&path).unwrap().unwrap();
            let other = rusqlite::Connection::open(&path).unwrap();
            assert!(other.query_row("SELECT a FROM t", [], |_| Ok(())).is_err(), "{mode}");
            drop(taken);
            other.query_row("SELECT a FROM t", [], |_| Ok(())).unwrap();
        }
    }

    #[test]
    fn what_is_no_database_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        assert!(Exclusive::take(&path).unwrap().is_none());
        std::fs::write(&path, vec![7; 10_000]).unwrap();
        assert!(Exclusive::take(&path).unwrap().is_none());
    }
}
