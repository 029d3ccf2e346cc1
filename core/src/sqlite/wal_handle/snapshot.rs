use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use super::raw::Raw;
use super::{pages_of, read_frame};
use crate::types::{Error, ErrorKind, PageNumber, PageSize, Result};
use crate::wal::{IndexHeader, WalPoint};

const TRIES: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(1);

/// The whole database as it was when the snapshot was opened, page by page, for as long as it is kept.
///
/// It is a read transaction on a connection of its own, so writers, injections and passive checkpoints go on
/// beside it; the WAL is not reset while the snapshot reads from it.
///
/// Why the pages belong together. When the transaction begins, SQLite pins the header H that readers see, and
/// takes one of two locks. Either *read slot 0*: all frames of H are in the database file and nobody copies
/// more frames into it, so the file alone is H. Or *read slot k* with a mark of at most H's last frame: no
/// checkpoint copies frames beyond the mark, and nobody resets the WAL. Then a page that has a frame up to
/// H's last is that frame, which stays as it is; a page without one is in no frame that may be copied, so the
/// database file holds its bytes of H. Which of the two locks SQLite took cannot be asked, but it need not be:
/// if all frames of H are in the database file once the transaction is open, the file is H in the second case
/// too, for no frame beyond the mark may follow; if not all are, it cannot be the first case.
pub(crate) struct Snapshot {
    raw: Raw,
    page_size: PageSize,
    point: WalPoint,
    db_size: u32,
    /// The newest frame of each page that has one.
    frames: HashMap<PageNumber, u32>,
}

impl Snapshot {
    /// A snapshot of what readers see now. If the caller keeps everybody from writing meanwhile, it is of
    /// the boundary that the caller knows; [`Snapshot::point`] says so. `Busy` if others commit so fast that
    /// no moment can be caught.
    pub(crate) fn open(path: &Path) -> Result<Snapshot> {
        let mut raw = Raw::open(path)?;
        let page_size = raw.page_size()?;
        let (header, backfilled) = begin(&raw)?;
        let mut frames = HashMap::new();
        if backfilled < header.last_frame {
            for frame in 1..=header.last_frame {
                frames.insert(raw.page_of(frame)?, frame);
            }
        }
        let db_size = pages_of(&raw, &header, page_size)?;
        Ok(Snapshot { raw, page_size, point: header.point(), db_size, frames })
    }

    /// The page size of the database.
    #[cfg(test)]
    pub(crate) fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// The last frame that the snapshot contains. Without one, only salts and frame number mean something.
    pub(crate) fn point(&self) -> WalPoint {
        self.point
    }

    /// The size of the database in pages.
    pub(crate) fn db_size(&self) -> u32 {
        self.db_size
    }

    /// Reads a page. `InvalidArgument` beyond the end of the database.
    pub(crate) fn read_page(&mut self, page: PageNumber, buffer: &mut [u8]) -> Result<()> {
        debug_assert_eq!(buffer.len(), self.page_size.bytes());
        if page.get() > self.db_size {
            let message = format!("page {page} of a database with {} pages", self.db_size);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        match self.frames.get(&page) {
            Some(frame) => read_frame(&self.raw, *frame, buffer),
            None => self.raw.read_database_page(page, buffer),
        }
    }

    /// Hands every page to `take`, from the first to the last, without the lock page.
    pub(crate) fn for_each_page(
        &mut self,
        mut take: impl FnMut(PageNumber, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut buffer = vec![0; self.page_size.bytes()];
        let lock_page = self.page_size.lock_page();
        for page in (1..=self.db_size).filter_map(PageNumber::new).filter(|page| *page != lock_page) {
            self.read_page(page, &mut buffer)?;
            take(page, &buffer)?;
        }
        Ok(())
    }
}

/// Begins the read transaction; gives the header that it sees and how many of its frames were in the
/// database file after it had begun.
fn begin(raw: &Raw) -> Result<(IndexHeader, u32)> {
    for _ in 0..TRIES {
        let before = raw.try_header()?;
        raw.begin_read()?;
        let backfilled = raw.backfilled();
        raw.barrier();
        // The same header before and after is the one between. A reset writes the header first and the
        // count of frames then, so the count is of this header as well.
        if let Some(header) = before.filter(|before| raw.try_header().is_ok_and(|now| now == Some(*before))) {
            return Ok((header, backfilled));
        }
        raw.end_read()?;
        std::thread::sleep(PAUSE);
    }
    Err(Error::new(ErrorKind::Busy, "commits follow each other too fast for a snapshot"))
}
