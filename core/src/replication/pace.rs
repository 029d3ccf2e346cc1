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
    /// At once. What is committed while a slot is in flight is gathered for the next one, up to so many bytes.
    Immediate {
        /// Of the WAL.
        bytes: u64,
    },
}

/// What no slot holds yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Unshipped {
    /// Of the WAL.
    pub(crate) bytes: u64,
    /// Commits that added frames.
    pub(crate) commits: u64,
}

/// When to ship what is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    /// Now.
    Now,
    /// At this moment, if nothing else happens.
    At(Monotonic),
    /// After what is in flight, or when there is more.
    Later,
}

/// So many bytes of the WAL do not wait for an interval, and are enough for one slot.
const ENOUGH: u64 = 4 << 20;

impl Pace {
    /// The pace that keeps the promise.
    pub(crate) fn of(durability: Durability) -> Pace {
        match durability {
            Durability::Continuous { interval } => Pace::Steady { interval, bytes: ENOUGH },
            Durability::Checkpoint { interval, commits, wal_bytes } => {
                Pace::Gathered { interval, commits, bytes: wal_bytes }
            }
            Durability::Cloud => Pace::Immediate { bytes: ENOUGH },
        }
    }

    /// When the frames that have been there `since` are due; `last` is when the last shipment was begun,
    /// `in_flight` whether a slot's fate is still open.
    pub(crate) fn due(
        &self,
        now: Monotonic,
        there: Unshipped,
        since: Monotonic,
        last: Option<Monotonic>,
        in_flight: bool,
    ) -> Due {
        let at = match *self {
            Pace::Steady { bytes, .. } | Pace::Gathered { bytes, .. } | Pace::Immediate { bytes }
                if there.bytes >= bytes =>
            {
                return Due::Now;
            }
            Pace::Gathered { commits, .. } if there.commits >= commits => return Due::Now,
            Pace::Immediate { .. } => return if in_flight { Due::Later } else { Due::Now },
            Pace::Steady { interval, .. } => last.map_or(now, |last| last + interval),
            Pace::Gathered { interval, .. } => since + interval,
        };
        if now < at { Due::At(at) } else { Due::Now }
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
        assert_eq!(pace.due(at(7), there(1, 1), at(7), None, false), Due::Now);
        assert_eq!(pace.due(at(500), there(1, 1), at(400), Some(at(7)), false), Due::At(at(1007)));
        assert_eq!(pace.due(at(1007), there(1, 1), at(400), Some(at(7)), true), Due::Now);
        assert_eq!(pace.due(at(500), there(ENOUGH, 1), at(400), Some(at(7)), true), Due::Now);
        assert_eq!(pace.due(at(500), there(1, u64::MAX), at(400), Some(at(7)), true), Due::At(at(1007)));
    }

    #[test]
    fn a_gathered_pace_ships_at_the_first_of_its_limits_and_not_before() {
        let interval = Duration::from_secs(15);
        let pace = Pace::of(Durability::Checkpoint { interval, commits: 10, wal_bytes: 9 << 20 });
        let less = there((9 << 20) - 1, 9);
        assert_eq!(pace.due(at(100), less, at(50), None, false), Due::At(at(15_050)));
        assert_eq!(pace.due(at(15_049), less, at(50), Some(at(1)), false), Due::At(at(15_050)));
        assert_eq!(pace.due(at(15_050), less, at(50), Some(at(1)), false), Due::Now);
        assert_eq!(pace.due(at(100), there(1, 10), at(50), None, false), Due::Now);
        assert_eq!(pace.due(at(100), there(9 << 20, 1), at(50), None, false), Due::Now);
    }

    #[test]
    fn an_immediate_pace_gathers_only_behind_a_slot_in_flight() {
        let pace = Pace::of(Durability::Cloud);
        assert_eq!(pace.due(at(7), there(1, 1), at(7), Some(at(7)), false), Due::Now);
        assert_eq!(pace.due(at(7), there(ENOUGH - 1, 1_000), at(0), Some(at(7)), true), Due::Later);
        assert_eq!(pace.due(at(7), there(ENOUGH, 1), at(7), Some(at(7)), true), Due::Now);
    }
}
