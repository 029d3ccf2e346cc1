use std::mem;

use super::following::{Following, Sight};
use super::holding::Lease;
use super::releasing::{After, Release};
use super::{Effect, ElectionConfig, Event, Found, LeaseRecord, Reason, SwapOutcome, Version};
use crate::types::{Epoch, Error, Monotonic, Result, Role};

/// The part of one node in the election of a leader. See the module for how to drive it.
#[derive(Debug)]
pub(crate) struct Election {
    pub(super) config: ElectionConfig,
    pub(super) state: State,
    /// The operation on the register that is under way.
    pub(super) flight: Option<Flight>,
    /// The last write whose answer was lost, as long as nothing newer of ours is known to be stored.
    pub(super) pending: Option<Attempt>,
    /// The highest epoch that any record, the log or we ever had.
    pub(super) highest: Epoch,
    /// The highest renewal counter that any record or attempt ever had.
    pub(super) counter: u64,
    /// The register once held something: that it is empty now does not mean that nobody leads.
    pub(super) seen_record: bool,
    /// With `Role::Leader`, until the first leadership.
    pub(super) must_lead: bool,
    /// What the last `Effect::Following` said.
    pub(super) announced: Option<Option<LeaseRecord>>,
    pub(super) tenures: u64,
    pub(super) effects: Vec<Effect>,
    degraded: bool,
}

#[derive(Debug)]
pub(super) enum State {
    /// Reads, and claims when it may.
    Following(Following),
    /// Holds the lease; the gate has not been opened.
    Promoting(Lease),
    /// Holds the lease; the gate is open until the lease's deadline.
    Leading(Lease),
    /// Holds the lease; the gate is closed, and stays so unless the hand-over is called off.
    HandingOff(Lease),
    /// Leads no more, and sees to it that the register says so.
    Releasing(Release),
    /// Takes part no more.
    Closed,
}

#[derive(Debug)]
pub(super) enum Flight {
    Read,
    Write(Attempt),
}

/// A write of ours. Its moment is before anything left this machine.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) purpose: Purpose,
    pub(super) renewal: u64,
    pub(super) epoch: Epoch,
    pub(super) sent: Monotonic,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Claim,
    Renew,
    Release,
}

/// What became of an attempt.
pub(super) enum Answer {
    Done(Version),
    Lost,
    Unknown,
}

impl Election {
    /// A node that follows and knows nothing yet. `InvalidConfig` if the configuration is not valid.
    pub(crate) fn new(config: ElectionConfig) -> Result<Election> {
        config.validate()?;
        let must_lead = config.role == Some(Role::Leader);
        Ok(Election {
            config,
            state: State::Following(Following::new(Monotonic::default(), Monotonic::default())),
            flight: None,
            pending: None,
            highest: Epoch::ZERO,
            counter: 0,
            seen_record: false,
            must_lead,
            announced: None,
            tenures: 0,
            effects: Vec::new(),
            degraded: false,
        })
    }

    /// What follows from an event at this moment. `now` never goes back.
    pub(crate) fn handle(&mut self, now: Monotonic, event: Event) -> Vec<Effect> {
        match event {
            Event::Timer => {}
            Event::ReadDone(result) => self.read_done(now, result),
            Event::SwapDone(result) => self.swap_done(now, result),
            Event::EpochSettled { tenure, epoch } => self.epoch_settled(tenure, epoch),
            Event::Promoted { tenure } => self.promoted(now, tenure),
            Event::PromotionFailed { tenure } => self.give_up(now, tenure, Reason::PromotionFailed),
            Event::Stalled { tenure } => self.give_up(now, tenure, Reason::Stalled),
            Event::Fenced { tenure, by } => self.fenced(now, tenure, by),
            Event::Look => self.look(now),
            Event::Called => self.called(now),
            Event::Handoff { to } => self.hand_off(to),
            Event::Resume { tenure, to } => self.resume(now, tenure, &to),
            Event::Release => self.release(now),
            Event::Close => self.close(now),
        }
        self.expire(now);
        self.act(now);
        mem::take(&mut self.effects)
    }

    /// When `Event::Timer` is due; `None` while only another event can change something.
    pub(crate) fn wake_at(&self) -> Option<Monotonic> {
        let idle = self.flight.is_none();
        match &self.state {
            State::Following(following) => idle.then_some(following.read_at),
            State::Promoting(lease) | State::Leading(lease) | State::HandingOff(lease) => {
                Some(if idle { lease.act_at.min(lease.deadline) } else { lease.deadline })
            }
            State::Releasing(release) => idle.then_some(release.act_at),
            State::Closed => None,
        }
    }

    /// The lease, from the claim until the leadership ends.
    pub(super) fn lease(&mut self) -> Option<&mut Lease> {
        match &mut self.state {
            State::Promoting(lease) | State::Leading(lease) | State::HandingOff(lease) => Some(lease),
            State::Following(_) | State::Releasing(_) | State::Closed => None,
        }
    }

