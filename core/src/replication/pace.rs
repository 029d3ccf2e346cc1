use std::time::Duration;

use crate::types::{Durability, Monotonic};

/// When a shipment is due, by what the application chose of durability.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pace {
    /// An interval after the last shipment was begun; so many bytes do not wait for it.
    Steady {
        /// Between two shipments.
        interval: Duration,
        /// Of the WAL.
        bytes: u64,
    },
    /// When the first of three limits is reached, counted from what was committed first.
    Gathered {
        /// The longest that a commit waits.
        interval: Duration,
        /// Commits.
        commits: u64,
        /// Of the WAL.
        bytes: u64,
    },
    /// At once. What is committed while a slot is in flight is gathered for the next one.
    Immediate,
}

/// What no slot holds yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Unshipped {
    /// Of the WAL.
    pub(crate) bytes: u64,
    /// Commits that added frames.
    pub(crate) commits: u64,
}

/// So many bytes of the WAL do not wait for an interval.
const ENOUGH: u64 = 4 << 20;

impl Pace {
    /// The pace that keeps the promise.
    pub(crate) fn of(durability: Durability) -> Pace {
        match durability {
            Durability::Continuous { interval } => Pace::Steady { interval, bytes: ENOUGH },
            Durability::Checkpoint { interval, commits, wal_bytes } => {
                Pace::Gathered { interval, commits, bytes: wal_bytes }
            }
            Durability::Cloud => Pace::Immediate,
        }
    }

    /// From when on the frames that have been there `since` are due; `last` is when the last shipment was begun.
    pub(crate) fn due_at(&self, there: Unshipped, since: Monotonic, last: Option<Monotonic>) -> Monotonic {
        match *self {
            Pace::Immediate => since,
            Pace::Steady { bytes, .. } | Pace::Gathered { bytes, .. } if there.bytes >= bytes => since,
            Pace::Gathered { commits, .. } if there.commits >= commits => since,
            Pace::Steady { interval, .. } => last.map_or(since, |last| last + interval),
            Pace::Gathered { interval, .. } => since + interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_millis(ms))
    }

    fn there(bytes: u64, commits: u64) -> Unshipped {
        Unshipped { bytes, commits }
    }

    #[test]
    fn a_steady_pace_ships_the_first_at_once_and_then_an_interval_after_the_last() {
        let pace = Pace::of(Durability::Continuous { interval: Duration::from_secs(1) });
        assert_eq!(pace.due_at(there(1, 1), at(7), None), at(7));
        assert_eq!(pace.due_at(there(1, 1), at(400), Some(at(7))), at(1007));
        assert_eq!(pace.due_at(there(1, u64::MAX), at(400), Some(at(7))), at(1007));
        assert_eq!(pace.due_at(there(ENOUGH, 1), at(400), Some(at(7))), at(400));
    }

    #[test]
    fn a_gathered_pace_ships_at_the_first_of_its_limits_and_not_before() {
        let interval = Duration::from_secs(15);
        let pace = Pace::of(Durability::Checkpoint { interval, commits: 10, wal_bytes: 9 << 20 });
        let less = there((9 << 20) - 1, 9);
        assert_eq!(pace.due_at(less, at(50), None), at(15_050));
        assert_eq!(pace.due_at(less, at(50), Some(at(1))), at(15_050));
        assert_eq!(pace.due_at(there(1, 10), at(50), None), at(50));
        assert_eq!(pace.due_at(there(9 << 20, 1), at(50), None), at(50));
    }

    #[test]
    fn an_immediate_pace_waits_for_nothing() {
        let pace = Pace::of(Durability::Cloud);
        assert_eq!(pace.due_at(there(1, 1), at(7), Some(at(6))), at(7));
    }
}
