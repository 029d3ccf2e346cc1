use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use rusqlite::{InterruptHandle, ffi};

use super::connection::{Connection, ConnectionOptions, Executed, Traces};
use super::gate::{Clock, Gate};
use super::hooks::Hooks;
use super::policy::Caller;
use super::pool::limited;
use super::session::SessionCore;
use super::tally::Tally;
use super::ticket::{Holder, TransactionLimits};
use crate::types::{
    BatchResult, Bookmark, Error, ErrorKind, ExecuteResult, Params, ReadOptions, Result, Rows, Statement,
    Txid,
};

/// How a writer waits, and for how long a transaction may keep others waiting.
#[derive(Clone, Debug)]
pub(crate) struct WriterOptions {
    pub(crate) connection: ConnectionOptions,
    pub(crate) transactions: TransactionLimits,
}

/// The one that writes: a connection behind a mutex, whose commits pass the gate.
///
/// A single write holds the mutex while it runs. An interactive transaction holds a *ticket*: it takes the
/// mutex for each of its statements, so that the runtime can cut a batch, or take the ticket away,
/// between two of them. Whoever wants to write while a ticket is out waits up to the busy timeout.
pub(crate) struct Writer {
    /// Whoever waits for the mutex as a writer holds this: so there is never more than one, and a cut, which
    /// does not, has its turn after two writes at most, however many writers there are.
    pub(super) door: Mutex<()>,
    pub(super) state: Mutex<State>,
    /// Told when a ticket comes back or a stall ends.
    pub(super) freed: Condvar,
    pub(super) gate: Arc<Gate>,
    pub(super) clock: Clock,
    pub(super) options: WriterOptions,
    pub(super) hooks: Hooks,
    tally: Arc<Tally>,
    /// Of the connection that is open now; beside the mutex, because it stops the one who holds that.
    interrupt: Mutex<Option<InterruptHandle>>,
    /// The session that has the ticket: it runs its statements with the mutex, so it has to be found beside it.
    pub(super) writing: Mutex<Weak<SessionCore>>,
    /// The sessions that were opened, to close them with the handle.
    pub(super) sessions: Mutex<Vec<Weak<SessionCore>>>,
}

pub(super) struct State {
    /// `None` after it was retired or closed; opened again when it is needed.
    connection: Option<Connection>,
    pub(super) holder: Option<Holder>,
    pub(super) last_ticket: u64,
    /// Why the tickets that were taken away were, for the newest of them.
    pub(super) taken: Option<(u64, String)>,
    /// What a commit made now is in.
    open: Bookmark,
    /// How many commits are in it already, among others.
    tally: Arc<Tally>,
    stalled: bool,
    /// How many frames the WAL has, and at how many writers have to wait.
    wal_frames: u32,
    wal_limit: u32,
    closed: bool,
    /// Requests with an id since the table of ids was last looked over; `None` before the first time.
    pub(super) unpruned_requests: Option<i64>,
}

impl Writer {
    /// Opens the writer's connection, and with it the database, which is made if it is not there.
    pub(crate) fn open(
        options: WriterOptions,
        gate: Arc<Gate>,
        clock: Clock,
        hooks: Hooks,
    ) -> Result<Arc<Writer>> {
        let connection = Connection::open(&options.connection, Arc::clone(&gate))?;
        let interrupt = connection.interrupt_handle();
        let tally = Arc::new(Tally::default());
        let state = State {
            connection: Some(connection),
            holder: None,
            last_ticket: 0,
            taken: None,
            open: Bookmark::default(),
            tally: Arc::clone(&tally),
            stalled: false,
            wal_frames: 0,
            wal_limit: u32::MAX,
            closed: false,
            unpruned_requests: None,
        };
        Ok(Arc::new(Writer {
            door: Mutex::new(()),
            state: Mutex::new(state),
            freed: Condvar::new(),
            gate,
            clock,
            options,
            hooks,
            tally,
            interrupt: Mutex::new(Some(interrupt)),
            writing: Mutex::new(Weak::new()),
            sessions: Mutex::new(Vec::new()),
        }))
    }

    /// Runs one statement that may write.
    pub(crate) fn execute(&self, sql: &str, params: &Params<'_>) -> Result<ExecuteResult> {
        let mut state = self.idle()?;
        let executed = self.guarded(&mut state, |c| c.execute(sql, params, Caller::Handle))?;
        let result = state.result(executed);
        self.acknowledge(state, result)
    }

    /// Runs one statement that may write, and keeps the rows that it returns.
    pub(crate) fn execute_returning(&self, sql: &str, params: &Params<'_>) -> Result<(ExecuteResult, Rows)> {
        let mut state = self.idle()?;
        let (executed, rows) =
            self.guarded(&mut state, |c| c.execute_returning(sql, params, Caller::Handle))?;
        let result = state.result(executed);
        self.acknowledge(state, (result, rows))
    }

