use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::ffi;

/// Whether a connection has committed frames to the WAL since somebody asked.
///
/// A transaction that changed nothing calls the commit hook like any other, and adds nothing to the log: only
/// SQLite's WAL hook tells the two apart.
pub(super) struct Appended(Box<AtomicBool>);

impl Appended {
    /// One that nobody tells yet.
    pub(super) fn new() -> Appended {
        Appended(Box::new(AtomicBool::new(false)))
    }

    /// Has SQLite tell it of the connection's commits. It takes the place of automatic checkpoints.
    ///
    /// # Safety
    ///
    /// The connection must be open, and must be closed before this value is dropped.
    pub(super) unsafe fn watch(&self, db: *mut ffi::sqlite3) {
        let told: *const AtomicBool = &*self.0;
        // SAFETY: the connection is open, and by the contract the flag outlives it.
        unsafe { ffi::sqlite3_wal_hook(db, Some(tell), told.cast_mut().cast()) };
    }

    /// Whether it was told since the last call.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

unsafe extern "C" fn tell(
    told: *mut c_void,
    _db: *mut ffi::sqlite3,
    _name: *const c_char,
    _frames: c_int,
) -> c_int {
    // SAFETY: `watch` handed the flag in, and it is alive while the connection is.
    unsafe { &*told.cast::<AtomicBool>() }.store(true, Ordering::Relaxed);
    ffi::SQLITE_OK
}
