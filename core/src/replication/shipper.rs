use std::collections::VecDeque;
use std::time::Duration;

use super::{Floor, Pace, SlotFacts, Unshipped};
use crate::types::{Epoch, Monotonic, Position, Txid};

/// The leader's side of the log: creates one slot after the other, one PUT in flight, and says what each
/// answer means.
///
/// The rules that keep confirmed writes safe are here:
/// - a slot is confirmed when the object at its key has our bytes, whichever of our PUTs made it;
/// - an ambiguous answer is followed by the same bytes at the same key, until it is definite;
/// - the answers that an old view of the log could have falsified (any 412, and the 200 of a fence) count
///   only if the floor, read after them, is below the slot;
/// - a foreign slot ends a leadership, whatever its epoch; a fence gives way to lower epochs only.
///
/// While a slot's fate is open, drafts of the slots after it may be made ahead: each embeds the hash of the
/// one before it, which is known from its bytes. They are sent one by one, each when the one before it is
/// confirmed.
#[derive(Clone, Debug)]
pub(crate) struct Shipper {
    epoch: Epoch,
    confirmed: Position,
    pace: Pace,
    state: State,
    /// What comes after the draft in flight, in order.
    ahead: VecDeque<Draft>,
    /// Since when there has been something of each slot that is not confirmed, the one in flight first.
    waiting_since: VecDeque<Monotonic>,
    /// Since when the draft in flight has been without a definite answer.
    stuck_since: Option<Monotonic>,
    last_sent: Option<Monotonic>,
    /// What `last_sent` was before a draft was asked for.
    sent_before: Option<Monotonic>,
    dirty_since: Option<Monotonic>,
    unsent: Unshipped,
    flush: bool,
    fence_done: bool,
    doubt: bool,
    failures: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Idle,
    Drafting,
    Sending(Draft),
    Resting(Draft, Monotonic, Again),
    Reading(Draft),
    CheckingFloor(Draft, Verdict),
    Stopped,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Again {
    Put,
    Read,
    Floor(Verdict),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Ours,
    Foreign(SlotFacts),
}

/// A slot's file that is ready to be sent, and whose intent is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Draft {
    /// Slot, chain and epoch that the database has when it is confirmed.
    pub(crate) position: Position,
}

/// The answer to a slot's PUT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PutAnswer {
    /// The object was created.
    Stored,
    /// There is an object at the key.
    Refused,
    /// Anything else: it may have been created, or may be yet.
    Ambiguous,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ShipperEvent {
    /// The WAL holds so much that no slot has.
    Unshipped(Unshipped),
    /// Ship what there is without waiting for the interval.
    Flush,
    /// Time passed.
    Timer,
    /// The way to the bucket has changed: what is under way or is to be tried again is asked anew, now. The
    /// answer that is not waited for any more counts as ambiguous.
    Reroute,
    /// The draft that was asked for; none if there is nothing to ship, or no moment to cut it: then it is asked
    /// for again when the WAL is looked at the next time.
    Drafted(Option<Draft>),
    /// The draft of [`Shipper::next_ahead`].
    DraftedAhead(Draft),
    /// The answer to the PUT.
    Put(PutAnswer),
    /// The slot that was to be read; `None` if there is no such object.
    Slot(Option<SlotFacts>),
    /// The floor, read after the answer in question.
    Floor(Floor),
    /// The slot or the floor could not be read.
    ReadFailed,
}

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ShipperEffect {
    /// Cut a batch for this slot, encode it, make its intent durable: answer `Drafted`.
    Draft(Txid),
    /// Create the slot with the draft's bytes: answer `Put`.
    Put(Txid),
    /// Read the slot: answer `Slot` or `ReadFailed`.
    ReadSlot(Txid),
    /// Read the floor: answer `Floor` or `ReadFailed`.
    ReadFloor,
    /// The slot is ours for ever: record the boundary.
    Confirmed(Position),
    /// Another session owns the slot, and what was in the draft is not in it. The shipper has stopped.
    Fenced(SlotFacts),
    /// The fence met a slot of a lower epoch: apply it and fence after it. The shipper has stopped.
    Overtaken(SlotFacts),
    /// What the draft became cannot be known; the leadership must start over. The shipper has stopped.
    Unknown,
    /// Nothing to do before this moment, or before another event.
    WakeAt(Monotonic),
}

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(2);

impl Shipper {
    /// A shipper for a leader of `epoch` that is proven to be at `confirmed`. Its first slot is the
    /// epoch's fence: `Flush` makes it at once.
    pub(crate) fn new(epoch: Epoch, confirmed: Position, pace: Pace) -> Shipper {
        Shipper {
            epoch,
            confirmed,
            pace,
            state: State::Idle,
            ahead: VecDeque::new(),
            waiting_since: VecDeque::new(),
            stuck_since: None,
            last_sent: None,
            sent_before: None,
            dirty_since: None,
            unsent: Unshipped::default(),
            flush: false,
            fence_done: false,
            doubt: false,
            failures: 0,
        }
    }

