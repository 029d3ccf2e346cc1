use std::os::raw::{c_int, c_void};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};

use super::error::{code_error, statement_error};
use crate::types::{Error, ErrorKind, PageNumber, PageSize, Result};
use crate::wal::INDEX_REGION_BYTES;

/// SQLite's locks on the wal-index, by their number.
pub(super) mod lock {
    /// Who holds it may append to the WAL.
    pub(in crate::sqlite::wal_handle) const WRITE: i32 = 0;
    /// Who holds it may copy the WAL into the database file.
    pub(in crate::sqlite::wal_handle) const CHECKPOINT: i32 = 1;
    /// Readers share one of five.
    pub(in crate::sqlite::wal_handle) const fn read(slot: i32) -> i32 {
        3 + slot
    }
}

/// The largest piece that is handed to a write method: the unix one takes the length modulo 128 KiB.
const WRITE_BYTES: usize = 64 << 10;

/// How long opening waits for a lock that others hold for moments only.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection in WAL mode, its two files by their methods, and its shared memory.
///
/// The connection runs no statement but those here: the locks of the shared memory are kept per
/// connection, and SQLite would release those that were taken behind its back.
pub(super) struct Raw {
    conn: Connection,
    database: NonNull<ffi::sqlite3_file>,
    wal: NonNull<ffi::sqlite3_file>,
    /// Mapped regions of the wal-index, from the first.
    pub(super) regions: Vec<NonNull<u8>>,
}

// SAFETY: the pointers belong to `conn`, which may move between threads, and are used through `&self` or
// `&mut self` only. `Raw` is not `Sync`.
unsafe impl Send for Raw {}

impl Raw {
    /// Opens an existing database, makes it WAL if it is not, lets SQLite recover it, and looks its files up.
    /// `InvalidConfig` if it cannot be WAL with shared memory.
    pub(super) fn open(path: &Path) -> Result<Raw> {
        let conn = open_connection(path)?;
        make_wal(&conn, path)?;
        read_schema(&conn)?;
        let database = file_of(&conn, ffi::SQLITE_FCNTL_FILE_POINTER)?;
        let wal = file_of(&conn, ffi::SQLITE_FCNTL_JOURNAL_POINTER)?;
        let mut raw = Raw { conn, database, wal, regions: Vec::new() };
        // SAFETY: `file_of` gives files that are open, and an open file has methods.
        let version = unsafe { (*(*raw.database.as_ptr()).pMethods).iVersion };
        if version < 2 || raw.methods().xShmMap.is_none() || raw.region(0, false)?.is_none() {
            let message = format!("{} has no shared memory: replication needs it", path.display());
            return Err(Error::new(ErrorKind::InvalidConfig, message));
        }
        Ok(raw)
    }

    /// The page size of the database.
    pub(super) fn page_size(&self) -> Result<PageSize> {
        let bytes = self
            .conn
            .query_row("PRAGMA page_size", [], |row| row.get(0))
            .map_err(|error| statement_error("reading the page size", error))?;
        PageSize::new(bytes)
    }

    /// Has SQLite read the wal-index, which repairs it if it is damaged. No lock but shared ones on read
    /// slots may be held.
    pub(super) fn recover(&self) -> Result<()> {
        read_schema(&self.conn)
    }

    /// Begins a read transaction that lasts until [`Raw::end_read`].
    pub(super) fn begin_read(&self) -> Result<()> {
        self.conn.execute_batch("BEGIN").map_err(|error| statement_error("beginning to read", error))?;
        read_schema(&self.conn).inspect_err(|_| {
            // The error that is reported is the first one; a transaction left open ends with the connection.
            let _ = self.end_read();
        })
    }

    /// Ends the read transaction.
    pub(super) fn end_read(&self) -> Result<()> {
        self.conn.execute_batch("ROLLBACK").map_err(|error| statement_error("ending a read", error))
    }

    /// Takes `count` locks from `first` on exclusively; false if somebody holds one.
    pub(super) fn lock_exclusive(&self, first: i32, count: i32) -> Result<bool> {
        self.lock(first, count, ffi::SQLITE_SHM_LOCK | ffi::SQLITE_SHM_EXCLUSIVE)
    }

    /// Releases locks that were taken exclusively.
    pub(super) fn unlock_exclusive(&self, first: i32, count: i32) {
        // Releasing fails only if the lock file is gone, and with it the lock.
        let _ = self.lock(first, count, ffi::SQLITE_SHM_UNLOCK | ffi::SQLITE_SHM_EXCLUSIVE);
    }

