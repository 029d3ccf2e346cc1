use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::engine::{EachRow, Engine, EngineSession, EngineTransaction};
use super::node_session::ConfirmedSession;
use crate::runtime::{Node, moved_away};
use crate::server::wire::WriteRequest;
use crate::sqlite::{Connection, ConnectionOptions, Place, RowCursor, backup};
use crate::types::{
    BatchResult, Bookmark, Consistency, Error, ErrorKind, ExecuteResult, NodeId, NodeInfo, Outcome, Params,
    ReadOptions, Result, Rows, Statement, Status, TxMode, Txid,
};

/// A node of a cluster behind a handle: writes run here if it leads, and on the leader otherwise.
pub(crate) struct NodeEngine {
    node: Node,
}

impl NodeEngine {
    pub(super) fn new(node: Node) -> NodeEngine {
        NodeEngine { node }
    }

    /// Runs a write here if this node leads; if the leadership goes away before the write began, or is
    /// elsewhere, has the leader run it.
    fn write<T>(
        &self,
        here: impl FnOnce() -> Result<T>,
        statements: impl FnOnce() -> Vec<Statement>,
        of_batch: impl FnOnce(BatchResult) -> Result<T>,
    ) -> Result<T> {
        if self.node.leads() {
            match here().map_err(|error| self.node.judge(error)) {
                Err(error) if moved_away(&error) => {}
                done => return done,
            }
        }
        let request = WriteRequest {
            request_id: None,
            seen: Txid::ZERO,
            returning: true,
            script: false,
            statements: statements(),
        };
        of_batch(self.node.forward(request)?)
    }

    fn leader_only(&self, what: &str) -> Result<()> {
        self.node.connections()?;
        if self.node.leads() {
            return Ok(());
        }
        let message =
            format!("{what} on a follower is not implemented yet: use `execute` or `batch`, or the leader");
        let error = Error::new(ErrorKind::NotImplemented, message);
        Err(match self.node.status().leader {
            Some(leader) => error.with_leader(leader),
            None => error,
        })
    }
}

impl Engine for NodeEngine {
    fn execute(&self, sql: &str, params: &Params<'_>) -> Result<ExecuteResult> {
        self.write(
            || self.node.connections()?.writer.execute(sql, params),
            || vec![Statement::new(sql, params.clone())],
            |batch| only(batch).map(|(result, _)| result),
        )
    }

    fn execute_returning(&self, sql: &str, params: &Params<'_>) -> Result<(ExecuteResult, Rows)> {
        self.write(
            || self.node.connections()?.writer.execute_returning(sql, params),
            || vec![Statement::new(sql, params.clone())],
            only,
        )
    }

    fn batch(&self, statements: &[Statement]) -> Result<BatchResult> {
        self.write(|| self.node.connections()?.writer.batch(statements), || statements.to_vec(), Ok)
    }

    fn query(&self, sql: &str, params: &Params<'_>, options: &ReadOptions) -> Result<Rows> {
        local_only(options)?;
        self.node.reader()?.read(|pool| pool.query(sql, params, options))
    }

    fn query_iter(&self, sql: &str, params: &Params<'_>, options: &ReadOptions) -> Result<RowCursor> {
        local_only(options)?;
        self.node.reader()?.read_pages(|pool| pool.query_iter(sql, params, options))
    }

    fn query_each(&self, sql: &str, params: &Params<'_>, each: EachRow<'_>) -> Result<()> {
        self.node.reader()?.read(|pool| pool.query_each(sql, params, each))
    }

    fn begin(&self, mode: TxMode) -> Result<Box<dyn EngineTransaction>> {
        self.leader_only("an interactive transaction")?;
        Ok(Box::new(self.node.connections()?.writer.begin(mode)?))
    }

    fn connect(&self) -> Result<Box<dyn EngineSession>> {
        self.leader_only("a session")?;
        let (session, reader) = (self.node.connections()?.writer.connect()?, self.node.reader()?);
        match reader.confirms() {
            true => Ok(Box::new(ConfirmedSession::new(session, reader.clone()))),
            false => Ok(Box::new(session)),
        }
    }

    fn backup(&self, target: &Path) -> Result<()> {
        let options = ConnectionOptions::new(Place::File(self.node.database_path().to_path_buf()), true);
        self.node.reader()?.read(|_| backup(&Connection::open_reader(&options)?, target))
    }

    fn interrupt(&self) {
        if let Ok(connections) = self.node.connections() {
            connections.writer.interrupt();
            connections.pool.interrupt();
        }
    }

    fn status(&self) -> Status {
        self.node.status()
    }

    fn nodes(&self) -> Result<Vec<NodeInfo>> {
        self.node.nodes()
    }

    fn is_caught_up(&self) -> bool {
        self.node.view().borrow().caught_up
    }

    fn wait_for(&self, bookmark: &Bookmark, timeout: Duration) -> Result<()> {
        self.node.wait_for(bookmark, timeout)
    }

    fn wait_durable(&self, bookmark: &Bookmark, timeout: Duration) -> Result<()> {
        self.node.wait_durable(bookmark, timeout)
    }

    fn hand_off(&self, to: Option<NodeId>) -> Result<()> {
        self.node.hand_off(to.as_ref())
    }

    fn subscribe(
        &self,
        callback: Arc<dyn Fn(crate::types::Event) + Send + Sync>,
    ) -> Result<crate::runtime::Subscription> {
        self.node.events().subscribe(callback)
    }

    fn role_events(&self) -> Result<crate::runtime::RoleEvents> {
        Ok(crate::runtime::RoleEvents::new(self.node.view()))
    }

    fn close(&self) -> Result<()> {
        self.node.close()
    }
}

fn only(batch: BatchResult) -> Result<(ExecuteResult, Rows)> {
    let bookmark = batch.bookmark;
    batch.results.into_iter().next().ok_or_else(|| {
        let message = format!("the leader ran the statement (bookmark {bookmark}) and gave no result");
        Error::new(ErrorKind::Internal, message).with_outcome(Outcome::Committed)
    })
}

fn local_only(options: &ReadOptions) -> Result<()> {
    let name = match options.consistency {
        Consistency::Local => return Ok(()),
        Consistency::AtLeast(_) => "Consistency::AtLeast",
        Consistency::MaxLag(_) => "Consistency::MaxLag",
        Consistency::Leader => "Consistency::Leader",
    };
    Err(Error::new(ErrorKind::NotImplemented, format!("{name} is not implemented yet")))
}
