use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::MutexGuard;

use super::session::SessionCore;
use super::writer::{State, Writer};
use crate::types::{Error, ErrorKind, Monotonic, Result};

/// After how long an interactive transaction is rolled back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransactionLimits {
    /// Since it began.
    pub(crate) total: Duration,
    /// Since its last statement ended.
    pub(crate) idle: Duration,
}

impl Default for TransactionLimits {
    fn default() -> TransactionLimits {
        TransactionLimits { total: Duration::from_secs(600), idle: Duration::from_secs(60) }
    }
}

/// Who has the ticket.
pub(super) struct Holder {
    pub(super) ticket: u64,
    began: Monotonic,
    touched: Monotonic,
    /// The session whose connection the transaction is on; `None` if it is on the writer's own.
    session: Option<Arc<SessionCore>>,
}

impl Writer {
    /// The mutex, for a writer. `Busy` after the busy timeout.
    #[inline]
    pub(super) fn enter(&self) -> Result<MutexGuard<'_, State>> {
        if let Some(_door) = self.door.try_lock()
            && let Some(state) = self.state.try_lock()
        {
            return Ok(state);
        }
        self.enter_behind_others()
    }

    fn enter_behind_others(&self) -> Result<MutexGuard<'_, State>> {
        let patience = self.options.connection.busy_timeout;
        let deadline = (self.clock)() + patience;
        if let Some(_door) = self.door.try_lock_for(patience)
            && let Some(state) = self.state.try_lock_for(deadline.since((self.clock)()))
        {
            return Ok(state);
        }
        Err(Error::new(ErrorKind::Busy, "another write took longer than the busy timeout"))
    }

    /// Gives a ticket out. Only when the state is free.
    pub(super) fn issue(&self, state: &mut State, session: Option<Arc<SessionCore>>) -> u64 {
        let now = (self.clock)();
        *self.writing.lock() = session.as_ref().map_or_else(Weak::new, Arc::downgrade);
        state.last_ticket += 1;
        state.holder = Some(Holder { ticket: state.last_ticket, began: now, touched: now, session });
        state.last_ticket
    }

    /// Takes a ticket back from its holder.
    pub(super) fn hand_back(&self, state: &mut State, ticket: u64) {
        if state.holder.as_ref().is_some_and(|holder| holder.ticket == ticket) {
            state.holder = None;
            *self.writing.lock() = Weak::new();
            // All: who takes the mutex for one statement tells nobody when it is done.
            self.freed.notify_all();
        }
    }

    /// Checks that the ticket is still the holder's, and notes that it is used.
    pub(super) fn redeem(&self, state: &mut State, ticket: u64) -> Result<()> {
        self.expire(state);
        let now = (self.clock)();
        match &mut state.holder {
            Some(holder) if holder.ticket == ticket => {
                holder.touched = now;
                Ok(())
            }
            _ => Err(state.why_taken(ticket)),
        }
    }

    /// Takes a ticket back whose transaction is gone, and keeps the reason for its holder.
    pub(super) fn lose(&self, state: &mut State, ticket: u64, reason: String) {
        state.taken = Some((ticket, reason));
        self.hand_back(state, ticket);
    }

    pub(super) fn touch(&self, state: &mut State) {
        if let Some(holder) = &mut state.holder {
            holder.touched = (self.clock)();
        }
    }

    pub(super) fn expiry(&self, holder: &Holder) -> Monotonic {
        let limits = self.options.transactions;
        (holder.began + limits.total).min(holder.touched + limits.idle)
    }

    /// Why the transaction that has the ticket must end, if it has outlived its limits.
    pub(super) fn overdue(&self, state: &State) -> Option<String> {
        let (holder, limits, now) = (state.holder.as_ref()?, self.options.transactions, (self.clock)());
        if now >= holder.began + limits.total {
            Some(format!("the transaction was open for longer than {:?}", limits.total))
        } else if now >= holder.touched + limits.idle {
            Some(format!("the transaction was idle for longer than {:?}", limits.idle))
        } else {
            None
        }
    }

    /// Takes the ticket away from a transaction that has outlived its limits.
    pub(super) fn expire(&self, state: &mut State) {
        if let Some(reason) = self.overdue(state) {
            self.take_away(state, &reason);
        }
    }

    /// Rolls back the transaction that holds the ticket and takes that away. `false` if its session is in
    /// use at the moment.
    pub(super) fn take_away(&self, state: &mut State, reason: &str) -> bool {
        let Some(holder) = &state.holder else { return true };
        let ticket = holder.ticket;
        match holder.session.clone() {
            None => self.roll_back(state),
            Some(session) => {
                if !session.abort(reason) {
                    return false;
                }
            }
        }
        state.taken = Some((ticket, reason.to_owned()));
        state.holder = None;
        self.freed.notify_all();
        true
    }
}
