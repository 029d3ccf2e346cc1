use std::time::Duration;

use crate::types::Durability;

/// When a slot is drafted ahead of the one in flight, and how much may wait on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SpoolLimits {
    /// So many bytes of the WAL that no slot has are spooled; `None`: nothing ever is.
    at_bytes: Option<u64>,
    /// The files together.
    most_bytes: u64,
}

/// A slot that is answered sooner than this is not in anybody's way.
const STUCK: Duration = Duration::from_millis(250);

/// More slots than this do not wait at one time: each has a file, and some 100 bytes of memory.
const MOST_SLOTS: usize = 4096;

impl SpoolLimits {
    /// The limits of a node whose WAL may have `wal_cap` bytes and whose spool `spool_limit`.
    ///
    /// A quarter of the WAL's cap is spooled at a time: half of it is left until writers are held up, and a
    /// large slot holds pages once that changed many times. A slot in flight has to be stuck for the WAL to
    /// come there, since normally 4 MiB are shipped at once. With `Cloud` writers wait for the log anyway.
    pub(crate) fn new(durability: Durability, wal_cap: u64, spool_limit: u64) -> SpoolLimits {
        let used = match durability {
            Durability::Continuous { .. } | Durability::Checkpoint { .. } => spool_limit > 0,
            Durability::Cloud => false,
        };
        SpoolLimits { at_bytes: used.then_some(wal_cap.min(spool_limit) / 4), most_bytes: spool_limit }
    }

    /// Whether to spool. `gathered` bytes of the WAL are in no draft and `unkept` neither in the log nor in the
    /// spool, the draft in flight among them; it has been without a definite answer for `stuck`. `held_up` is
    /// whether writers wait for the WAL to begin anew.
    pub(crate) fn is_due(&self, gathered: u64, unkept: u64, stuck: Duration, held_up: bool) -> bool {
        let Some(at_bytes) = self.at_bytes else { return false };
        stuck >= STUCK && (gathered >= at_bytes || (held_up && unkept > 0))
    }

    /// Whether a file of at most `next` bytes fits beside `slots` others of `bytes` bytes.
    pub(crate) fn have_room(&self, slots: usize, bytes: u64, next: u64) -> bool {
        slots < MOST_SLOTS && bytes.saturating_add(next) <= self.most_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTINUOUS: Durability = Durability::Continuous { interval: Duration::from_secs(1) };

    #[test]
    fn a_quarter_of_the_wal_is_spooled_and_less_only_for_writers_that_wait() {
        let limits = SpoolLimits::new(CONTINUOUS, 1000, 1 << 30);
        assert!(!limits.is_due(249, 900, STUCK, false) && limits.is_due(250, 900, STUCK, false));
        assert!(limits.is_due(1, 1, STUCK, true));
        assert!(limits.is_due(0, 600, STUCK, true), "all of it is in flight");
        assert!(!limits.is_due(0, 0, STUCK, true), "all of it is spooled");
        let limits = SpoolLimits::new(Durability::CHECKPOINT, 1000, 400);
        assert!(limits.is_due(100, 100, STUCK, false), "a small spool takes small pieces");
    }

    #[test]
    fn a_bucket_that_answers_has_nothing_spooled() {
        let limits = SpoolLimits::new(CONTINUOUS, 1000, 1 << 30);
        assert!(!limits.is_due(1000, 1000, STUCK - Duration::from_millis(1), true));
    }

    #[test]
    fn the_file_that_is_made_counts_too() {
        let limits = SpoolLimits::new(CONTINUOUS, 1000, 400);
        assert!(limits.have_room(0, 0, 400) && !limits.have_room(0, 0, 401));
        assert!(limits.have_room(3, 300, 100) && !limits.have_room(3, 300, 101));
        assert!(!limits.have_room(3, 300, u64::MAX));
        assert!(!limits.have_room(MOST_SLOTS, 300, 1));
    }

    #[test]
    fn nothing_is_spooled_with_a_limit_of_zero_or_while_writers_wait_for_the_log() {
        assert!(!SpoolLimits::new(CONTINUOUS, 1000, 0).is_due(1000, 1000, STUCK, true));
        assert!(!SpoolLimits::new(Durability::Cloud, 1000, 1 << 30).is_due(1000, 1000, STUCK, true));
    }
}
