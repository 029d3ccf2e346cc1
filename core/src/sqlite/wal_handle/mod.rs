//! The WAL from below: what a leader's WAL gained is captured, what a follower lacks is injected, and nobody
//! but us starts a new generation of the WAL.
//!
//! Three locks of SQLite carry it. *Read slot 4* is shared for the life of the handle with a mark that no
//! reader uses: it stops everybody else from restarting the WAL, and no reader and no checkpoint (the
//! barrier). *WRITE* is held by whoever may append: a follower holds it always, so that no statement can write
//! (the role fence). *CHECKPOINT* and read slots 1 to 3 are taken for the moment of a reset.

mod barrier;
mod checkpointer;
mod commit;
mod error;
mod index;
mod inject;
mod raw;
mod reset;
mod scan;
mod self_test;
mod snapshot;

use std::path::Path;
use std::time::Duration;

pub(crate) use checkpointer::{CheckpointProgress, Checkpointer};
pub(crate) use inject::PageSource;
pub(crate) use self_test::self_test;
pub(crate) use snapshot::Snapshot;

use crate::types::{Error, ErrorKind, PageNumber, PageSize, Result};
use crate::wal::{FRAME_HEADER_BYTES, IndexHeader, WAL_HEADER_BYTES, WalHeader, WalPoint, frame_offset};
use raw::{Raw, lock};

/// How often a header that somebody is just writing is read again before it is taken for damaged.
const HEADER_TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(1);

/// The oldest SQLite whose checkpoints do not lose pages that are committed while they run.
const OLDEST_SQLITE: i32 = 3_051_003;

/// What readers see of the database at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Published {
    /// The last committed frame. Without one, the checksum is that of the WAL's header; if the file has no
    /// header of this generation, what a reset was about to write there, or nothing of meaning.
    pub(crate) point: WalPoint,
    /// The size of the database in pages.
    pub(crate) db_size: u32,
    /// How many frames are in the database file.
    pub(crate) backfilled: u32,
    /// Counts commits; another number means that something was committed.
    pub(crate) change: u32,
}

/// What tells whether the database file was changed behind our back.
#[cfg(test)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MainFile {
    /// Its length in bytes.
    pub(crate) bytes: u64,
    /// The change counter in its header.
    pub(crate) change_counter: u32,
}

/// Access to a database's WAL and wal-index on a connection of its own. Holds the barrier from
/// [`WalHandle::open`] until it is dropped; at most one handle of a database can exist on a machine.
///
/// A crash at any point leaves a database that SQLite opens with the state before or after the call.
pub(crate) struct WalHandle {
    raw: Raw,
    page_size: PageSize,
    holds_writes: bool,
}

impl WalHandle {
    /// Opens an existing database, makes it WAL, has SQLite recover its WAL, and takes the barrier.
    ///
    /// `InvalidConfig` if SQLite is too old or the database cannot share memory, `Busy` if somebody holds the
    /// barrier or a lock for seconds.
    pub(crate) fn open(path: &Path) -> Result<WalHandle> {
        refuse_old_sqlite(rusqlite::version_number())?;
        let raw = Raw::open(path)?;
        let page_size = raw.page_size()?;
        let mut handle = WalHandle { raw, page_size, holds_writes: false };
        barrier::take(&handle.raw)?;
        let header = handle.header()?;
        if header.last_frame > 0 && header.page_size != Some(page_size) {
            return Err(Error::corrupt("the WAL and the database file differ in page size"));
        }
        Ok(handle)
    }

    /// The page size of the database.
    pub(crate) fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// Takes the write lock, so that nobody else can write until [`WalHandle::release_writes`]. `Busy` if
    /// somebody keeps it for as long as `timeout`.
    pub(crate) fn hold_writes(&mut self, timeout: Duration) -> Result<()> {
        let mut waited = Duration::ZERO;
        while !self.holds_writes {
            if self.raw.lock_exclusive(lock::WRITE, 1)? {
                match self.raw.try_header() {
                    Ok(Some(_)) => self.holds_writes = true,
                    // A writer died while it published. SQLite repairs that, and needs the lock for it.
                    unfinished => {
                        self.raw.unlock_exclusive(lock::WRITE, 1);
                        unfinished?;
                        self.raw.recover()?;
                    }
                }
            }
            if !self.holds_writes {
                if waited >= timeout {
                    return Err(Error::new(ErrorKind::Busy, "another connection keeps writing"));
                }
                std::thread::sleep(PAUSE);
                waited += PAUSE;
            }
        }
        Ok(())
    }

    /// Releases the write lock.
    pub(crate) fn release_writes(&mut self) {
        if std::mem::take(&mut self.holds_writes) {
            self.raw.unlock_exclusive(lock::WRITE, 1);
        }
    }

    /// Whether the write lock is held.
    pub(crate) fn holds_writes(&self) -> bool {
        self.holds_writes
    }

    /// What readers see now. Costs no system call while the WAL has frames.
    pub(crate) fn published(&mut self) -> Result<Published> {
        let header = self.header()?;
        self.describe(&header)
    }

