use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc as tokio_mpsc, oneshot, watch};

use super::clock;
use super::confirmations::Confirmations;
use super::events::Events;
use super::local_files::LocalFiles;
use super::log::Log;
use super::manifest_hint::Told;
use super::own_snapshot::OwnState;
use super::peers::Peers;
use super::stamps::Stamps;
use crate::election::{self, Tenure};
use crate::replication::{Complaints, Plight, Proof, ShipperEvent};
use crate::sqlite::{CheckpointProgress, Gate, ReadPool, Shut, Writer};
use crate::types::{
    Bookmark, Compaction, Durability, Epoch, Error, ErrorKind, LocalReads, Monotonic, NodeId, Position,
    Result, Retention, Role, SessionId, Status, Txid,
};

/// What all parts of a node share. Decisions are made by the lease task and the replicator; others read the
/// view and send messages.
pub(crate) struct Shared {
    pub(super) files: Arc<LocalFiles>,
    pub(super) log: Log,
    pub(super) gate: Arc<Gate>,
    pub(super) session: SessionId,
    pub(super) node: NodeId,
    pub(super) address: String,
    pub(super) timing: Timing,
    pub(super) settings: Settings,
    pub(super) events: Events,
    pub(super) peers: Peers,
    /// What followers cannot read, for the leader's upkeep.
    pub(super) complaints: Mutex<Complaints>,
    /// Told when there is something in it.
    pub(super) complained: Notify,
    pub(super) confirmations: Arc<Confirmations>,
    pub(super) stamps: Stamps,
    /// What the manifest says, where there is one.
    pub(super) told: Told,
    /// The connections, from when there is a database at the path.
    pub(super) database: OnceLock<Connections>,
    pub(super) view: watch::Sender<View>,
    pub(super) replicator: mpsc::Sender<Message>,
    pub(super) election: tokio_mpsc::UnboundedSender<election::Event>,
    /// Set by the first commit after the replicator has looked; keeps later ones from telling it again.
    pub(super) dirty: AtomicBool,
    /// A look at the log is asked for and has not begun: one for all who ask.
    pub(super) look_asked: AtomicBool,
    /// The tenure that is not over; 0 while there is none. What belongs to another is given up.
    pub(super) tenure: AtomicU64,
    /// Set once, when the database is being closed.
    pub(super) closing: watch::Sender<bool>,
}

/// The connections to the local database.
pub(crate) struct Connections {
    pub(crate) writer: Arc<Writer>,
    pub(crate) pool: ReadPool,
}

/// What the application chose of the log's life.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What an acknowledged write has survived.
    pub(crate) durability: Durability,
    /// What reads may see of it before.
    pub(crate) local_reads: LocalReads,
    /// How long anybody waits for a slot to be confirmed.
    pub(crate) confirm_timeout: Duration,
    /// Levels and snapshots.
    pub(crate) compaction: Compaction,
    /// What is kept.
    pub(crate) retention: Retention,
    /// How often the whole log is checked.
    pub(crate) verify_interval: Option<Duration>,
    /// How many bytes wait on the disk for the bucket at most.
    pub(crate) spool_limit: u64,
}

/// How often and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// How often a follower looks for slots.
    pub(crate) pull: Duration,
    /// The lease's time to live.
    pub(crate) ttl: Duration,
    /// The WAL's hard limit in bytes.
    pub(crate) wal_cap: u64,
}

/// Above this a WAL whose frames are all shipped or applied is checkpointed and begun anew.
const RESET_BYTES: u64 = 4 << 20;

impl Timing {
    /// From how many bytes on the WAL is checkpointed: well before it is so full that writers are held up.
    pub(super) fn reset_bytes(&self) -> u64 {
        RESET_BYTES.min(self.wal_cap / 4)
    }
}

/// What the node knows of itself. Every change is seen by those who wait for it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct View {
    pub(crate) role: Role,
    pub(crate) epoch: Epoch,
    pub(crate) leader: Option<String>,
    pub(crate) leader_node: Option<NodeId>,
    /// The address of the node that this one has handed the leadership to, until the lease shows a leader.
    pub(crate) handed_to: Option<String>,
    /// Until when this node expects that the leadership comes to it, or is known to be another's.
    pub(crate) changes_until: Option<Monotonic>,
    /// Up to where the local database is the log.
    pub(crate) applied: Position,
    /// The newest slot known to be confirmed.
    pub(crate) confirmed: Position,
    /// The slot that the newest commit is in or will be in.
    pub(crate) committed: Txid,
    /// Whether the last look at the log found nothing that is not applied.
    pub(crate) caught_up: bool,
    /// Since when something is not shipped, or not applied.
    pub(crate) behind_since: Option<Monotonic>,
    pub(crate) unshipped_bytes: u64,
    pub(crate) spool_bytes: u64,
    pub(crate) last_error: Option<(ErrorKind, String)>,
    /// The same of the lease store.
    pub(crate) lease_error: Option<(ErrorKind, String)>,
    /// The same of the manifest store.
    pub(crate) manifest_error: Option<(ErrorKind, String)>,
    /// What the last verification found wrong with the log.
    pub(crate) verify_error: Option<(ErrorKind, String)>,
    /// From which slot on each epoch is known to own the log. Nothing is known of slots before the first.
    pub(crate) epochs: Vec<(Epoch, Txid)>,
    /// The slot that this node cannot read, and what the leader said to that.
    pub(crate) plight: Option<Plight>,
    /// Why the node cannot go on; it serves reads of what it has.
    pub(crate) stopped: Option<Stopped>,
    /// This node takes no part in elections any more.
    pub(crate) election_over: bool,
    pub(crate) closed: bool,
}

