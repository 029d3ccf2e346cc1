use std::time::Duration;

use crate::types::{Error, ErrorKind, Monotonic, Outcome};

use super::SendError;

/// What a second try of a request would mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Repeat {
    /// A read: nothing.
    Harmless,
    /// A write with a request id, which all tries carry: it runs once.
    SameId,
    /// A write without a request id: it could run twice.
    Twice,
}

/// How long and how often to try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RetryLimits {
    /// For all tries together.
    pub(crate) total: Duration,
    /// For one try.
    pub(crate) attempt: Duration,
    /// The wait after the first failure; it doubles with each one.
    pub(crate) first_wait: Duration,
    /// The longest wait.
    pub(crate) longest_wait: Duration,
    /// How many tries.
    pub(crate) attempts: u32,
}

impl Default for RetryLimits {
    /// 30 s in all, which covers a failover with the default lease three times over. The waits stay short, for a
    /// new leader is known a moment before it takes writes.
    fn default() -> RetryLimits {
        RetryLimits {
            total: Duration::from_secs(30),
            attempt: Duration::from_secs(10),
            first_wait: Duration::from_millis(50),
            longest_wait: Duration::from_millis(100),
            attempts: 400,
        }
    }
}

/// What to do now.
#[derive(Debug)]
pub(crate) enum Next {
    /// Send the request to this address, with this timeout, then [`Retry::failed`] if it fails.
    Try {
        /// Where.
        address: String,
        /// For how long.
        timeout: Duration,
    },
    /// Wait so long, or until another leader is known, then ask again.
    Wait(Duration),
    /// Report this error.
    GiveUp(Error),
}

/// One request on its way through failovers: decides about the next try, performs nothing.
#[derive(Debug)]
pub(crate) struct Retry {
    limits: RetryLimits,
    repeat: Repeat,
    started: Monotonic,
    attempts: u32,
    may_have_run: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing was tried yet.
    Fresh,
    /// The last try failed; another may follow.
    Failed(Failure),
    /// There is nothing left to try.
    Over(Error),
}

#[derive(Debug)]
struct Failure {
    address: String,
    /// Whom the node at that address takes for the leader.
    hint: Option<String>,
    not_before: Monotonic,
    /// Whether another address may be tried before the wait is over: once per wait, so that two nodes
    /// that point at each other are not asked in a tight loop.
    may_hurry: bool,
    error: Error,
}

impl Retry {
    /// A request that begins now.
    pub(crate) fn new(limits: RetryLimits, repeat: Repeat, now: Monotonic) -> Retry {
        Retry { limits, repeat, started: now, attempts: 0, may_have_run: false, state: State::Fresh }
    }

    /// The next step. `leader` is the address of the leader that this node knows of.
    ///
    /// What it gives up with says `NotCommitted` only if no try can have run, and never waits beyond the
    /// total time. After `GiveUp` the request is over.
    pub(crate) fn next(&mut self, now: Monotonic, leader: Option<&str>) -> Next {
        let left = self.limits.total.saturating_sub(now.since(self.started));
        if let State::Over(error) = &mut self.state {
            let after = Error::new(ErrorKind::Internal, "BUG: a request goes on after its end");
            return Next::GiveUp(std::mem::replace(error, after));
        }
        if left.is_zero() || self.attempts >= self.limits.attempts {
            return Next::GiveUp(self.exhausted());
        }
        match &mut self.state {
            State::Fresh => match leader {
                Some(leader) => self.attempt(leader.to_owned(), left),
                None => Next::Wait(self.limits.longest_wait.min(left)),
            },
            State::Failed(failure) if now < failure.not_before => match failure.elsewhere(leader) {
                Some(address) if failure.may_hurry => {
                    failure.may_hurry = false;
                    self.attempt(address, left)
                }
                Some(_) | None => Next::Wait(failure.not_before.since(now).min(left)),
            },
            State::Failed(failure) => {
                failure.may_hurry = true;
                match leader.map(str::to_owned).or_else(|| failure.hint.clone()) {
                    Some(address) => self.attempt(address, left),
                    None => Next::Wait(self.limits.longest_wait.min(left)),
                }
            }
            State::Over(_) => unreachable!("BUG: handled above"),
        }
    }

