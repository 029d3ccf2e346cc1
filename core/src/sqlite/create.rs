use std::path::Path;

use rusqlite::config::DbConfig;

use super::failure::from_rusqlite;
use crate::types::{Error, Result};

/// Makes an empty database in WAL mode, with its header page. What is at the path must not be a database.
pub(crate) fn create_database(path: &Path) -> Result<()> {
    let connection = rusqlite::Connection::open(path).map_err(from_rusqlite)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(from_rusqlite)?;
    let mode: String =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(from_rusqlite)?;
    if mode != "wal" {
        return Err(Error::new(
            crate::types::ErrorKind::InvalidConfig,
            format!("{} cannot be in WAL mode: its journal mode is {mode}", path.display()),
        ));
    }
    Ok(())
}
