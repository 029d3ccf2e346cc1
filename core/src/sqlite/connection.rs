use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{InterruptHandle, OpenFlags, ffi};

use super::appended::Appended;
use super::cache::StatementCache;
use super::counters::Counters;
use super::failure::from_rusqlite;
use super::gate::{Clock, Gate};
use super::policy::{Caller, Policy, admit};
use super::row::LocalRow;
use super::statement::{Compiled, Prepared, skip_blank};
use crate::types::{Error, ErrorKind, Monotonic, Params, Result, Row, Rows};

/// The oldest SQLite that may be used: from 3.7.0 to 3.51.2 a checkpoint of one connection could lose pages
/// that another committed at the same moment (<https://www.sqlite.org/wal.html#walresetbug>).
const OLDEST_SQLITE: i32 = 3_051_003;

/// Room is made beforehand for at most so many rows.
const MOST_USUAL_ROWS: usize = 256;

/// Where a database is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// A file.
    File(PathBuf),
    /// Memory, shared by the connections of this process that name it, while one is open.
    Memory(String),
}

/// How connections to one database are opened.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionOptions {
    pub(crate) place: Place,
    /// Whether what is committed is shipped: then checkpoints are ours and the policy applies.
    pub(crate) replicated: bool,
    /// How long SQLite waits for the locks of other connections.
    pub(crate) busy_timeout: Duration,
    /// How many compiled statements a connection keeps.
    pub(crate) cached_statements: usize,
}

impl ConnectionOptions {
    pub(crate) fn new(place: Place, replicated: bool) -> ConnectionOptions {
        ConnectionOptions { place, replicated, busy_timeout: Duration::from_secs(5), cached_statements: 256 }
    }

    pub(crate) fn in_memory(&self) -> bool {
        matches!(self.place, Place::Memory(_))
    }
}

/// One connection to SQLite with its compiled statements.
pub(crate) struct Connection {
    // The order matters: statements are finalized before the connection closes, and its hook's flag goes last.
    cursor: Option<Prepared>,
    cache: StatementCache,
    policy: Arc<Policy>,
    commit_started: Arc<AtomicBool>,
    /// Whether a statement that may write has run since somebody asked.
    wrote: bool,
    db: *mut ffi::sqlite3,
    inner: rusqlite::Connection,
    appended: Appended,
}

// SAFETY: the raw pointers all belong to this connection and move with it; SQLite lets a connection move
// between threads as long as one at a time uses it, which `&mut self` on everything sees to.
unsafe impl Send for Connection {}

/// What a statement did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Executed {
    pub(crate) rows_affected: u64,
    pub(crate) last_insert_rowid: Option<i64>,
}

/// What statements did beside their results.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Traces {
    /// A commit passed the gate: from then on it may have written to the WAL.
    pub(crate) commit_started: bool,
    /// A commit passed the gate, or a statement ran that may write (VACUUM calls no hook).
    pub(crate) wrote: bool,
    /// How many frames the WAL had after the last commit that added some. Not known of what is not replicated.
    pub(crate) appended: Option<u32>,
}

impl Connection {
    /// A connection that may write while `gate` is open.
    pub(crate) fn open(options: &ConnectionOptions, gate: Arc<Gate>) -> Result<Connection> {
        let mut connection = Connection::open_bare(options)?;
        let started = Arc::clone(&connection.commit_started);
        let hook = move || {
            let open = gate.is_open();
            started.store(open, Ordering::Relaxed);
            !open
        };
        connection.inner.commit_hook(Some(hook)).map_err(from_rusqlite)?;
        Ok(connection)
    }

    /// A connection that only reads.
    pub(crate) fn open_reader(options: &ConnectionOptions) -> Result<Connection> {
        let connection = Connection::open_bare(options)?;
        connection.pragma("PRAGMA query_only = ON")?;
        Ok(connection)
    }

