use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use haqlite::bucket::{Bucket, Call, Fault, Range};
use haqlite::lease_store::MemoryLeaseStore;
use haqlite::manifest_store::{Manifest, ManifestPut, ManifestStore, ManifestVersion, RegisterManifestStore};
use haqlite::types::Epoch;
use haqlite::{
    Builder, CoordinatorConfig, Error, ErrorKind, Event, Follow, HaQLite, LeaseConfig, Result, Role,
};

use crate::support::{SCHEMA, count, eventually, insert};
use crate::world::{World, config, wait};

const KEY: &str = "haqlite/app/_manifest";

/// How soon a follower hears of a write by its manifest, with a lot of room for a busy machine.
const SOON: Duration = Duration::from_secs(1);

/// A store of manifests that counts its puts and can be away.
#[derive(Clone)]
struct Manifests {
    store: Arc<RegisterManifestStore<MemoryLeaseStore>>,
    puts: Arc<AtomicU64>,
    /// Every call fails.
    cut: Arc<AtomicBool>,
    /// No call is answered.
    silent: Arc<AtomicBool>,
}

impl Manifests {
    fn new() -> Manifests {
        Manifests {
            store: Arc::new(RegisterManifestStore::new(MemoryLeaseStore::new())),
            puts: Arc::default(),
            cut: Arc::default(),
            silent: Arc::default(),
        }
    }

