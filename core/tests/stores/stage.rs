#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "tests wait in real time")]
#![allow(unused_imports, reason = "not every set of features uses all of it")]
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use haqlite::bucket::{Call, Fault, FaultyBucket, UrlOptions, open_url};
use haqlite::lease_store::{LeaseStore, LeaseVersion, Register, Swap};
use haqlite::{
    Builder, Compaction, CoordinatorConfig, Durability, HaQLite, LeaseConfig, Restore, Result, Role,
};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::place::{LeaseServer, Place};
use crate::support::{Server, program, run};

pub(crate) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS w (n INTEGER NOT NULL, who TEXT NOT NULL);";
/// The default, of which the margin is a fifth.
pub(crate) const TTL: Duration = Duration::from_secs(5);
pub(crate) const MARGIN: Duration = Duration::from_secs(1);
/// What everything that is waited for may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The environment variable that makes this binary a node, and holds its settings as JSON.
const CHILD: &str = "HAQLITE_STORES_NODE";

/// Where a scenario is played: a log, a lease, the server that keeps it, and a folder for the nodes.
pub(crate) struct Stage {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) place: Place,
    /// The lease store's server, if it may be stopped here.
    pub(crate) server: Option<Server>,
    /// Where that keeps its data.
    pub(crate) data: Option<PathBuf>,
    /// The nodes' ways to the lease store.
    pub(crate) road: Arc<Road>,
}

/// What befalls the nodes' calls to the lease store, and what they were answered.
#[derive(Default)]
pub(crate) struct Road {
    cut: AtomicBool,
    /// When the last write that the store has answered was sent.
    answered: Mutex<Option<Instant>>,
}

impl Road {
    /// From now on no call is answered, and none arrives; `false` ends that.
    pub(crate) fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
    }

    /// When the last write that the store has answered was sent.
    pub(crate) fn last_answered(&self) -> Instant {
        self.answered.lock().unwrap().expect("a write was answered")
    }
}

/// A node's way to its lease store.
struct Way {
    store: Arc<dyn LeaseStore>,
    road: Arc<Road>,
}

impl Way {
    async fn pass<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        if self.road.cut.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        call.await
    }

    fn note(&self, sent: Instant, swap: &Result<Swap>) {
        if let Ok(Swap::Done(_)) = swap {
            let mut answered = self.road.answered.lock().unwrap();
            *answered = (*answered).max(Some(sent));
        }
    }
}

#[async_trait]
impl LeaseStore for Way {
    fn describe(&self) -> String {
        self.store.describe()
    }

    async fn read(&self, key: &str) -> Result<Option<Register>> {
        self.pass(self.store.read(key)).await
    }

    async fn create(&self, key: &str, body: &[u8]) -> Result<Swap> {
        let sent = Instant::now();
        let swap = self.pass(self.store.create(key, body)).await;
        self.note(sent, &swap);
        swap
    }

    async fn replace(&self, key: &str, body: &[u8], version: &LeaseVersion) -> Result<Swap> {
        let sent = Instant::now();
        let swap = self.pass(self.store.replace(key, body, version)).await;
        self.note(sent, &swap);
        swap
    }

    async fn changed(&self, key: &str, version: Option<&LeaseVersion>) {
        self.store.changed(key, version).await;
        if self.road.cut.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}

impl Stage {
    /// A lease in a bucket, whose server is nobody's here.
    pub(crate) fn of(place: Place, folder: tempfile::TempDir) -> Stage {
        Stage { folder, place, server: None, data: None, road: Arc::default() }
    }

    pub(crate) fn memory() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let bucket = format!("memory://{}", folder.path().file_name().unwrap().to_str().unwrap());
        let bucket = bucket.to_lowercase().replace('.', "");
        Stage::of(Place { bucket, lease: None }, folder)
    }

