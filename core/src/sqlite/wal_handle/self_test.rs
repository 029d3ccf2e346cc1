use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::error::statement_error;
use super::{PageSource, WalHandle};
use crate::types::{Error, ErrorKind, PageNumber, Result};

const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes 60 to 63 of page 1: the user version.
const USER_VERSION: usize = 60;
const EXPECTED: u32 = 0x6861_716c;

/// Injects one page into a database that it makes at `path`, where nothing may be, and reads the change through
/// SQL. `InvalidConfig` if this SQLite does not see it. What it made stays for the caller to remove.
pub(crate) fn self_test(path: &Path) -> Result<()> {
    let doing = "testing WAL injection";
    if path.exists() {
        return Err(Error::new(ErrorKind::InUse, format!("{} exists", path.display())));
    }
    let reader = Connection::open(path).map_err(|error| statement_error(doing, error))?;
    reader
        .execute_batch("PRAGMA journal_mode=WAL; PRAGMA user_version=1;")
        .map_err(|error| statement_error(doing, error))?;
    let mut handle = WalHandle::open(path)?;
    handle.hold_writes(TIMEOUT)?;
    let published = handle.published()?;
    let mut page = vec![0; handle.page_size().bytes()];
    handle.read_page_at(PageNumber::FIRST, published.point.frame, &mut page)?;
    page[USER_VERSION..USER_VERSION + 4].copy_from_slice(&EXPECTED.to_be_bytes());
    handle.inject(&mut OnePage(Some(&page)), published.db_size, &mut |_| Ok(()))?;
    let seen: u32 = reader
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(|error| statement_error(doing, error))?;
    if seen == EXPECTED {
        return Ok(());
    }
    let message = format!("SQLite {} does not see injected pages", rusqlite::version());
    Err(Error::new(ErrorKind::InvalidConfig, message))
}

struct OnePage<'a>(Option<&'a [u8]>);

impl PageSource for OnePage<'_> {
    fn next(&mut self, page: &mut [u8]) -> Result<Option<PageNumber>> {
        Ok(self.0.take().map(|bytes| {
            page.copy_from_slice(bytes);
            PageNumber::FIRST
        }))
    }
}
