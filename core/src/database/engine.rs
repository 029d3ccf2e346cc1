use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::{RoleEvents, Subscription};
use crate::sqlite::{LocalRow, RowCursor};
use crate::types::{
    BatchResult, Bookmark, Error, ErrorKind, Event, ExecuteResult, NodeId, NodeInfo, Params, ReadOptions,
    Result, Rows, Statement, Status, TxMode,
};

/// Takes each row of a query, and says whether it wants another.
pub(crate) type EachRow<'a> = &'a mut dyn FnMut(&LocalRow<'_>) -> Result<bool>;

/// What stands behind a handle: a local database, or a node of a cluster. Every call runs on the caller's
/// thread and may block.
pub(crate) trait Engine: Send + Sync {
    /// Runs one statement that may write.
    fn execute(&self, sql: &str, params: &Params<'_>) -> Result<ExecuteResult>;
    /// Runs one statement that may write, and keeps its rows.
    fn execute_returning(&self, sql: &str, params: &Params<'_>) -> Result<(ExecuteResult, Rows)>;
    /// Runs statements in one transaction.
    fn batch(&self, statements: &[Statement]) -> Result<BatchResult>;
    /// The rows of a statement that only reads.
    fn query(&self, sql: &str, params: &Params<'_>, options: &ReadOptions) -> Result<Rows>;
    /// The rows of a statement that only reads, in pages.
    fn query_iter(&self, sql: &str, params: &Params<'_>, options: &ReadOptions) -> Result<RowCursor>;
    /// The rows of a statement that only reads, on this node's database, lent one by one.
    fn query_each(&self, sql: &str, params: &Params<'_>, each: EachRow<'_>) -> Result<()>;
    /// Begins an interactive transaction.
    fn begin(&self, mode: TxMode) -> Result<Box<dyn EngineTransaction>>;
    /// Opens a session.
    fn connect(&self) -> Result<Box<dyn EngineSession>>;
    /// Copies the database to a new file.
    fn backup(&self, target: &Path) -> Result<()>;
    /// Stops the statements that run now.
    fn interrupt(&self);
    /// What the node knows of itself.
    fn status(&self) -> Status;
    /// Who is in the cluster.
    fn nodes(&self) -> Result<Vec<NodeInfo>>;
    /// Whether nothing is known of that is not applied.
    fn is_caught_up(&self) -> bool {
        true
    }
    /// Calls back for every event.
    fn subscribe(&self, _callback: Arc<dyn Fn(Event) + Send + Sync>) -> Result<Subscription> {
        Err(Error::new(ErrorKind::NotImplemented, "a local database has no events"))
    }
    /// The changes of role.
    fn role_events(&self) -> Result<RoleEvents> {
        Err(Error::new(ErrorKind::NotImplemented, "a local database has no events"))
    }
    /// Waits until a write is visible here.
    fn wait_for(&self, bookmark: &Bookmark, timeout: Duration) -> Result<()>;
    /// Waits until a write is confirmed by its slot.
    fn wait_durable(&self, bookmark: &Bookmark, timeout: Duration) -> Result<()>;
    /// Gives the leadership to another node.
    fn hand_off(&self, to: Option<NodeId>) -> Result<()>;
    /// Ends everything, within a bounded time. Again is nothing.
    fn close(&self) -> Result<()>;
}

/// An interactive transaction of an engine. Dropping it rolls back.
pub(crate) trait EngineTransaction: Send {
    fn execute(&mut self, sql: &str, params: &Params<'_>) -> Result<ExecuteResult>;
    fn execute_returning(&mut self, sql: &str, params: &Params<'_>) -> Result<(ExecuteResult, Rows)>;
    fn query(&mut self, sql: &str, params: &Params<'_>) -> Result<Rows>;
    fn commit(self: Box<Self>) -> Result<Bookmark>;
    fn rollback(self: Box<Self>) -> Result<()>;
}

/// A session of an engine. Dropping it rolls back.
pub(crate) trait EngineSession: Send + Sync {
    fn execute(&self, sql: &str, params: &Params<'_>) -> Result<ExecuteResult>;
    fn execute_returning(&self, sql: &str, params: &Params<'_>) -> Result<(ExecuteResult, Rows)>;
    fn query(&self, sql: &str, params: &Params<'_>) -> Result<Rows>;
    fn in_transaction(&self) -> Result<bool>;
    fn last_insert_rowid(&self) -> Result<i64>;
    fn total_changes(&self) -> Result<i64>;
    fn interrupt(&self);
    fn close(&self);
}
