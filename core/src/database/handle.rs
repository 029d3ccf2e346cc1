use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::engine::{EachRow, Engine};
use super::local::LocalEngine;
use super::session::Session;
use super::transaction::Transaction;
use crate::runtime::run_blocking;
use crate::sqlite::{LocalRow, RowCursor};
use crate::types::{
    BatchResult, Bookmark, Error, ErrorKind, ExecuteResult, NodeId, Params, Position, ReadOptions, Result,
    Role, Row, Rows, SqlValue, Statement, Status, TxMode,
};

/// A database. Clones are the same one; when the last is dropped it closes.
///
/// The SQL verbs run on the caller's thread and have a twin that ends in `_async`.
///
/// ```
/// use haqlite::{HaQLite, SqlValue};
///
/// # fn main() -> haqlite::Result<()> {
/// let db = HaQLite::local(":memory:", "CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT);")?;
/// let added = db.execute("INSERT INTO users (name) VALUES (?1)", &[SqlValue::Text("Alice".into())])?;
/// assert_eq!((added.rows_affected, added.last_insert_rowid), (1, Some(1)));
///
/// let count: i64 = db.query_row_local("SELECT COUNT(*) FROM users", &[], |r| r.get(0))?;
/// assert_eq!(count, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HaQLite {
    pub(super) engine: Arc<dyn Engine>,
}

impl HaQLite {
    /// Opens a database without a cluster: for development and tests, and for what stays on one machine.
    ///
    /// The file is made if it is not there; `":memory:"` is a database that goes with its handle. The schema
    /// runs at each opening, statement by statement, and has to be idempotent. `Io` if the file cannot be
    /// opened, `Corrupt` if it is no database, and what a statement of the schema fails with.
    pub fn local(path: impl AsRef<Path>, schema: &str) -> Result<HaQLite> {
        Ok(HaQLite { engine: Arc::new(LocalEngine::open(path.as_ref(), schema)?) })
    }

