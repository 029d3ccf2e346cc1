use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{Notify, watch};

use super::clock;
use super::confirmations::{Confirmations, LocalReader};
use super::events::Events;
use super::footing::{Footing, choose_footing};
use super::found::Bootstrap;
use super::lease::LeaseTask;
use super::local_files::LocalFiles;
use super::log::Log;
use super::manifest_hint::{self, Told};
use super::node::{Node, NodeOptions, block_on};
use super::outage::Outage;
use super::peers::Peers;
use super::replicator::{Replicator, State};
use super::service::NodeService;
use super::shared::{Message, Shared, Timing, View};
use super::stamps::Stamps;
use crate::bucket::Bucket;
use crate::client::{Forwarder, advertised_address, host_name, parse_address};
use crate::election::{Election, ElectionConfig, Event, Tenure};
use crate::manifest_store::FencedBucket;
use crate::server::{Listen, Secret, Server, ServerLimits};
use crate::sqlite::{
    Clock, ConnectionOptions, Gate, Place, PoolOptions, Shut, TransactionLimits, WriterOptions, wal_self_test,
};
use crate::types::{DatabaseId, Error, ErrorKind, LeaseConfig, Monotonic, NodeId, Result, Role, SessionId};

const DEFAULT_PORT: u16 = 18080;
/// For how long a forwarded write looks for a leader.
pub(super) const FORWARD_TIMEOUT: Duration = Duration::from_secs(30);

impl Node {
    /// Locks the files, probes the store, takes the port, and starts the threads and the tasks.
    pub(super) fn start(runtime: Runtime, options: &NodeOptions) -> Result<Node> {
        let files = Arc::new(LocalFiles::open(&options.path)?);
        test_injection_once(&files)?;
        let fence = probe_once(&runtime, &files, options)?;
        let secret = options.secret.clone().map(Secret::new).transpose()?;
        let forwarder = Forwarder::new(secret.as_ref())?;
        let server = block_on(&runtime, bind(options.port, secret.clone()))?;
        let configured = options.lease.as_ref();
        let given = configured.map(|lease| lease.address.clone()).filter(|address| !address.is_empty());
        let address = match options.address.as_ref().or(given.as_ref()) {
            Some(address) => parse_address(address)?,
            None => {
                let variable = |name: &str| std::env::var(name).ok();
                advertised_address(server.local_addr(), secret.is_some(), variable, host_name())?
            }
        };
        let session = SessionId::from_bytes(uuid::Uuid::new_v4().into_bytes());
        let named = configured.map(|lease| lease.instance_id.clone()).filter(|id| !id.as_str().is_empty());
        let node = options.instance_id.clone().or(named).map_or_else(|| files.node_id(), Ok)?;
        let election = election_config(options, &files, &node, session, &address)?;
        let poll = election.poll_interval;
        let identity = (session, node, address);
        let (shared, replicator_inbox, election_inbox) =
            share(options, fence, &files, identity, election.ttl);
        let (released, seen_released) = watch::channel(0);
        let outage = Outage::new(
            shared.timing.ttl,
            shared.settings.durability,
            forwarder.clone(),
            seen_released.clone(),
        );
        let replicator = start_replicator(&shared, &runtime, replicator_inbox, options, outage)?;
        let lease = LeaseTask {
            shared: Arc::clone(&shared),
            election: Election::new(election)?,
            store: Arc::clone(&options.lease_store),
            key: options.lease_key.clone(),
            inbox: election_inbox,
            version: None,
            tenure: Tenure::default(),
            released,
        };
        runtime.spawn(lease.run());
        // Who cannot lead offers itself to nobody as a successor.
        let can_lead = options.role != Some(Role::Follower);
        runtime.spawn(super::heartbeat::run(Arc::clone(&shared), forwarder.clone(), poll, can_lead));
        if let Some(place) = &options.manifest {
            runtime.spawn(manifest_hint::run(Arc::clone(&shared), place.clone()));
        }
        runtime.spawn(super::verify_task::run(Arc::clone(&shared)));
        let (stop_server, mut stopped) = watch::channel(false);
        let service = Arc::new(NodeService(Arc::clone(&shared)));
        runtime.spawn(server.serve(service, async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        }));
        Ok(Node {
            reader: LocalReader::new(&shared),
            shared,
            forwarder,
            forward_timeout: FORWARD_TIMEOUT.max(options.settings.confirm_timeout),
            runtime: Some(runtime),
            replicator: Some(replicator),
            released: seen_released,
            stop_server,
            closed: AtomicBool::new(false),
            must_lead: options.role == Some(Role::Leader),
        })
    }
}

