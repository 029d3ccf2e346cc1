use std::time::Duration;

use super::holding::Lease;
use super::machine::{Answer, Attempt, Election, Flight, Purpose, State};
use super::{Effect, LeaseRecord, Version};
use crate::types::{Error, ErrorKind, Monotonic, Role};

/// What a follower knows.
#[derive(Debug)]
pub(super) struct Following {
    /// What the last successful read showed, since when, and how often in a row it was expired.
    observed: Option<Observed>,
    /// Does not campaign before that.
    not_before: Monotonic,
    /// When the next read is due.
    pub(super) read_at: Monotonic,
    /// A hint came while a read was under way, whose answer may be older than the hint.
    look_again: bool,
    /// When the last hint was followed.
    looked_at: Monotonic,
    /// When the last call was.
    called_at: Monotonic,
    /// A call came while an operation was under way.
    call_again: bool,
}

#[derive(Debug)]
struct Observed {
    sight: Sight,
    /// When the answer of the first read that showed it was there.
    since: Monotonic,
    expired_reads: u32,
}

/// What a read showed.
#[derive(Clone, Debug)]
pub(super) enum Sight {
    Nothing,
    Record(Box<LeaseRecord>, Version),
    /// Not a lease record: somebody else's object, never overwritten.
    Garbage(Version),
}

/// When a lease may be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    Never,
    /// From then on, at the first sight.
    From(Monotonic),
    /// From then on it is expired, which so many reads have to show.
    Expires(Monotonic),
}

impl Following {
    pub(super) fn new(read_at: Monotonic, not_before: Monotonic) -> Following {
        Following {
            observed: None,
            not_before,
            read_at,
            look_again: false,
            looked_at: Monotonic::default(),
            called_at: Monotonic::default(),
            call_again: false,
        }
    }

    fn read_for_call(&mut self, now: Monotonic, gap: Duration) {
        let at = now.max(self.called_at + gap);
        if at < self.read_at {
            self.read_at = at;
            self.called_at = at;
        }
    }
}

impl Sight {
    pub(super) fn version(&self) -> Option<&Version> {
        match self {
            Sight::Nothing => None,
            Sight::Record(_, version) | Sight::Garbage(version) => Some(version),
        }
    }
}

impl Election {
    /// A hint: reads now, or once more after the read that is under way.
    pub(super) fn look(&mut self, now: Monotonic) {
        let gap = self.config.shortest_gap();
        if let State::Following(following) = &mut self.state {
            following.look_again |= self.flight.is_some();
            let at = now.max(following.looked_at + gap);
            if at < following.read_at {
                following.read_at = at;
                following.looked_at = at;
            }
        }
    }

    /// As `look`, but hints that came before do not hold it up, only other calls do.
    pub(super) fn called(&mut self, now: Monotonic) {
        let gap = self.config.shortest_gap();
        if let State::Following(following) = &mut self.state {
            following.call_again |= self.flight.is_some();
            following.read_for_call(now, gap);
        }
    }

    pub(super) fn following_saw(&mut self, now: Monotonic, sight: Option<Sight>) {
        let retry_at = now + self.config.retry_interval();
        let gap = self.config.shortest_gap();
        let State::Following(following) = &mut self.state else {
            unreachable!("BUG: only a follower follows");
        };
        let looking = std::mem::take(&mut following.look_again);
        let called = std::mem::take(&mut following.call_again);
        let Some(sight) = sight else {
            following.read_at = retry_at;
            if let Some(observed) = &mut following.observed {
                observed.expired_reads = 0;
            }
            return;
        };
        let before = following.observed.take();
        let observed = match before {
            Some(before) if before.sight.version() == sight.version() => before,
            before => {
                if self.must_lead
                    && before.is_some_and(|b| self.is_foreign(&b.sight))
                    && self.is_foreign(&sight)
                {
                    return self.fail_as_held(&sight);
                }
                Observed { sight, since: now, expired_reads: 0 }
            }
        };
        self.decide(now, observed);
        if let State::Following(following) = &mut self.state
            && looking
        {
            following.read_at = following.read_at.min(now + gap);
        }
        if let State::Following(following) = &mut self.state
            && called
            && self.flight.is_none()
        {
            following.read_for_call(now, gap);
        }
    }

    /// Claims, or says when to look next.
    fn decide(&mut self, now: Monotonic, mut observed: Observed) {
        self.announce(&observed.sight);
        let State::Following(following) = &self.state else {
            unreachable!("BUG: only a follower decides on a claim");
        };
        // The leader that let go for this node knows more than the back-off does, and others leave it to us.
        let not_before =
            if self.is_for_us(&observed.sight) { Monotonic::default() } else { following.not_before };
        let turn = self.turn(&observed);
        let next_poll = now + self.config.poll_interval;
        let (at, reads) = match turn {
            Turn::Never => (None, 0),
            Turn::From(at) => (Some(at.max(not_before)), 0),
            Turn::Expires(at) => (Some(at.max(not_before)), self.config.required_expired_reads),
        };
        let is_over = at.is_some_and(|at| now >= at);
        observed.expired_reads += u32::from(is_over);
        let claims = is_over && observed.expired_reads >= reads;
        let read_at = at.filter(|at| now < *at).map_or(next_poll, |at| next_poll.min(at));
        if claims && self.adopt(now, &observed.sight) {
            return;
        }
        let sight = observed.sight.clone();
        if let State::Following(following) = &mut self.state {
            following.observed = Some(observed);
            following.read_at = read_at;
        }
        if claims {
            self.claim(now, &sight);
        }
    }