    /// Runs the statements in one transaction: all or none.
    pub(crate) fn batch(&self, statements: &[Statement]) -> Result<BatchResult> {
        let mut state = self.idle()?;
        let done = self.guarded(&mut state, |connection| {
            in_transaction(connection, |connection| run_all(connection, statements))
        })?;
        let bookmark = state.newest();
        let with_bookmark = |(executed, rows): (Executed, Rows)| (executed_at(executed, bookmark), rows);
        let result = BatchResult::new(done.into_iter().map(with_bookmark).collect(), bookmark);
        self.acknowledge(state, result)
    }

    /// Runs a script, statement by statement: what makes the schema.
    pub(crate) fn script(&self, sql: &str) -> Result<Bookmark> {
        let mut state = self.idle()?;
        self.guarded(&mut state, |connection| connection.script(sql, Caller::Session))?;
        let newest = state.newest();
        self.acknowledge(state, newest)
    }

    /// Lends the connection for something that only reads. For databases in memory.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let mut state = self.idle()?;
        read(self.connection(&mut state)?)
    }

    /// The rows of a statement that only reads. For databases in memory.
    pub(crate) fn query(&self, sql: &str, params: &Params<'_>, options: &ReadOptions) -> Result<Rows> {
        self.read(|connection| {
            limited(connection, options.timeout, &self.clock, |c| c.query(sql, params, Caller::Handle))
        })
    }

    /// Stops the statement that runs now, if one does.
    pub(crate) fn interrupt(&self) {
        if let Some(handle) = &*self.interrupt.lock() {
            handle.interrupt();
        }
        let session = self.writing.lock().upgrade();
        if let Some(session) = session {
            session.interrupt();
        }
    }

    /// Rolls back what is open and closes the connection, waiting at most `patience` for the statement that
    /// runs. Everything after it is refused with `Closed`.
    pub(crate) fn close(&self, patience: Duration) -> Result<()> {
        self.gate.shut(super::gate::Shut::Closed);
        self.abort_all("the database handle was closed", patience)?;
        let mut state = self.state.lock();
        state.closed = true;
        state.connection = None;
        *self.interrupt.lock() = None;
        self.freed.notify_all();
        drop(state);
        let sessions = std::mem::take(&mut *self.sessions.lock());
        let all = sessions.iter().filter_map(Weak::upgrade).all(|session| session.close(patience));
        if all {
            return Ok(());
        }
        let message = format!("a session's statement did not stop within {patience:?}");
        Err(Error::new(ErrorKind::Timeout, message))
    }

    /// The mutex, when nobody has the ticket and nothing stalls. `Busy` or `Backpressure` after the busy
    /// timeout.
    #[inline]
    pub(super) fn idle(&self) -> Result<MutexGuard<'_, State>> {
        self.wait_for_turn(None)
    }

    /// Refuses when it is closed.
    pub(super) fn check_open(&self) -> Result<()> {
        if self.state.lock().closed { Err(closed()) } else { Ok(()) }
    }

    /// As [`Writer::idle`], and `own` may have the ticket.
    pub(super) fn wait_for_turn(&self, own: Option<u64>) -> Result<MutexGuard<'_, State>> {
        let mut state = self.enter()?;
        if state.closed {
            return Err(closed());
        }
        if state.is_free_for(own) {
            return Ok(state);
        }
        let deadline = (self.clock)() + self.options.connection.busy_timeout;
        loop {
            let now = (self.clock)();
            self.expire(&mut state);
            if state.closed {
                return Err(closed());
            }
            if state.is_free_for(own) {
                return Ok(state);
            }
            if now >= deadline {
                return Err(state.busy());
            }
            let expiry = state.holder.as_ref().map_or(deadline, |holder| self.expiry(holder));
            // At least a millisecond, so that a session that is in use is not asked in a busy loop.
            let wait = deadline.min(expiry).since(now).max(Duration::from_millis(1));
            self.freed.wait_for(&mut state, wait);
        }
    }

    /// Runs something on the writer's own connection that may commit, with the gate before and after it.
    pub(super) fn guarded<T>(
        &self,
        state: &mut State,
        run: impl FnOnce(&mut Connection) -> Result<T>,
    ) -> Result<T> {
        self.gate.check()?;
        let connection = self.connection(state)?;
        connection.take_traces();
        let outcome = run(connection);
        let traces = connection.take_traces();
        state.note(traces);
        match self.judge(outcome, traces) {
            Judged { outcome, retire: false } => outcome,
            Judged { outcome, retire: true } => {
                self.retire(state);
                outcome
            }
        }
    }

    /// What the caller hears of something that may have committed.
    ///
    /// From the moment the commit hook let it pass, a failure means "unknown" and the connection is not
    /// trusted any more. VACUUM calls no hook; it is judged by the gate afterwards like the others.
    pub(super) fn judge<T>(&self, outcome: Result<T>, traces: Traces) -> Judged<T> {
        if traces.wrote {
            (self.hooks.on_commit)();
        }
        let outcome = match outcome {
            // Where the slot decides, it is waited for, and proves more than a deadline does.
            Ok(value) if traces.wrote && self.hooks.acknowledge.is_none() => {
                self.gate.confirm().map(|()| value)
            }
            Ok(value) => Ok(value),
            Err(error) if traces.commit_started => {
                let code = error.sqlite_code();
                let message = format!("the commit failed half-way: {}", error.message());
                let unknown = Error::new(ErrorKind::OutcomeUnknown, message).with_source(error);
                let unknown = code.into_iter().fold(unknown, Error::with_sqlite_code);
                return Judged { outcome: Err(unknown), retire: true };
            }
            Err(error) if error.sqlite_code() == Some(ffi::SQLITE_CONSTRAINT_COMMITHOOK) => {
                Err(self.gate.refusal())
            }
            Err(error) => Err(error),
        };
        Judged { outcome, retire: false }
    }

    pub(super) fn connection<'s>(&self, state: &'s mut State) -> Result<&'s mut Connection> {
        if state.connection.is_none() {
            let connection = Connection::open(&self.options.connection, Arc::clone(&self.gate))?;
            *self.interrupt.lock() = Some(connection.interrupt_handle());
            state.connection = Some(connection);
        }
        state.connection.as_mut().ok_or_else(closed)
    }

    /// Closes a connection of which it is not known what it wrote. A database in memory has only the one.
    fn retire(&self, state: &mut State) {
        if self.options.connection.in_memory() {
            let rolled_back =
                state.connection.as_mut().is_some_and(|c| c.is_autocommit() || c.command("ROLLBACK").is_ok());
            debug_assert!(rolled_back, "memory refuses no rollback");
            return;
        }
        *self.interrupt.lock() = None;
        state.connection = None;
    }

    /// Rolls back on the writer's own connection; if that fails, the connection goes, and with it the
    /// transaction.
    pub(super) fn roll_back(&self, state: &mut State) {
        let Some(connection) = state.connection.as_mut() else { return };
        if !connection.is_autocommit() && connection.command("ROLLBACK").is_err() {
            self.retire(state);
        }
    }
}