    /// Shares a lock; false if somebody holds it exclusively.
    pub(super) fn lock_shared(&self, number: i32) -> Result<bool> {
        self.lock(number, 1, ffi::SQLITE_SHM_LOCK | ffi::SQLITE_SHM_SHARED)
    }

    /// Releases a shared lock.
    pub(super) fn unlock_shared(&self, number: i32) {
        // As above.
        let _ = self.lock(number, 1, ffi::SQLITE_SHM_UNLOCK | ffi::SQLITE_SHM_SHARED);
    }

    /// Orders what was done to shared memory before against what is done after.
    pub(super) fn barrier(&self) {
        if let Some(barrier) = self.methods().xShmBarrier {
            // SAFETY: the method belongs to this file, which is open as long as `conn` is.
            unsafe { barrier(self.database.as_ptr()) }
        }
    }

    /// A region of the wal-index. `None` if it does not exist and is not to be made. Only who holds the write
    /// lock may have it made.
    pub(super) fn region(&mut self, number: usize, make: bool) -> Result<Option<NonNull<u8>>> {
        while self.regions.len() <= number {
            let next = self.regions.len() as c_int;
            let mut address: *mut c_void = ptr::null_mut();
            let map = self.methods().xShmMap.ok_or_else(|| missing("xShmMap"))?;
            // SAFETY: the method belongs to this open file; `address` outlives the call. The region stays
            // mapped until the connection closes.
            let code = unsafe {
                map(
                    self.database.as_ptr(),
                    next,
                    INDEX_REGION_BYTES as c_int,
                    c_int::from(make),
                    &mut address,
                )
            };
            if code != ffi::SQLITE_OK {
                return Err(code_error("mapping the wal-index", code));
            }
            match NonNull::new(address.cast::<u8>()) {
                Some(region) => self.regions.push(region),
                None => return Ok(None),
            }
        }
        Ok(Some(self.regions[number]))
    }

    /// Fills `buffer` from the WAL; false if the file ends before.
    pub(super) fn read_wal(&self, buffer: &mut [u8], offset: u64) -> Result<bool> {
        read(self.wal, buffer, offset, "reading the WAL")
    }

    /// Fills `buffer` from the database file, with zeros beyond its end. Says whether all was there.
    pub(super) fn read_database(&self, buffer: &mut [u8], offset: u64) -> Result<bool> {
        read(self.database, buffer, offset, "reading the database file")
    }

    /// Fills `buffer`, one page long, with a page as it stands in the database file.
    pub(super) fn read_database_page(&self, page: PageNumber, buffer: &mut [u8]) -> Result<()> {
        let size = PageSize::new(buffer.len() as u32)?;
        self.read_database(buffer, page.offset(size)).map(|_| ())
    }

    /// Writes to the WAL.
    pub(super) fn write_wal(&self, bytes: &[u8], mut offset: u64) -> Result<()> {
        let write = methods(self.wal).xWrite.ok_or_else(|| missing("xWrite"))?;
        for piece in bytes.chunks(WRITE_BYTES) {
            // SAFETY: the method belongs to this open file and reads `piece.len()` bytes at `piece`.
            let code = unsafe {
                write(self.wal.as_ptr(), piece.as_ptr().cast(), piece.len() as c_int, offset as i64)
            };
            if code != ffi::SQLITE_OK {
                return Err(code_error("writing the WAL", code));
            }
            offset += piece.len() as u64;
        }
        Ok(())
    }

    /// Has the system put the WAL on the disk.
    pub(super) fn sync_wal(&self) -> Result<()> {
        sync(self.wal, "syncing the WAL")
    }

    /// Has the system put the database file on the disk.
    pub(super) fn sync_database(&self) -> Result<()> {
        sync(self.database, "syncing the database file")
    }

    /// The length of the database file in bytes.
    pub(super) fn database_bytes(&self) -> Result<u64> {
        let size = self.methods().xFileSize.ok_or_else(|| missing("xFileSize"))?;
        let mut bytes = 0;
        // SAFETY: the method belongs to this open file; `bytes` outlives the call.
        let code = unsafe { size(self.database.as_ptr(), &mut bytes) };
        if code != ffi::SQLITE_OK {
            return Err(code_error("measuring the database file", code));
        }
        Ok(bytes.max(0) as u64)
    }

