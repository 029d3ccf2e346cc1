use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::ffi;

/// How long the WAL was after a connection's last commit, since somebody asked.
///
/// A transaction that changed nothing calls the commit hook like any other, and adds nothing to the log: only
/// SQLite's WAL hook tells the two apart.
pub(super) struct Appended(Box<AtomicU32>);

const NOTHING: u32 = 0;

impl Appended {
    /// One that nobody tells yet.
    pub(super) fn new() -> Appended {
        Appended(Box::new(AtomicU32::new(NOTHING)))
    }

    /// Has SQLite tell it of the connection's commits. It takes the place of automatic checkpoints.
    ///
    /// # Safety
    ///
    /// The connection must be open, and must be closed before this value is dropped.
    pub(super) unsafe fn watch(&self, db: *mut ffi::sqlite3) {
        let told: *const AtomicU32 = &*self.0;
        // SAFETY: the connection is open, and by the contract the number outlives it.
        unsafe { ffi::sqlite3_wal_hook(db, Some(tell), told.cast_mut().cast()) };
    }

    /// The frames of the WAL after the last commit since the last call; `None` if there was none.
    pub(super) fn take(&self) -> Option<u32> {
        match self.0.swap(NOTHING, Ordering::Relaxed) {
            NOTHING => None,
            frames => Some(frames),
        }
    }
}

unsafe extern "C" fn tell(
    told: *mut c_void,
    _db: *mut ffi::sqlite3,
    _name: *const c_char,
    frames: c_int,
) -> c_int {
    let frames = u32::try_from(frames).unwrap_or(u32::MAX).max(1);
    // SAFETY: `watch` handed the number in, and it is alive while the connection is.
    unsafe { &*told.cast::<AtomicU32>() }.store(frames, Ordering::Relaxed);
    ffi::SQLITE_OK
}