/// An error that ended something, shared.
#[derive(Clone, Debug)]
pub(crate) struct Stopped(pub(crate) Arc<Error>);

impl PartialEq for Stopped {
    fn eq(&self, other: &Stopped) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// What the replicator is told.
pub(crate) enum Message {
    /// The lease is ours: catch up, fence, lead.
    Promote { tenure: Tenure, epoch: Epoch },
    /// The leadership is over.
    Demote,
    /// There is something to ship, or may be.
    Dirty,
    /// Look at the log now.
    Look,
    /// The answer to something that the shipper asked for.
    Answer { operation: u64, event: ShipperEvent, error: Option<Error> },
    /// These followers can write to the bucket.
    Proven(Vec<Proof>),
    /// A checkpoint ended.
    Checkpointed(Result<Option<CheckpointProgress>>),
    /// Hand the database out at the next boundary.
    Snapshot { reply: oneshot::Sender<Result<OwnState>> },
    /// Ship what there is and tell when it is confirmed.
    Drain { reply: oneshot::Sender<Result<()>> },
    /// Write the last record and end.
    Close { reply: oneshot::Sender<Result<()>> },
}

/// Epochs that the view remembers.
const EPOCHS: usize = 1024;

impl Shared {
    /// Whether this tenure still holds.
    pub(super) fn holds(&self, tenure: Tenure) -> bool {
        self.tenure.load(Ordering::Acquire) == tenure.0 && !self.is_closing()
    }

    /// Whether this node holds the lease, as far as it knows.
    pub(super) fn has_tenure(&self) -> bool {
        self.tenure.load(Ordering::Acquire) != 0
    }

    pub(super) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    pub(super) fn set_tenure(&self, tenure: Option<Tenure>) {
        self.tenure.store(tenure.map_or(0, |t| t.0), Ordering::Release);
    }

    /// Tells the replicator; it may be gone at the end.
    pub(super) fn tell_replicator(&self, message: Message) {
        let _ = self.replicator.send(message);
    }

    /// Has the replicator look at the log now, unless it is going to anyway.
    pub(super) fn look_at_the_log(&self) {
        if !self.look_asked.swap(true, Ordering::AcqRel) {
            self.tell_replicator(Message::Look);
        }
    }

    /// Tells the election; it may be gone at the end.
    pub(super) fn tell_election(&self, event: election::Event) {
        let _ = self.election.send(event);
    }

    /// The connections; `Closed` or `LeaderUnavailable` before there is a database.
    pub(super) fn connections(&self) -> Result<&Connections> {
        self.database
            .get()
            .ok_or_else(|| Error::new(ErrorKind::LeaderUnavailable, "this node has no database yet"))
    }

    /// The hint of a commit: wakes the replicator if it sleeps.
    pub(super) fn hint(&self) {
        if !self.dirty.load(Ordering::Relaxed) && !self.dirty.swap(true, Ordering::AcqRel) {
            self.tell_replicator(Message::Dirty);
        }
    }

    pub(super) fn see(&self, change: impl FnOnce(&mut View)) {
        self.view.send_if_modified(|view| {
            let before = view.clone();
            change(view);
            *view != before
        });
    }

    /// Notes how far the local database is the log.
    pub(super) fn applied(&self, position: Position) {
        self.see(|view| {
            view.applied = position;
            view.confirmed = position;
            view.committed = view.committed.max(position.txid);
            view.epoch = view.epoch.max(position.epoch);
            if view.epochs.is_empty() && position.txid > Txid::ZERO {
                view.epochs.push((position.epoch, position.txid));
            }
        });
    }

    /// Forgets which epochs own which slots before this position.
    pub(super) fn epochs_from(&self, position: Position) {
        self.see(|view| view.epochs = vec![(position.epoch, position.txid)]);
    }

    /// Notes that an epoch began with this slot.
    pub(super) fn epoch_began(&self, epoch: Epoch, first: Txid) {
        self.see(|view| {
            if view.epochs.last().is_none_or(|(last, _)| *last < epoch) {
                view.epochs.push((epoch, first));
            }
            if view.epochs.len() > EPOCHS {
                view.epochs.remove(0);
            }
        });
    }

