use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::InterruptHandle;

use super::connection::{Connection, Executed};
use super::policy::Caller;
use super::writer::{Judged, Writer, executed_at};
use crate::types::{Bookmark, Error, ErrorKind, ExecuteResult, Params, Result, Rows};

/// A connection of the caller's own: transactions by SQL text, temporary tables, `last_insert_rowid()`.
///
/// What writes waits for its turn as every other writer does, and keeps the turn until the transaction
/// ends. Dropping it rolls back and closes the connection.
pub(crate) struct WriterSession {
    core: Arc<SessionCore>,
    writer: Arc<Writer>,
}

/// What a session and the writer, which may have to abort it, share.
///
/// Locks are taken in this order: the session's, then the writer's. The writer itself only ever tries.
pub(crate) struct SessionCore {
    state: Mutex<SessionState>,
    interrupt: InterruptHandle,
}

struct SessionState {
    /// `None` once it is closed or was retired.
    connection: Option<Connection>,
    ticket: Option<u64>,
    /// Why its transaction was taken away, until it has heard of it.
    aborted: Option<String>,
}

/// What a statement with the writer's mutex was.
enum Stepped<T> {
    /// A write that is over, with the bookmark of the newest commit.
    Wrote(T, Bookmark),
    /// A part of a transaction, with the bookmark of a commit made now, or the end of one that wrote nothing.
    Inside(T, Bookmark),
}

impl Writer {
    /// Opens a session.
    pub(crate) fn connect(self: &Arc<Writer>) -> Result<WriterSession> {
        self.check_open()?;
        let connection = Connection::open(&self.options.connection, Arc::clone(&self.gate))?;
        let interrupt = connection.interrupt_handle();
        let state = SessionState { connection: Some(connection), ticket: None, aborted: None };
        let core = Arc::new(SessionCore { state: Mutex::new(state), interrupt });
        let mut sessions = self.sessions.lock();
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(Arc::downgrade(&core));
        drop(sessions);
        Ok(WriterSession { core, writer: Arc::clone(self) })
    }
}

impl SessionCore {
    pub(super) fn interrupt(&self) {
        self.interrupt.interrupt();
    }

    /// Stops its statement and closes its connection. `false` if the statement does not stop.
    pub(super) fn close(&self, patience: Duration) -> bool {
        self.interrupt();
        let Some(mut state) = self.state.try_lock_for(patience) else {
            return false;
        };
        state.roll_back();
        state.connection = None;
        true
    }

    /// Rolls its transaction back for the writer. `false` if a statement of it runs.
    pub(super) fn abort(&self, reason: &str) -> bool {
        let Some(mut state) = self.state.try_lock() else {
            return false;
        };
        state.ticket = None;
        state.aborted = Some(reason.to_owned());
        state.roll_back();
        true
    }
}

impl WriterSession {
    /// Runs one statement of any kind.
    pub(crate) fn execute(&self, sql: &str, params: &Params<'_>) -> Result<ExecuteResult> {
        let run = |connection: &mut Connection| connection.execute(sql, params, Caller::Session);
        let (executed, bookmark): (Executed, _) = self.step(sql, run)?;
        Ok(executed_at(executed, bookmark))
    }

    /// Runs one statement of any kind, and keeps the rows that it returns.
    pub(crate) fn execute_returning(&self, sql: &str, params: &Params<'_>) -> Result<(ExecuteResult, Rows)> {
        let run = |connection: &mut Connection| connection.execute_returning(sql, params, Caller::Session);
        let ((executed, rows), bookmark) = self.step(sql, run)?;
        Ok((executed_at(executed, bookmark), rows))
    }

    /// The rows of a statement that only reads.
    pub(crate) fn query(&self, sql: &str, params: &Params<'_>) -> Result<Rows> {
        self.step(sql, |connection| connection.query(sql, params, Caller::Session)).map(|(rows, _)| rows)
    }

    /// Whether a transaction is open.
    pub(crate) fn in_transaction(&self) -> Result<bool> {
        Ok(!self.core.state.lock().connection()?.is_autocommit())
    }