/// What the runtime does to the writer of a node.
impl Writer {
    /// Runs something under the mutex, between two commits. It is handed the bookmark that commits get from
    /// now on, and may move it.
    pub(crate) fn cut<T>(&self, act: impl FnOnce(&mut Bookmark) -> T) -> T {
        self.state.lock().cut(act)
    }

    /// As [`Writer::cut`], if the mutex is free within `patience`: a statement that runs for long keeps it.
    pub(crate) fn try_cut<T>(&self, patience: Duration, act: impl FnOnce(&mut Bookmark) -> T) -> Option<T> {
        let mut state = self.state.try_lock_for(patience)?;
        Some(state.cut(act))
    }

    /// How many commits are in the slot that is open.
    pub(crate) fn open_commits(&self) -> u64 {
        self.tally.commits()
    }

    /// The slot that the newest commit is in or will be in.
    pub(crate) fn committed(&self) -> Txid {
        self.tally.newest()
    }

    /// The bookmark of the newest commit that anybody can see; `None` if a statement runs for longer than
    /// `patience`.
    pub(crate) fn newest(&self, patience: Duration) -> Option<Bookmark> {
        // With the mutex: a commit is visible a moment before it is noted.
        Some(self.state.try_lock_for(patience)?.newest())
    }

    /// Tells how many frames the WAL has now, and at how many writers wait: no transaction begins at the
    /// limit, so that only the last one goes beyond it. `false`, and nothing is told, if a statement runs for
    /// longer than `patience`.
    pub(crate) fn limit_wal(&self, frames: u32, limit: u32, patience: Duration) -> bool {
        let Some(mut state) = self.state.try_lock_for(patience) else { return false };
        state.wal_frames = frames;
        state.wal_limit = limit;
        self.freed.notify_all();
        true
    }

    /// While it is stalled, writers wait before they begin, and get `Backpressure` after the busy timeout.
    /// A transaction that has begun goes on. `false`, and nothing changes, if a statement runs for longer than
    /// `patience`.
    pub(crate) fn stall(&self, stalled: bool, patience: Duration) -> bool {
        let Some(mut state) = self.state.try_lock_for(patience) else { return false };
        state.stalled = stalled;
        self.freed.notify_all();
        true
    }
}

