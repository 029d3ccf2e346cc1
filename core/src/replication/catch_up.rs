use super::{Floor, SlotFacts};
use crate::types::{Epoch, Error, ErrorKind, Position, Result, Txid};

/// Reads the log slot by slot from a position, checks that each continues it, and says when to apply
/// and when the end is proven.
///
/// A slot that is absent means "current" only when the floor, read afterwards, is not above the
/// position: below the floor slots are deleted, and their absence says nothing. Nor does the presence of
/// the first slot of an epoch: the fence of a session whose view was old may lie in a hole. (No other slot
/// can: a leader's next slot after its own last one meets the fence of whoever led since, which is never
/// deleted.) So the floor is read before such a slot is applied, too.
#[derive(Clone, Debug)]
pub(crate) struct CatchUp {
    applied: Position,
    read: Position,
    read_bytes: u64,
    group_bytes: u64,
    /// The first slot of an epoch that was read and for which the floor was not read yet.
    fence: Option<Txid>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Idle,
    Fetching,
    CheckingFence { more: bool },
    Applying { more: bool },
    CheckingFloor,
    Stopped,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum CatchUpEvent {
    /// It is time to look.
    Poll,
    /// The slot that was to be fetched, and the bytes of its file.
    Found(SlotFacts, u64),
    /// There is no object for it.
    Missing,
    /// The group was applied.
    Applied,
    /// The floor, read after the slot was missed.
    Floor(Floor),
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum CatchUpEffect {
    /// Get this slot: answer with `Found` or `Missing`.
    Fetch(Txid),
    /// Read the floor, whatever else is known: answer with `Floor`.
    CheckFence,
    /// Apply all slots found since the last time, up to this position, as one group: answer `Applied`.
    Apply(Position),
    /// Read the floor: answer with `Floor`.
    ReadFloor,
    /// The database contains the log up to its end as of when the round began.
    Current(Position),
    /// The slots that follow were deleted: find a way over them with a listing.
    Replan,
}

impl CatchUp {
    /// A reader that stands at `position` and groups at most about `group_bytes` of files.
    pub(crate) fn new(position: Position, group_bytes: u64) -> CatchUp {
        CatchUp {
            applied: position,
            read: position,
            read_bytes: 0,
            group_bytes,
            fence: None,
            state: State::Idle,
        }
    }

    /// Up to where the database contains the log.
    #[cfg(test)]
    pub(crate) fn applied(&self) -> Position {
        self.applied
    }

    /// The one transition. An error means that the log is not one that this database can follow; the
    /// reader does nothing more.
    pub(crate) fn handle(&mut self, event: CatchUpEvent) -> Result<Option<CatchUpEffect>> {
        match (self.state, event) {
            (State::Stopped, _) => Ok(None),
            (State::Idle, CatchUpEvent::Poll) => Ok(Some(self.fetch())),
            (State::Fetching, CatchUpEvent::Found(slot, bytes)) => match self.accept(slot, bytes) {
                Ok(effect) => Ok(Some(effect)),
                Err(error) => {
                    self.state = State::Stopped;
                    Err(error)
                }
            },
            (State::Fetching, CatchUpEvent::Missing) => {
                if self.read == self.applied {
                    self.state = State::CheckingFloor;
                    return Ok(Some(CatchUpEffect::ReadFloor));
                }
                Ok(Some(self.apply(false)))
            }
            (State::CheckingFence { more }, CatchUpEvent::Floor(floor)) => {
                if self.fence.take().is_some_and(|fence| floor.covers(fence)) {
                    self.state = State::Idle;
                    return Ok(Some(CatchUpEffect::Replan));
                }
                Ok(Some(self.apply(more)))
            }
            (State::Applying { more }, CatchUpEvent::Applied) => {
                self.applied = self.read;
                self.read_bytes = 0;
                if more {
                    return Ok(Some(self.fetch()));
                }
                self.state = State::CheckingFloor;
                Ok(Some(CatchUpEffect::ReadFloor))
            }
            (State::CheckingFloor, CatchUpEvent::Floor(floor)) => {
                self.state = State::Idle;
                if floor.covers(self.applied.txid.next()) {
                    return Ok(Some(CatchUpEffect::Replan));
                }
                Ok(Some(CatchUpEffect::Current(self.applied)))
            }
            (state, event) => Err(Error::new(
                ErrorKind::Internal,
                format!("catch-up does not expect {event:?} in {state:?}"),
            )),
        }
    }

    fn fetch(&mut self) -> CatchUpEffect {
        self.state = State::Fetching;
        CatchUpEffect::Fetch(self.read.txid.next())
    }

    fn accept(&mut self, slot: SlotFacts, bytes: u64) -> Result<CatchUpEffect> {
        check_continues(self.read, &slot)?;
        if slot.epoch > self.read.epoch {
            self.fence.get_or_insert(slot.txid);
        }
        self.read = slot.position();
        self.read_bytes += bytes;
        if self.read_bytes < self.group_bytes {
            return Ok(self.fetch());
        }
        Ok(self.apply(true))
    }

    fn apply(&mut self, more: bool) -> CatchUpEffect {
        if self.fence.is_some() {
            self.state = State::CheckingFence { more };
            return CatchUpEffect::CheckFence;
        }
        self.state = State::Applying { more };
        CatchUpEffect::Apply(self.read)
    }
}

/// Whether the slot continues the log at `position`.
///
/// `ForeignDatabase` for a slot that another tool wrote, `Corrupt` for one that does not name the
/// position's chain as its previous, or whose epoch goes down.
pub(crate) fn check_continues(position: Position, slot: &SlotFacts) -> Result<()> {
    let txid = slot.txid;
    if slot.is_foreign_tool() {
        let message = format!("slot {txid} was written by another tool: open with `adopt` to go on from it");
        return Err(Error::new(ErrorKind::ForeignDatabase, message));
    }
    if txid != position.txid.next() || slot.previous != position.chain {
        return Err(Error::corrupt(format!("slot {txid} does not continue the log at {position}")));
    }
    if slot.epoch < position.epoch || slot.epoch == Epoch::ZERO {
        let message = format!("slot {txid} has epoch {}, below {} before it", slot.epoch, position.epoch);
        return Err(Error::corrupt(message));
    }
    Ok(())
}