    /// Reads the page that a frame holds. `frame` must be published.
    pub(crate) fn read_frame(&mut self, frame: u32, page: &mut [u8]) -> Result<()> {
        read_frame(&self.raw, frame, page)
    }

    /// Reads a page as it was when `at_frame` was the last frame: its newest frame up to there, else the
    /// database file, zeros beyond the file's end.
    ///
    /// Exact unless a checkpoint has already copied a later version of the page into the database file. A page
    /// without a frame in a database that just grew is in no tree, so nobody depends on its bytes, and the
    /// later version follows in the log.
    pub(crate) fn read_page_at(&mut self, page: PageNumber, at_frame: u32, buffer: &mut [u8]) -> Result<()> {
        debug_assert_eq!(buffer.len(), self.page_size.bytes());
        match self.raw.find_frame(page, at_frame)? {
            Some(frame) => self.read_frame(frame, buffer),
            None => self.raw.read_database_page(page, buffer),
        }
    }

    /// Has the system put every frame that was written on the disk.
    pub(crate) fn sync_frames(&mut self) -> Result<()> {
        self.raw.sync_wal()
    }

    /// Length and change counter of the database file as it lies on the disk, without what the WAL adds.
    #[cfg(test)]
    pub(crate) fn main_file(&self) -> Result<MainFile> {
        let mut counter = [0; 4];
        self.raw.read_database(&mut counter, 24)?;
        Ok(MainFile { bytes: self.raw.database_bytes()?, change_counter: u32::from_be_bytes(counter) })
    }

    /// The header that readers see, repaired by SQLite if need be.
    fn header(&mut self) -> Result<IndexHeader> {
        for round in 0..2 {
            for _ in 0..HEADER_TRIES {
                if let Some(header) = self.raw.try_header()? {
                    return Ok(header);
                }
                std::thread::sleep(PAUSE);
            }
            if self.holds_writes {
                break;
            }
            if round == 0 {
                self.raw.recover()?;
            }
        }
        Err(Error::corrupt("the header of the wal-index is damaged"))
    }

    fn describe(&self, header: &IndexHeader) -> Result<Published> {
        let mut point = header.point();
        if header.last_frame == 0 {
            let found = self.wal_header()?.filter(|found| found.salts == header.salts);
            point.checksum = found.map_or(header.checksum, |found| found.point().checksum);
        }
        Ok(Published {
            point,
            db_size: self.pages_of(header)?,
            backfilled: self.raw.backfilled(),
            change: header.change,
        })
    }

    /// The size of the database in pages under this header.
    fn pages_of(&self, header: &IndexHeader) -> Result<u32> {
        pages_of(&self.raw, header, self.page_size)
    }

    /// The header of the WAL on the disk, if there is a valid one.
    fn wal_header(&self) -> Result<Option<WalHeader>> {
        let mut bytes = [0; WAL_HEADER_BYTES];
        Ok(if self.raw.read_wal(&mut bytes, 0)? { WalHeader::decode(&bytes) } else { None })
    }
}

impl Drop for WalHandle {
    fn drop(&mut self) {
        self.release_writes();
        barrier::release(&self.raw);
    }
}

fn read_frame(raw: &Raw, frame: u32, page: &mut [u8]) -> Result<()> {
    let size = PageSize::new(page.len() as u32)?;
    if raw.read_wal(page, frame_offset(frame, size) + FRAME_HEADER_BYTES as u64)? {
        return Ok(());
    }
    Err(Error::corrupt(format!("the WAL ends before frame {frame}")))
}

fn pages_of(raw: &Raw, header: &IndexHeader, size: PageSize) -> Result<u32> {
    if header.db_size > 0 {
        return Ok(header.db_size);
    }
    let pages = raw.database_bytes()?.div_ceil(u64::from(size.get()));
    u32::try_from(pages).map_err(|_| Error::corrupt("the database file has more pages than SQLite allows"))
}

/// Page 1 must be the head of a WAL database of this page size, or readers would be led astray by it.
fn check_first_page(data: &[u8], size: PageSize) -> Result<()> {
    let packed = u32::from(u16::from_be_bytes([data[16], data[17]]));
    let found = if packed == 1 { 65536 } else { packed };
    if !data.starts_with(b"SQLite format 3\0") || found != size.get() {
        return Err(Error::corrupt(format!("page 1 is not the head of a database with pages of {size}")));
    }
    if data[18..20] != [2, 2] {
        return Err(Error::corrupt("page 1 is not of a database in WAL mode"));
    }
    Ok(())
}

fn refuse_old_sqlite(version: i32) -> Result<()> {
    if version >= OLDEST_SQLITE {
        return Ok(());
    }
    let message = format!("SQLite {version} can lose pages in a checkpoint: {OLDEST_SQLITE} is needed");
    Err(Error::new(ErrorKind::InvalidConfig, message))
}

#[cfg(test)]
mod tests;
