use std::path::Path;

use rusqlite::OpenFlags;

use super::failure::from_rusqlite;
use crate::types::{Check, Error, Result};

/// Has SQLite check a database that nobody uses; `Corrupt` with what it says. The file does not change, and
/// nothing is left beside it.
pub(crate) fn check_database(path: &Path, check: Check) -> Result<()> {
    let pragma = match check {
        Check::Quick => "quick_check",
        Check::Full => "integrity_check",
        Check::None => return Ok(()),
    };
    // Immutable: a database in WAL mode can be read without making a WAL.
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte))
            }
            other => uri.push_str(&format!("%{other:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = rusqlite::Connection::open_with_flags(uri, flags).map_err(from_rusqlite)?;
    let verdict: String = connection
        .query_row(&format!("PRAGMA {pragma}(1)"), [], |row| row.get(0))
        .map_err(|e| from_rusqlite(e).context(pragma))?;
    if verdict == "ok" { Ok(()) } else { Err(Error::corrupt(format!("{pragma} says: {verdict}"))) }
}