    fn open_bare(options: &ConnectionOptions) -> Result<Connection> {
        let version = rusqlite::version_number();
        if version < OLDEST_SQLITE {
            let message =
                format!("SQLite {} can lose committed pages: 3.51.3 is needed", rusqlite::version());
            return Err(Error::new(ErrorKind::InvalidConfig, message));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let opened = match &options.place {
            Place::File(path) => rusqlite::Connection::open_with_flags(path, flags),
            Place::Memory(name) => rusqlite::Connection::open_with_flags(
                format!("file:/haqlite/{name}?vfs=memdb"),
                flags | OpenFlags::SQLITE_OPEN_URI,
            ),
        };
        let inner = opened.map_err(|error| {
            let error = from_rusqlite(error);
            match &options.place {
                Place::File(path) => error.context(format_args!("cannot open {}", path.display())),
                Place::Memory(_) => error,
            }
        })?;
        // SAFETY: the handle is used only through this connection and not after it closed.
        let db = unsafe { inner.handle() };
        let mut connection = Connection {
            cursor: None,
            cache: StatementCache::new(options.cached_statements),
            policy: Policy::new(options.replicated),
            commit_started: Arc::new(AtomicBool::new(false)),
            wrote: false,
            db,
            inner,
            appended: Appended::new(),
        };
        connection.configure(options)?;
        Ok(connection)
    }

    fn configure(&mut self, options: &ConnectionOptions) -> Result<()> {
        self.inner.busy_timeout(options.busy_timeout).map_err(from_rusqlite)?;
        if options.replicated {
            self.inner
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
                .map_err(from_rusqlite)?;
            self.pragma("PRAGMA wal_autocheckpoint = 0")?;
            // SAFETY: the connection is open, and is closed before the fields behind it are dropped.
            unsafe { self.appended.watch(self.db) };
        }
        if !options.in_memory() {
            let mode = self.pragma("PRAGMA journal_mode = WAL")?;
            if options.replicated && mode.as_deref() != Some("wal") {
                let message = "the file system cannot hold a database in WAL mode, which replication needs";
                return Err(Error::new(ErrorKind::InvalidConfig, message));
            }
        }
        self.pragma("PRAGMA synchronous = NORMAL")?;
        self.pragma("PRAGMA cache_size = -65536")?;
        let policy = Arc::clone(&self.policy);
        let authorizer = move |context: rusqlite::hooks::AuthContext<'_>| policy.authorize(&context);
        self.inner.authorizer(Some(authorizer)).map_err(from_rusqlite)
    }

    /// Runs a PRAGMA and gives the text that it answers, if it answers one.
    fn pragma(&self, sql: &'static str) -> Result<Option<String>> {
        let mut statement = self.inner.prepare(sql).map_err(from_rusqlite)?;
        let mut rows = statement.query([]).map_err(from_rusqlite)?;
        let mut answer = None;
        while let Some(row) = rows.next().map_err(from_rusqlite)? {
            answer = row.get(0).ok();
        }
        Ok(answer)
    }

    /// Runs exactly one statement to its end; rows that it returns are dropped.
    pub(crate) fn execute(&mut self, sql: &str, params: &Params<'_>, caller: Caller) -> Result<Executed> {
        let slot = self.prepare(sql, caller)?;
        self.run(slot, params, Access::Write, &mut |_| Ok(true))
    }

    /// Runs exactly one statement to its end and keeps the rows that it returns.
    pub(crate) fn execute_returning(
        &mut self,
        sql: &str,
        params: &Params<'_>,
        caller: Caller,
    ) -> Result<(Executed, Rows)> {
        let slot = self.prepare(sql, caller)?;
        let (executed, rows) = self.run_for_rows(slot, params, Access::Write)?;
        Ok((executed, self.rows(slot, rows)))
    }

    /// The rows of a statement that only reads.
    pub(crate) fn query(&mut self, sql: &str, params: &Params<'_>, caller: Caller) -> Result<Rows> {
        let slot = self.prepare(sql, caller)?;
        let (_, rows) = self.run_for_rows(slot, params, Access::Read)?;
        Ok(self.rows(slot, rows))
    }

    /// Hands each row of a statement that only reads to `each`, until that says `false`.
    pub(crate) fn query_each(
        &mut self,
        sql: &str,
        params: &Params<'_>,
        caller: Caller,
        each: &mut dyn FnMut(&LocalRow<'_>) -> Result<bool>,
    ) -> Result<()> {
        let slot = self.prepare(sql, caller)?;
        self.run(slot, params, Access::Read, each).map(|_| ())
    }

    /// Runs a fixed statement of this library's own: `BEGIN`, `COMMIT`, `ROLLBACK`.
    pub(crate) fn command(&mut self, sql: &'static str) -> Result<()> {
        self.execute(sql, &Params::none(), Caller::Internal).map(|_| ())
    }

    /// Runs the statements of a script one after the other, each for itself. What ran before a failure stays.
    /// A transaction that the script leaves open is rolled back and is an error.
    pub(crate) fn script(&mut self, sql: &str, caller: Caller) -> Result<()> {
        let mut rest = sql;
        while let Some((mut statement, tail)) = self.compile(rest, caller)? {
            admit(statement.needs, caller)?;
            let none = Params::none();
            let run = statement.start(&none)?;
            while run.statement.step()? {}
            drop(run);
            // A statement that fails later is judged by its own commit, not by the ones before.
            self.commit_started.store(false, Ordering::Relaxed);
            self.wrote = true;
            rest = tail;
        }
        if self.is_autocommit() {
            return Ok(());
        }
        self.command("ROLLBACK")?;
        Err(Error::new(ErrorKind::InvalidArgument, "the script leaves a transaction open"))
    }

    /// Whether the statement only reads.
    pub(crate) fn is_readonly(&mut self, sql: &str, caller: Caller) -> Result<bool> {
        let slot = self.prepare(sql, caller)?;
        Ok(self.cache.at(slot).is_readonly())
    }

    /// Whether no transaction is open.
    pub(crate) fn is_autocommit(&self) -> bool {
        // SAFETY: the connection is open.
        unsafe { ffi::sqlite3_get_autocommit(self.db) != 0 }
    }

    /// What statements left behind since the last call.
    pub(crate) fn take_traces(&mut self) -> Traces {
        let commit_started = self.commit_started.swap(false, Ordering::Relaxed);
        let wrote = std::mem::take(&mut self.wrote) | commit_started;
        Traces { commit_started, wrote, appended: self.appended.take() }
    }

    /// What stops the running statement from another thread.
    pub(crate) fn interrupt_handle(&self) -> InterruptHandle {
        self.inner.get_interrupt_handle()
    }

    /// The rowid of the last insert of this connection, 0 before the first.
    pub(crate) fn last_insert_rowid(&self) -> i64 {
        self.inner.last_insert_rowid()
    }

    /// Rows that this connection has changed since it was opened, triggers included.
    pub(crate) fn total_changes(&self) -> i64 {
        // SAFETY: the connection is open.
        unsafe { ffi::sqlite3_total_changes64(self.db) }
    }

    /// Interrupts statements that are still running at `deadline`; `None` lifts that.
    pub(crate) fn limit_time(&mut self, deadline: Option<(Monotonic, Clock)>) -> Result<()> {
        /// Instructions of SQLite's machine between two looks at the clock: some ten microseconds.
        const INSTRUCTIONS: i32 = 1000;
        let handler = deadline.map(|(deadline, clock)| move || clock() >= deadline);
        self.inner.progress_handler(INSTRUCTIONS, handler).map_err(from_rusqlite)
    }

    /// The connection under this one, for the copy of a whole database.
    pub(super) fn inner(&self) -> &rusqlite::Connection {
        &self.inner
    }

    /// Starts a query that is read in pages. The connection runs nothing else until it is closed.
    pub(crate) fn open_cursor(
        &mut self,
        sql: &str,
        params: &Params<'_>,
        caller: Caller,
    ) -> Result<Arc<[String]>> {
        let Some((mut statement, tail)) = self.compile(sql, caller)? else { return Err(no_statement()) };
        only_one(tail)?;
        admit(statement.needs, caller)?;
        only_reads(&statement)?;
        statement.bind_copies(params)?;
        let columns = Arc::clone(statement.columns());
        self.cursor = Some(statement);
        Ok(columns)
    }

    /// The next rows of the open cursor, at most `limit`; fewer only at the end.
    pub(crate) fn cursor_page(&mut self, limit: usize) -> Result<Vec<Row>> {
        let mut page = Vec::new();
        let Some(statement) = &mut self.cursor else { return Ok(page) };
        while page.len() < limit {
            match statement.step().and_then(|more| more.then(|| statement.row().to_row()).transpose()) {
                Ok(Some(row)) => page.push(row),
                Ok(None) => {
                    self.cursor = None;
                    break;
                }
                Err(error) => {
                    self.cursor = None;
                    return Err(error);
                }
            }
        }
        Ok(page)
    }

    /// Ends the open cursor, if there is one; its snapshot is given up.
    pub(crate) fn close_cursor(&mut self) {
        self.cursor = None;
    }

    /// As [`Connection::run`], with room from the start for as many rows as there were the last time.
    fn run_for_rows(
        &mut self,
        slot: usize,
        params: &Params<'_>,
        access: Access,
    ) -> Result<(Executed, Vec<Row>)> {
        let mut rows = Vec::with_capacity(self.cache.at(slot).usual_rows);
        let executed = self.run(slot, params, access, &mut |row| {
            rows.push(row.to_row()?);
            Ok(true)
        })?;
        Ok((executed, rows))
    }

    /// The one path of everything after [`Connection::prepare`]: judge, bind, step, reset.
    fn run(
        &mut self,
        slot: usize,
        params: &Params<'_>,
        access: Access,
        each: &mut dyn FnMut(&LocalRow<'_>) -> Result<bool>,
    ) -> Result<Executed> {
        let db = self.db;
        let Connection { cache, wrote, .. } = self;
        let statement = cache.at(slot);
        if statement.is_readonly() {
            let run = statement.start(params)?;
            while run.statement.step()? && each(&run.statement.row())? {}
            return Ok(Executed { rows_affected: 0, last_insert_rowid: None });
        }
        if access == Access::Read {
            only_reads(statement)?;
        }
        let counters = Counters::before(db, statement.needs);
        *wrote = true;
        let run = statement.start(params)?;
        let outcome = (|| {
            let mut kept = Ok(());
            // A write runs to its end also when nobody wants its rows any more.
            while run.statement.step()? {
                if kept.is_ok() {
                    kept = each(&run.statement.row()).map(|_| ());
                }
            }
            kept
        })();
        drop(run);
        let executed = counters.after();
        outcome.map(|()| executed)
    }

    /// The slot of the statement in the cache, where it may have had to be put first.
    #[inline]
    fn prepare(&mut self, sql: &str, caller: Caller) -> Result<usize> {
        let slot = match self.cache.find(sql) {
            Some(slot) => slot,
            None => {
                let Some((statement, tail)) = self.compile(sql, caller)? else { return Err(no_statement()) };
                only_one(tail)?;
                self.cache.insert(sql, statement)
            }
        };
        admit(self.cache.at(slot).needs, caller)?;
        Ok(slot)
    }

    fn compile<'s>(&self, sql: &'s str, caller: Caller) -> Result<Option<(Prepared, &'s str)>> {
        let db = self.db;
        // SAFETY: the connection is open, only this thread uses it, and its statements go before it.
        let compile = || unsafe { Prepared::compile(db, sql) };
        Ok(match self.policy.observe(caller, compile)? {
            (Compiled::Statement(mut statement, tail), needs) => {
                statement.needs = needs;
                Some((statement, tail))
            }
            (Compiled::Nothing, _) => None,
        })
    }

    fn rows(&mut self, slot: usize, rows: Vec<Row>) -> Rows {
        let statement = self.cache.at(slot);
        statement.usual_rows = rows.len().min(MOST_USUAL_ROWS);
        Rows { columns: Arc::clone(statement.columns()), rows }
    }
}

/// What a caller means to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

fn only_reads(statement: &Prepared) -> Result<()> {
    if statement.is_readonly() {
        return Ok(());
    }
    let message =
        "the statement writes, and a query only reads: use execute(), or execute_returning() for its rows";
    Err(Error::new(ErrorKind::ReadOnly, message))
}

fn only_one(tail: &str) -> Result<()> {
    if skip_blank(tail).is_empty() {
        return Ok(());
    }
    let message = "there is more than one statement: use batch() for several";
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

#[cold]
fn no_statement() -> Error {
    Error::new(ErrorKind::InvalidArgument, "the SQL text holds no statement")
}