impl Writer {
    /// Interrupts what runs, rolls back what is open and takes its ticket away; the transaction hears
    /// `TransactionAborted` with the reason. Shut the gate first, or the next writer just begins.
    ///
    /// `Timeout` if the running statement does not end within `patience`.
    pub(crate) fn abort_all(&self, reason: &str, patience: Duration) -> Result<()> {
        const STEP: Duration = Duration::from_millis(5);
        let deadline = (self.clock)() + patience;
        loop {
            self.interrupt();
            if let Some(mut state) = self.state.try_lock_for(STEP) {
                if self.take_away(&mut state, reason) {
                    self.roll_back(&mut state);
                    return Ok(());
                }
                // Its session is at work: wait without the mutex, which it may need to end.
                self.freed.wait_for(&mut state, STEP);
            }
            if (self.clock)() >= deadline {
                let message = format!("a statement did not stop within {patience:?}");
                return Err(Error::new(ErrorKind::Timeout, message));
            }
        }
    }
}

/// What a caller hears, and whether the connection has to go.
pub(super) struct Judged<T> {
    pub(super) outcome: Result<T>,
    pub(super) retire: bool,
}

impl State {
    #[inline]
    fn is_free_for(&self, own: Option<u64>) -> bool {
        match &self.holder {
            None => !self.stalled && self.wal_frames < self.wal_limit,
            // Whoever has begun may end, also during a stall.
            Some(holder) => own == Some(holder.ticket),
        }
    }

    fn cut<T>(&mut self, act: impl FnOnce(&mut Bookmark) -> T) -> T {
        let before = self.open;
        let done = act(&mut self.open);
        self.tally.moved(before, self.open);
        done
    }

    /// The bookmark of a commit that is still to be made.
    pub(super) fn bookmark(&self) -> Bookmark {
        self.open
    }

    /// The bookmark of the newest commit. It is that of a write which changed nothing, too: the slot that
    /// is open may stay without commits, and then is never made.
    pub(super) fn newest(&self) -> Bookmark {
        match self.open.txid.previous() {
            Some(txid) if self.tally.commits() == 0 => Bookmark { txid, ..self.open },
            _ => self.open,
        }
    }

    /// Notes what statements left behind.
    pub(super) fn note(&mut self, traces: Traces) {
        if let Some(frames) = traces.appended {
            self.tally.committed(self.open);
            self.wal_frames = frames;
        }
    }

    pub(super) fn result(&self, executed: Executed) -> ExecuteResult {
        executed_at(executed, self.newest())
    }

    #[cold]
    fn busy(&self) -> Error {
        if self.holder.is_some() {
            let message = "an interactive transaction holds the writer; was this called from inside of it? \
                           Then use the transaction's own handle";
            return Error::new(ErrorKind::Busy, message);
        }
        let message = "the log is behind and the WAL is at its limit: writers have to wait";
        Error::new(ErrorKind::Backpressure, message)
    }

    #[cold]
    pub(super) fn why_taken(&self, ticket: u64) -> Error {
        let reason = match &self.taken {
            Some((taken, reason)) if *taken == ticket => reason.as_str(),
            _ => "it was rolled back",
        };
        Error::new(ErrorKind::TransactionAborted, format!("the transaction is gone: {reason}"))
    }
}

pub(super) fn executed_at(executed: Executed, bookmark: Bookmark) -> ExecuteResult {
    ExecuteResult::new(executed.rows_affected, executed.last_insert_rowid, bookmark)
}

/// Runs `body` between `BEGIN IMMEDIATE` and `COMMIT`; rolls back if it or the commit fails.
pub(super) fn in_transaction<T>(
    connection: &mut Connection,
    body: impl FnOnce(&mut Connection) -> Result<T>,
) -> Result<T> {
    connection.command("BEGIN IMMEDIATE")?;
    let outcome = body(connection).and_then(|value| connection.command("COMMIT").map(|()| value));
    match outcome {
        Ok(value) => Ok(value),
        Err(error) => {
            if !connection.is_autocommit() {
                connection.command("ROLLBACK").map_err(|e| e.context(error.message().to_owned()))?;
            }
            Err(error)
        }
    }
}

pub(super) fn run_all(
    connection: &mut Connection,
    statements: &[Statement],
) -> Result<Vec<(Executed, Rows)>> {
    let one = |(index, statement): (usize, &Statement)| {
        connection
            .execute_returning(&statement.sql, &statement.params, Caller::Transaction)
            .map_err(|error| error.context(format_args!("statement {} of the batch", index + 1)))
    };
    statements.iter().enumerate().map(one).collect()
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the database handle was closed")
}
