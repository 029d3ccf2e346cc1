use std::future::Future;
use std::path::PathBuf;

use super::handle::HaQLite;
use super::session::Session;
use super::transaction::Transaction;
use crate::runtime::run_blocking;
use crate::sqlite::RowCursor;
use crate::types::{
    BatchResult, ExecuteResult, Params, ReadOptions, Result, Row, Rows, SqlValue, Statement, TxMode,
};

/// The SQL verbs on another thread: the futures own what they need and run under any executor. Nothing
/// happens before a future is polled; once it was, dropping it does not stop the statement.
impl HaQLite {
    /// As [`HaQLite::execute`].
    pub fn execute_async(
        &self,
        sql: impl Into<String>,
        params: impl Into<Params<'static>>,
    ) -> impl Future<Output = Result<ExecuteResult>> + Send + 'static {
        let (db, sql, params) = (self.clone(), sql.into(), params.into());
        run_blocking(move || db.execute(&sql, params))
    }

    /// As [`HaQLite::execute_returning`].
    pub fn execute_returning_async(
        &self,
        sql: impl Into<String>,
        params: impl Into<Params<'static>>,
    ) -> impl Future<Output = Result<(ExecuteResult, Rows)>> + Send + 'static {
        let (db, sql, params) = (self.clone(), sql.into(), params.into());
        run_blocking(move || db.execute_returning(&sql, params))
    }

    /// As [`HaQLite::batch`].
    pub fn batch_async(
        &self,
        statements: Vec<Statement>,
    ) -> impl Future<Output = Result<BatchResult>> + Send + 'static {
        let db = self.clone();
        run_blocking(move || db.batch(&statements))
    }

    /// As [`HaQLite::query`].
    pub fn query_async(
        &self,
        sql: impl Into<String>,
        params: impl Into<Params<'static>>,
    ) -> impl Future<Output = Result<Rows>> + Send + 'static {
        self.query_with_async(sql, params, ReadOptions::default())
    }

    /// As [`HaQLite::query_with`].
    pub fn query_with_async(
        &self,
        sql: impl Into<String>,
        params: impl Into<Params<'static>>,
        options: ReadOptions,
    ) -> impl Future<Output = Result<Rows>> + Send + 'static {
        let (db, sql, params) = (self.clone(), sql.into(), params.into());
        run_blocking(move || db.query_with(&sql, params, options))
    }

    /// As [`HaQLite::query_iter`].
    pub fn query_iter_async(
        &self,
        sql: impl Into<String>,
        params: impl Into<Params<'static>>,
        options: ReadOptions,
    ) -> impl Future<Output = Result<RowCursor>> + Send + 'static {
        let (db, sql, params) = (self.clone(), sql.into(), params.into());
        run_blocking(move || db.query_iter(&sql, params, options))
    }

    /// As [`HaQLite::query_row`].
    pub fn query_row_async(
        &self,
        sql: impl Into<String>,
        params: impl Into<Params<'static>>,
    ) -> impl Future<Output = Result<Row>> + Send + 'static {
        let (db, sql, params) = (self.clone(), sql.into(), params.into());
        run_blocking(move || db.query_row(&sql, params))
    }

    /// As [`HaQLite::query_values_local`].
    pub fn query_values_local_async(
        &self,
        sql: impl Into<String>,
        params: impl Into<Params<'static>>,
    ) -> impl Future<Output = Result<Vec<Vec<SqlValue>>>> + Send + 'static {
        let (db, sql, params) = (self.clone(), sql.into(), params.into());
        run_blocking(move || db.query_values_local(&sql, params))
    }

    /// As [`HaQLite::transaction`]; the whole of `body` runs on one other thread.
    pub fn transaction_async<T: Send + 'static>(
        &self,
        body: impl FnOnce(&mut Transaction) -> Result<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send + 'static {
        let db = self.clone();
        run_blocking(move || db.transaction(body))
    }

    /// As [`HaQLite::begin`].
    pub fn begin_async(&self, mode: TxMode) -> impl Future<Output = Result<Transaction>> + Send + 'static {
        let db = self.clone();
        run_blocking(move || db.begin(mode))
    }

    /// As [`HaQLite::connect`].
    pub fn connect_async(&self) -> impl Future<Output = Result<Session>> + Send + 'static {
        let db = self.clone();
        run_blocking(move || db.connect())
    }

    /// As [`HaQLite::backup`].
    pub fn backup_async(
        &self,
        path: impl Into<PathBuf>,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let (db, path) = (self.clone(), path.into());
        run_blocking(move || db.backup(path))
    }
}
