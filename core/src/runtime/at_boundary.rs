use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::lead::CUT_PATIENCE;
use super::own_snapshot::{OwnDatabase, OwnState};
use super::replicator::{Replicator, State};
use super::shared::{Message, Shared};
use crate::sqlite::{Published, Snapshot};
use crate::types::{Error, ErrorKind, Position, Result};

/// Who wants the database at a boundary, and how far that is.
#[derive(Default)]
pub(super) enum Wish {
    /// Nobody.
    #[default]
    None,
    /// At the next boundary.
    Open(oneshot::Sender<Result<OwnState>>),
    /// It was taken at a cut, whose slot has no chain value yet.
    Taken(oneshot::Sender<Result<OwnState>>, Box<Snapshot>),
}

impl Wish {
    /// Whether somebody waits for a boundary.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Wish::Open(reply) if !reply.is_closed())
    }

    /// Takes what readers see at this moment, which `published` tells. The writer's mutex is held, and with it the
    /// moment is a boundary: commits from here on are in the slot after it. It costs a connection and a look at
    /// the WAL's index. If a foreign process wrote meanwhile the wish stays open.
    pub(super) fn take(&mut self, database: &Path, published: &Published) {
        if !self.is_open() {
            return;
        }
        let Wish::Open(reply) = std::mem::take(self) else { return };
        *self = match Snapshot::open(database) {
            Ok(snapshot) if snapshot.point() == published.point => Wish::Taken(reply, Box::new(snapshot)),
            Ok(_) => Wish::Open(reply),
            Err(error) => {
                let _ = reply.send(Err(error));
                Wish::None
            }
        };
    }

    /// What was taken is the log at this position, once the log has the slot.
    fn grant(&mut self, position: Position) {
        match std::mem::take(self) {
            Wish::Taken(reply, snapshot) => {
                let state = OwnState { position, size: snapshot.db_size(), pages: snapshot };
                let _ = reply.send(Ok(state));
            }
            other => *self = other,
        }
    }
}

impl Replicator {
    /// Somebody wants the database at a boundary.
    pub(super) fn wish(&mut self, reply: oneshot::Sender<Result<OwnState>>) {
        let State::Leading(leading) = &mut self.state else {
            let _ = reply.send(Err(Error::new(ErrorKind::NotLeader, "this node does not lead")));
            return;
        };
        leading.wish = Wish::Open(reply);
        self.ship_on_time();
    }

    /// Takes the database while nothing is beyond the edge; else the next cut does.
    pub(super) fn grant_when_idle(&mut self) -> Result<()> {
        let State::Leading(leading) = &mut self.state else { return Ok(()) };
        if !leading.wish.is_open() || leading.cut.is_some() {
            return Ok(());
        }
        let mut wish = std::mem::take(&mut leading.wish);
        let shared = Arc::clone(&self.shared);
        let replica = self.replica()?;
        let edge = replica.edge();
        let taken = shared.connections()?.writer.try_cut(CUT_PATIENCE, |_| {
            let published = replica.published()?;
            if published.point == edge.point {
                wish.take(shared.files.database(), &published);
            }
            Ok::<_, Error>(())
        });
        wish.grant(edge.position);
        if let State::Leading(leading) = &mut self.state {
            leading.wish = wish;
        }
        taken.transpose().map(drop)
    }

    /// The batch that was cut became this slot.
    pub(super) fn grant_drafted(&mut self, position: Position) {
        if let State::Leading(leading) = &mut self.state {
            leading.wish.grant(position);
        }
    }
}

/// A leading node's database, by its replicator.
pub(super) struct LeadersDatabase(pub(super) Arc<Shared>);

/// So long is waited for a boundary.
const PATIENCE: Duration = Duration::from_secs(30);
/// And so long for its slot: what was taken keeps the WAL from beginning anew, and writers must not be held up for
/// longer than they wait anyway.
const SLOT_PATIENCE: Duration = Duration::from_secs(4);

#[async_trait]
impl OwnDatabase for LeadersDatabase {
    async fn at_a_boundary(&self) -> Result<OwnState> {
        let late = |what| Error::new(ErrorKind::Timeout, what);
        if self.0.view.borrow().spool_bytes > 0 {
            // Its slot would be the last of many that wait for the bucket.
            return Err(Error::new(
                ErrorKind::StoreUnavailable,
                "a snapshot of the database waits for the bucket",
            ));
        }
        let (reply, answer) = oneshot::channel();
        self.0.tell_replicator(Message::Snapshot { reply });
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        let answer =
            answer.map_err(|_| late("there was no moment for a snapshot of the database in time"))?;
        let state = answer.map_err(|_| Error::new(ErrorKind::NotLeader, "the leadership ended"))??;
        let mut view = self.0.view.subscribe();
        let slot = state.position.txid;
        let confirmed = view.wait_for(|view| view.confirmed.txid >= slot);
        tokio::time::timeout(SLOT_PATIENCE, confirmed)
            .await
            .map_err(|_| late("the slot at the end of a snapshot was not confirmed in time"))?
            .map_err(|_| Error::new(ErrorKind::Closed, "the database handle was closed"))?;
        Ok(state)
    }
}
