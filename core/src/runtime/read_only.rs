use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::watch;

use super::clock;
use super::complete::complete;
use super::confirmations::LocalReader;
use super::local_files::LocalFiles;
use super::log::Log;
use super::node::{Node, NodeOptions, copy_of, own_runtime};
use super::outage::Outage;
use super::replicator::Replicator;
use super::shared::{Settings, View};
use super::start::{FORWARD_TIMEOUT, share, start_replicator, test_injection_once};
use crate::bucket::Bucket;
use crate::client::Forwarder;
use crate::lease_store::MemoryLeaseStore;
use crate::manifest_store::ManifestPlace;
use crate::replication::Genesis;
use crate::types::{
    Compaction, CoordinatorConfig, Durability, Error, ErrorKind, LocalReads, NodeId, Position, Result,
    Retention, Role, SessionId,
};

/// Everything that a read-only copy is opened with.
pub(crate) struct ReadOnlyOptions {
    pub(crate) path: PathBuf,
    pub(crate) bucket: Arc<dyn Bucket>,
    /// The log's root in the bucket: empty, or ending in a slash.
    pub(crate) root: String,
    /// What tells of new slots, if anything does.
    pub(crate) manifest: Option<ManifestPlace>,
    /// How often it looks for slots.
    pub(crate) interval: Duration,
    /// Take a database without local state for the log's.
    pub(crate) adopt: bool,
}

/// What a read-only copy knows of itself at one moment.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ReadOnlyView {
    /// Up to where it is the log; the default before there is a copy.
    pub(crate) applied: Position,
    /// Whether the last look at the log found nothing newer.
    pub(crate) is_current: bool,
    /// What is being tried again.
    pub(crate) trouble: Option<(ErrorKind, String)>,
    /// What ended it.
    pub(crate) stopped: Option<(ErrorKind, String)>,
}

/// What a lease would have, if there were one.
const TTL: Duration = Duration::from_secs(5);

impl Node {
    /// Opens a node that is no member of the cluster: its replicator follows the log, and there is no election,
    /// no server, no heartbeat and no probe.
    ///
    /// It writes nothing to the bucket: only a promotion makes a replicator write, only the lease task
    /// promotes, and there is none. So it needs a key that may read, no more.
    ///
    /// Returns when the log was met, before there is a copy. If the bucket cannot be reached, that is an error
    /// the first time; a copy that exists is kept and goes on when the bucket is back.
    pub(crate) fn open_read_only(options: ReadOnlyOptions) -> Result<Node> {
        let log = Log::new(Arc::clone(&options.bucket), options.root.clone(), PathBuf::new());
        let met = complete(async move { meet(&log).await })?;
        if let Err(error) = met
            && !(LocalFiles::belongs(&options.path) && may_pass(error.kind()))
        {
            return Err(error);
        }
        let options = options.as_node();
        let files = Arc::new(LocalFiles::open(&options.path)?);
        test_injection_once(&files)?;
        let runtime = own_runtime()?;
        let nobody = (SessionId::default(), NodeId::new(""), String::new());
        let (shared, inbox, _) = share(&options, None, &files, nobody, TTL);
        // There is no election that a close would have to wait for.
        shared.see(|view| view.election_over = true);
        let (forwarder, released) = (Forwarder::new(None)?, watch::channel(0).1);
        let outage = Outage::new(TTL, options.settings.durability, forwarder.clone(), released.clone());
        let replicator = start_replicator(&shared, &runtime, inbox, &options, outage)?;
        if let Some(place) = &options.manifest {
            runtime.spawn(super::manifest_hint::run(Arc::clone(&shared), place.clone()));
        }
        Ok(Node {
            reader: LocalReader::new(&shared),
            shared,
            forwarder,
            forward_timeout: FORWARD_TIMEOUT,
            runtime: Some(runtime),
            replicator: Some(replicator),
            released,
            stop_server: watch::channel(false).0,
            closed: AtomicBool::new(false),
            must_lead: false,
        })
    }