    async fn travel(&self) -> Result<()> {
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        match self.cut.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::StoreUnavailable, "cut by the test")),
            false => Ok(()),
        }
    }

    /// What is there, as JSON.
    fn body(&self) -> serde_json::Value {
        let manifest = wait(self.store.read(KEY)).unwrap();
        manifest.map_or(serde_json::Value::Null, |m| serde_json::from_slice(&m.body).unwrap())
    }

    /// The slot that it names.
    fn txid(&self) -> Option<u64> {
        self.body()["hint"]["txid"].as_u64()
    }

    /// Puts another body there, whatever was there.
    fn say(&self, epoch: u64, body: &str) {
        let version = wait(self.store.read(KEY)).unwrap().map(|manifest| manifest.version);
        let epoch = Epoch::new(epoch).unwrap();
        let put = wait(self.store.put(KEY, epoch, body.as_bytes(), version.as_ref())).unwrap();
        assert!(matches!(put, ManifestPut::Done(_)), "{put:?}");
    }

    fn puts(&self) -> u64 {
        self.puts.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl ManifestStore for Manifests {
    fn describe(&self) -> String {
        "the test's manifests".to_owned()
    }

    async fn read(&self, key: &str) -> Result<Option<Manifest>> {
        self.travel().await?;
        self.store.read(key).await
    }

    async fn put(
        &self,
        key: &str,
        epoch: Epoch,
        body: &[u8],
        expected: Option<&ManifestVersion>,
    ) -> Result<ManifestPut> {
        self.puts.fetch_add(1, Ordering::SeqCst);
        self.travel().await?;
        self.store.put(key, epoch, body, expected).await
    }

    async fn confirm(&self, key: &str, version: &ManifestVersion) -> Result<Option<ManifestVersion>> {
        self.travel().await?;
        self.store.confirm(key, version).await
    }

    async fn changed(&self, key: &str, version: Option<&ManifestVersion>) {
        self.store.changed(key, version).await;
    }
}

/// A node that only follows and looks at the log by itself this often. Neither its heartbeat nor the lease tell it
/// anything for the length of a test.
fn follower(world: &World, name: &str, pull: Duration) -> Builder {
    let seldom = Duration::from_secs(120);
    let lease = LeaseConfig { follower_poll_interval: seldom, ..LeaseConfig::new(name, "") };
    let timing = CoordinatorConfig { follower_pull_interval: pull, lease: Some(lease), ..config(name) };
    world.node(name).role(Role::Follower).coordinator_config(timing)
}

fn leader(world: &World, manifests: &Manifests) -> HaQLite {
    world.node("a").manifest_store(manifests.clone()).open_blocking(world.path("a"), SCHEMA).unwrap()
}

fn open(world: &World, builder: Builder, name: &str) -> HaQLite {
    builder.open_blocking(world.path(name), SCHEMA).unwrap()
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test measures real time")]
    Instant::now()
}

#[test]
fn a_follower_that_polls_seldom_sees_writes_at_once_through_the_manifest() {
    let (world, manifests, seldom) = (World::new(), Manifests::new(), Duration::from_secs(30));
    let a = leader(&world, &manifests);
    let told = follower(&world, "told", seldom).manifest_store(manifests.clone());
    let told = open(&world, told, "told");
    let untold = open(&world, follower(&world, "untold", seldom), "untold");
    for n in 1..=5 {
        let begun = now();
        insert(&a, "x");
        eventually("the follower sees the write", || count(&told) == n);
        assert!(begun.elapsed() < SOON, "write {n} took {:?}", begun.elapsed());
    }
    assert_eq!(count(&untold), 0, "without a manifest nothing tells it");
    world.end([a, told, untold]);
}

#[test]
fn the_manifest_names_the_newest_slot_and_idle_clusters_put_none() {
    let (world, manifests) = (World::new(), Manifests::new());
    let a = leader(&world, &manifests);
    let b = follower(&world, "b", Duration::from_millis(50)).manifest_store(manifests.clone());
    let b = open(&world, b, "b");
    let (begun, before) = (now(), manifests.puts());
    while begun.elapsed() < Duration::from_secs(1) {
        insert(&a, "x");
    }
    let (puts, most) = (manifests.puts() - before, begun.elapsed().as_millis() as u64 / 200 + 2);
    assert!(puts <= most, "{puts} puts, {most} at most");
    let says_all = || manifests.txid() == Some(a.status().confirmed.txid.get());
    eventually("the manifest names the newest slot", || {
        a.status().confirmed.txid == a.status().committed && says_all()
    });
    assert_eq!(manifests.body()["hint"]["epoch"], a.status().epoch.get());
    let puts = manifests.puts();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(manifests.puts(), puts, "an idle cluster puts no manifest");
    eventually("the follower has all", || count(&b) == count(&a));
    world.end([a, b]);
}

#[test]
fn an_outage_of_the_manifest_store_harms_nothing_and_is_told_once() {
    let (world, manifests) = (World::new(), Manifests::new());
    let a = leader(&world, &manifests);
    let b = follower(&world, "b", Duration::from_millis(50)).manifest_store(manifests.clone());
    let b = open(&world, b, "b");
    eventually("a first hint", || manifests.txid().is_some());
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let _subscription = a.subscribe(move |event| {
        if matches!(event, Event::Degraded(_) | Event::Recovered) {
            seen.lock().unwrap().push(event.clone());
        }
    });
    manifests.cut.store(true, Ordering::SeqCst);
    for n in 1..=20 {
        insert(&a, "x");
        eventually("the follower sees it by its own poll", || count(&b) == n);
    }
    eventually("it is reported", || a.status().last_error.is_some());
    let (kind, message) = a.status().last_error.unwrap();
    assert_eq!(kind, ErrorKind::StoreUnavailable);
    assert!(message.contains("manifest"), "{message}");
    assert_eq!(events.lock().unwrap().len(), 1, "{:?}", events.lock().unwrap());
    manifests.cut.store(false, Ordering::SeqCst);
    eventually("it is told when it is back", || manifests.txid() == Some(a.status().confirmed.txid.get()));
    eventually("nothing is wrong any more", || a.status().last_error.is_none());
    let told = events.lock().unwrap().clone();
    assert!(matches!(told[..], [Event::Degraded(ErrorKind::StoreUnavailable), Event::Recovered]), "{told:?}");

    manifests.silent.store(true, Ordering::SeqCst);
    let begun = now();
    for n in 21..=40 {
        insert(&a, "x");
        eventually("the follower sees it by its own poll", || count(&b) == n);
    }
    world.end([a, b]);
    assert!(begun.elapsed() < Duration::from_secs(10), "nobody waits for it: {:?}", begun.elapsed());
}

#[test]
fn a_manifest_that_lies_delays_nothing_beyond_the_poll() {
    let (world, manifests) = (World::new(), Manifests::new());
    manifests.say(1, r#"{"format":1,"hint":{"epoch":1,"txid":900000}}"#);
    let a = world.open("a");
    let b = follower(&world, "b", Duration::from_millis(50)).manifest_store(manifests.clone());
    let b = open(&world, b, "b");
    let lies = [
        r#"{"format":1,"hint":{"epoch":1,"txid":1}}"#,
        r#"{"format":1,"hint":{"epoch":9,"txid":18446744073709551615}}"#,
        r#"{"format":7}"#,
        "nothing of the kind",
    ];
    for (n, lie) in (1..).zip(lies) {
        manifests.say(1, lie);
        insert(&a, "x");
        eventually("the follower has what the log has", || count(&b) == n);
        assert_eq!(b.status().confirmed, a.status().confirmed, "{lie}");
    }
    world.end([a, b]);
}

#[test]
fn a_manifest_that_is_the_commit_point_is_watched_and_never_written() {
    let (world, manifests) = (World::new(), Manifests::new());
    let table = |n: u64| format!(r#"{{"format":1,"genesis":"x","floor":{n},"epochs":[[1,1]]}}"#);
    manifests.say(1, &table(0));
    let a = leader(&world, &manifests);
    // The follower's open waits for what the leader has, of which nothing but its own rare looks tells it.
    let schema = insert(&a, "before");
    a.wait_durable_blocking(&schema.bookmark, Duration::from_secs(10)).unwrap();
    let b = follower(&world, "b", Duration::from_secs(30)).manifest_store(manifests.clone());
    let b = open(&world, b, "b");
    let written = insert(&a, "x");
    a.wait_durable_blocking(&written.bookmark, Duration::from_secs(10)).unwrap();
    manifests.say(1, &table(1));
    eventually("a change of it wakes the follower", || count(&b) == 2);
    assert_eq!((manifests.puts(), manifests.body()["floor"].as_u64()), (0, Some(1)));
    world.end([a, b]);
}

#[test]
fn a_follower_spares_polls_while_the_manifest_says_what_it_has() {
    let (world, manifests) = (World::new(), Manifests::new());
    let a = leader(&world, &manifests);
    let polls = |name: &str, manifest: Option<Manifests>| {
        let (road, polls) = (world.road(), Arc::new(AtomicU64::new(0)));
        let builder = world.exposed(name, &road, &world.leases.way()).role(Role::Follower);
        let builder = match manifest {
            Some(manifest) => builder.manifest_store(manifest),
            None => builder,
        };
        let db = builder.open_blocking(world.path(name), SCHEMA).unwrap();
        let counted = Arc::clone(&polls);
        road.weather(move |call| {
            if matches!(call, Call::Get { key, .. } if key.contains("ltx/0/")) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            Fault::None
        });
        (db, polls)
    };
    let (told, by_told) = polls("told", Some(manifests.clone()));
    let (untold, by_untold) = polls("untold", None);
    insert(&a, "x");
    let all = || a.status().confirmed;
    eventually("all have it", || {
        count(&told) == 1 && count(&untold) == 1 && manifests.txid() == Some(all().txid.get())
    });
    std::thread::sleep(Duration::from_millis(300));
    let before = (by_told.load(Ordering::SeqCst), by_untold.load(Ordering::SeqCst));
    std::thread::sleep(Duration::from_secs(2));
    let spared = by_told.load(Ordering::SeqCst) - before.0;
    let usual = by_untold.load(Ordering::SeqCst) - before.1;
    assert!((1..=10).contains(&spared), "{spared} polls in 2 s, every 250 ms");
    assert!(usual > 2 * spared, "{usual} polls without a manifest, {spared} with one");
    world.end([a, told, untold]);
}

#[test]
fn a_copy_hears_of_slots_through_a_manifest_by_url() {
    let world = World::new();
    let url = format!("memory://manifest-of-a-copy-{}/below", std::process::id());
    let a = world.node("a").manifest_url(&url).open_blocking(world.path("a"), SCHEMA).unwrap();
    let follow = Follow::from_bucket(world.bucket.clone()).db_name("app").interval(Duration::from_secs(30));
    let copy = follow.manifest_url(&url).start(world.path("copy")).unwrap();
    copy.wait_current(Duration::from_secs(10)).unwrap();
    let rows = || copy.query("SELECT v FROM t", &[]).map_or(0, |rows| rows.len());
    for n in 1..=3 {
        let begun = now();
        insert(&a, "x");
        eventually("the copy has the write", || rows() == n);
        assert!(begun.elapsed() < SOON, "write {n} took {:?}", begun.elapsed());
    }
    copy.close().unwrap();
    world.end([a]);
}

#[test]
fn lease_and_manifest_in_the_logs_own_bucket_have_keys_of_their_own() {
    let world = World::new();
    let a = HaQLite::builder()
        .storage(world.bucket.clone())
        .lease_url("s3")
        .manifest_url("s3")
        .db_name("app")
        .instance_id("a")
        .forwarding_port(0)
        .coordinator_config(config("a"))
        .open_blocking(world.path("a"), SCHEMA)
        .unwrap();
    let json = |key: &str| {
        let object = wait(world.bucket.get(key, Range::Whole)).unwrap();
        object.map(|object| serde_json::from_slice::<serde_json::Value>(&object.body).unwrap())
    };
    eventually("there is a manifest", || json(KEY).is_some());
    assert_eq!(json(KEY).unwrap()["number"].as_u64(), Some(0));
    assert_eq!(json("haqlite/app/_lease").unwrap()["holder"], "a");
    world.end([a]);
}
