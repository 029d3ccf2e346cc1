use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::handle::HaQLite;
use super::node_engine::NodeEngine;
use super::store_choice::{Endpoint, StoreChoice};
use super::stores::{Stores, open_stores};
use crate::bucket::{Bucket, S3Credentials};
use crate::lease_store::LeaseStore;
use crate::manifest_store::{ManifestPlace, ManifestStore};
use crate::net::masked;
use crate::runtime::{Node, NodeOptions, Settings, lease_key, manifest_key, run_blocking};
use crate::types::{
    Compaction, CoordinatorConfig, Durability, Error, ErrorKind, HaMode, LocalReads, NodeId, Result,
    Retention, Role, validate_mode_durability, validate_mode_role,
};

/// How a database of a cluster is opened. [`Builder::bucket`] is enough; everything else has a default.
///
/// ```no_run
/// # async fn open() -> haqlite::Result<()> {
/// let db = haqlite::HaQLite::builder()
///     .bucket("s3://my-bucket")
///     .open("/data/my.db", "CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT);")
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing before `open`"]
#[derive(Clone)]
pub struct Builder {
    pub(super) bucket: Option<String>,
    pub(super) storage: StoreChoice<dyn Bucket>,
    pub(super) lease: StoreChoice<dyn LeaseStore>,
    pub(super) manifest: StoreChoice<dyn ManifestStore>,
    db_name: Option<String>,
    prefix: String,
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    pub(super) credentials: Option<S3Credentials>,
    instance_id: Option<NodeId>,
    address: Option<String>,
    forwarding_port: Option<u16>,
    secret: Option<String>,
    mode: HaMode,
    role: Option<Role>,
    durability: Durability,
    local_reads: LocalReads,
    confirm_timeout: Duration,
    compaction: Compaction,
    retention: Retention,
    verify_interval: Option<Duration>,
    spool_limit: u64,
    coordinator_config: CoordinatorConfig,
    open_timeout: Duration,
    adopt: bool,
}

impl Builder {
    pub(super) fn new() -> Builder {
        Builder {
            bucket: None,
            storage: StoreChoice::NONE,
            lease: StoreChoice::NONE,
            manifest: StoreChoice::NONE,
            db_name: None,
            prefix: "haqlite/".to_owned(),
            endpoint: None,
            region: None,
            credentials: None,
            instance_id: None,
            address: None,
            forwarding_port: None,
            secret: None,
            mode: HaMode::SingleWriter,
            role: None,
            durability: Durability::default(),
            local_reads: LocalReads::default(),
            confirm_timeout: Duration::from_secs(30),
            compaction: Compaction::default(),
            retention: Retention::default(),
            verify_interval: None,
            spool_limit: 1 << 30,
            coordinator_config: CoordinatorConfig::default(),
            open_timeout: Duration::from_secs(30),
            adopt: false,
        }
    }

    /// Keeps the log in the bucket that this URL names, and the lease as well, if nothing else here says where that
    /// is: `s3://bucket/prefix?endpoint=&region=`, `file:///folder`, `memory://name`.
    pub fn bucket(mut self, url: impl Into<String>) -> Builder {
        self.bucket = Some(url.into());
        self
    }

    /// Keeps the log in this bucket.
    pub fn storage(mut self, bucket: impl Bucket) -> Builder {
        self.storage.store = Some(Arc::new(bucket));
        self
    }

    /// Another name of [`Builder::storage`].
    pub fn walrust_storage(self, bucket: impl Bucket) -> Builder {
        self.storage(bucket)
    }

    /// Keeps the log in the bucket that this URL names; `HAQLITE_STORAGE_URL` is the same.
    pub fn storage_url(mut self, url: impl Into<String>) -> Builder {
        self.storage.url = Some(url.into());
        self
    }

    /// Keeps the lease in this store, at `<prefix><db_name>/_lease`.
    pub fn lease_store(mut self, store: impl LeaseStore) -> Builder {
        self.lease.store = Some(Arc::new(store));
        self
    }

    /// Keeps the lease where this URL leads; `HAQLITE_LEASE_URL` is the same:
    ///
    /// - `s3`: in the log's bucket;
    /// - `s3://bucket/prefix?endpoint=&region=`, `file:///folder`, `memory://name`: in a bucket;
    /// - `nats://host:4222?bucket=`, with the feature `nats`: in NATS JetStream;
    /// - `etcd://host:2379,host:2379?prefix=`, with the feature `etcd`: in etcd;
    /// - `http://host:8080?token=`, also `https:`: behind a server that speaks haqlite's protocol for stores.
    ///
    /// Its key is `<prefix><db_name>/_lease` below what the URL says.
    pub fn lease_url(mut self, url: impl Into<String>) -> Builder {
        self.lease.url = Some(url.into());
        self
    }