    /// Runs exactly one statement that may write; rows that it returns are dropped.
    ///
    /// When it returns, the write is committed on the leader, and in `Durability::Cloud` confirmed by its slot;
    /// there `Timeout` means that the bucket did not answer, with an unknown outcome. `BEGIN` and its like, temporary tables and
    /// `last_insert_rowid()` are refused: they need [`HaQLite::transaction`], [`HaQLite::begin`] or
    /// [`HaQLite::connect`]. A PRAGMA that is a connection's setting, as `foreign_keys`, holds until the
    /// writer's connection is opened anew.
    pub fn execute<'p>(&self, sql: &str, params: impl Into<Params<'p>>) -> Result<ExecuteResult> {
        self.engine.execute(sql, &params.into())
    }

    /// As [`HaQLite::execute`], and keeps the rows: `INSERT .. RETURNING`.
    ///
    /// ```
    /// # let db = haqlite::HaQLite::local(":memory:", "CREATE TABLE t (id INTEGER PRIMARY KEY, n)")?;
    /// let (result, rows) = db.execute_returning("INSERT INTO t (n) VALUES (1), (2) RETURNING id", &[])?;
    /// assert_eq!((result.rows_affected, rows.len()), (2, 2));
    /// # Ok::<(), haqlite::Error>(())
    /// ```
    pub fn execute_returning<'p>(
        &self,
        sql: &str,
        params: impl Into<Params<'p>>,
    ) -> Result<(ExecuteResult, Rows)> {
        self.engine.execute_returning(sql, &params.into())
    }

    /// Runs the statements in one transaction: all or none. The error of one says which it was.
    pub fn batch(&self, statements: &[Statement]) -> Result<BatchResult> {
        self.engine.batch(statements)
    }

    /// The rows of one statement that only reads, on this node; `ReadOnly` if it writes.
    pub fn query<'p>(&self, sql: &str, params: impl Into<Params<'p>>) -> Result<Rows> {
        self.engine.query(sql, &params.into(), &ReadOptions::default())
    }

    /// As [`HaQLite::query`], as fresh as the options ask, and at most as long.
    pub fn query_with<'p>(
        &self,
        sql: &str,
        params: impl Into<Params<'p>>,
        options: ReadOptions,
    ) -> Result<Rows> {
        self.engine.query(sql, &params.into(), &options)
    }

    /// As [`HaQLite::query_with`], read in pages of one snapshot: for results that are too large to hold.
    ///
    /// An open cursor keeps a read transaction, and so the WAL from being reset; it is ended when it gets too
    /// old (a minute) and its next page is a `Timeout`. `LimitExceeded` if eight are open.
    pub fn query_iter<'p>(
        &self,
        sql: &str,
        params: impl Into<Params<'p>>,
        options: ReadOptions,
    ) -> Result<RowCursor> {
        self.engine.query_iter(sql, &params.into(), &options)
    }

    /// The first row; `InvalidArgument` if there is none.
    pub fn query_row<'p>(&self, sql: &str, params: impl Into<Params<'p>>) -> Result<Row> {
        let rows = self.query(sql, params)?;
        rows.into_iter().next().ok_or_else(no_row)
    }

    /// What `read` makes of the first row, on this node, without copying it; `InvalidArgument` if there is no
    /// row. `read` must not use the handle of a database in memory.
    pub fn query_row_local<'p, T>(
        &self,
        sql: &str,
        params: impl Into<Params<'p>>,
        read: impl FnOnce(&LocalRow<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut read = Some(read);
        let mut found = None;
        let each: EachRow<'_> = &mut |row| {
            if let Some(read) = read.take() {
                found = Some(read(row)?);
            }
            Ok(false)
        };
        self.engine.query_each(sql, &params.into(), each)?;
        found.ok_or_else(no_row)
    }

    /// The values of all rows, on this node.
    pub fn query_values_local<'p>(
        &self,
        sql: &str,
        params: impl Into<Params<'p>>,
    ) -> Result<Vec<Vec<SqlValue>>> {
        let mut values = Vec::new();
        let each: EachRow<'_> = &mut |row| {
            values.push(row.to_values()?);
            Ok(true)
        };
        self.engine.query_each(sql, &params.into(), each)?;
        Ok(values)
    }

    /// Runs `body` in a transaction that is committed if it returns `Ok` and rolled back otherwise.
    ///
    /// Inside of it, use the transaction that it is given: the handle would wait for it.
    ///
    /// ```
    /// # let db = haqlite::HaQLite::local(":memory:", "CREATE TABLE t (n)")?;
    /// let count: i64 = db.transaction(|tx| {
    ///     tx.execute("INSERT INTO t VALUES (1)", &[])?;
    ///     tx.query_row("SELECT count(*) FROM t", &[])?.get(0)
    /// })?;
    /// assert_eq!(count, 1);
    /// # Ok::<(), haqlite::Error>(())
    /// ```
    pub fn transaction<T>(&self, body: impl FnOnce(&mut Transaction) -> Result<T>) -> Result<T> {
        let mut transaction = self.begin(TxMode::Immediate)?;
        let value = body(&mut transaction)?;
        transaction.commit()?;
        Ok(value)
    }

    /// Begins an interactive transaction; other writers wait until it ends. It is rolled back when it is
    /// dropped, when it is idle for a minute, and ten minutes after it began.
    pub fn begin(&self, mode: TxMode) -> Result<Transaction> {
        Ok(Transaction::new(self.engine.begin(mode)?))
    }

    /// Opens a session: a connection of the caller's own, for transactions by SQL text, temporary tables and
    /// `last_insert_rowid()`.
    pub fn connect(&self) -> Result<Session> {
        Ok(Session::new(self.engine.connect()?))
    }

    /// Copies the database, as of one moment, to a new file; `InUse` if there is one with the name.
    ///
    /// The copy is synced before it gets its name: a crash leaves `<path>.partial`, never half a copy.
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<()> {
        self.engine.backup(path.as_ref())
    }

    /// Stops the statements of this handle that run now; they end with `Interrupted`.
    pub fn interrupt(&self) {
        self.engine.interrupt();
    }

    /// What the node knows of itself.
    pub fn status(&self) -> Status {
        self.engine.status()
    }

    /// Leader or follower. A local database leads.
    pub fn role(&self) -> Role {
        self.status().role
    }

    /// The newest slot that is known to be confirmed.
    pub fn position(&self) -> Position {
        self.status().confirmed
    }

    /// Whether everything that is known of is shipped (leader) or applied (follower).
    pub fn is_caught_up(&self) -> bool {
        self.engine.is_caught_up()
    }

    /// Waits until the write with this bookmark is visible here; `Timeout` if that takes too long.
    pub fn wait_for(
        &self,
        bookmark: &Bookmark,
        timeout: Duration,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let (engine, bookmark) = (Arc::clone(&self.engine), *bookmark);
        run_blocking(move || engine.wait_for(&bookmark, timeout))
    }

    /// As [`HaQLite::wait_for`], on the caller's thread.
    pub fn wait_for_blocking(&self, bookmark: &Bookmark, timeout: Duration) -> Result<()> {
        self.engine.wait_for(bookmark, timeout)
    }

    /// Waits until the write with this bookmark is confirmed by its slot; `Timeout` if that takes too long. A
    /// local database has no slots: what is committed is all that there will be.
    pub fn wait_durable(
        &self,
        bookmark: &Bookmark,
        timeout: Duration,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let (engine, bookmark) = (Arc::clone(&self.engine), *bookmark);
        run_blocking(move || engine.wait_durable(&bookmark, timeout))
    }

    /// As [`HaQLite::wait_durable`], on the caller's thread.
    pub fn wait_durable_blocking(&self, bookmark: &Bookmark, timeout: Duration) -> Result<()> {
        self.engine.wait_durable(bookmark, timeout)
    }

    /// Gives the leadership to a node, or to any. `InvalidConfig` for a local database.
    pub fn handoff(&self, to: Option<NodeId>) -> impl Future<Output = Result<()>> + Send + 'static {
        let engine = Arc::clone(&self.engine);
        run_blocking(move || engine.hand_off(to))
    }

    /// As [`HaQLite::handoff`], on the caller's thread.
    pub fn handoff_blocking(&self, to: Option<NodeId>) -> Result<()> {
        self.engine.hand_off(to)
    }

    /// Interrupts what runs, rolls back what is open and closes the database; every later call on any clone
    /// is `Closed`. `Timeout` if a statement does not stop within five seconds. Closing again is nothing.
    pub fn close(&self) -> impl Future<Output = Result<()>> + Send + 'static {
        let engine = Arc::clone(&self.engine);
        run_blocking(move || engine.close())
    }

    /// As [`HaQLite::close`], on the caller's thread.
    pub fn close_blocking(&self) -> Result<()> {
        self.engine.close()
    }
}

impl std::fmt::Debug for HaQLite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HaQLite").field("role", &self.role()).finish_non_exhaustive()
    }
}

#[cold]
fn no_row() -> Error {
    Error::new(ErrorKind::InvalidArgument, "the query gave no row")
}
