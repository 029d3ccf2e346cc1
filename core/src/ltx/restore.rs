use std::io::{Read, Seek, SeekFrom, Write};

use super::merge::{Merge, Merged};
use crate::types::{Error, ErrorKind, PageNumber, Result};

/// Writes the database that log files from slot 1 on make, from the writer's position on, in ascending
/// order. The lock page is left out: a hole in a new file.
///
/// The file is neither synced nor given its name: until the caller has done so, and after an error, what
/// was written is no database. `InvalidArgument` if the files do not start at slot 1, `Corrupt` if they do
/// not fit together, `Io` if reading or writing fails.
pub fn write_database<R: Read, W: Write + Seek>(mut merge: Merge<R>, out: &mut W) -> Result<Merged> {
    if !merge.is_complete() {
        return Err(Error::new(ErrorKind::InvalidArgument, "the log files do not start at slot 1"));
    }
    let page_size = merge.page_size();
    let failed = |error| Error::io("writing a database", error);
    let mut data = Vec::new();
    let mut end = PageNumber::FIRST.offset(page_size);
    while let Some(page) = merge.next_page(&mut data)? {
        let offset = page.offset(page_size);
        if offset > end {
            let hole = i64::from(page_size.get());
            out.seek(SeekFrom::Current(hole)).map_err(failed)?;
        }
        out.write_all(&data).map_err(failed)?;
        end = offset + u64::from(page_size.get());
    }
    out.flush().map_err(failed)?;
    merge.finish()
}
