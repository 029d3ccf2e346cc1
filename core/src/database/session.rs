use std::future::Future;
use std::sync::Arc;

use super::engine::EngineSession;
use crate::runtime::run_blocking;
use crate::types::{Error, ErrorKind, ExecuteResult, Params, Result, Row, Rows};

/// A connection of the caller's own: transactions by SQL text, temporary tables, `last_insert_rowid()`.
///
/// Calls from several threads run one after the other. When the last clone is dropped, it rolls back and
/// closes. A transaction that has written keeps other writers waiting and has the limits of
/// [`crate::HaQLite::begin`]; after it was taken away, one call is `TransactionAborted`, and the session
/// goes on.
#[derive(Clone)]
pub struct Session {
    inner: Arc<dyn EngineSession>,
}

impl Session {
    pub(super) fn new(inner: Box<dyn EngineSession>) -> Session {
        Session { inner: Arc::from(inner) }
    }

    /// Runs exactly one statement of any kind; rows that it returns are dropped.
    pub fn execute<'p>(&self, sql: &str, params: impl Into<Params<'p>>) -> Result<ExecuteResult> {
        self.inner.execute(sql, &params.into())
    }

    /// As [`Session::execute`], and keeps the rows.
    pub fn execute_returning<'p>(
        &self,
        sql: &str,
        params: impl Into<Params<'p>>,
    ) -> Result<(ExecuteResult, Rows)> {
        self.inner.execute_returning(sql, &params.into())
    }

    /// The rows of one statement that only reads; `ReadOnly` if it writes.
    pub fn query<'p>(&self, sql: &str, params: impl Into<Params<'p>>) -> Result<Rows> {
        self.inner.query(sql, &params.into())
    }

    /// The first row; `InvalidArgument` if there is none.
    pub fn query_row<'p>(&self, sql: &str, params: impl Into<Params<'p>>) -> Result<Row> {
        let rows = self.query(sql, params)?;
        let none = || Error::new(ErrorKind::InvalidArgument, "the query gave no row");
        rows.into_iter().next().ok_or_else(none)
    }

    /// As [`Session::execute`], on another thread.
    pub fn execute_async(
        &self,
        sql: impl Into<String>,
        params: impl Into<Params<'static>>,
    ) -> impl Future<Output = Result<ExecuteResult>> + Send + 'static {
        let (inner, sql, params) = (Arc::clone(&self.inner), sql.into(), params.into());
        run_blocking(move || inner.execute(&sql, &params))
    }

    /// As [`Session::execute_returning`], on another thread.
    pub fn execute_returning_async(
        &self,
        sql: impl Into<String>,
        params: impl Into<Params<'static>>,
    ) -> impl Future<Output = Result<(ExecuteResult, Rows)>> + Send + 'static {
        let (inner, sql, params) = (Arc::clone(&self.inner), sql.into(), params.into());
        run_blocking(move || inner.execute_returning(&sql, &params))
    }

    /// As [`Session::query`], on another thread.
    pub fn query_async(
        &self,
        sql: impl Into<String>,
        params: impl Into<Params<'static>>,
    ) -> impl Future<Output = Result<Rows>> + Send + 'static {
        let (inner, sql, params) = (Arc::clone(&self.inner), sql.into(), params.into());
        run_blocking(move || inner.query(&sql, &params))
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> Result<bool> {
        self.inner.in_transaction()
    }

    /// The rowid of the session's last insert, 0 before the first.
    pub fn last_insert_rowid(&self) -> Result<i64> {
        self.inner.last_insert_rowid()
    }

    /// Rows that the session has changed, triggers included.
    pub fn total_changes(&self) -> Result<i64> {
        self.inner.total_changes()
    }

    /// Stops the statement that runs now, if one does.
    pub fn interrupt(&self) {
        self.inner.interrupt();
    }

    /// Rolls back and closes; every later call is `Closed`.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}
