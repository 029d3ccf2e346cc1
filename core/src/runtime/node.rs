use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::{oneshot, watch};

use super::clock;
use super::confirmations::LocalReader;
use super::events::Events;
use super::shared::{Connections, Message, Settings, Shared, View};
use super::succession;
use crate::bucket::{Bucket, Key, Layout};
use crate::client::Forwarder;
use crate::election::Event;
use crate::lease_store::LeaseStore;
use crate::manifest_store::ManifestPlace;
use crate::server::wire::WriteRequest;
use crate::sqlite::Shut;
use crate::types::{
    Bookmark, Error, ErrorKind, LeaseConfig, Monotonic, NodeId, Result, Role, Statement, Status,
};

/// One open database of a cluster: its threads, its tasks, its server, on a tokio runtime of its own.
pub(crate) struct Node {
    pub(super) shared: Arc<Shared>,
    pub(super) reader: LocalReader,
    pub(super) forwarder: Forwarder,
    pub(super) forward_timeout: Duration,
    pub(super) runtime: Option<Runtime>,
    pub(super) replicator: Option<thread::JoinHandle<()>>,
    pub(super) released: watch::Receiver<u64>,
    pub(super) stop_server: watch::Sender<bool>,
    pub(super) closed: AtomicBool,
    /// An open that ends as a follower has failed.
    pub(super) must_lead: bool,
}

/// Everything that a node is opened with.
pub(crate) struct NodeOptions {
    pub(crate) path: PathBuf,
    pub(crate) schema: String,
    pub(crate) bucket: Arc<dyn Bucket>,
    /// The log's root in the bucket: empty, or ending in a slash.
    pub(crate) root: String,
    pub(crate) lease_store: Arc<dyn LeaseStore>,
    /// The lease's key in its store.
    pub(crate) lease_key: String,
    /// Where the log's manifest is, if there is one.
    pub(crate) manifest: Option<ManifestPlace>,
    pub(crate) role: Option<Role>,
    pub(crate) instance_id: Option<NodeId>,
    pub(crate) address: Option<String>,
    /// `None`: 18080, or any if that is taken.
    pub(crate) port: Option<u16>,
    pub(crate) secret: Option<String>,
    pub(crate) lease: Option<LeaseConfig>,
    pub(crate) settings: Settings,
    pub(crate) pull_interval: Duration,
    pub(crate) wal_cap_bytes: u64,
    pub(crate) open_timeout: Duration,
    pub(crate) adopt: bool,
    /// Only follows: a database with commits of its own is refused.
    pub(crate) read_only: bool,
}