    /// The last slot that is ours for ever, or that we stood on when we began.
    pub(crate) fn confirmed(&self) -> Position {
        self.confirmed
    }

    /// Since when there has been something that no confirmed slot holds.
    pub(crate) fn behind_since(&self) -> Option<Monotonic> {
        self.waiting_since.front().copied().or(self.dirty_since)
    }

    /// Since when the slot in flight has been without any definite answer of the bucket. `None` if nothing is
    /// in flight.
    pub(crate) fn stuck_since(&self) -> Option<Monotonic> {
        self.stuck_since
    }

    /// Whether every draft that was made is confirmed.
    pub(crate) fn is_idle(&self) -> bool {
        self.state == State::Idle && self.ahead.is_empty()
    }

    /// The slot that may be drafted while another is in flight: the one after all that are drafted.
    pub(crate) fn next_ahead(&self) -> Option<Txid> {
        let in_flight = self.in_flight()?;
        let last = self.ahead.back().unwrap_or(&in_flight);
        self.fence_done.then(|| last.position.txid.next())
    }

    /// The one transition.
    pub(crate) fn handle(&mut self, now: Monotonic, event: ShipperEvent) -> Option<ShipperEffect> {
        match event {
            ShipperEvent::Unshipped(unsent) => {
                self.unsent = unsent;
                if unsent.bytes == 0 {
                    self.dirty_since = None;
                } else if self.dirty_since.is_none() {
                    self.dirty_since = Some(now);
                }
                self.proceed(now)
            }
            ShipperEvent::Flush => {
                self.flush = true;
                self.proceed(now)
            }
            ShipperEvent::Timer => self.proceed(now),
            ShipperEvent::Reroute => self.reroute(),
            ShipperEvent::Drafted(draft) => self.drafted(now, draft),
            ShipperEvent::DraftedAhead(draft) => {
                assert_eq!(Some(draft.position.txid), self.next_ahead(), "BUG: a draft of another slot");
                self.waiting_since.push_back(self.dirty_since.take().unwrap_or(now));
                self.ahead.push_back(draft);
                self.proceed(now)
            }
            ShipperEvent::Put(answer) => self.answered(now, answer),
            ShipperEvent::Slot(slot) => self.read(now, slot),
            ShipperEvent::Floor(floor) => self.floor_read(now, floor),
            ShipperEvent::ReadFailed => self.read_failed(now),
        }
    }

    fn proceed(&mut self, now: Monotonic) -> Option<ShipperEffect> {
        match self.state {
            State::Idle => self.begin(now),
            State::Resting(_, until, _) if now < until => Some(ShipperEffect::WakeAt(until)),
            State::Resting(draft, _, again) => Some(self.again(draft, again)),
            State::Drafting
            | State::Sending(_)
            | State::Reading(_)
            | State::CheckingFloor(..)
            | State::Stopped => None,
        }
    }

    /// The draft whose fate is open.
    fn in_flight(&self) -> Option<Draft> {
        match self.state {
            State::Sending(draft)
            | State::Resting(draft, ..)
            | State::Reading(draft)
            | State::CheckingFloor(draft, _) => Some(draft),
            State::Idle | State::Drafting | State::Stopped => None,
        }
    }

    fn begin(&mut self, now: Monotonic) -> Option<ShipperEffect> {
        if let Some(draft) = self.ahead.pop_front() {
            self.last_sent = Some(now);
            self.stuck_since = Some(now);
            return Some(self.again(draft, Again::Put));
        }
        let fence_is_due = !self.fence_done && self.flush;
        match self.dirty_since {
            _ if fence_is_due => {}
            None => {
                self.flush = false;
                return None;
            }
            Some(_) if self.flush => {}
            Some(since) => {
                let due = self.pace.due_at(self.unsent, since, self.last_sent);
                if now < due {
                    return Some(ShipperEffect::WakeAt(due));
                }
            }
        }
        self.flush = false;
        self.sent_before = self.last_sent.replace(now);
        self.state = State::Drafting;
        Some(ShipperEffect::Draft(self.confirmed.txid.next()))
    }

    fn again(&mut self, draft: Draft, again: Again) -> ShipperEffect {
        match again {
            Again::Put => {
                self.state = State::Sending(draft);
                ShipperEffect::Put(draft.position.txid)
            }
            Again::Read => {
                self.state = State::Reading(draft);
                ShipperEffect::ReadSlot(draft.position.txid)
            }
            Again::Floor(verdict) => {
                self.state = State::CheckingFloor(draft, verdict);
                ShipperEffect::ReadFloor
            }
        }
    }

