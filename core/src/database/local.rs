use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::engine::{EachRow, Engine, EngineSession, EngineTransaction};
use crate::runtime::boot_clock;
use crate::sqlite::{
    Caller, Clock, Connection, ConnectionOptions, Gate, Hooks, Place, PoolOptions, ReadPool, RowCursor,
    TransactionLimits, Writer, WriterOptions, WriterSession, WriterTransaction, backup,
};
use crate::types::{
    BatchResult, Bookmark, Consistency, Error, ErrorKind, ExecuteResult, NodeId, NodeInfo, Params,
    ReadOptions, Result, Role, Rows, Statement, Status, TxMode, Txid,
};

/// How long a close waits for the statements that it interrupts.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// One database without a cluster: a file, or memory.
pub(crate) struct LocalEngine {
    writer: Arc<Writer>,
    /// `None` for memory, whose reads go through the writer.
    pool: Option<ReadPool>,
    connection: ConnectionOptions,
}

impl LocalEngine {
    /// Opens the database at `path`, making it if it is not there, and runs the schema.
    pub(crate) fn open(path: &Path, schema: &str) -> Result<LocalEngine> {
        let connection = ConnectionOptions::new(place(path)?, false);
        let clock: Clock = Arc::new(boot_clock);
        let gate = Arc::new(Gate::open_forever(Arc::clone(&clock)));
        let options =
            WriterOptions { connection: connection.clone(), transactions: TransactionLimits::default() };
        let writer = Writer::open(options, gate, Arc::clone(&clock), Hooks::none())?;
        writer.script(schema).map_err(|error| error.context("running the schema"))?;
        let pool =
            (!connection.in_memory()).then(|| ReadPool::new(PoolOptions::new(connection.clone()), clock));
        Ok(LocalEngine { writer, pool, connection })
    }
}

fn place(path: &Path) -> Result<Place> {
    /// So that each handle on memory has a database of its own.
    static MEMORIES: AtomicU64 = AtomicU64::new(0);
    if path.as_os_str().is_empty() {
        return Err(Error::new(ErrorKind::InvalidArgument, "the path of the database is empty"));
    }
    if path.as_os_str() == ":memory:" {
        return Ok(Place::Memory(format!("memory-{}", MEMORIES.fetch_add(1, Ordering::Relaxed))));
    }
    Ok(Place::File(path.to_owned()))
}

impl Engine for LocalEngine {
    fn execute(&self, sql: &str, params: &Params<'_>) -> Result<ExecuteResult> {
        self.writer.execute(sql, params)
    }

    fn execute_returning(&self, sql: &str, params: &Params<'_>) -> Result<(ExecuteResult, Rows)> {
        self.writer.execute_returning(sql, params)
    }

    fn batch(&self, statements: &[Statement]) -> Result<BatchResult> {
        self.writer.batch(statements)
    }

    fn query(&self, sql: &str, params: &Params<'_>, options: &ReadOptions) -> Result<Rows> {
        satisfiable(options)?;
        match &self.pool {
            Some(pool) => pool.query(sql, params, options),
            None => self.writer.query(sql, params, options),
        }
    }

    fn query_iter(&self, sql: &str, params: &Params<'_>, options: &ReadOptions) -> Result<RowCursor> {
        satisfiable(options)?;
        match &self.pool {
            Some(pool) => pool.query_iter(sql, params, options),
            None => self.writer.query(sql, params, options).map(RowCursor::over),
        }
    }

    fn query_each(&self, sql: &str, params: &Params<'_>, each: EachRow<'_>) -> Result<()> {
        match &self.pool {
            Some(pool) => pool.query_each(sql, params, each),
            None => self.writer.read(|connection| connection.query_each(sql, params, Caller::Handle, each)),
        }
    }

    fn begin(&self, mode: TxMode) -> Result<Box<dyn EngineTransaction>> {
        Ok(Box::new(self.writer.begin(mode)?))
    }