/// How long a close waits for the bucket and for the lease store.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// How often a leader that has handed over looks for its successor, which has the lease in a moment.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Node {
    /// Opens the node and waits until it leads, or follows at the tail that it saw, and until the schema is
    /// in the database. On this thread; the work is done on the node's own.
    pub(crate) fn open(options: NodeOptions) -> Result<Node> {
        let runtime = own_runtime()?;
        let deadline = clock::now() + options.open_timeout;
        let schema = options.schema.clone();
        let node = Node::start(runtime, &options)?;
        match node.wait_open(deadline).and_then(|()| node.run_schema(&schema, deadline)) {
            Ok(()) => Ok(node),
            Err(error) => {
                // What went wrong is what counts; the close is bounded.
                let _ = node.close();
                Err(error)
            }
        }
    }

    fn wait_open(&self, deadline: Monotonic) -> Result<()> {
        let must_lead = self.must_lead;
        self.until(deadline, "the database did not open", |view| {
            if let Some(error) = &view.stopped {
                return Some(Err(copy_of(&error.0)));
            }
            (view.role == Role::Leader || (view.caught_up && !must_lead)).then_some(Ok(()))
        })?
    }

    /// Runs the schema on the leader: here, or wherever it is, and waits until it is visible here.
    fn run_schema(&self, schema: &str, deadline: Monotonic) -> Result<()> {
        if schema.trim().is_empty() {
            return Ok(());
        }
        let request = WriteRequest {
            request_id: None,
            seen: crate::types::Txid::ZERO,
            returning: false,
            script: true,
            statements: vec![Statement::from(schema)],
        };
        let result = self.forward(request).map_err(|error| error.context("running the schema"))?;
        self.wait_for(&result.bookmark, deadline.since(clock::now()))
    }

    /// The connections to the local database.
    pub(crate) fn connections(&self) -> Result<&Connections> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the database handle was closed"));
        }
        self.shared.connections()
    }

    /// Reads of the local database.
    pub(crate) fn reader(&self) -> Result<&LocalReader> {
        self.connections()?;
        Ok(&self.reader)
    }

    /// What an error of a write here means to its caller, if the leadership ended meanwhile.
    pub(crate) fn judge(&self, error: Error) -> Error {
        super::forward::deposed(&self.shared, error)
    }

    /// Whether writes run here.
    pub(crate) fn leads(&self) -> bool {
        self.shared.gate.is_open()
    }

    /// The path of the local database.
    pub(crate) fn database_path(&self) -> &std::path::Path {
        self.shared.files.database()
    }

    pub(crate) fn view(&self) -> watch::Receiver<View> {
        self.shared.view.subscribe()
    }

    pub(crate) fn status(&self) -> Status {
        self.shared.status()
    }

    pub(crate) fn events(&self) -> &Events {
        &self.shared.events
    }

    /// Waits until the bookmark's write is visible to local reads.
    pub(crate) fn wait_for(&self, bookmark: &Bookmark, timeout: Duration) -> Result<()> {
        let bookmark = *bookmark;
        let what = format!("bookmark {bookmark} is not visible here yet");
        self.until(clock::now() + timeout, &what, move |view| {
            if view.role == Role::Leader && view.epoch == bookmark.epoch {
                return Some(Ok(()));
            }
            view.contains(&bookmark, view.applied).transpose()
        })??;
        self.check_owner(bookmark)
    }

    /// Whether the slot of an old bookmark is of the epoch that gave it.
    fn check_owner(&self, bookmark: Bookmark) -> Result<()> {
        if !self.shared.view.borrow().must_ask(&bookmark) {
            return Ok(());
        }
        let log = self.shared.log.clone();
        match self.block_on(async move { log.owner(bookmark.txid).await })? {
            Some(owner) if owner == bookmark.epoch => Ok(()),
            Some(owner) => {
                let message =
                    format!("the write of bookmark {bookmark} was lost: epoch {owner} has its slot");
                Err(Error::new(ErrorKind::BookmarkLost, message))
            }
            None => {
                let message = format!(
                    "no file of the log tells of the slot of bookmark {bookmark}: whether its write was lost is \
                     not known"
                );
                Err(Error::new(ErrorKind::OutcomeUnknown, message))
            }
        }
    }

    /// Waits until the bookmark's write is in a confirmed slot.
    pub(crate) fn wait_durable(&self, bookmark: &Bookmark, timeout: Duration) -> Result<()> {
        let bookmark = *bookmark;
        let what = format!("bookmark {bookmark} is not confirmed yet");
        self.until(clock::now() + timeout, &what, move |view| {
            view.contains(&bookmark, view.confirmed).transpose()
        })??;
        self.check_owner(bookmark)
    }

    /// Ships everything, releases the lease to a follower and tells it. Returns when another node leads.
    pub(crate) fn hand_off(&self, to: Option<&NodeId>) -> Result<()> {
        if !self.leads() {
            return Err(Error::new(
                ErrorKind::NotLeader,
                "this node does not lead: it has nothing to hand over",
            ));
        }
        if let Some((kind, message)) = self.shared.view.borrow().trouble().cloned() {
            // What is not shipped yet would be left behind.
            return Err(Error::new(kind, format!("not handed over while the stores fail: {message}")));
        }
        let fresh = self.shared.timing.ttl * 3;
        let Some((node, peer)) = self.shared.peers.successor(to, clock::now(), fresh) else {
            let message = match to {
                Some(node) => format!("{node} does not follow this leader"),
                None => "no follower has reported to this leader".to_owned(),
            };
            return Err(Error::new(ErrorKind::LeaderUnavailable, message));
        };
        self.give_up(Some((node, peer.address)))?;
        let deadline = clock::now() + CLOSE_PATIENCE;
        loop {
            let look_at = deadline.min(clock::now() + LOOK_AGAIN);
            let taken = self.until(look_at, "nobody has taken the lease yet", |view| {
                view.leader_node.as_ref().is_some_and(|leader| *leader != self.shared.node).then_some(())
            });
            if taken.is_ok() || clock::now() >= deadline {
                return taken;
            }
            self.shared.tell_election(Event::Look);
        }
    }

    /// Shuts the gate, ships the rest, releases the lease, and tells the successor of it, by its address.
    fn give_up(&self, to: Option<(NodeId, String)>) -> Result<()> {
        let (node, address) = to.unzip();
        self.shared.tell_election(Event::Handoff { to: node });
        let gate = Arc::clone(&self.shared.gate);
        self.block_on(async move {
            while gate.is_open() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let (reply, shipped) = oneshot::channel();
        self.shared.tell_replicator(Message::Drain { reply });
        let shipped = self.block_on(async move {
            match tokio::time::timeout(CLOSE_PATIENCE, shipped).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(Error::new(ErrorKind::Closed, "the replicator has ended")),
                Err(_) => {
                    let message = "the bucket did not take the last commits in time; they are kept locally";
                    Err(Error::new(ErrorKind::StoreUnavailable, message))
                }
            }
        });
        let mut released = self.released.clone();
        let before = *released.borrow_and_update();
        let (shared, forwarder) = (Arc::clone(&self.shared), self.forwarder.clone());
        self.block_on(async move {
            if let Some(address) = &address {
                // At the same time: it has something to do before it can lead.
                succession::announce(&Handle::current(), &shared, &forwarder, address);
            }
            shared.tell_election(Event::Release);
            let _ = tokio::time::timeout(CLOSE_PATIENCE, released.wait_for(|n| *n > before)).await;
            if let Some(address) = address {
                succession::call(&shared, &forwarder, &address, true).await;
            }
        });
        shipped
    }

    /// Ends everything within a bounded time: ships and hands over if this node leads. Again is nothing.
    pub(crate) fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let mut result = Ok(());
        if self.leads() {
            let fresh = self.shared.timing.ttl * 3;
            let successor = self.shared.peers.successor(None, clock::now(), fresh);
            result = self.give_up(successor.map(|(node, peer)| (node, peer.address)));
        }
        self.shared.closing.send_replace(true);
        self.shared.tell_election(Event::Close);
        let _ = self.until(clock::now() + CLOSE_PATIENCE, "the lease is not released", |view| {
            view.election_over.then_some(())
        });
        self.shared.gate.shut(Shut::Closed);
        self.stop_server.send_replace(true);
        if let Some(connections) = self.shared.database.get() {
            connections.pool.close(Duration::from_secs(1));
            let closed = connections.writer.close(Duration::from_secs(1));
            result = result.and(closed);
        }
        let (reply, done) = oneshot::channel();
        self.shared.tell_replicator(Message::Close { reply });
        let ended = self.block_on(async move { tokio::time::timeout(CLOSE_PATIENCE, done).await });
        match ended {
            Ok(Ok(last)) => {
                result = result.and(last);
                self.shared.files.unlock();
            }
            Ok(Err(_)) => self.shared.files.unlock(),
            Err(_) => {
                let message = "the replicator did not end in time: the file stays locked until it does";
                result = result.and(Err(Error::new(ErrorKind::Timeout, message)));
            }
        }
        self.shared.see(|view| view.closed = true);
        self.shared.events.close();
        result
    }

    /// Waits until the view satisfies `test`. `Timeout` with `what` at the deadline.
    pub(super) fn until<T: Send + 'static>(
        &self,
        deadline: Monotonic,
        what: &str,
        test: impl Fn(&View) -> Option<T>,
    ) -> Result<T> {
        let mut view = self.shared.view.subscribe();
        loop {
            if let Some(value) = test(&view.borrow_and_update()) {
                return Ok(value);
            }
            let left = deadline.since(clock::now());
            if left.is_zero() {
                let last = self.shared.view.borrow().trouble().cloned();
                let why = last.map_or(String::new(), |(_, message)| format!(": {message}"));
                return Err(Error::new(ErrorKind::Timeout, format!("{what}{why}")));
            }
            let mut changes = view.clone();
            self.block_on(async move {
                let _ = tokio::time::timeout(left, changes.changed()).await;
            });
        }
    }

    /// Runs a future on the node's runtime and waits for it here: allowed on any thread, also one of another
    /// runtime.
    pub(super) fn block_on<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        block_on(self.runtime.as_ref().expect("BUG: a node without a runtime"), future)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure.
        let _ = self.close();
        if let Some(replicator) = self.replicator.take()
            && replicator.is_finished()
        {
            let _ = replicator.join();
        }
        if let Some(runtime) = self.runtime.take() {
            // Not waited for: this may be a thread of another runtime.
            runtime.shutdown_background();
        }
    }
}

/// A node's own runtime.
pub(super) fn own_runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("haqlite")
        .enable_all()
        .build()
        .map_err(|e| Error::io("starting the runtime", e))
}

/// Runs a future on the runtime and waits for it here.
pub(super) fn block_on<T: Send + 'static>(
    runtime: &Runtime,
    future: impl Future<Output = T> + Send + 'static,
) -> T {
    let (sender, receiver) = mpsc::sync_channel(1);
    runtime.spawn(async move {
        let _ = sender.send(future.await);
    });
    receiver.recv().expect("BUG: a task of the node ended without a result")
}

/// The same error once more: errors are not cloned, because their sources cannot be.
pub(super) fn copy_of(error: &Error) -> Error {
    Error::new(error.kind(), error.message()).with_outcome(error.outcome())
}

/// The lease's key, where the lease is kept in the log's bucket.
pub(crate) fn lease_key(root: &str, layout: Layout) -> String {
    Key::Lease.path(root, layout)
}

/// The manifest's key, in whichever store it is.
pub(crate) fn manifest_key(root: &str, layout: Layout) -> String {
    Key::Manifest.path(root, layout)
}
