use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::clock;
use super::shared::Shared;
use crate::sqlite::{ReadPool, RowCursor};
use crate::types::{Bookmark, Epoch, Error, ErrorKind, LocalReads, Outcome, Result, Txid};

/// Who waits for slots to be confirmed: writers in Cloud mode, and reads that want nothing else.
///
/// The replicator tells it what becomes of the slots of a leadership; each confirmed slot wakes those who
/// wait for it at once.
pub(crate) struct Confirmations {
    state: Mutex<State>,
    /// By the parity of the slot that is waited for: a confirmed slot does not wake those of the next one.
    turned: [Condvar; 2],
    /// For how long anybody waits.
    limit: Duration,
}

struct State {
    /// Of the leadership that is or was last.
    epoch: Epoch,
    /// Its newest slot that is confirmed.
    confirmed: Txid,
    standing: Standing,
    /// Goes up when commits that were visible may have gone: what was read before may be undone.
    turns: u64,
}

/// What the commits that no slot holds are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// This node does not lead; whether there are any.
    Following { tail: bool },
    /// They are being shipped.
    Leading,
    /// The leadership is over and they are not judged yet; whether another session has the slot that they
    /// would begin in.
    Ended { foreign: bool },
}

/// A read that has begun: what it sees is of this turn.
pub(crate) struct Reading(u64);

impl Confirmations {
    /// Nothing is known yet.
    pub(super) fn new(limit: Duration) -> Confirmations {
        let state = State {
            epoch: Epoch::ZERO,
            confirmed: Txid::ZERO,
            standing: Standing::Following { tail: true },
            turns: 0,
        };
        Confirmations { state: Mutex::new(state), turned: [Condvar::new(), Condvar::new()], limit }
    }

    /// A leadership begins with this confirmed slot.
    pub(super) fn begin(&self, epoch: Epoch, fence: Txid) {
        self.change(|state| {
            state.turn(Standing::Leading);
            (state.epoch, state.confirmed) = (epoch, fence);
        });
    }

    /// The leadership's next slot is confirmed.
    pub(super) fn confirm(&self, slot: Txid) {
        let mut state = self.state.lock();
        let next = state.confirmed.next() == slot;
        state.confirmed = slot;
        drop(state);
        self.turned[parity(slot)].notify_all();
        if !next {
            self.turned[parity(slot.next())].notify_all();
        }
    }

    /// The leadership is over: what becomes of what is not confirmed is open.
    ///
    /// Also for a leader that offers what it has not shipped to another node: from then on a foreign slot no
    /// longer means that the commits are not in it.
    pub(super) fn end(&self) {
        self.change(|state| {
            if state.standing == Standing::Leading {
                state.turn(Standing::Ended { foreign: false });
            }
        });
    }

    /// The slot after the last confirmed one is another session's, and the floor, read after it, is below:
    /// what is not confirmed will never be in the log.
    pub(super) fn lose(&self) {
        self.change(|state| {
            if state.standing == Standing::Leading {
                state.turn(Standing::Ended { foreign: true });
            }
        });
    }

    /// The node follows, and has judged its frames; whether some are left that no slot holds.
    pub(super) fn settled(&self, tail: bool) {
        let standing = Standing::Following { tail };
        if self.state.lock().standing != standing {
            self.change(|state| state.turn(standing));
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.turned.iter().for_each(|turned| {
            turned.notify_all();
        });
    }

    /// Waits until the slot of a local commit is confirmed.
    ///
    /// `Timeout` with an unknown outcome after the limit; `OutcomeUnknown` if the leadership ends before;
    /// `Fenced`, not committed, once another session is known to have the slot.
    pub(super) fn wait(&self, commit: Bookmark) -> Result<()> {
        self.until(commit.txid, |state| state.fate(commit)).unwrap_or_else(|| {
            let message = format!(
                "committed locally, but the bucket did not confirm slot {} within {:?}",
                commit.txid, self.limit
            );
            Err(Error::new(ErrorKind::Timeout, message).with_outcome(Outcome::Unknown))
        })
    }

    /// A read begins.
    pub(super) fn reading(&self) -> Reading {
        Reading(self.state.lock().turns)
    }

    /// Waits until everything up to `newest`, which a read may have seen, is confirmed.
    pub(super) fn wait_seen(&self, reading: &Reading, newest: Bookmark) -> Result<()> {
        self.until(newest.txid, |state| state.seen(reading, newest)).unwrap_or_else(|| {
            let message = format!(
                "the bucket did not confirm what was read (slot {}) within {:?}",
                newest.txid, self.limit
            );
            Err(Error::new(ErrorKind::Timeout, message))
        })
    }

    fn until<T>(&self, slot: Txid, test: impl Fn(&State) -> Option<T>) -> Option<T> {
        let mut state = self.state.lock();
        if let Some(done) = test(&state) {
            return Some(done);
        }
        let deadline = clock::now() + self.limit;
        loop {
            let left = deadline.since(clock::now());
            if left.is_zero() {
                return None;
            }
            self.turned[parity(slot)].wait_for(&mut state, left);
            if let Some(done) = test(&state) {
                return Some(done);
            }
        }
    }
}

fn parity(slot: Txid) -> usize {
    usize::from(!slot.get().is_multiple_of(2))
}

impl State {
    fn turn(&mut self, standing: Standing) {
        // Who follows without a tail has nothing visible that could go.
        if self.standing != (Standing::Following { tail: false }) {
            self.turns += 1;
        }
        self.standing = standing;
    }