pub(super) fn share(
    options: &NodeOptions,
    fence: Option<Arc<FencedBucket>>,
    files: &Arc<LocalFiles>,
    (session, node, address): (SessionId, NodeId, String),
    ttl: Duration,
) -> (Arc<Shared>, Receiver<Message>, UnboundedReceiver<Event>) {
    let (to_replicator, replicator_inbox) = mpsc::channel();
    let (to_election, election_inbox) = unbounded_channel();
    let clock: Clock = Arc::new(clock::now);
    let bucket = match &fence {
        Some(fence) => Arc::clone(fence) as Arc<dyn Bucket>,
        None => Arc::clone(&options.bucket),
    };
    let shared = Arc::new(Shared {
        log: Log::new(bucket, options.root.clone(), files.staging("")).fenced_by(fence),
        files: Arc::clone(files),
        gate: Arc::new(Gate::shut_for(Shut::NotLeader { leader: None }, clock)),
        session,
        node,
        address,
        timing: Timing { pull: options.pull_interval, ttl, wal_cap: options.wal_cap_bytes },
        settings: options.settings.clone(),
        events: Events::new(),
        peers: Peers::default(),
        complaints: Mutex::default(),
        complained: Notify::new(),
        confirmations: Arc::new(Confirmations::new(options.settings.confirm_timeout)),
        stamps: Stamps::new(),
        told: Told::default(),
        database: OnceLock::new(),
        view: watch::Sender::new(View::new()),
        replicator: to_replicator,
        election: to_election,
        dirty: AtomicBool::new(false),
        look_asked: AtomicBool::new(false),
        tenure: AtomicU64::new(0),
        closing: watch::Sender::new(false),
    });
    (shared, replicator_inbox, election_inbox)
}

pub(super) fn start_replicator(
    shared: &Arc<Shared>,
    runtime: &Runtime,
    inbox: Receiver<Message>,
    options: &NodeOptions,
    outage: Outage,
) -> Result<thread::JoinHandle<()>> {
    let connection = ConnectionOptions::new(Place::File(shared.files.database().to_path_buf()), true);
    let replicator = Replicator {
        shared: Arc::clone(shared),
        tokio: runtime.handle().clone(),
        inbox,
        bootstrap: Bootstrap {
            writer: WriterOptions {
                connection: connection.clone(),
                transactions: TransactionLimits::default(),
            },
            pool: PoolOptions::new(connection),
            adopt: options.adopt,
            read_only: options.read_only,
            new_id: DatabaseId::from_bytes(uuid::Uuid::new_v4().into_bytes()),
        },
        replica: None,
        checkpoints: None,
        state: State::Following,
        next_look: Monotonic::default(),
        looks: 0,
        operation: 0,
        doubts: 0,
        unreadable: None,
        verified: None,
        outage,
    };
    thread::Builder::new()
        .name("haqlite-replicator".into())
        .spawn(move || replicator.run())
        .map_err(|e| Error::io("starting the replicator", e))
}

/// The WAL's format is fixed, and yet: before anything depends on it, a page is injected into a database in
/// staging and read through SQL. Once per process.
pub(super) fn test_injection_once(files: &LocalFiles) -> Result<()> {
    static PASSED: OnceLock<()> = OnceLock::new();
    if PASSED.get().is_none() {
        wal_self_test(&files.staging("self-test.db"))?;
        let _ = PASSED.set(());
    }
    Ok(())
}

/// Makes sure, once for a store, that the log can stand on it: on its conditional writes, or on a manifest.
fn probe_once(
    runtime: &Runtime,
    files: &LocalFiles,
    options: &NodeOptions,
) -> Result<Option<Arc<FencedBucket>>> {
    let name = options.bucket.describe();
    // With the manifest's store: another one has to show first that it compares and swaps.
    let fenced = options.manifest.as_ref().map(|place| format!("{name} with {}", place.store.describe()));
    let known = files.probed_as(&name, fenced.as_deref());
    // On a thread of its own: this one may belong to another runtime, which forbids to block on a future.
    let choosing = || runtime.block_on(choose_footing(options, known));
    let footing = thread::scope(|scope| scope.spawn(choosing).join())
        .map_err(|_| Error::new(ErrorKind::Internal, "the probe of the bucket panicked"))??;
    if known != Some(footing) {
        let name = fenced.filter(|_| footing == Footing::Manifest).unwrap_or(name);
        files.set_probed(&name, footing)?;
    }
    let place = options.manifest.clone().filter(|_| footing == Footing::Manifest);
    Ok(place
        .map(|place| Arc::new(FencedBucket::new(Arc::clone(&options.bucket), options.root.clone(), place))))
}

async fn bind(port: Option<u16>, secret: Option<Secret>) -> Result<Server> {
    let listen = |port| Server::bind(Listen::Port(port), secret.clone(), ServerLimits::default());
    match port {
        Some(port) => listen(port).await,
        None => match listen(DEFAULT_PORT).await {
            Err(error) if error.kind() == ErrorKind::InUse => listen(0).await,
            other => other,
        },
    }
}

fn election_config(
    options: &NodeOptions,
    files: &LocalFiles,
    node: &NodeId,
    session: SessionId,
    address: &str,
) -> Result<ElectionConfig> {
    let mut lease = options.lease.clone().unwrap_or_else(|| LeaseConfig::new(node.clone(), address));
    lease.instance_id = node.clone();
    lease.address = address.to_owned();
    let mut config = ElectionConfig::new(&lease, session, options.role);
    if let Some(ttl) = lease.ttl {
        config = config.with_ttl(ttl);
    }
    config.lock = Some(files.token()?);
    Ok(config)
}