    /// When what is observed may be taken over. The rules of the take-over, in one place.
    fn turn(&self, observed: &Observed) -> Turn {
        match self.config.role {
            None | Some(Role::Leader) => {}
            Some(Role::Follower | Role::Client | Role::LatentWriter) => return Turn::Never,
        }
        let patience = |ttl| observed.since + ttl + self.config.margin;
        match &observed.sight {
            Sight::Garbage(_) => Turn::Never,
            Sight::Nothing if self.seen_record => Turn::Expires(patience(self.config.ttl)),
            Sight::Nothing => Turn::From(observed.since),
            Sight::Record(record, _) if record.session == self.config.session => Turn::From(observed.since),
            Sight::Record(record, _) if record.released => match &record.successor {
                Some(successor) if *successor != self.config.node => {
                    Turn::From(observed.since + self.config.successor_grace())
                }
                Some(_) | None => Turn::From(observed.since),
            },
            Sight::Record(record, _) if self.is_our_predecessor(record) => Turn::From(observed.since),
            Sight::Record(record, _) => Turn::Expires(patience(record.ttl)),
        }
    }

    /// A tombstone of another node that names this one.
    fn is_for_us(&self, sight: &Sight) -> bool {
        let Sight::Record(record, _) = sight else { return false };
        record.released
            && record.session != self.config.session
            && record.successor.as_ref() == Some(&self.config.node)
    }

    /// An earlier session of this node on the file whose lock is ours now: it cannot be alive.
    fn is_our_predecessor(&self, record: &LeaseRecord) -> bool {
        record.holder == self.config.node && record.lock.is_some() && record.lock == self.config.lock
    }

    /// A lease that may be held by somebody who is alive.
    fn is_foreign(&self, sight: &Sight) -> bool {
        match sight {
            Sight::Record(record, _) => {
                !record.released && record.session != self.config.session && !self.is_our_predecessor(record)
            }
            Sight::Nothing | Sight::Garbage(_) => false,
        }
    }

    /// The register shows the claim whose answer was lost, and it still holds.
    fn adopt(&mut self, now: Monotonic, sight: &Sight) -> bool {
        let Sight::Record(record, version) = sight else { return false };
        let Some(attempt) = self.pending.take_if(|attempt| {
            attempt.purpose == Purpose::Claim
                && record.session == self.config.session
                && record.renewal == attempt.renewal
        }) else {
            return false;
        };
        self.begin_promotion(now, &attempt, version.clone())
    }

    fn claim(&mut self, now: Monotonic, sight: &Sight) {
        let Some(epoch) = self.highest.next() else {
            return self
                .degraded(Error::new(ErrorKind::LimitExceeded, "there is no epoch left to lead with"));
        };
        if self.counter >= LeaseRecord::MAX_RENEWAL {
            return self.degraded(Error::new(ErrorKind::LimitExceeded, "there is no renewal counter left"));
        }
        self.send_write(now, Purpose::Claim, epoch, sight.version().cloned(), |_| {});
    }

    pub(super) fn following_wrote(&mut self, now: Monotonic, attempt: Attempt, answer: Answer) {
        let next = match answer {
            Answer::Done(version) => {
                if attempt.purpose == Purpose::Claim && self.begin_promotion(now, &attempt, version) {
                    return;
                }
                now
            }
            Answer::Lost => now + self.config.shortest_gap(),
            Answer::Unknown => now + self.config.retry_interval(),
        };
        if let State::Following(following) = &mut self.state {
            following.read_at = next;
        }
    }

    /// The lease is ours, unless it took so long that it is over already.
    fn begin_promotion(&mut self, now: Monotonic, attempt: &Attempt, version: Version) -> bool {
        let tenure = super::Tenure(self.tenures + 1);
        let lease = Lease::claimed(tenure, attempt, version, &self.config);
        if now >= lease.deadline {
            return false;
        }
        self.tenures += 1;
        self.must_lead = false;
        self.announced = None;
        self.effects.push(Effect::Promote { tenure, epoch: attempt.epoch });
        self.state = State::Promoting(lease);
        true
    }

    fn announce(&mut self, sight: &Sight) {
        let leader = match sight {
            Sight::Record(record, _) if self.is_foreign(sight) => {
                Some(LeaseRecord { renewal: 0, ..(**record).clone() })
            }
            Sight::Record(..) | Sight::Nothing | Sight::Garbage(_) => None,
        };
        if self.announced.as_ref() != Some(&leader) {
            self.announced = Some(leader.clone());
            self.effects.push(Effect::Following { leader: leader.map(Box::new) });
        }
    }

    fn fail_as_held(&mut self, sight: &Sight) {
        let message = match sight {
            Sight::Record(record, _) => {
                format!(
                    "Role::Leader was asked for, but {} at {} holds the lease",
                    record.holder, record.address
                )
            }
            Sight::Nothing | Sight::Garbage(_) => unreachable!("BUG: only a record is held"),
        };
        debug_assert!(!matches!(self.flight, Some(Flight::Write(_))));
        self.state = State::Closed;
        self.effects.push(Effect::Failed(Error::new(ErrorKind::InUse, message)));
    }
}
