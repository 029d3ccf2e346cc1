use std::sync::atomic::Ordering;
use std::time::Duration;

use super::index::MARK_UNUSED;
use super::raw::{Raw, lock};
use crate::types::{Error, ErrorKind, Result};

const SLOT: usize = 4;
const LOCK: i32 = lock::read(SLOT as i32);
const TRIES: u32 = 5000;
const PAUSE: Duration = Duration::from_millis(1);

/// Shares read slot 4 with a mark that no reader picks.
///
/// A restart of the WAL needs this slot exclusively, so nobody restarts it while the slot is shared. A
/// checkpoint skips a slot whose mark is above the frames that it copies, so it is not held up. Recovery
/// leaves a slot alone that somebody holds. `Busy` if a reader or another node keeps the slot for 5 s.
pub(super) fn take(raw: &Raw) -> Result<()> {
    for _ in 0..TRIES {
        if raw.lock_exclusive(LOCK, 1)? {
            raw.read_mark(SLOT).store(MARK_UNUSED, Ordering::SeqCst);
            raw.unlock_exclusive(LOCK, 1);
            if raw.lock_shared(LOCK)? {
                raw.barrier();
                // Between the two locks a reader may have taken the slot for its own mark.
                if raw.read_mark(SLOT).load(Ordering::SeqCst) == MARK_UNUSED {
                    return Ok(());
                }
                raw.unlock_shared(LOCK);
            }
        }
        std::thread::sleep(PAUSE);
    }
    Err(Error::new(ErrorKind::Busy, "another node or a long reader holds the last read slot of the WAL"))
}

/// Gives the slot back.
pub(super) fn release(raw: &Raw) {
    raw.unlock_shared(LOCK);
}
