use super::LeaseRecord;
use super::following::{Following, Sight};
use super::holding::Held;
use super::machine::{Answer, Attempt, Election, Flight, Purpose, State};
use crate::types::{Monotonic, NodeId};

/// After so many failed tries the lease is left to expire.
const MOST_TRIES: u32 = 3;

/// A lease on its way out.
#[derive(Debug)]
pub(super) struct Release {
    successor: Option<NodeId>,
    /// What the tombstone replaces.
    held: Held,
    tries: u32,
    pub(super) act_at: Monotonic,
    pub(super) after: After,
}

/// What comes after the release.
#[derive(Clone, Copy, Debug)]
pub(super) enum After {
    Follow { not_before: Monotonic },
    Close,
}

impl Election {
    /// Goes on to writing the tombstone, once a write that is under way has been answered.
    pub(super) fn begin_release(&mut self, now: Monotonic, successor: Option<NodeId>, after: After) {
        let writing = matches!(self.flight, Some(Flight::Write(_)));
        let held = match self.lease() {
            Some(lease) if !writing => lease.held.clone(),
            Some(_) | None => Held::Unclear,
        };
        self.state = State::Releasing(Release { successor, held, tries: 0, act_at: now, after });
    }

    pub(super) fn write_tombstone_or_look(&mut self, now: Monotonic) {
        let State::Releasing(release) = &self.state else {
            unreachable!("BUG: only who releases writes a tombstone");
        };
        match &release.held {
            Held::Unclear => self.send_read(),
            Held::Nothing => self.released(now),
            Held::Ours(_) if self.counter >= LeaseRecord::MAX_RENEWAL => self.released(now),
            Held::Ours(version) => {
                let (over, successor) = (Some(version.clone()), release.successor.clone());
                self.send_write(now, Purpose::Release, self.highest, over, |record| {
                    record.released = true;
                    record.successor = successor;
                });
            }
        }
    }

    pub(super) fn releasing_wrote(&mut self, now: Monotonic, attempt: Attempt, answer: Answer) {
        let State::Releasing(release) = &mut self.state else {
            unreachable!("BUG: only who releases waits for its tombstone");
        };
        match answer {
            Answer::Done(version) => match attempt.purpose {
                Purpose::Release => self.released(now),
                Purpose::Claim | Purpose::Renew => release.held = Held::Ours(version),
            },
            Answer::Lost => {
                release.held = Held::Unclear;
                self.release_failed(now, now + self.config.shortest_gap());
            }
            Answer::Unknown => {
                release.held = Held::Unclear;
                self.release_failed(now, now + self.config.retry_interval());
            }
        }
    }

    pub(super) fn releasing_saw(&mut self, now: Monotonic, sight: Option<Sight>) {
        let State::Releasing(release) = &mut self.state else {
            unreachable!("BUG: only who releases looks for its lease");
        };
        match sight {
            Some(Sight::Record(record, version))
                if record.session == self.config.session && !record.released =>
            {
                release.held = Held::Ours(version);
            }
            Some(Sight::Record(..) | Sight::Nothing | Sight::Garbage(_)) => self.released(now),
            None => self.release_failed(now, now + self.config.retry_interval()),
        }
    }

    fn release_failed(&mut self, now: Monotonic, act_at: Monotonic) {
        let State::Releasing(release) = &mut self.state else {
            unreachable!("BUG: only a release can fail");
        };
        release.tries += 1;
        release.act_at = act_at;
        if release.tries >= MOST_TRIES {
            self.released(now);
        }
    }

    /// The register says that nobody leads, or somebody else, or cannot be told.
    fn released(&mut self, now: Monotonic) {
        let State::Releasing(release) = &self.state else {
            unreachable!("BUG: only who releases has released");
        };
        match release.after {
            After::Follow { not_before } => {
                self.state = State::Following(Following::new(now + self.config.shortest_gap(), not_before));
            }
            After::Close => self.finish_close(),
        }
    }
}