    /// Something in the background failed and is being tried again.
    pub(super) fn degraded(&self, error: &Error) {
        tracing::warn!(kind = error.kind().name(), "{error}");
        let kind = error.kind();
        let was = self.view.borrow().last_error.as_ref().map(|(kind, _)| *kind);
        self.see(|view| view.last_error = Some((kind, error.to_string())));
        if was != Some(kind) {
            self.events.emit(crate::types::Event::Degraded(kind));
        }
    }

    /// The node cannot go on: it serves reads of what it has, takes no writes, and no part in elections.
    pub(super) fn stop(&self, error: Error) {
        self.gate.shut_for_good(Shut::NotLeader { leader: None });
        self.set_tenure(None);
        self.confirmations.end();
        self.degraded(&error);
        self.see(|view| view.stopped = Some(Stopped(Arc::new(error))));
        self.tell_election(election::Event::Close);
    }

    /// The lease store fails and is asked again.
    pub(super) fn lease_degraded(&self, error: &Error) {
        tracing::warn!(kind = error.kind().name(), "{error}");
        let (was, kind) = (self.view.borrow().lease_error.is_some(), error.kind());
        self.see(|view| view.lease_error = Some((kind, error.to_string())));
        if !was {
            self.events.emit(crate::types::Event::Degraded(kind));
        }
    }

    /// The lease store works again.
    pub(super) fn lease_recovered(&self) {
        if self.view.borrow().lease_error.is_none() {
            return;
        }
        self.see(|view| view.lease_error = None);
        self.events.emit(crate::types::Event::Recovered);
    }

    /// It works again.
    pub(super) fn recovered(&self) {
        if self.view.borrow().last_error.is_none() {
            return;
        }
        self.see(|view| view.last_error = None);
        self.events.emit(crate::types::Event::Recovered);
    }

    /// The role event of the view as it is now.
    pub(super) fn emit_role(&self) {
        let view = self.view.borrow().clone();
        self.events.emit(crate::types::Event::Role {
            role: view.role,
            epoch: view.epoch,
            leader: view.leader,
        });
    }

    /// The public status.
    pub(crate) fn status(&self) -> Status {
        let view = self.view.borrow().clone();
        let mut status = Status::new(view.role);
        status.epoch = view.epoch;
        status.leader = view.leader;
        status.committed = match self.database.get() {
            Some(connections) if view.role == Role::Leader => {
                view.committed.max(connections.writer.committed())
            }
            Some(_) | None => view.committed,
        };
        status.confirmed = view.confirmed;
        status.applied = view.applied.txid;
        status.lag = view.behind_since.map_or(Duration::ZERO, |since| clock::now().since(since));
        status.lag_bytes = view.unshipped_bytes;
        status.spool_bytes = view.spool_bytes;
        status.last_error =
            view.last_error.or(view.lease_error).or(view.verify_error).or(view.manifest_error);
        status.lost_tails = self.files.lost_tails();
        status
    }
}

impl View {
    /// What goes wrong in the background, of the log first.
    pub(crate) fn trouble(&self) -> Option<&(ErrorKind, String)> {
        self.last_error.as_ref().or(self.lease_error.as_ref())
    }

    pub(super) fn new() -> View {
        View {
            role: Role::Follower,
            epoch: Epoch::ZERO,
            leader: None,
            leader_node: None,
            handed_to: None,
            changes_until: None,
            applied: Position::default(),
            confirmed: Position::default(),
            committed: Txid::ZERO,
            caught_up: false,
            behind_since: None,
            unshipped_bytes: 0,
            spool_bytes: 0,
            last_error: None,
            lease_error: None,
            manifest_error: None,
            verify_error: None,
            epochs: Vec::new(),
            plight: None,
            stopped: None,
            election_over: false,
            closed: false,
        }
    }

    /// Whether only the slot itself can tell whose it is: it is older than what this node saw.
    pub(crate) fn must_ask(&self, bookmark: &Bookmark) -> bool {
        let first = self.epochs.first();
        first.is_some_and(|(epoch, from)| bookmark.txid < *from && bookmark.epoch < *epoch)
            && *bookmark != Bookmark::default()
    }

    /// Whether the bookmark's write is in the log up to `end`: `None` if it is not there yet, `BookmarkLost`
    /// if the slot belongs to another epoch.
    pub(crate) fn contains(&self, bookmark: &Bookmark, end: Position) -> Result<Option<()>> {
        if *bookmark == Bookmark::default() {
            return Ok(Some(()));
        }
        let lost = |owner: Epoch| {
            let message = format!("the write of bookmark {bookmark} was lost: epoch {owner} has its slot");
            Err(Error::new(ErrorKind::BookmarkLost, message))
        };
        let newer = self.epochs.iter().find(|(epoch, _)| *epoch > bookmark.epoch);
        if let Some((owner, first)) = newer
            && *first <= bookmark.txid
        {
            return lost(*owner);
        }
        Ok((end.txid >= bookmark.txid).then_some(()))
    }
}