    pub(crate) fn directory() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        Stage::of(Place::in_folder(folder.path(), None), folder)
    }

    #[cfg(feature = "s3")]
    pub(crate) fn s3() -> Stage {
        let place = Place::on_s3().unwrap_or_else(|why| panic!("{why}; `make test` does"));
        Stage::of(place, tempfile::tempdir().unwrap())
    }

    /// The log in a folder, and the lease with a server of its own.
    #[cfg(any(feature = "nats", feature = "etcd", feature = "cli"))]
    fn with(start: impl FnOnce(&Path) -> LeaseServer) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let LeaseServer { server, data, url } = start(folder.path());
        let place = Place::in_folder(folder.path(), Some(url));
        Stage { server: Some(server), data: Some(data), ..Stage::of(place, folder) }
    }

    #[cfg(feature = "nats")]
    pub(crate) fn nats() -> Stage {
        Stage::with(|folder| crate::place::nats(program("HAQLITE_TEST_NATS"), folder))
    }

    #[cfg(feature = "etcd")]
    pub(crate) fn etcd() -> Stage {
        Stage::with(|folder| crate::place::etcd(program("HAQLITE_TEST_ETCD"), folder))
    }

    #[cfg(feature = "cli")]
    pub(crate) fn http() -> Stage {
        Stage::with(crate::place::http)
    }

    /// Whether another process sees the same.
    pub(crate) fn is_shared(&self) -> bool {
        !self.place.bucket.starts_with("memory:")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.db"))
    }

    pub(crate) fn node(&self, name: &str) -> Builder {
        node(&self.place, name, &self.road)
    }

    #[track_caller]
    pub(crate) fn open(&self, name: &str) -> HaQLite {
        self.node(name).open_blocking(self.path(name), SCHEMA).unwrap()
    }

    /// A node that can be killed: in a process of its own if another process sees the same stores.
    pub(crate) fn start(&self, name: &str) -> Victim {
        if self.is_shared() {
            let (place, name, path) = (self.place.clone(), name.to_owned(), self.path(name));
            return Victim::Process(Process::start(&Settings { place, name, path }));
        }
        let (road, dead) = (Arc::<Road>::default(), Arc::new(AtomicBool::new(false)));
        let (url, is_dead) = (self.place.bucket.clone(), Arc::clone(&dead));
        let bucket = run(async move { open_url(&url, &UrlOptions::default()).await }).unwrap().bucket;
        let refuse = move |_: &Call<'_>| match is_dead.load(Ordering::SeqCst) {
            true => Fault::Refuse,
            false => Fault::None,
        };
        let builder = without_bucket(&self.place, name, &road).storage(FaultyBucket::new(bucket, refuse));
        Victim::Cut { _db: builder.open_blocking(self.path(name), SCHEMA).unwrap(), road, dead }
    }

    /// The lease as it lies in its store: by its key there.
    pub(crate) fn lease(&self) -> (Arc<dyn LeaseStore>, String) {
        let (store, root) = run(self.place.lease_store()).unwrap();
        (store, format!("{root}haqlite/app/_lease"))
    }

    /// The lease, and the server's data with it, is gone.
    pub(crate) fn forget_the_lease(&mut self) {
        if let (Some(server), Some(data)) = (&mut self.server, &self.data) {
            server.kill();
            std::fs::remove_dir_all(data).unwrap();
            server.restart();
            // A node that has seen the bucket of a NATS server does not make it again; whoever comes new does.
            let (store, key) = self.lease();
            assert_eq!(run(async move { store.read(&key).await }).unwrap(), None);
            return;
        }
        let (_, key) = self.lease();
        run(async {
            let opened = open_url(&self.place.bucket, &UrlOptions::default()).await.unwrap();
            opened.bucket.delete(&key, None).await.unwrap();
        });
    }

    /// Nobody reaches the lease store any more; `false` ends that. It is the server that hangs, or the way to it.
    pub(crate) fn hang(&self, hangs: bool) {
        match &self.server {
            Some(server) => server.pause(hangs),
            None => self.road.cut(hangs),
        }
    }

    /// The rows that the bucket alone makes, in order of their numbers.
    pub(crate) fn restored(&self) -> Vec<i64> {
        let path = self.folder.path().join("restored.db");
        let _ = std::fs::remove_file(&path);
        Restore::new(&self.place.bucket).db_name("app").run(&path).unwrap();
        let connection = Connection::open(&path).unwrap();
        let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
        let mut statement = connection.prepare("SELECT n FROM w ORDER BY n").unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(std::result::Result::unwrap).collect()
    }
}

fn node(place: &Place, name: &str, road: &Arc<Road>) -> Builder {
    without_bucket(place, name, road).storage_url(&place.bucket)
}

fn without_bucket(place: &Place, name: &str, road: &Arc<Road>) -> Builder {
    let (store, _) = run(place.lease_store()).unwrap();
    let way = Way { store, road: Arc::clone(road) };
    HaQLite::builder()
        .lease_store(way)
        .db_name("app")
        .instance_id(name)
        .forwarding_port(0)
        .durability(Durability::Continuous { interval: Duration::from_millis(20) })
        .compaction(Compaction { levels: Vec::new(), snapshots: None })
        .coordinator_config(CoordinatorConfig {
            follower_pull_interval: Duration::from_millis(100),
            lease: Some(LeaseConfig { ttl: Some(TTL), ..LeaseConfig::new(name, "") }),
            ..Default::default()
        })
}