    fn methods(&self) -> &ffi::sqlite3_io_methods {
        methods(self.database)
    }

    fn lock(&self, first: i32, count: i32, flags: c_int) -> Result<bool> {
        let lock = self.methods().xShmLock.ok_or_else(|| missing("xShmLock"))?;
        // SAFETY: the method belongs to this open file, whose shared memory is mapped; `first` and `count`
        // stay below its eight locks.
        match unsafe { lock(self.database.as_ptr(), first, count, flags) } {
            ffi::SQLITE_OK => Ok(true),
            code if code & 0xff == ffi::SQLITE_BUSY => Ok(false),
            code => Err(code_error("locking the wal-index", code)),
        }
    }
}

/// A connection of ours: no checkpoint by itself, not even when it closes, and no mapped database file.
pub(super) fn open_connection(path: &Path) -> Result<Connection> {
    let doing = || format!("opening {}", path.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|error| statement_error(doing(), error))?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .and_then(|_| conn.busy_timeout(OPEN_TIMEOUT))
        .and_then(|()| {
            conn.execute_batch("PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=NORMAL; PRAGMA mmap_size=0;")
        })
        .map_err(|error| statement_error(doing(), error))?;
    Ok(conn)
}

fn make_wal(conn: &Connection, path: &Path) -> Result<()> {
    let ask = |sql| conn.query_row(sql, [], |row| row.get::<_, String>(0));
    let mode = ask("PRAGMA journal_mode")
        .and_then(|mode| if mode == "wal" { Ok(mode) } else { ask("PRAGMA journal_mode=WAL") })
        .map_err(|error| statement_error(format!("making {} WAL", path.display()), error))?;
    if mode == "wal" {
        return Ok(());
    }
    let message = format!("{} stays in journal mode {mode}: replication needs WAL", path.display());
    Err(Error::new(ErrorKind::InvalidConfig, message))
}

fn read_schema(conn: &Connection) -> Result<()> {
    conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        .map_err(|error| statement_error("reading the schema", error))
}

fn file_of(conn: &Connection, which: c_int) -> Result<NonNull<ffi::sqlite3_file>> {
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: the handle is open; both file controls store one pointer to a file at the address given.
    let code = unsafe {
        ffi::sqlite3_file_control(conn.handle(), c"main".as_ptr(), which, (&raw mut file).cast::<c_void>())
    };
    if code != ffi::SQLITE_OK {
        return Err(code_error("looking up a file of the database", code));
    }
    // SAFETY: a file that SQLite gives is a valid object; `pMethods` is null until it is open.
    NonNull::new(file).filter(|file| unsafe { !(*file.as_ptr()).pMethods.is_null() }).ok_or_else(|| {
        Error::new(ErrorKind::InvalidConfig, "a file of the database is not open: is it in memory?")
    })
}

fn methods<'a>(file: NonNull<ffi::sqlite3_file>) -> &'a ffi::sqlite3_io_methods {
    // SAFETY: `file_of` has seen that the methods are there; they are a static table of the VFS.
    unsafe { &*(*file.as_ptr()).pMethods }
}

fn read(file: NonNull<ffi::sqlite3_file>, buffer: &mut [u8], offset: u64, doing: &str) -> Result<bool> {
    let read = methods(file).xRead.ok_or_else(|| missing("xRead"))?;
    // SAFETY: the method belongs to this open file and writes at most `buffer.len()` bytes at `buffer`.
    match unsafe { read(file.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len() as c_int, offset as i64) } {
        ffi::SQLITE_OK => Ok(true),
        // SQLite's methods promise to have filled the rest with zeros.
        ffi::SQLITE_IOERR_SHORT_READ => Ok(false),
        code => Err(code_error(doing, code)),
    }
}

fn sync(file: NonNull<ffi::sqlite3_file>, doing: &str) -> Result<()> {
    let sync = methods(file).xSync.ok_or_else(|| missing("xSync"))?;
    // SAFETY: the method belongs to this open file.
    match unsafe { sync(file.as_ptr(), ffi::SQLITE_SYNC_NORMAL) } {
        ffi::SQLITE_OK => Ok(()),
        code => Err(code_error(doing, code)),
    }
}

fn missing(method: &str) -> Error {
    Error::new(ErrorKind::InvalidConfig, format!("the VFS of the database lacks {method}"))
}
