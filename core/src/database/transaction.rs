use super::engine::EngineTransaction;
use crate::types::{Bookmark, Error, ErrorKind, ExecuteResult, Params, Result, Row, Rows};

/// An interactive transaction. It may move between threads; dropping it rolls back.
///
/// When it is taken away (a limit of time, a change of the leader, SQLite itself after an error), the next
/// call is `TransactionAborted` with the reason.
pub struct Transaction {
    inner: Box<dyn EngineTransaction>,
}

impl Transaction {
    pub(super) fn new(inner: Box<dyn EngineTransaction>) -> Transaction {
        Transaction { inner }
    }

    /// Runs exactly one statement; rows that it returns are dropped. Where the write will be in the log is
    /// only known after the commit.
    pub fn execute<'p>(&mut self, sql: &str, params: impl Into<Params<'p>>) -> Result<ExecuteResult> {
        self.inner.execute(sql, &params.into())
    }

    /// As [`Transaction::execute`], and keeps the rows.
    pub fn execute_returning<'p>(
        &mut self,
        sql: &str,
        params: impl Into<Params<'p>>,
    ) -> Result<(ExecuteResult, Rows)> {
        self.inner.execute_returning(sql, &params.into())
    }

    /// The rows of one statement that only reads; it sees what the transaction wrote.
    pub fn query<'p>(&mut self, sql: &str, params: impl Into<Params<'p>>) -> Result<Rows> {
        self.inner.query(sql, &params.into())
    }

    /// The first row; `InvalidArgument` if there is none.
    pub fn query_row<'p>(&mut self, sql: &str, params: impl Into<Params<'p>>) -> Result<Row> {
        let rows = self.query(sql, params)?;
        let none = || Error::new(ErrorKind::InvalidArgument, "the query gave no row");
        rows.into_iter().next().ok_or_else(none)
    }

    /// Commits, and says where in the log; in `Durability::Cloud` when it is confirmed there. On an error it is
    /// rolled back, unless the error's outcome is unknown.
    pub fn commit(self) -> Result<Bookmark> {
        self.inner.commit()
    }

    /// Rolls back. `TransactionAborted` if that had already happened.
    pub fn rollback(self) -> Result<()> {
        self.inner.rollback()
    }
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}