/// Numbered rows through one node, one after the other, each of which is waited for until it is durable.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Written>,
}

/// What became of the rows.
#[derive(Default)]
pub(crate) struct Written {
    /// Acknowledged, and when.
    pub(crate) acknowledged: Vec<(i64, Instant)>,
    /// Reported as durable.
    pub(crate) durable: Vec<i64>,
    /// Not acknowledged, and why.
    pub(crate) failed: Vec<(i64, haqlite::Error)>,
}

impl Writer {
    /// Writes rows from this number on.
    pub(crate) fn start(db: &HaQLite, from: i64) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, db) = (Arc::clone(&stop), db.clone());
        let thread = std::thread::spawn(move || {
            let (mut written, mut epoch) = (Written::default(), 0);
            for n in from.. {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let params = [n.into(), "writer".into()];
                match db.execute("INSERT INTO w (n, who) VALUES (?1, ?2)", &params) {
                    Ok(done) => {
                        written.acknowledged.push((n, Instant::now()));
                        let now = done.bookmark.epoch.get();
                        assert!(now >= epoch, "the epoch goes down from {epoch} to {now}");
                        epoch = now;
                        if db.wait_durable_blocking(&done.bookmark, PATIENCE).is_ok() {
                            written.durable.push(n);
                        }
                    }
                    Err(error) => written.failed.push((n, error)),
                }
            }
            written
        });
        Writer { stop, thread }
    }

    pub(crate) fn stop(self) -> Written {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

impl Written {
    /// Fails if a row that was durable is not in the restored ones, or one is there twice.
    #[track_caller]
    pub(crate) fn is_in(&self, restored: &[i64]) {
        assert!(!self.durable.is_empty(), "nothing was written durably: {:?}", self.failed);
        for n in &self.durable {
            assert!(restored.binary_search(n).is_ok(), "row {n} was durable and is lost");
        }
        assert!(restored.windows(2).all(|pair| pair[0] != pair[1]), "a row was written twice");
    }
}

pub(crate) fn write(db: &HaQLite, n: i64) -> Result<haqlite::Bookmark> {
    let params = [n.into(), "test".into()];
    Ok(db.execute("INSERT INTO w (n, who) VALUES (?1, ?2)", &params)?.bookmark)
}

/// Writes until it succeeds, waits until it is durable, and says in which epoch.
#[track_caller]
pub(crate) fn write_durably(db: &HaQLite, n: i64) -> u64 {
    let mut bookmark = None;
    eventually("somebody takes the write", || {
        bookmark = write(db, n).ok();
        bookmark.is_some()
    });
    let bookmark = bookmark.unwrap();
    db.wait_durable_blocking(&bookmark, PATIENCE).unwrap();
    bookmark.epoch.get()
}

pub(crate) fn leads(db: &HaQLite) -> bool {
    db.role() == Role::Leader
}

#[track_caller]
pub(crate) fn eventually(what: &str, mut test: impl FnMut() -> bool) {
    let start = Instant::now();
    while !test() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[derive(Serialize, Deserialize)]
struct Settings {
    place: Place,
    name: String,
    path: PathBuf,
}

/// A node that can be killed.
pub(crate) enum Victim {
    Process(Process),
    /// In this process: cut off from its lease and its bucket, which is all that others see of a death.
    Cut {
        _db: HaQLite,
        road: Arc<Road>,
        dead: Arc<AtomicBool>,
    },
}

impl Victim {
    pub(crate) fn kill(&mut self) {
        match self {
            Victim::Process(process) => process.kill(),
            Victim::Cut { road, dead, .. } => {
                dead.store(true, Ordering::SeqCst);
                road.cut(true);
            }
        }
    }
}

/// A node in another process, killed when this value goes.
pub(crate) struct Process(Child);

impl Process {
    fn start(settings: &Settings) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["stage::entry", "--exact", "--nocapture"]);
        command.env(CHILD, serde_json::to_string(settings).unwrap());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let process = Process(child);
        let opened = BufReader::new(output).lines().map_while(std::result::Result::ok);
        assert!(opened.into_iter().any(|line| line.ends_with("@open")), "the node did not open");
        process
    }

    /// `kill -9`, and waits for its end.
    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Not a promise: the way into the other process. Returns at once in the one that runs the tests.
#[test]
fn entry() {
    let Ok(settings) = std::env::var(CHILD) else { return };
    let Settings { place, name, path } = serde_json::from_str(&settings).unwrap();
    let db = node(&place, &name, &Arc::default()).open_blocking(path, SCHEMA).unwrap();
    println!("@open");
    // Nobody is left to answer to when the input ends.
    std::io::stdin().lines().for_each(drop);
    drop(db);
}