    /// The rowid of the session's last insert, 0 before the first.
    pub(crate) fn last_insert_rowid(&self) -> Result<i64> {
        Ok(self.core.state.lock().connection()?.last_insert_rowid())
    }

    /// Rows that the session has changed, triggers included.
    pub(crate) fn total_changes(&self) -> Result<i64> {
        Ok(self.core.state.lock().connection()?.total_changes())
    }

    /// Stops the statement that runs now, if one does.
    pub(crate) fn interrupt(&self) {
        self.core.interrupt();
    }

    /// Rolls back and closes the connection.
    pub(crate) fn close(&self) {
        let mut state = self.core.state.lock();
        state.roll_back();
        state.connection = None;
        if let Some(ticket) = state.ticket.take() {
            self.writer.hand_back(&mut self.writer.state.lock(), ticket);
        }
    }

    fn step<T>(&self, sql: &str, run: impl FnOnce(&mut Connection) -> Result<T>) -> Result<(T, Bookmark)> {
        let mut state = self.core.state.lock();
        if let Some(reason) = state.aborted.take() {
            let message = format!("the transaction is gone: {reason}");
            return Err(Error::new(ErrorKind::TransactionAborted, message));
        }
        let readonly = state.connection()?.is_readonly(sql, Caller::Session)?;
        if readonly && state.ticket.is_none() {
            return run(state.connection()?).map(|value| (value, Bookmark::default()));
        }
        let stepped = self.step_as_writer(&mut state, run)?;
        // Who has to close the session or abort it must not wait for the acknowledgement.
        drop(state);
        match stepped {
            Stepped::Wrote(value, newest) => self.writer.acknowledge_at(newest, (value, newest)),
            Stepped::Inside(value, bookmark) => Ok((value, bookmark)),
        }
    }

    /// Runs it with the writer's mutex, as every commit is.
    fn step_as_writer<T>(
        &self,
        state: &mut SessionState,
        run: impl FnOnce(&mut Connection) -> Result<T>,
    ) -> Result<Stepped<T>> {
        let mut writer = self.writer.wait_for_turn(state.ticket)?;
        match state.ticket {
            Some(ticket) => {
                if let Some(reason) = self.writer.overdue(&writer) {
                    state.roll_back();
                    state.ticket = None;
                    self.writer.lose(&mut writer, ticket, reason);
                    return Err(writer.why_taken(ticket));
                }
                self.writer.redeem(&mut writer, ticket)?;
            }
            None => {
                self.writer.gate.check()?;
                state.ticket = Some(self.writer.issue(&mut writer, Some(Arc::clone(&self.core))));
            }
        }
        let connection = state.connection()?;
        connection.take_traces();
        let outcome = run(connection);
        let traces = connection.take_traces();
        writer.note(traces);
        let ended = connection.is_autocommit();
        let judged =
            if ended { self.writer.judge(outcome, traces) } else { Judged { outcome, retire: false } };
        if judged.retire {
            state.connection = None;
        }
        match state.ticket {
            Some(ticket) if ended => {
                state.ticket = None;
                self.writer.hand_back(&mut writer, ticket);
            }
            _ => self.writer.touch(&mut writer),
        }
        judged.outcome.map(|value| match ended {
            true if traces.wrote => Stepped::Wrote(value, writer.newest()),
            // What was rolled back is nowhere.
            true => Stepped::Inside(value, Bookmark::default()),
            false => Stepped::Inside(value, writer.bookmark()),
        })
    }
}

impl Drop for WriterSession {
    fn drop(&mut self) {
        self.close();
    }
}

impl SessionState {
    fn connection(&mut self) -> Result<&mut Connection> {
        self.connection.as_mut().ok_or_else(|| Error::new(ErrorKind::Closed, "the session is closed"))
    }

    /// Rolls back; a connection that cannot goes.
    fn roll_back(&mut self) {
        if let Some(connection) = &mut self.connection
            && !connection.is_autocommit()
            && connection.command("ROLLBACK").is_err()
        {
            self.connection = None;
        }
    }
}
