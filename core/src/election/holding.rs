use std::mem;

use super::following::{Following, Sight};
use super::machine::{Answer, Attempt, Election, Purpose, State};
use super::releasing::After;
use super::{Effect, ElectionConfig, LeaseRecord, Reason, Tenure, Version};
use crate::types::{Epoch, Monotonic, NodeId};

/// The lease in our hand.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) tenure: Tenure,
    pub(super) epoch: Epoch,
    /// The leadership ends then, unless a renewal is confirmed before.
    pub(super) deadline: Monotonic,
    /// When the next operation is due.
    pub(super) act_at: Monotonic,
    /// Failed operations in a row.
    errors: u32,
    /// What the register held when we last knew.
    pub(super) held: Held,
    /// Whom a hand-over is for.
    pub(super) successor: Option<NodeId>,
}

/// What a holder knows of the register.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Held {
    /// Our record, under this version.
    Ours(Version),
    /// It was wiped.
    Nothing,
    /// A write of ours had no clear answer: read first.
    Unclear,
}

impl Lease {
    pub(super) fn claimed(
        tenure: Tenure,
        attempt: &Attempt,
        version: Version,
        config: &ElectionConfig,
    ) -> Lease {
        let mut lease = Lease {
            tenure,
            epoch: attempt.epoch,
            deadline: Monotonic::default(),
            act_at: Monotonic::default(),
            errors: 0,
            held: Held::Unclear,
            successor: None,
        };
        lease.stored(attempt, version, config);
        lease
    }

    /// A write of ours is in the register: counts from before it was sent.
    fn stored(&mut self, attempt: &Attempt, version: Version, config: &ElectionConfig) {
        self.held = Held::Ours(version);
        self.errors = 0;
        self.deadline = self.deadline.max(attempt.sent + (config.ttl - config.margin));
        self.act_at = attempt.sent + config.renew_interval;
    }
}

impl Election {
    /// Writes the next renewal, or reads what became of the last one.
    pub(super) fn renew_or_look(&mut self, now: Monotonic) {
        let exhausted = self.counter >= LeaseRecord::MAX_RENEWAL;
        let lease = self.lease().expect("BUG: only a holder renews");
        let epoch = lease.epoch;
        let over = match &lease.held {
            Held::Ours(version) => Some(version.clone()),
            Held::Nothing => None,
            Held::Unclear => return self.send_read(),
        };
        if exhausted {
            lease.act_at = lease.deadline;
            return;
        }
        self.send_write(now, Purpose::Renew, epoch, over, |_| {});
    }

    pub(super) fn holder_wrote(&mut self, now: Monotonic, attempt: Attempt, answer: Answer) {
        match answer {
            Answer::Done(version) => self.renewed(now, &attempt, version),
            Answer::Lost => {
                let gap = self.config.shortest_gap();
                let lease = self.lease().expect("BUG: only a holder renews");
                lease.held = Held::Unclear;
                lease.act_at = now + gap;
            }
            Answer::Unknown => self.renewal_failed(now),
        }
    }

    pub(super) fn holder_saw(&mut self, now: Monotonic, sight: Option<Sight>) {
        let Some(sight) = sight else {
            return self.renewal_failed(now);
        };
        let lease_of = match &sight {
            Sight::Record(record, version) if record.session == self.config.session && !record.released => {
                if let Some(attempt) = self.pending.take_if(|attempt| attempt.renewal == record.renewal) {
                    return self.renewed(now, &attempt, version.clone());
                }
                let lease = self.lease().expect("BUG: only a holder looks after its lease");
                lease.held = Held::Ours(version.clone());
                lease.act_at = now;
                return;
            }
            Sight::Nothing => {
                let lease = self.lease().expect("BUG: only a holder looks after its lease");
                lease.held = Held::Nothing;
                lease.act_at = now;
                return;
            }
            Sight::Record(record, _) => Some(record.holder.clone()),
            Sight::Garbage(_) => None,
        };
        self.step_down(Reason::LeaseLost { to: lease_of });
        self.state = State::Following(Following::new(now, now));
        self.following_saw(now, Some(sight));
    }