    /// Starts the operation that is due, if there is none under way.
    fn act(&mut self, now: Monotonic) {
        if self.flight.is_some() {
            return;
        }
        match &self.state {
            State::Following(following) if now >= following.read_at => self.send_read(),
            State::Promoting(lease) | State::Leading(lease) | State::HandingOff(lease)
                if now >= lease.act_at =>
            {
                self.renew_or_look(now);
            }
            State::Releasing(release) if now >= release.act_at => self.write_tombstone_or_look(now),
            State::Following(_)
            | State::Promoting(_)
            | State::Leading(_)
            | State::HandingOff(_)
            | State::Releasing(_)
            | State::Closed => {}
        }
    }

    pub(super) fn send_read(&mut self) {
        self.flight = Some(Flight::Read);
        self.effects.push(Effect::Read { timeout: self.config.operation_timeout });
    }

    /// Sends a record of ours with the next counter, in place of `over`.
    pub(super) fn send_write(
        &mut self,
        now: Monotonic,
        purpose: Purpose,
        epoch: Epoch,
        over: Option<Version>,
        change: impl FnOnce(&mut LeaseRecord),
    ) {
        self.counter += 1;
        let mut record = LeaseRecord {
            holder: self.config.node.clone(),
            session: self.config.session,
            address: self.config.address.clone(),
            epoch,
            ttl: self.config.ttl,
            renewal: self.counter,
            sleeping: self.config.sleeping,
            released: false,
            lock: self.config.lock.clone(),
            successor: None,
        };
        change(&mut record);
        let (body, timeout) = (record.to_bytes(), self.config.operation_timeout);
        self.flight = Some(Flight::Write(Attempt { purpose, renewal: self.counter, epoch, sent: now }));
        self.effects.push(match over {
            None => Effect::Create { body, timeout },
            Some(version) => Effect::Replace { body, version, timeout },
        });
    }

    fn read_done(&mut self, now: Monotonic, result: Result<Option<Found>>) {
        match self.flight.take() {
            Some(Flight::Read) => {}
            Some(Flight::Write(_)) | None => panic!("BUG: an answer to a read that was not asked for"),
        }
        let sight = self.understand(result);
        match &self.state {
            State::Following(_) => self.following_saw(now, sight),
            State::Promoting(_) | State::Leading(_) | State::HandingOff(_) => self.holder_saw(now, sight),
            State::Releasing(_) => self.releasing_saw(now, sight),
            State::Closed => {}
        }
    }

    fn swap_done(&mut self, now: Monotonic, result: Result<SwapOutcome>) {
        let attempt = match self.flight.take() {
            Some(Flight::Write(attempt)) => attempt,
            Some(Flight::Read) | None => panic!("BUG: an answer to a write that was not asked for"),
        };
        let answer = match result {
            Ok(outcome) => {
                self.recovered();
                match outcome {
                    SwapOutcome::Done(version) => {
                        self.pending = None;
                        self.highest = self.highest.max(attempt.epoch);
                        Answer::Done(version)
                    }
                    SwapOutcome::Lost => Answer::Lost,
                }
            }
            Err(error) => {
                self.degraded(error);
                self.pending = Some(attempt.clone());
                Answer::Unknown
            }
        };
        match &self.state {
            State::Following(_) => self.following_wrote(now, attempt, answer),
            State::Promoting(_) | State::Leading(_) | State::HandingOff(_) => {
                self.holder_wrote(now, attempt, answer);
            }
            State::Releasing(_) => self.releasing_wrote(now, attempt, answer),
            State::Closed => {}
        }
    }

    /// Reads what was read, and remembers the highest numbers in it. `None` if the read failed.
    fn understand(&mut self, result: Result<Option<Found>>) -> Option<Sight> {
        let found = match result {
            Err(error) => {
                self.degraded(error);
                return None;
            }
            Ok(None) => {
                self.recovered();
                return Some(Sight::Nothing);
            }
            Ok(Some(found)) => found,
        };
        self.seen_record = true;
        match LeaseRecord::parse(&found.body) {
            Ok(record) => {
                self.recovered();
                self.highest = self.highest.max(record.epoch);
                self.counter = self.counter.max(record.renewal);
                Some(Sight::Record(Box::new(record), found.version))
            }
            Err(error) => {
                self.degraded(error);
                Some(Sight::Garbage(found.version))
            }
        }
    }

    pub(super) fn degraded(&mut self, error: Error) {
        self.degraded = true;
        self.effects.push(Effect::Degraded(error));
    }

    fn recovered(&mut self) {
        if mem::take(&mut self.degraded) {
            self.effects.push(Effect::Recovered);
        }
    }

    fn close(&mut self, now: Monotonic) {
        let undecided = match &self.flight {
            Some(Flight::Write(_)) => true,
            Some(Flight::Read) | None => self.pending.is_some(),
        };
        match &mut self.state {
            State::Promoting(_) | State::Leading(_) | State::HandingOff(_) => {
                let successor = self.step_down(Reason::Closing);
                self.begin_release(now, successor, After::Close);
            }
            State::Following(_) if undecided => self.begin_release(now, None, After::Close),
            State::Following(_) => self.finish_close(),
            State::Releasing(release) => release.after = After::Close,
            State::Closed => {}
        }
    }

    pub(super) fn finish_close(&mut self) {
        self.state = State::Closed;
        self.effects.push(Effect::Closed);
    }
}