    fn connect(&self) -> Result<Box<dyn EngineSession>> {
        Ok(Box::new(self.writer.connect()?))
    }

    fn backup(&self, target: &Path) -> Result<()> {
        if self.connection.in_memory() {
            return self.writer.read(|connection| backup(connection, target));
        }
        // A connection of its own: a large copy keeps nobody from reading.
        self.writer.read(|_| Ok(()))?;
        backup(&Connection::open_reader(&self.connection)?, target)
    }

    fn interrupt(&self) {
        self.writer.interrupt();
        self.pool.iter().for_each(ReadPool::interrupt);
    }

    fn status(&self) -> Status {
        Status::new(Role::Leader)
    }

    fn nodes(&self) -> Result<Vec<NodeInfo>> {
        Ok(vec![NodeInfo::new(NodeId::new("local"), Role::Leader, Txid::ZERO)])
    }

    fn wait_for(&self, bookmark: &Bookmark, _timeout: Duration) -> Result<()> {
        known(bookmark)
    }

    fn wait_durable(&self, bookmark: &Bookmark, _timeout: Duration) -> Result<()> {
        known(bookmark)
    }

    fn hand_off(&self, _to: Option<NodeId>) -> Result<()> {
        Err(Error::new(ErrorKind::InvalidConfig, "a local database has no other node to lead it"))
    }

    fn close(&self) -> Result<()> {
        self.pool.iter().for_each(|pool| pool.close(CLOSE_PATIENCE));
        self.writer.close(CLOSE_PATIENCE)
    }
}

/// Whatever is acknowledged is visible here at once, so every consistency is met but that of a bookmark
/// which another database gave.
fn satisfiable(options: &ReadOptions) -> Result<()> {
    match &options.consistency {
        Consistency::Local | Consistency::MaxLag(_) | Consistency::Leader => Ok(()),
        Consistency::AtLeast(bookmark) => known(bookmark),
    }
}

fn known(bookmark: &Bookmark) -> Result<()> {
    if *bookmark == Bookmark::default() {
        return Ok(());
    }
    let message = format!("the bookmark {bookmark} is of a cluster, and this database is local");
    Err(Error::new(ErrorKind::BookmarkLost, message))
}

impl EngineTransaction for WriterTransaction {
    fn execute(&mut self, sql: &str, params: &Params<'_>) -> Result<ExecuteResult> {
        WriterTransaction::execute(self, sql, params)
    }

    fn execute_returning(&mut self, sql: &str, params: &Params<'_>) -> Result<(ExecuteResult, Rows)> {
        WriterTransaction::execute_returning(self, sql, params)
    }

    fn query(&mut self, sql: &str, params: &Params<'_>) -> Result<Rows> {
        WriterTransaction::query(self, sql, params)
    }

    fn commit(self: Box<Self>) -> Result<Bookmark> {
        WriterTransaction::commit(*self)
    }

    fn rollback(self: Box<Self>) -> Result<()> {
        WriterTransaction::rollback(*self)
    }
}

impl EngineSession for WriterSession {
    fn execute(&self, sql: &str, params: &Params<'_>) -> Result<ExecuteResult> {
        WriterSession::execute(self, sql, params)
    }

    fn execute_returning(&self, sql: &str, params: &Params<'_>) -> Result<(ExecuteResult, Rows)> {
        WriterSession::execute_returning(self, sql, params)
    }

    fn query(&self, sql: &str, params: &Params<'_>) -> Result<Rows> {
        WriterSession::query(self, sql, params)
    }

    fn in_transaction(&self) -> Result<bool> {
        WriterSession::in_transaction(self)
    }

    fn last_insert_rowid(&self) -> Result<i64> {
        WriterSession::last_insert_rowid(self)
    }

    fn total_changes(&self) -> Result<i64> {
        WriterSession::total_changes(self)
    }

    fn interrupt(&self) {
        WriterSession::interrupt(self);
    }

    fn close(&self) {
        WriterSession::close(self);
    }
}
