use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::types::{Error, ErrorKind, Monotonic};

/// What tells the time: handed in, because only the runtime reads the clock.
pub(crate) type Clock = Arc<dyn Fn() -> Monotonic + Send + Sync>;

/// Why the gate is shut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Shut {
    /// Somebody else leads, or nobody; with the leader's address if it is known.
    NotLeader { leader: Option<String> },
    /// Another node took over while this one led.
    Fenced { leader: Option<String> },
    /// The handle was closed.
    Closed,
}

/// The write gate: commits pass while it is open, and it is open until a moment.
///
/// It is asked twice for each commit: before, where a refusal means "not committed", and after, where a
/// deadline that has passed means "unknown". A commit costs two loads and two readings of the clock; none
/// of the clock if the gate is open without a deadline.
pub(crate) struct Gate {
    /// Nanoseconds since boot; `SHUT` and `FOREVER` are not moments.
    deadline: AtomicU64,
    why: Mutex<Why>,
    clock: Clock,
}

struct Why {
    shut: Shut,
    /// No tenure up to this one opens the gate again.
    over: u64,
}

const SHUT: u64 = 0;
const FOREVER: u64 = u64::MAX;

impl Gate {
    /// A gate that is shut.
    pub(crate) fn shut_for(why: Shut, clock: Clock) -> Gate {
        Gate { deadline: AtomicU64::new(SHUT), why: Mutex::new(Why { shut: why, over: 0 }), clock }
    }

    /// A gate that stays open until it is shut: what a database without a lease has.
    pub(crate) fn open_forever(clock: Clock) -> Gate {
        Gate {
            deadline: AtomicU64::new(FOREVER),
            why: Mutex::new(Why { shut: Shut::Closed, over: 0 }),
            clock,
        }
    }

    /// Opens it until `deadline`, or moves the deadline, for a tenure of the lease. When the deadline passes,
    /// it is shut with `NotLeader`. `false`, and nothing done, if the tenure is over.
    pub(crate) fn open_until(&self, tenure: u64, deadline: Monotonic) -> bool {
        let nanos = u64::try_from(deadline.since_boot().as_nanos()).unwrap_or(FOREVER - 1);
        let mut why = self.why.lock();
        if tenure <= why.over {
            return false;
        }
        why.shut = Shut::NotLeader { leader: None };
        self.deadline.store(nanos.clamp(SHUT + 1, FOREVER - 1), Ordering::Release);
        true
    }

    /// Shuts it, and no renewal of this tenure opens it again, however late it comes.
    pub(crate) fn shut_tenure(&self, tenure: u64, why: Shut) {
        let mut reason = self.why.lock();
        self.deadline.store(SHUT, Ordering::Release);
        reason.over = reason.over.max(tenure);
        reason.shut = why;
    }

    /// Shuts it, and nothing opens it again.
    pub(crate) fn shut_for_good(&self, why: Shut) {
        self.shut_tenure(u64::MAX, why);
    }

    /// Shuts it. A commit that has passed already ends as "unknown".
    pub(crate) fn shut(&self, why: Shut) {
        let mut reason = self.why.lock();
        self.deadline.store(SHUT, Ordering::Release);
        reason.shut = why;
    }

    /// Whether a commit may pass now.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        match self.deadline.load(Ordering::Acquire) {
            SHUT => false,
            FOREVER => true,
            deadline => (self.clock)().since_boot().as_nanos() < u128::from(deadline),
        }
    }

    /// Before a write: the refusal if it is shut. What is refused is not committed.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.is_open() { Ok(()) } else { Err(self.refusal()) }
    }

    /// After a commit: `OutcomeUnknown` if the gate was shut meanwhile.
    #[inline]
    pub(crate) fn confirm(&self) -> Result<(), Error> {
        if self.is_open() {
            return Ok(());
        }
        let message = format!("committed locally, but {}: whether the log has it is open", self.reason());
        Err(Error::new(ErrorKind::OutcomeUnknown, message))
    }

    /// Why it is shut, as the error that a refused write gets.
    #[cold]
    pub(crate) fn refusal(&self) -> Error {
        let why = self.why.lock().shut.clone();
        let (kind, leader) = match why {
            Shut::NotLeader { leader } => (ErrorKind::NotLeader, leader),
            Shut::Fenced { leader } => (ErrorKind::Fenced, leader),
            Shut::Closed => (ErrorKind::Closed, None),
        };
        let error = Error::new(kind, self.reason());
        match leader {
            Some(leader) => error.with_leader(leader),
            None => error,
        }
    }

    fn reason(&self) -> &'static str {
        match &self.why.lock().shut {
            Shut::NotLeader { .. } => "this node does not lead",
            Shut::Fenced { .. } => "another node has taken over from this one",
            Shut::Closed => "the database handle was closed",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::types::Outcome;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_secs(seconds))
    }

    fn scripted() -> (Arc<Mutex<Monotonic>>, Clock) {
        let now = Arc::new(Mutex::new(at(10)));
        let clock = Arc::clone(&now);
        (now, Arc::new(move || *clock.lock()))
    }

    #[test]
    fn the_gate_shuts_itself_at_the_deadline() {
        let (now, clock) = scripted();
        let gate = Gate::shut_for(Shut::NotLeader { leader: Some("a:1".into()) }, clock);
        let refusal = gate.check().unwrap_err();
        assert_eq!((refusal.kind(), refusal.leader()), (ErrorKind::NotLeader, Some("a:1")));
        assert_eq!(refusal.outcome(), Outcome::NotCommitted);

        assert!(gate.open_until(1, at(12)));
        *now.lock() = at(11);
        assert!(gate.check().is_ok() && gate.confirm().is_ok());
        *now.lock() = at(12);
        assert_eq!(gate.check().unwrap_err().kind(), ErrorKind::NotLeader);
        assert_eq!(gate.confirm().unwrap_err().outcome(), Outcome::Unknown);
    }

    #[test]
    fn a_tenure_that_is_over_never_opens_the_gate_again() {
        let (_, clock) = scripted();
        let gate = Gate::shut_for(Shut::Closed, clock);
        assert!(gate.open_until(3, at(20)));
        gate.shut_tenure(3, Shut::Fenced { leader: None });
        assert!(!gate.open_until(3, at(30)));
        assert!(!gate.is_open());
        assert!(gate.open_until(4, at(30)));
        gate.shut_for_good(Shut::Closed);
        assert!(!gate.open_until(5, at(30)));
    }

    #[test]
    fn a_gate_without_a_deadline_reads_no_clock() {
        let gate = Gate::open_forever(Arc::new(|| panic!("the clock was read")));
        assert!(gate.is_open());
        gate.shut(Shut::Closed);
        assert_eq!(gate.check().unwrap_err().kind(), ErrorKind::Closed);
    }

    #[test]
    fn a_fenced_gate_says_so() {
        let (_, clock) = scripted();
        let gate = Gate::open_forever(clock);
        gate.shut(Shut::Fenced { leader: None });
        assert_eq!(gate.check().unwrap_err().kind(), ErrorKind::Fenced);
        assert_eq!(gate.confirm().unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    }
}