    /// Notes that the try at this address failed.
    pub(crate) fn failed(&mut self, now: Monotonic, address: &str, failure: SendError) {
        let is_final = self.is_final(&failure);
        // An earlier try may still arrive somewhere: then not even a clear refusal of this one is the last
        // word about the write.
        self.may_have_run |= failure.may_have_run();
        let error = failure.into_error();
        if is_final {
            self.state = State::Over(self.judged(error));
            return;
        }
        let may_hurry = match &self.state {
            State::Fresh => true,
            State::Failed(earlier) => earlier.may_hurry,
            State::Over(_) => false,
        };
        let doublings = self.attempts.saturating_sub(1).min(16);
        let wait = self.limits.first_wait.saturating_mul(1 << doublings).min(self.limits.longest_wait);
        self.state = State::Failed(Failure {
            address: address.to_owned(),
            hint: error.leader().map(str::to_owned),
            not_before: now + wait,
            may_hurry,
            error,
        });
    }

    /// An error of this node itself, which has come to lead: with what is true of all tries together. What
    /// SQLite refused here was looked up by its id before, so no earlier try can be in this node's log; any
    /// other refusal came before that.
    pub(crate) fn judged_here(&self, error: Error) -> Error {
        let looked_up = error.sqlite_code().is_some() || error.kind() == ErrorKind::InvalidArgument;
        if looked_up { error } else { self.judged(error) }
    }

    fn attempt(&mut self, address: String, left: Duration) -> Next {
        self.attempts += 1;
        Next::Try { address, timeout: self.limits.attempt.min(left) }
    }

    fn is_final(&self, failure: &SendError) -> bool {
        match failure {
            SendError::NotProcessed(error) => matches!(
                error.kind(),
                ErrorKind::Unauthorized | ErrorKind::InvalidConfig | ErrorKind::NotImplemented
            ),
            SendError::Lost(_) => self.repeat == Repeat::Twice,
            SendError::Answered(error) => match error.outcome() {
                Outcome::Committed | Outcome::NotCommitted => true,
                // A limit on sizes is the same at the next try; anything else may be known by then.
                Outcome::Unknown => self.repeat == Repeat::Twice || error.kind() == ErrorKind::LimitExceeded,
            },
        }
    }

    /// The error with what is true of all tries together.
    fn judged(&self, error: Error) -> Error {
        match (self.repeat, error.outcome()) {
            (Repeat::Harmless, _) => error.with_outcome(Outcome::NotCommitted),
            (Repeat::SameId | Repeat::Twice, Outcome::NotCommitted) if self.may_have_run => {
                error.with_outcome(Outcome::Unknown)
            }
            (Repeat::SameId | Repeat::Twice, _) => error,
        }
    }

    fn exhausted(&mut self) -> Error {
        let after = Error::new(ErrorKind::Internal, "BUG: a request goes on after its end");
        let last = match std::mem::replace(&mut self.state, State::Over(after)) {
            State::Failed(failure) => Some(failure.error),
            State::Fresh | State::Over(_) => None,
        };
        let tries = self.attempts;
        let why = last.as_ref().map_or_else(|| "no leader is known".to_owned(), ToString::to_string);
        let unknown = self.may_have_run && self.repeat != Repeat::Harmless;
        let kind = match &last {
            _ if unknown => ErrorKind::OutcomeUnknown,
            Some(last) if last.kind() == ErrorKind::Busy => ErrorKind::Busy,
            Some(_) | None => ErrorKind::LeaderUnavailable,
        };
        let message = if unknown {
            format!("the leader did not say what became of the write ({tries} tries): {why}")
        } else {
            format!("no leader took the request ({tries} tries): {why}")
        };
        let mut error = Error::new(kind, message);
        if let Some(last) = last {
            error = error.with_source(last);
        }
        error
    }
}

impl Failure {
    /// Another address than the one that failed: the failed node's own word first.
    fn elsewhere(&self, leader: Option<&str>) -> Option<String> {
        let other = |address: &&str| *address != self.address;
        self.hint.as_deref().filter(other).or(leader.filter(other)).map(str::to_owned)
    }
}