    /// Keeps the lease behind this HTTP server: as [`Builder::lease_url`] with the token in the URL.
    pub fn lease_endpoint(mut self, url: impl Into<String>, token: impl Into<String>) -> Builder {
        self.lease.endpoint = Some(Endpoint { url: url.into(), token: token.into() });
        self
    }

    /// Keeps a manifest in this store, at `<prefix><db_name>/_manifest`: it wakes followers when the log grows.
    pub fn manifest_store(mut self, store: impl ManifestStore) -> Builder {
        self.manifest.store = Some(Arc::new(store));
        self
    }

    /// Keeps a manifest where this URL leads, in one of the forms of [`Builder::lease_url`]; `HAQLITE_MANIFEST_URL`
    /// is the same. Its key is `<prefix><db_name>/_manifest` below what the URL says.
    pub fn manifest_url(mut self, url: impl Into<String>) -> Builder {
        self.manifest.url = Some(url.into());
        self
    }

    /// Keeps a manifest behind this HTTP server: as [`Builder::manifest_url`] with the token in the URL.
    pub fn manifest_endpoint(mut self, url: impl Into<String>, token: impl Into<String>) -> Builder {
        self.manifest.endpoint = Some(Endpoint { url: url.into(), token: token.into() });
        self
    }

    /// The database's name in the bucket; the file's stem by default.
    pub fn db_name(mut self, name: impl Into<String>) -> Builder {
        self.db_name = Some(name.into());
        self
    }

