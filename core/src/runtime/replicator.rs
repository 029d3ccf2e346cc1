use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::checkpoints::Checkpoints;
use super::clock;
use super::found::Bootstrap;
use super::lead::Leading;
use super::outage::Outage;
use super::replica::Replica;
use super::shared::{Message, Shared};
use crate::types::{Error, ErrorKind, Monotonic, Result, Txid};

/// The thread that owns the local replica: follows, promotes, ships. Everything that changes the database
/// file outside of the writer's commits happens here, one thing at a time.
pub(super) struct Replicator {
    pub(super) shared: Arc<Shared>,
    pub(super) tokio: Handle,
    pub(super) inbox: Receiver<Message>,
    pub(super) bootstrap: Bootstrap,
    /// `None` until there is a database that belongs to the log.
    pub(super) replica: Option<Replica>,
    pub(super) checkpoints: Option<Checkpoints>,
    pub(super) state: State,
    pub(super) next_look: Monotonic,
    pub(super) looks: u32,
    /// Numbers what was asked of the bucket, through all leaderships: a late answer to something else is
    /// never taken for the one that is waited for.
    pub(super) operation: u64,
    /// How many looks in a row found the log damaged.
    pub(super) doubts: u32,
    /// The slot that the last of them met, and that is damaged.
    pub(super) unreadable: Option<Txid>,
    /// The slot of our position that was last read back from the log.
    pub(super) verified: Option<Txid>,
    /// What is done while the bucket gives no answers.
    pub(super) outage: Outage,
}

/// What the thread does at the moment.
pub(super) enum State {
    /// Fetches and applies.
    Following,
    /// Ships.
    Leading(Box<Leading>),
    /// Found something that only an operator can resolve: serves what it has.
    Stopped,
}

/// When the thread panics nobody ships any more: nobody may acknowledge, and another node has to lead.
struct StopOnPanic(Arc<Shared>);

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop(Error::new(ErrorKind::Internal, "the replicator panicked; see the log"));
        }
    }
}

/// While there is something unshipped, the WAL is looked at this often.
const WATCH: Duration = Duration::from_millis(20);

/// Otherwise so often, for what nobody told of: a commit of another process.
const IDLE: Duration = Duration::from_secs(1);

impl Replicator {
    /// Runs until it is closed.
    pub(super) fn run(mut self) {
        // Dropped before the replica is: the gate is shut before the barrier goes.
        let _guard = StopOnPanic(Arc::clone(&self.shared));
        loop {
            let wait = self.wake_at().since(clock::now());
            match self.inbox.recv_timeout(wait) {
                Ok(Message::Close { reply }) => {
                    let _ = reply.send(self.close());
                    return;
                }
                Ok(message) => self.on(message),
                Err(RecvTimeoutError::Timeout) => self.on_time(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn on(&mut self, message: Message) {
        match message {
            Message::Promote { tenure, epoch } => self.promote(tenure, epoch),
            Message::Demote => self.demote(),
            Message::Dirty => self.ship_on_time(),
            Message::Look => {
                self.shared.look_asked.store(false, std::sync::atomic::Ordering::Release);
                // A promotion that waits behind this looks for itself, and should not wait.
                if !self.shared.has_tenure() {
                    self.next_look = clock::now();
                }
                self.on_time();
            }
            Message::Answer { operation, event, error } => self.answered(operation, event, error),
            Message::Checkpointed(result) => self.checkpointed(result),
            Message::Proven(proofs) => self.proven(proofs),
            Message::Snapshot { reply } => self.wish(reply),
            Message::Drain { reply } => self.drain(reply),
            Message::Close { .. } => unreachable!("BUG: the loop ends before"),
        }
    }

    fn on_time(&mut self) {
        match self.state {
            State::Following if clock::now() >= self.next_look => self.look(),
            State::Following | State::Stopped => {}
            State::Leading(_) => self.ship_on_time(),
        }
    }

    fn wake_at(&self) -> Monotonic {
        match &self.state {
            State::Following => self.next_look,
            State::Stopped => clock::now() + Duration::from_secs(60),
            State::Leading(leading) => {
                let idle = !leading.is_busy();
                clock::now() + if idle { IDLE } else { WATCH }
            }
        }
    }

    /// The leadership is over: everybody's writes are stopped, what is committed and not shipped is kept,
    /// and the node follows again.
    fn demote(&mut self) {
        if let State::Leading(_) = &self.state
            && let State::Leading(leading) = std::mem::replace(&mut self.state, State::Following)
        {
            leading.fail_drains("the leadership ended before everything was shipped");
        }
        self.shared.confirmations.end();
        self.outage.ended();
        // Whatever was asked for in this leadership is answered too late from now on.
        self.operation += 1;
        self.next_look = clock::now();
        self.on_time();
    }

    /// While others can still write, as after a leadership: what runs is interrupted, what is open is rolled
    /// back, and who waits for the WAL is told. `Timeout` if a statement does not end; the next look tries
    /// again.
    pub(super) fn stop_writers(&mut self) -> Result<()> {
        if self.replica()?.is_locked() {
            return Ok(());
        }
        if let Ok(connections) = self.shared.connections() {
            connections.writer.abort_all("the leader has changed", Duration::from_secs(2))?;
            if !connections.writer.stall(false, Duration::from_secs(2)) {
                return Err(Error::new(ErrorKind::Timeout, "a statement did not stop"));
            }
        }
        Ok(())
    }

    /// The WAL is kept, the boundary is written down; the lock goes with the replica.
    fn close(&mut self) -> Result<()> {
        if let State::Leading(leading) = std::mem::replace(&mut self.state, State::Stopped) {
            leading.fail_drains("the database was closed");
        }
        self.shared.confirmations.end();
        // Its thread must not touch the main file any more when that is written down.
        if let Some(checkpoints) = self.checkpoints.take() {
            checkpoints.stop();
        }
        match self.replica.take() {
            Some(mut replica) => replica.close(),
            None => Ok(()),
        }
    }

    /// Runs a request to its end, on this thread. `Closed` as soon as the database is being closed.
    pub(super) fn wait<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        let mut closing = self.shared.closing.subscribe();
        self.tokio.block_on(async move {
            tokio::select! {
                biased;
                result = request => result,
                _ = closing.wait_for(|closing| *closing) => {
                    Err(Error::new(ErrorKind::Closed, "the database handle was closed"))
                }
            }
        })
    }

    pub(super) fn replica(&mut self) -> Result<&mut Replica> {
        self.replica.as_mut().ok_or_else(|| Error::new(ErrorKind::Internal, "there is no replica yet"))
    }

    pub(super) fn drain(&mut self, reply: oneshot::Sender<Result<()>>) {
        match &mut self.state {
            State::Leading(leading) => {
                leading.drains.push(reply);
                // A commit that has passed the gate is in the WAL when the mutex is free.
                if let Ok(connections) = self.shared.connections() {
                    let _ = connections.writer.try_cut(Duration::from_secs(5), |_| ());
                }
                self.flush();
            }
            State::Following | State::Stopped => {
                let message = "this node does not lead: it has nothing to ship";
                let _ = reply.send(Err(Error::new(ErrorKind::NotLeader, message)));
            }
        }
    }
}
