use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use haqlite::bucket::{Bucket, Call, Fault, FaultyBucket, Key, MemoryBucket, PutMode, Range};
use haqlite::lease_store::{LeaseStore, LeaseVersion, Register, Swap};
use haqlite::ltx::{Decoder, Header};
use haqlite::types::Chain;
use haqlite::{
    Builder, Compaction, CoordinatorConfig, Durability, Error, ErrorKind, HaQLite, LeaseConfig, Result,
};

use crate::support::SCHEMA;

pub const ROOT: &str = "haqlite/app/";
pub const TTL: Duration = Duration::from_millis(1000);

/// One bucket and one lease store, and nodes whose ways to them can be disturbed.
pub struct World {
    pub bucket: MemoryBucket,
    pub leases: Leases,
    pub folder: tempfile::TempDir,
}

/// What becomes of each call.
type Weather = Box<dyn FnMut(&Call<'_>) -> Fault + Send>;

/// A node's way to the bucket.
#[derive(Clone)]
pub struct Road {
    weather: Arc<Mutex<Weather>>,
    pub bucket: FaultyBucket<MemoryBucket>,
}

/// A slot as it lies in the bucket.
pub struct Slot {
    pub txid: u64,
    pub header: Header,
    pub chain: Chain,
}

impl World {
    pub fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        World { bucket: MemoryBucket::new(), leases: Leases::default(), folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.db"))
    }

    /// A node on fine roads.
    pub fn node(&self, name: &str) -> Builder {
        node_on(name, self.bucket.clone(), self.leases.way())
    }

    pub fn open(&self, name: &str) -> HaQLite {
        self.node(name).open_blocking(self.path(name), SCHEMA).unwrap()
    }

    /// A node whose roads can be disturbed, opened in fine weather.
    pub fn open_exposed(&self, name: &str) -> (HaQLite, Road, LeaseWay) {
        let (road, way) = (self.road(), self.leases.way());
        let db = self.exposed(name, &road, &way).open_blocking(self.path(name), SCHEMA).unwrap();
        (db, road, way)
    }

    pub fn exposed(&self, name: &str, road: &Road, way: &LeaseWay) -> Builder {
        node_on(name, road.bucket.clone(), way.clone())
    }

    pub fn road(&self) -> Road {
        let weather: Arc<Mutex<Weather>> = Arc::new(Mutex::new(Box::new(|_| Fault::None)));
        let script = Arc::clone(&weather);
        let bucket = FaultyBucket::new(self.bucket.clone(), move |call| script.lock().unwrap()(call));
        Road { weather, bucket }
    }

    /// Every slot, in order.
    pub fn slots(&self) -> Vec<Slot> {
        slots_of(&self.bucket, ROOT)
    }

    /// The database that the bucket alone makes.
    pub fn restored(&self) -> rusqlite::Connection {
        let path = self.folder.path().join(format!("restored-{}.db", uuid()));
        std::fs::write(&path, self.image()).unwrap();
        let connection = rusqlite::Connection::open(path).unwrap();
        let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
        connection
    }

    /// The newest snapshot, and always the file that reaches farthest.
    fn image(&self) -> Vec<u8> {
        use haqlite::ltx::{After, Base, Merge, Source, write_database};
        let files = self.files();
        let snapshot = files.iter().filter(|(level, min, _)| (*level, *min) == (9, 1)).max_by_key(|f| f.2);
        let mut plan: Vec<(u8, u64, u64)> = snapshot.copied().into_iter().collect();
        let mut end = plan.first().map_or(0, |f| f.2);
        let next = |end: u64| {
            let goes_on = |f: &&(u8, u64, u64)| f.0 < 9 && f.1 <= end + 1 && f.2 > end;
            files.iter().filter(goes_on).max_by_key(|f| (f.2, f.0)).copied()
        };
        while let Some(file) = next(end) {
            plan.push(file);
            end = file.2;
        }
        let newest = files.iter().filter(|f| f.0 == 0).map(|f| f.2).max().unwrap();
        assert_eq!(end, newest, "a hole, or a file beyond the newest slot: {files:?}");
        let sources = plan
            .iter()
            .map(|(level, min, max)| {
                let bytes = std::io::Cursor::new(object(&self.bucket, &file_key(*level, *min, *max)));
                let after = if *level == 0 { After::OwnHash } else { After::Unknown };
                Source { decoder: Decoder::new(bytes).unwrap(), after }
            })
            .collect();
        let mut database = std::io::Cursor::new(Vec::new());
        write_database(Merge::new(Base::Empty, sources).unwrap(), &mut database).unwrap();
        database.into_inner()
    }

    /// The log's files: level, first and last slot. Slots below the floor are none.
    pub fn files(&self) -> Vec<(u8, u64, u64)> {
        let floor = floor_of(&self.bucket, ROOT);
        let mut files = Vec::new();
        for level in (0..=9).rev() {
            let prefix = Key::level_prefix(level, ROOT, self.bucket.layout());
            for listed in wait(self.bucket.list(&prefix, None)).unwrap().objects {
                match Key::parse_file(&listed.key, level, ROOT, self.bucket.layout()) {
                    Some(Key::File { level, min, max }) => files.push((level, min.get(), max.get())),
                    _ => panic!("{} is no file of the log", listed.key),
                }
            }
        }
        files.retain(|(level, _, max)| *level > 0 || *max > floor);
        files
    }

    /// The slot up to which slots may be gone.
    pub fn floor(&self) -> u64 {
        floor_of(&self.bucket, ROOT)
    }

    /// The texts in `t` by the bucket alone, in order.
    pub fn restored_texts(&self) -> Vec<String> {
        let connection = self.restored();
        let mut statement = connection.prepare("SELECT v FROM t ORDER BY v").unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(std::result::Result::unwrap).collect()
    }

    /// Closes the nodes, and holds what every log must be: slots without a gap, each with the hash of the
    /// one before it, epochs that never go down, one session for each epoch, and a database that is whole.
    pub fn end<const N: usize>(self, nodes: [HaQLite; N]) {
        for node in nodes {
            node.close_blocking().unwrap();
        }
        check_log(&self.bucket, ROOT);
        drop(self.restored());
    }
}

/// Fails unless the slots are one chain, whose epochs never go down and belong to one session each: from the
/// genesis on, or, where old slots were deleted, from the floor on, below which only links to be seen are held.
pub fn check_log(bucket: &dyn Bucket, root: &str) {
    let genesis = Chain::of(&object(bucket, &Key::Genesis.path(root, bucket.layout())));
    let floor = floor_of(bucket, root);
    let mut sessions: BTreeMap<u64, [u8; 6]> = BTreeMap::new();
    let mut before = (0, genesis);
    let (mut epoch, mut stamp) = (0, i64::MIN);
    let slots = slots_of(bucket, root);
    assert!(!slots.is_empty());
    for slot in &slots {
        let origin = slot.header.origin.expect("our own slot");
        if slot.txid == before.0 + 1 {
            assert_eq!(origin.previous, before.1, "slot {} does not follow the one before it", slot.txid);
        } else {
            assert!(slot.txid <= floor + 1, "a gap before slot {}, and the floor is {floor}", slot.txid);
        }
        assert!(origin.epoch.get() >= epoch, "the epoch goes down at slot {}", slot.txid);
        epoch = origin.epoch.get();
        assert!(slot.header.timestamp_ms >= stamp, "slot {} is from before the one before it", slot.txid);
        stamp = slot.header.timestamp_ms;
        let session = *sessions.entry(epoch).or_insert(origin.session);
        assert_eq!(session, origin.session, "two sessions in epoch {epoch}");
        before = (slot.txid, slot.chain);
    }
    assert!(before.0 > floor, "the newest slot, {}, is not above the floor, {floor}", before.0);
}

fn floor_of(bucket: &dyn Bucket, root: &str) -> u64 {
    let floor = wait(bucket.get(&Key::Floor.path(root, bucket.layout()), Range::Whole)).unwrap();
    floor.map_or(0, |object| {
        let value: serde_json::Value = serde_json::from_slice(&object.body).unwrap();
        value["floor"].as_u64().unwrap()
    })
}

fn slots_of(bucket: &dyn Bucket, root: &str) -> Vec<Slot> {
    let prefix = Key::level_prefix(0, root, bucket.layout());
    let listing = wait(bucket.list(&prefix, None)).unwrap();
    assert!(!listing.more, "a test with more slots than a page of a listing");
    let slot = |listed: &haqlite::bucket::Listed| {
        let bytes = object(bucket, &listed.key);
        let decoder = Decoder::new(bytes.as_slice()).unwrap();
        let header = decoder.header().clone();
        assert_eq!(header.min, header.max);
        let chain = decoder.finish().unwrap().chain;
        Slot { txid: header.min.get(), header, chain }
    };
    listing.objects.iter().map(slot).collect()
}

pub fn object(bucket: &dyn Bucket, key: &str) -> Vec<u8> {
    wait(bucket.get(key, Range::Whole)).unwrap().unwrap_or_else(|| panic!("no object {key}")).body.to_vec()
}

pub fn slot_key(txid: u64) -> String {
    Key::slot(haqlite::types::Txid::new(txid)).path(ROOT, haqlite::bucket::Layout::Directory)
}

pub fn file_key(level: u8, min: u64, max: u64) -> String {
    let txid = haqlite::types::Txid::new;
    Key::File { level, min: txid(min), max: txid(max) }.path(ROOT, haqlite::bucket::Layout::Directory)
}

/// Whether the call creates a slot.
pub fn puts_slot(call: &Call<'_>) -> bool {
    matches!(call, Call::Put { key, mode: PutMode::Create } if key.contains("ltx/0/"))
}

/// Runs a future to its end.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn uuid() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

pub fn config(name: &str) -> CoordinatorConfig {
    config_with(name, TTL)
}

/// As `config`, with a lease that a busy machine does not lose so soon.
pub fn config_with(name: &str, ttl: Duration) -> CoordinatorConfig {
    CoordinatorConfig {
        follower_pull_interval: Duration::from_millis(50),
        lease: Some(LeaseConfig { ttl: Some(ttl), ..LeaseConfig::new(name, "") }),
        ..Default::default()
    }
}

pub fn node_on(name: &str, bucket: impl Bucket, leases: impl LeaseStore) -> Builder {
    HaQLite::builder()
        .storage(bucket)
        .lease_store(leases)
        .db_name("app")
        .instance_id(name)
        .forwarding_port(0)
        .durability(Durability::Continuous { interval: Duration::from_millis(20) })
        .coordinator_config(config(name))
        // What has its own tests must not come between at the full minute.
        .compaction(Compaction { levels: Vec::new(), snapshots: None })
}

impl Road {
    /// From now on every call is decided upon like this.
    pub fn weather(&self, script: impl FnMut(&Call<'_>) -> Fault + Send + 'static) {
        *self.weather.lock().unwrap() = Box::new(script);
    }

    pub fn clear(&self) {
        self.weather(|_| Fault::None);
    }

    /// This befalls the first `times` creations of a slot from now on.
    pub fn slots_meet(&self, fault: Fault, times: usize) {
        let mut left = times;
        self.weather(move |call| {
            if left > 0 && puts_slot(call) {
                left -= 1;
                return fault;
            }
            Fault::None
        });
    }
}

/// Lease registers that can be wiped and set back.
#[derive(Clone, Default)]
pub struct Leases(Arc<Mutex<(u64, BTreeMap<String, Register>)>>);

/// One node's way to the lease store.
#[derive(Clone)]
pub struct LeaseWay {
    leases: Leases,
    state: Arc<Mutex<Way>>,
}

/// What becomes of a node's calls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Open,
    /// They fail at once.
    Cut,
    /// They are never answered and take place.
    Silent,
    /// They take place so much later.
    Slow(Duration),
}

impl Leases {
    pub fn way(&self) -> LeaseWay {
        LeaseWay { leases: self.clone(), state: Arc::new(Mutex::new(Way::Open)) }
    }

    /// Everything that was ever stored is gone.
    pub fn forget(&self) {
        self.0.lock().unwrap().1.clear();
    }

    pub fn copy(&self) -> BTreeMap<String, Register> {
        self.0.lock().unwrap().1.clone()
    }

    pub fn set_back(&self, to: BTreeMap<String, Register>) {
        self.0.lock().unwrap().1 = to;
    }

    fn swap(&self, key: &str, body: &[u8], over: Option<&LeaseVersion>) -> Swap {
        let mut state = self.0.lock().unwrap();
        if state.1.get(key).map(|register| &register.version) != over {
            return Swap::Lost;
        }
        state.0 += 1;
        let version = LeaseVersion(state.0.to_string());
        state.1.insert(key.to_owned(), Register { body: body.to_vec(), version: version.clone() });
        Swap::Done(version)
    }
}

impl LeaseWay {
    pub fn set(&self, way: Way) {
        *self.state.lock().unwrap() = way;
    }

    async fn travel<T>(&self, call: impl FnOnce() -> T) -> Result<T> {
        let way = *self.state.lock().unwrap();
        match way {
            Way::Open => Ok(call()),
            Way::Cut => Err(Error::new(ErrorKind::StoreUnavailable, "cut by the test")),
            Way::Silent => {
                call();
                std::future::pending().await
            }
            Way::Slow(delay) => {
                tokio::time::sleep(delay).await;
                Ok(call())
            }
        }
    }
}

#[async_trait]
impl LeaseStore for LeaseWay {
    fn describe(&self) -> String {
        "the test's registers".to_owned()
    }

    async fn read(&self, key: &str) -> Result<Option<Register>> {
        self.travel(|| self.leases.0.lock().unwrap().1.get(key).cloned()).await
    }

    async fn create(&self, key: &str, body: &[u8]) -> Result<Swap> {
        self.travel(|| self.leases.swap(key, body, None)).await
    }

    async fn replace(&self, key: &str, body: &[u8], version: &LeaseVersion) -> Result<Swap> {
        self.travel(|| self.leases.swap(key, body, Some(version))).await
    }
}