    fn renewed(&mut self, now: Monotonic, attempt: &Attempt, version: Version) {
        let config = self.config.clone();
        let lease = self.lease().expect("BUG: only a holder renews");
        lease.stored(attempt, version, &config);
        let until = lease.deadline;
        if matches!(self.state, State::Leading(_)) && now < until {
            self.effects.push(Effect::ExtendGate { until });
        }
    }

    fn renewal_failed(&mut self, now: Monotonic) {
        let (retry, most) = (self.config.retry_interval(), self.config.max_renewal_errors);
        let lease = self.lease().expect("BUG: only a holder renews");
        lease.held = Held::Unclear;
        lease.errors += 1;
        lease.act_at = now + retry;
        if lease.errors >= most {
            self.step_down(Reason::RenewalsFailed);
            self.state = State::Following(Following::new(now + retry, now));
        }
    }

    /// The end of a lease that was not renewed in time.
    pub(super) fn expire(&mut self, now: Monotonic) {
        if self.lease().is_some_and(|lease| now >= lease.deadline) {
            self.step_down(Reason::Expired);
            self.state = State::Following(Following::new(now, now));
        }
    }

    pub(super) fn epoch_settled(&mut self, tenure: Tenure, epoch: Epoch) {
        self.highest = self.highest.max(epoch);
        if let Some(lease) = self.lease()
            && lease.tenure == tenure
        {
            lease.epoch = lease.epoch.max(epoch);
        }
    }

    pub(super) fn promoted(&mut self, now: Monotonic, tenure: Tenure) {
        match mem::replace(&mut self.state, State::Closed) {
            State::Promoting(lease) if lease.tenure == tenure => {
                if now < lease.deadline {
                    self.effects.push(Effect::ExtendGate { until: lease.deadline });
                }
                self.state = State::Leading(lease);
            }
            other => self.state = other,
        }
    }

    /// The work of a leader does not go on: the lease goes to somebody else.
    pub(super) fn give_up(&mut self, now: Monotonic, tenure: Tenure, reason: Reason) {
        if self.lease().is_none_or(|lease| lease.tenure != tenure) {
            return;
        }
        let successor = self.step_down(reason);
        let after = After::Follow { not_before: now + self.config.back_off() };
        self.begin_release(now, successor, after);
    }

    pub(super) fn fenced(&mut self, now: Monotonic, tenure: Tenure, by: Epoch) {
        self.highest = self.highest.max(by);
        self.give_up(now, tenure, Reason::Fenced { by });
    }

    pub(super) fn hand_off(&mut self, to: Option<NodeId>) {
        match mem::replace(&mut self.state, State::Closed) {
            State::Leading(mut lease) => {
                lease.successor = to;
                self.effects.push(Effect::CloseGate { reason: Reason::HandedOff });
                self.state = State::HandingOff(lease);
            }
            other => self.state = other,
        }
    }

    /// The hand-over is called off. A gate that was shut for another reason stays so: it knows the tenure.
    pub(super) fn resume(&mut self, now: Monotonic, tenure: Tenure, to: &NodeId) {
        match mem::replace(&mut self.state, State::Closed) {
            State::HandingOff(mut lease)
                if lease.tenure == tenure && lease.successor.as_ref() == Some(to) =>
            {
                lease.successor = None;
                if now < lease.deadline {
                    self.effects.push(Effect::ExtendGate { until: lease.deadline });
                }
                self.state = State::Leading(lease);
            }
            other => self.state = other,
        }
    }

    pub(super) fn release(&mut self, now: Monotonic) {
        if let Some(tenure) = self.lease().map(|lease| lease.tenure) {
            self.give_up(now, tenure, Reason::HandedOff);
        }
    }

    /// Tells that the leadership is over, the gate first. The caller names the next state.
    pub(super) fn step_down(&mut self, reason: Reason) -> Option<NodeId> {
        if matches!(self.state, State::Leading(_)) {
            self.effects.push(Effect::CloseGate { reason: reason.clone() });
        }
        let lease = self.lease().expect("BUG: only a holder can step down");
        let (tenure, successor) = (lease.tenure, lease.successor.take());
        self.effects.push(Effect::Demote { tenure, reason });
        successor
    }
}
