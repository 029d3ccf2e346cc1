use std::sync::atomic::{AtomicI64, Ordering};

use super::clock;

/// The times that slots carry: never earlier than that of a slot before them, whoever made it and whatever the
/// clocks of the nodes say, so that a moment names one place in the log.
#[derive(Debug)]
pub(super) struct Stamps(AtomicI64);

impl Stamps {
    pub(super) fn new() -> Stamps {
        Stamps(AtomicI64::new(i64::MIN))
    }

    /// A slot of the log carries this time.
    pub(super) fn saw(&self, timestamp_ms: i64) {
        self.0.fetch_max(timestamp_ms, Ordering::Relaxed);
    }

    /// The time for a slot made now, after all that were seen or made: milliseconds since 1970.
    pub(super) fn next(&self) -> i64 {
        let now = clock::wall_ms();
        self.0.fetch_max(now, Ordering::Relaxed).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_never_stamped_before_one_that_was_seen() {
        let stamps = Stamps::new();
        let first = stamps.next();
        assert!(first >= clock::wall_ms() - 60_000 && stamps.next() >= first);
        stamps.saw(first + 3_600_000);
        stamps.saw(5);
        assert_eq!(stamps.next(), first + 3_600_000);
    }
}