    fn reroute(&mut self) -> Option<ShipperEffect> {
        match self.state {
            State::Sending(draft) => Some(self.again(draft, Again::Put)),
            State::Reading(draft) => Some(self.again(draft, Again::Read)),
            State::CheckingFloor(draft, verdict) => Some(self.again(draft, Again::Floor(verdict))),
            State::Resting(draft, _, again) => Some(self.again(draft, again)),
            State::Idle | State::Drafting | State::Stopped => None,
        }
    }

    fn drafted(&mut self, now: Monotonic, draft: Option<Draft>) -> Option<ShipperEffect> {
        assert_eq!(self.state, State::Drafting, "BUG: a draft that nobody asked for");
        let Some(draft) = draft else {
            // Perhaps only a statement was in the way: what has waited since then is as due as it was.
            self.state = State::Idle;
            self.last_sent = self.sent_before;
            return None;
        };
        assert_eq!(draft.position.txid, self.confirmed.txid.next(), "BUG: a draft of another slot");
        // What is committed from now on waits for the slot after this one.
        self.waiting_since.push_back(self.dirty_since.take().unwrap_or(now));
        self.stuck_since = Some(now);
        Some(self.again(draft, Again::Put))
    }

    fn answered(&mut self, now: Monotonic, answer: PutAnswer) -> Option<ShipperEffect> {
        let State::Sending(draft) = self.state else {
            panic!("BUG: an answer to no PUT in {:?}", self.state);
        };
        if answer != PutAnswer::Ambiguous {
            self.stuck_since = Some(now);
        }
        match answer {
            PutAnswer::Stored => Some(self.stored(draft)),
            PutAnswer::Refused => Some(self.again(draft, Again::Read)),
            PutAnswer::Ambiguous => Some(self.rest(now, draft, Again::Put)),
        }
    }

    fn stored(&mut self, draft: Draft) -> ShipperEffect {
        // The slot after our own last one: had anybody led since, their fence would be in it.
        if self.fence_done && !self.doubt {
            return self.confirm(draft);
        }
        self.again(draft, Again::Floor(Verdict::Ours))
    }

    fn read(&mut self, now: Monotonic, slot: Option<SlotFacts>) -> Option<ShipperEffect> {
        let State::Reading(draft) = self.state else {
            panic!("BUG: a slot that nobody asked for in {:?}", self.state);
        };
        self.stuck_since = Some(now);
        let Some(slot) = slot else {
            // Refused and yet absent: it was deleted, or the store is confused. The PUT is tried again, and
            // even its success counts only with the floor.
            self.doubt = true;
            return Some(self.rest(now, draft, Again::Put));
        };
        let ours = slot.chain == draft.position.chain;
        let verdict = if ours { Verdict::Ours } else { Verdict::Foreign(slot) };
        Some(self.again(draft, Again::Floor(verdict)))
    }

    fn floor_read(&mut self, now: Monotonic, floor: Floor) -> Option<ShipperEffect> {
        let State::CheckingFloor(draft, verdict) = self.state else {
            panic!("BUG: a floor that nobody asked for in {:?}", self.state);
        };
        self.stuck_since = Some(now);
        if floor.covers(draft.position.txid) {
            self.state = State::Stopped;
            return Some(ShipperEffect::Unknown);
        }
        match verdict {
            Verdict::Ours => Some(self.confirm(draft)),
            Verdict::Foreign(slot) => {
                self.state = State::Stopped;
                if self.fence_done || slot.epoch >= self.epoch {
                    Some(ShipperEffect::Fenced(slot))
                } else {
                    Some(ShipperEffect::Overtaken(slot))
                }
            }
        }
    }

    fn read_failed(&mut self, now: Monotonic) -> Option<ShipperEffect> {
        match self.state {
            State::Reading(draft) => Some(self.rest(now, draft, Again::Read)),
            State::CheckingFloor(draft, verdict) => Some(self.rest(now, draft, Again::Floor(verdict))),
            state => panic!("BUG: a failed read that nobody asked for in {state:?}"),
        }
    }

    fn rest(&mut self, now: Monotonic, draft: Draft, again: Again) -> ShipperEffect {
        self.failures = self.failures.saturating_add(1);
        let delay = FIRST_RETRY.saturating_mul(1 << self.failures.min(8).saturating_sub(1)).min(LAST_RETRY);
        let until = now + delay;
        self.state = State::Resting(draft, until, again);
        ShipperEffect::WakeAt(until)
    }

    fn confirm(&mut self, draft: Draft) -> ShipperEffect {
        self.confirmed = draft.position;
        self.fence_done = true;
        self.doubt = false;
        self.failures = 0;
        self.stuck_since = None;
        self.waiting_since.pop_front();
        self.state = State::Idle;
        ShipperEffect::Confirmed(draft.position)
    }
}