    /// Waits until the copy is current. `Timeout` at the deadline, or why the copy cannot go on.
    pub(crate) fn wait_current(&self, timeout: Duration) -> Result<()> {
        self.until(clock::now() + timeout, "the copy is not current yet", |view| match &view.stopped {
            Some(error) => Some(Err(copy_of(&error.0))),
            None => is_current(view).then_some(Ok(())),
        })?
    }

    /// Waits until the state is another one than this, or the time is over, and gives the state as it is then.
    pub(crate) fn wait_change(&self, seen: &ReadOnlyView, timeout: Duration) -> ReadOnlyView {
        let seen = seen.clone();
        let changed = move |view: &View| (read_only_view(view) != seen).then_some(());
        // That nothing has changed is an answer as well.
        let _ = self.until(clock::now() + timeout, "", changed);
        self.read_only_view()
    }

    /// Where the log is, for people.
    pub(crate) fn describe_log(&self) -> String {
        self.shared.log.describe()
    }

    /// The state as it is now.
    pub(crate) fn read_only_view(&self) -> ReadOnlyView {
        read_only_view(&self.shared.view.borrow())
    }
}

impl ReadOnlyOptions {
    fn as_node(&self) -> NodeOptions {
        let timing = CoordinatorConfig::default();
        NodeOptions {
            path: self.path.clone(),
            schema: String::new(),
            bucket: Arc::clone(&self.bucket),
            root: self.root.clone(),
            // Never asked: there is no lease task.
            lease_store: Arc::new(MemoryLeaseStore::new()),
            manifest: self.manifest.clone(),
            lease_key: String::new(),
            role: Some(Role::Follower),
            instance_id: None,
            address: None,
            port: None,
            secret: None,
            lease: None,
            settings: Settings {
                durability: Durability::default(),
                local_reads: LocalReads::default(),
                confirm_timeout: Duration::ZERO,
                compaction: Compaction::default(),
                retention: Retention::default(),
                verify_interval: None,
                spool_limit: 0,
            },
            pull_interval: self.interval,
            wal_cap_bytes: timing.wal_cap_bytes,
            open_timeout: Duration::ZERO,
            adopt: self.adopt,
            read_only: true,
        }
    }
}

impl Replicator {
    /// `ForeignDatabase` for commits of its own in a database that only follows.
    pub(super) fn may_have_a_tail(&self) -> Result<()> {
        if !self.bootstrap.read_only {
            return Ok(());
        }
        let message = format!(
            "{} has commits that {} does not have: open it as a node, which can ship them, or move it away to \
             get the log's",
            self.files().database().display(),
            self.shared.log.describe()
        );
        Err(Error::new(ErrorKind::ForeignDatabase, message))
    }
}

/// The genesis of the log. `InvalidArgument` if there is no log, `ForeignDatabase` if it is another tool's.
pub(crate) async fn meet(log: &Log) -> Result<Genesis> {
    if let Some(genesis) = log.genesis().await? {
        return Ok(genesis);
    }
    if log.list().await?.is_empty() {
        let message = format!("{} holds no log", log.describe());
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    let message = format!(
        "{} holds files that another tool wrote: they can be restored, and no more until a node has adopted them",
        log.describe()
    );
    Err(Error::new(ErrorKind::ForeignDatabase, message))
}

/// Whether time alone may mend it.
fn may_pass(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StoreUnavailable | ErrorKind::Timeout | ErrorKind::Io)
}

fn is_current(view: &View) -> bool {
    view.caught_up && view.last_error.is_none()
}

fn read_only_view(view: &View) -> ReadOnlyView {
    let stopped = view.stopped.as_ref().map(|error| (error.0.kind(), error.0.message().to_owned()));
    ReadOnlyView {
        applied: view.applied,
        is_current: is_current(view),
        trouble: view.last_error.clone(),
        stopped,
    }
}