    /// What became of a local commit; `None` while it is open.
    fn fate(&self, commit: Bookmark) -> Option<Result<()>> {
        let same = commit.epoch == self.epoch;
        if same && commit.txid <= self.confirmed {
            return Some(Ok(()));
        }
        match self.standing {
            Standing::Leading if same => None,
            Standing::Ended { foreign: true } if same => {
                let message = "another node has taken over, and the log went on without this write";
                Some(Err(Error::new(ErrorKind::Fenced, message)))
            }
            Standing::Leading | Standing::Ended { .. } | Standing::Following { .. } => {
                let message = format!(
                    "committed locally, but the leadership ended before slot {} was confirmed: whether the \
                     log has it is open",
                    commit.txid
                );
                Some(Err(Error::new(ErrorKind::OutcomeUnknown, message)))
            }
        }
    }

    /// Whether what was read is confirmed; `None` while it may be yet.
    fn seen(&self, reading: &Reading, newest: Bookmark) -> Option<Result<()>> {
        let gone = |why| Some(Err(Error::new(ErrorKind::LeaderUnavailable, why)));
        if reading.0 != self.turns {
            return gone("the leadership ended before what was read was confirmed: read again");
        }
        match self.standing {
            Standing::Following { tail: false } => Some(Ok(())),
            // What was read before this leadership was of the log.
            Standing::Leading if newest.epoch < self.epoch || newest.txid <= self.confirmed => Some(Ok(())),
            Standing::Leading => None,
            Standing::Following { tail: true } | Standing::Ended { .. } => {
                gone("this node has commits that no slot holds, and does not lead")
            }
        }
    }
}

/// Reads of this node's database, told when they may be.
#[derive(Clone)]
pub(crate) struct LocalReader(Arc<Shared>);

impl LocalReader {
    pub(super) fn new(shared: &Arc<Shared>) -> LocalReader {
        LocalReader(Arc::clone(shared))
    }

    /// Whether reads are told only when the log holds what they saw.
    pub(crate) fn confirms(&self) -> bool {
        self.0.settings.local_reads == LocalReads::Confirmed
    }

    /// Runs a read, and gives what it read when that may be told.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&ReadPool) -> Result<T>) -> Result<T> {
        let reading = self.begin();
        let value = read(&self.0.connections()?.pool)?;
        self.end(&reading).map(|()| value)
    }

    /// As [`LocalReader::read`], for a cursor, whose snapshot is that of its first page.
    pub(crate) fn read_pages(&self, read: impl FnOnce(&ReadPool) -> Result<RowCursor>) -> Result<RowCursor> {
        let cursor = read(&self.0.connections()?.pool)?;
        if !self.confirms() {
            return Ok(cursor);
        }
        let (this, reading) = (self.clone(), self.begin());
        Ok(cursor.checked(Box::new(move || this.end(&reading))))
    }

    /// A read begins.
    pub(crate) fn begin(&self) -> Reading {
        if self.confirms() { self.0.confirmations.reading() } else { Reading(0) }
    }

    /// The read has seen what it saw: waits until that is confirmed, if the application wants nothing else.
    pub(crate) fn end(&self, reading: &Reading) -> Result<()> {
        if !self.confirms() {
            return Ok(());
        }
        let limit = self.0.settings.confirm_timeout;
        let Some(newest) = self.0.connections()?.writer.newest(limit) else {
            let message = format!("a statement kept the writer for {limit:?}: what it did cannot be told");
            return Err(Error::new(ErrorKind::Timeout, message));
        };
        self.0.confirmations.wait_seen(reading, newest)
    }
}