    /// What stands before the name in the bucket; `haqlite/` by default.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Builder {
        self.prefix = prefix.into();
        self
    }

    /// The S3 server, if it is not Amazon's.
    pub fn endpoint(mut self, url: impl Into<String>) -> Builder {
        self.endpoint = Some(url.into());
        self
    }

    /// The S3 region.
    pub fn region(mut self, region: impl Into<String>) -> Builder {
        self.region = Some(region.into());
        self
    }

    /// The key for S3; by default what the AWS tools would take.
    pub fn credentials(mut self, credentials: S3Credentials) -> Builder {
        self.credentials = Some(credentials);
        self
    }

    /// The node's name; by default `FLY_MACHINE_ID`, or one that is made up at the first open.
    pub fn instance_id(mut self, id: impl Into<NodeId>) -> Builder {
        self.instance_id = Some(id.into());
        self
    }

    /// Where other nodes reach this one, `http://host:port`; by default Fly's private address, or the host's
    /// name, and loopback without a secret.
    pub fn address(mut self, address: impl Into<String>) -> Builder {
        self.address = Some(address.into());
        self
    }

    /// The port for other nodes; 0 for any. By default 18080, or any if that is taken.
    pub fn forwarding_port(mut self, port: u16) -> Builder {
        self.forwarding_port = Some(port);
        self
    }

    /// What nodes show each other. Without one the node listens on loopback only.
    pub fn secret(mut self, secret: impl Into<String>) -> Builder {
        self.secret = Some(secret.into());
        self
    }

    /// The topology.
    pub fn mode(mut self, mode: HaMode) -> Builder {
        self.mode = mode;
        self
    }

    /// `Leader`: `open` fails if another node leads. `Follower`: never leads. By default the lease decides.
    pub fn role(mut self, role: Role) -> Builder {
        self.role = Some(role);
        self
    }

    /// What an acknowledged write has survived.
    pub fn durability(mut self, durability: Durability) -> Builder {
        self.durability = durability;
        self
    }

    /// What reads on the leader may see of writes that the log does not hold yet; `Latest` by default.
    pub fn local_reads(mut self, reads: LocalReads) -> Builder {
        self.local_reads = reads;
        self
    }

    /// For how long a write in `Durability::Cloud`, or a read of `LocalReads::Confirmed`, waits for its slot;
    /// 30 s by default. Then it is a `Timeout`, and what becomes of the write is unknown.
    pub fn confirm_timeout(mut self, timeout: Duration) -> Builder {
        self.confirm_timeout = timeout;
        self
    }

    /// How the leader compacts the log and when it makes snapshots.
    pub fn compaction(mut self, compaction: Compaction) -> Builder {
        self.compaction = compaction;
        self
    }

    /// For how long the log's past is kept.
    pub fn retention(mut self, retention: Retention) -> Builder {
        self.retention = retention;
        self
    }

    /// How often the leader reads the whole log and checks it; never by default.
    pub fn verify_interval(mut self, interval: impl Into<Option<Duration>>) -> Builder {
        self.verify_interval = interval.into();
        self
    }

    /// How many bytes of batches the leader keeps on its disk while the bucket is away, 1 GiB by default, 0 for
    /// none; then the WAL fills up and writers hear `Backpressure`. `Durability::Cloud` keeps none.
    pub fn spool_limit(mut self, bytes: u64) -> Builder {
        self.spool_limit = bytes;
        self
    }

    /// Timing of the coordination.
    pub fn coordinator_config(mut self, config: CoordinatorConfig) -> Builder {
        self.coordinator_config = config;
        self
    }

    /// How long `open` may take; 30 s by default.
    pub fn open_timeout(mut self, timeout: Duration) -> Builder {
        self.open_timeout = timeout;
        self
    }

    /// Takes a database at the path that has no local state (a restore, a copy) for the log's: it is compared
    /// with the log page by page, and what differs is saved beside it. Also goes on with a log that Litestream has
    /// written to, which is refused otherwise.
    pub fn adopt(mut self, adopt: bool) -> Builder {
        self.adopt = adopt;
        self
    }

    /// Opens the database: returns when this node leads, or follows at the tail that it saw, and the schema
    /// is in the database. The schema must be idempotent; the leader of the moment runs it.
    pub fn open(
        self,
        path: impl AsRef<Path>,
        schema: &str,
    ) -> impl Future<Output = Result<HaQLite>> + Send + 'static {
        let (path, schema) = (path.as_ref().to_path_buf(), schema.to_owned());
        run_blocking(move || self.open_blocking(path, &schema))
    }

    /// As [`Builder::open`], on the caller's thread; also inside of another tokio runtime.
    pub fn open_blocking(self, path: impl AsRef<Path>, schema: &str) -> Result<HaQLite> {
        validate_mode_role(self.mode, self.role)?;
        validate_mode_durability(self.mode, self.durability)?;
        let path = path.as_ref();
        let stores = open_stores(&self)?;
        let options = self.node_options(path, schema, stores)?;
        Ok(HaQLite::over(Arc::new(NodeEngine::new(Node::open(options)?))))
    }

    fn node_options(self, path: &Path, schema: &str, stores: Stores) -> Result<NodeOptions> {
        let wal_cap_bytes = wal_cap(self.coordinator_config.wal_cap_bytes, self.durability)?;
        let name = match self.db_name {
            Some(name) => name,
            None => path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
                .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "the path names no file"))?,
        };
        let layout = stores.bucket.layout();
        let below = |root: &str| format!("{root}{}{name}/", self.prefix);
        let manifest = stores.manifest.map(|manifest| {
            let key = manifest_key(&below(&manifest.root), layout);
            ManifestPlace { store: manifest.store, key }
        });
        Ok(NodeOptions {
            path: path.to_path_buf(),
            schema: schema.to_owned(),
            root: below(&stores.root),
            bucket: stores.bucket,
            lease_key: lease_key(&below(&stores.lease.root), layout),
            lease_store: stores.lease.store,
            manifest,
            role: self.role,
            instance_id: self.instance_id,
            address: self.address,
            port: self.forwarding_port,
            secret: self.secret,
            lease: self.coordinator_config.lease,
            settings: Settings {
                durability: self.durability,
                local_reads: self.local_reads,
                confirm_timeout: self.confirm_timeout,
                compaction: self.compaction,
                retention: self.retention,
                verify_interval: self.verify_interval,
                spool_limit: self.spool_limit,
            },
            pull_interval: self.coordinator_config.follower_pull_interval,
            wal_cap_bytes,
            open_timeout: self.open_timeout,
            adopt: self.adopt,
            read_only: false,
        })
    }
}

/// The WAL's limit in bytes. One that was left at its default is raised so far that a checkpoint's frames can be
/// shipped while as many new ones come.
fn wal_cap(chosen: u64, durability: Durability) -> Result<u64> {
    if chosen < 1 << 20 {
        return Err(Error::new(ErrorKind::InvalidConfig, "the WAL's limit is below 1 MiB"));
    }
    match durability {
        Durability::Checkpoint { wal_bytes, .. } if chosen == CoordinatorConfig::default().wal_cap_bytes => {
            Ok(chosen.max(wal_bytes.saturating_mul(4)))
        }
        Durability::Checkpoint { wal_bytes, .. } if chosen < wal_bytes.saturating_mul(2) => {
            let message = format!(
                "the WAL's limit of {chosen} bytes is below twice the {wal_bytes} bytes of a checkpoint: writers \
                 would wait for each upload"
            );
            Err(Error::new(ErrorKind::InvalidConfig, message))
        }
        _ => Ok(chosen),
    }
}

/// Shows no secret.
impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("bucket", &self.bucket.as_deref().map(masked))
            .field("storage", &self.storage)
            .field("lease", &self.lease)
            .field("manifest", &self.manifest)
            .field("prefix", &self.prefix)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}
