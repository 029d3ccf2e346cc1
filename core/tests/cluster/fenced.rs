//! Logs in buckets that ignore conditions, fenced by a manifest elsewhere.

use std::time::Duration;

use async_trait::async_trait;
use haqlite::bucket::{
    Body, Bucket, Call, Delete, Fault, FaultyBucket, Key, Layout, Listing, MemoryBucket, Object, Put,
    PutMode, PutOptions, Range, Version,
};
use haqlite::lease_store::{BucketLeaseStore, MemoryLeaseStore};
use haqlite::manifest_store::{ManifestPut, ManifestStore, RegisterManifestStore};
use haqlite::{
    Builder, Compaction, Durability, ErrorKind, Follow, HaQLite, LogTools, Outcome, Restore, Result,
    Retention, Role, SqlValue, Verify,
};

use crate::support::{SCHEMA, count, eventually, insert, leads};
use crate::world::{Leases, ROOT, Way, node_on, wait};

const SOON: Duration = Duration::from_secs(20);

/// A bucket in which every write is unconditional, whatever was asked.
#[derive(Clone)]
struct Careless(MemoryBucket);

#[async_trait]
impl Bucket for Careless {
    fn describe(&self) -> String {
        "careless".to_owned()
    }
    fn layout(&self) -> Layout {
        self.0.layout()
    }
    async fn get(&self, key: &str, range: Range) -> Result<Option<Object>> {
        let found = self.0.get(key, range).await;
        tokio::task::yield_now().await;
        found
    }
    async fn put(&self, key: &str, body: Body, options: PutOptions) -> Result<Put> {
        self.0.put(key, body, PutOptions { mode: PutMode::Overwrite, ..options }).await
    }
    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Listing> {
        self.0.list(prefix, start_after).await
    }
    async fn delete(&self, key: &str, _: Option<&Version>) -> Result<Delete> {
        self.0.delete(key, None).await
    }
    async fn now_ms(&self) -> Result<i64> {
        self.0.now_ms().await
    }
}

/// One such bucket, and where leases and manifests are.
struct Place {
    bucket: Careless,
    leases: Leases,
    manifests: MemoryLeaseStore,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place {
            bucket: Careless(MemoryBucket::new()),
            leases: Leases::default(),
            manifests: MemoryLeaseStore::new(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn manifests(&self) -> RegisterManifestStore<MemoryLeaseStore> {
        RegisterManifestStore::new(self.manifests.clone())
    }

    fn node(&self, name: &str) -> Builder {
        node_on(name, self.bucket.clone(), self.leases.way()).manifest_store(self.manifests())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(format!("{name}.db"))
    }

    fn open(&self, name: &str) -> HaQLite {
        self.node(name).open_blocking(self.path(name), SCHEMA).unwrap()
    }

    fn restored(&self) -> Vec<String> {
        let copy = tempfile::tempdir().unwrap();
        let path = copy.path().join("copy.db");
        let restore = Restore::from_bucket(self.bucket.clone()).db_name("app");
        restore.manifest_store(self.manifests()).run(&path).unwrap();
        texts(&HaQLite::local(&path, "").unwrap())
    }

    /// What a session leaves that claims an epoch and is not heard of again.
    fn claim_and_die(&self) {
        let (store, key) = (self.manifests(), Key::Manifest.path(ROOT, self.bucket.layout()));
        let there = wait(store.read(&key)).unwrap().unwrap();
        let mut body: serde_json::Value = serde_json::from_slice(&there.body).unwrap();
        let epoch = there.epoch.next().unwrap();
        body["claimed"] = serde_json::json!([epoch.get(), "f".repeat(32)]);
        let body = serde_json::to_vec(&body).unwrap();
        let put = wait(store.put(&key, epoch, &body, Some(&there.version))).unwrap();
        assert!(matches!(put, ManifestPut::Done(_)), "{put:?}");
    }

    fn has(&self, key: &Key) -> bool {
        let key = key.path(ROOT, self.bucket.layout());
        wait(self.bucket.get(&key, Range::Whole)).unwrap().is_some()
    }

    fn keys(&self) -> Vec<String> {
        wait(self.bucket.list(ROOT, None)).unwrap().objects.into_iter().map(|object| object.key).collect()
    }
}

fn texts(db: &HaQLite) -> Vec<String> {
    let rows = db.query("SELECT v FROM t ORDER BY v", &[]).unwrap();
    rows.iter().map(|row| row.get(0).unwrap()).collect()
}

#[test]
fn nodes_write_hand_over_fail_over_and_are_restored_without_conditional_writes() {
    let place = Place::new();
    let (a, b, c) = (place.open("a"), place.open("b"), place.open("c"));
    assert_eq!((a.role(), b.role(), c.role()), (Role::Leader, Role::Follower, Role::Follower));
    for (db, text) in [(&a, "1 by a"), (&b, "2 by b"), (&c, "3 by c")] {
        insert(db, text);
    }
    eventually("followers have reported", || a.handoff_blocking(Some("b".into())).is_ok());
    eventually("b leads", || leads(&b));
    insert(&a, "4 through a to b");
    drop(b);
    eventually("another leads", || leads(&a) || leads(&c));
    let last = insert(&c, "5 after b").bookmark;
    let leader = if leads(&a) { &a } else { &c };
    leader.wait_durable_blocking(&last, SOON).unwrap();
    for db in [&a, &c] {
        db.wait_for_blocking(&last, SOON).unwrap();
        assert_eq!(count(db), 5);
    }
    let b = place.open("b");
    assert_eq!(count(&b), 5);
    // The leader last: a node that is closed while it begins to lead leaves a claim, and until the next node has led
    // nobody can tell whether the last slot counts.
    let (leaders, others): (Vec<_>, Vec<_>) = [a, b, c].into_iter().partition(leads);
    for db in others.into_iter().chain(leaders) {
        db.close_blocking().unwrap();
    }
    assert_eq!(place.restored().len(), 5);
    assert!(!place.has(&Key::Genesis) && !place.has(&Key::Floor) && place.has(&Key::Fence));
    assert!(place.keys().iter().all(|key| Key::parse(key, ROOT, place.bucket.layout()).is_some()));
    // The whole cluster comes back to what it was.
    let a = place.open("a");
    assert_eq!(count(&a), 5);
    insert(&a, "6");
    a.close_blocking().unwrap();
    assert_eq!(place.restored().len(), 6);
}

#[test]
fn without_the_manifest_nobody_touches_such_a_log() {
    let place = Place::new();
    let plain = || node_on("x", place.bucket.clone(), place.leases.way());
    let error = plain().open_blocking(place.path("x"), "").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnfit, "{error}");
    for part in ["careless", "If-None-Match", "manifest_store", "HAQLITE_MANIFEST_URL"] {
        assert!(error.message().contains(part), "{error}");
    }
    // A manifest in the very bucket that compares nothing is no way out.
    let inside = RegisterManifestStore::new(BucketLeaseStore::new(place.bucket.clone()));
    let error = plain().manifest_store(inside).open_blocking(place.path("x"), "").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnfit, "{error}");
    let a = place.open("a");
    insert(&a, "one");
    a.close_blocking().unwrap();
    let bucket = || place.bucket.clone();
    let restore = Restore::from_bucket(bucket()).db_name("app").run(place.path("copy")).unwrap_err();
    let verify = Verify::from_bucket(bucket()).db_name("app").run().unwrap_err();
    let follow = Follow::from_bucket(bucket()).db_name("app").start(place.path("f")).err().unwrap();
    let tools = LogTools::from_bucket(bucket()).db_name("app").info().unwrap_err();
    let node = plain().open_blocking(place.path("x"), "").unwrap_err();
    let again = node_on("a", bucket(), place.leases.way()).open_blocking(place.path("a"), "").unwrap_err();
    // Also on a store that keeps conditions by now.
    let fit = node_on("y", place.bucket.0.clone(), place.leases.way());
    let fit = fit.open_blocking(place.path("y"), "").unwrap_err();
    for error in [restore, verify, follow, tools, node, again, fit] {
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
        assert!(error.message().contains("manifest_store"), "{error}");
    }
    // And with the manifest it stays what it is there.
    let fit = node_on("y", place.bucket.0.clone(), place.leases.way()).manifest_store(place.manifests());
    let fit = fit.open_blocking(place.path("y"), "").unwrap();
    insert(&fit, "two");
    fit.close_blocking().unwrap();
    assert_eq!(place.restored(), ["one", "two"]);
}

#[test]
fn a_log_that_was_begun_on_conditions_never_gets_a_manifest() {
    let place = Place::new();
    let a = node_on("a", place.bucket.0.clone(), place.leases.way()).manifest_store(place.manifests());
    let a = a.open_blocking(place.path("a"), SCHEMA).unwrap();
    insert(&a, "one");
    a.close_blocking().unwrap();
    assert!(place.has(&Key::Genesis) && !place.has(&Key::Fence));
    let error = place.node("b").open_blocking(place.path("b"), "").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnfit, "{error}");
}

#[test]
fn what_a_replaced_leader_sends_late_changes_nothing_and_is_told_truly() {
    let place = Place::new();
    let held = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let holds = std::sync::Arc::clone(&held);
    let road = FaultyBucket::new(place.bucket.clone(), move |call| match call {
        Call::Put { key, .. } if key.contains("/log/") && holds.load(std::sync::atomic::Ordering::SeqCst) => {
            Fault::Hold
        }
        _ => Fault::None,
    });
    let way = place.leases.way();
    let a = node_on("a", road.clone(), way.clone()).manifest_store(place.manifests());
    let a = a.durability(Durability::Cloud).open_blocking(place.path("a"), SCHEMA).unwrap();
    insert(&a, "confirmed");
    let b = place.node("b").durability(Durability::Cloud).open_blocking(place.path("b"), SCHEMA).unwrap();
    held.store(true, std::sync::atomic::Ordering::SeqCst);
    std::thread::scope(|scope| {
        let late = scope.spawn(|| a.execute("INSERT INTO t (v) VALUES ('late')", &[] as &[SqlValue]));
        eventually("the slot is on its way", || road.held() > 0);
        way.set(Way::Cut);
        eventually("b leads", || leads(&b));
        insert(&b, "by b");
        let error = late.join().unwrap().err();
        if let Some(error) = &error {
            assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        }
        held.store(false, std::sync::atomic::Ordering::SeqCst);
        assert!(wait(road.release()) > 0);
        way.set(Way::Open);
        let last = insert(&b, "after it").bookmark;
        a.wait_for_blocking(&last, SOON).unwrap();
        let expected = texts(&b);
        assert_eq!(texts(&a), expected);
        assert!(["after it", "by b", "confirmed"].iter().all(|text| expected.iter().any(|t| t == text)));
        assert_eq!(expected.iter().any(|text| text == "late"), error.is_none(), "{error:?}");
        a.close_blocking().unwrap();
        b.close_blocking().unwrap();
        assert_eq!(place.restored(), expected);
    });
}

#[test]
fn a_leader_that_died_while_it_took_over_is_in_nobodys_way() {
    let place = Place::new();
    let a = place.open("a");
    insert(&a, "one");
    place.claim_and_die();
    // Nobody knows where the dead session would have started: the leader looks for it anew.
    let two = insert(&a, "two").bookmark;
    let b = place.open("b");
    eventually("somebody leads", || leads(&a) || leads(&b));
    let three = insert(&b, "three").bookmark;
    for db in [&a, &b] {
        db.wait_for_blocking(&three, SOON).unwrap();
    }
    assert!(two < three);
    assert_eq!(texts(&a), ["one", "three", "two"]);
    a.close_blocking().unwrap();
    b.close_blocking().unwrap();
    assert_eq!(place.restored(), ["one", "three", "two"]);
}

#[test]
fn a_fenced_log_is_compacted_and_old_slots_go() {
    let place = Place::new();
    let ms = Duration::from_millis;
    let hasty = |name: &str| {
        place
            .node(name)
            .compaction(Compaction { levels: vec![ms(100), ms(300)], snapshots: Some(ms(700)) })
            .retention(Retention { enabled: true, slots: ms(100), window: ms(400), snapshots: 1 })
            .open_blocking(place.path(name), SCHEMA)
            .unwrap()
    };
    let a = hasty("a");
    let info = || {
        let tools = LogTools::from_bucket(place.bucket.clone()).db_name("app");
        tools.manifest_store(place.manifests()).info()
    };
    let mut rows = 0;
    eventually("the floor does not rise", || {
        let last = insert(&a, &format!("{rows:06}")).bookmark;
        a.wait_durable_blocking(&last, SOON).unwrap();
        rows += 1;
        let prefix = Key::fenced_prefix(ROOT);
        let slots = place.keys().iter().filter(|key| key.starts_with(&prefix)).count();
        rows > 40 && slots + 20 < rows
    });
    let b = hasty("b");
    assert_eq!(count(&b), rows as i64);
    a.close_blocking().unwrap();
    eventually("b leads", || leads(&b));
    for row in rows..rows + 20 {
        let last = insert(&b, &format!("{row:06}")).bookmark;
        b.wait_durable_blocking(&last, SOON).unwrap();
    }
    b.close_blocking().unwrap();
    info().unwrap();
    let expected: Vec<String> = (0..rows + 20).map(|row| format!("{row:06}")).collect();
    assert_eq!(place.restored(), expected);
    let verify = Verify::from_bucket(place.bucket.clone()).db_name("app").manifest_store(place.manifests());
    let report = verify.run().unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
}

#[test]
fn a_manifest_that_lost_what_it_had_stops_everybody() {
    let mut place = Place::new();
    let a = place.open("a");
    insert(&a, "one");
    a.close_blocking().unwrap();
    place.manifests = MemoryLeaseStore::new();
    let error = place.node("b").open_blocking(place.path("b"), "").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.message().contains("manifest"), "{error}");
    let restore = Restore::from_bucket(place.bucket.clone()).db_name("app").manifest_store(place.manifests());
    assert_eq!(restore.run(place.path("copy")).unwrap_err().kind(), ErrorKind::Corrupt);
}

/// A way to an S3 server on which the conditions of requests get lost: it takes two headers out of each.
#[cfg(feature = "s3")]
mod stripped {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use haqlite::bucket::S3Credentials;

    use super::*;
    use crate::support::{node, open};

    fn variable(name: &str) -> String {
        std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: `make test` starts the servers"))
    }

    /// One request after the other, as long as there are some.
    fn carry(from: TcpStream, mut to: TcpStream) -> std::io::Result<()> {
        let mut from = BufReader::new(from);
        loop {
            let (mut head, mut length) = (Vec::new(), 0);
            loop {
                let mut line = String::new();
                if from.read_line(&mut line)? == 0 {
                    return to.shutdown(std::net::Shutdown::Write);
                }
                let lower = line.to_ascii_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                assert!(!lower.starts_with("transfer-encoding:"), "a body whose length is not known");
                if !lower.starts_with("if-match:") && !lower.starts_with("if-none-match:") {
                    head.extend_from_slice(line.as_bytes());
                }
                if line == "\r\n" {
                    break;
                }
            }
            to.write_all(&head)?;
            std::io::copy(&mut (&mut from).take(length), &mut to)?;
        }
    }

    /// The address of such a way to the server, which lasts as long as the process.
    fn way_to(server: &str) -> String {
        let server = server.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
                let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                // A connection that breaks is the client's to make anew.
                thread::spawn(move || carry(client, server));
                thread::spawn(move || std::io::copy(&mut answers, &mut back));
            }
        });
        address
    }

    #[test]
    fn nodes_on_s3_without_conditions_need_a_manifest_and_lose_nothing_in_a_failover() {
        let way = way_to(&variable("HAQLITE_TEST_S3_MOTO"));
        let bucket = variable("HAQLITE_TEST_S3_BUCKET");
        let url = format!("s3://{bucket}/fenced-{}?endpoint={way}&region=us-east-1", std::process::id());
        let credentials = S3Credentials {
            access_key_id: variable("HAQLITE_TEST_S3_ACCESS_KEY_ID"),
            secret_access_key: variable("HAQLITE_TEST_S3_SECRET_ACCESS_KEY"),
            session_token: None,
        };
        let (folder, leases, manifests) =
            (tempfile::tempdir().unwrap(), MemoryLeaseStore::new(), MemoryLeaseStore::new());
        let bare = |name: &str| node(&url, name).credentials(credentials.clone()).lease_store(leases.clone());
        let error = bare("x").open_blocking(folder.path().join("x.db"), "").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreUnfit, "{error}");
        assert!(error.message().contains("manifest_store"), "{error}");
        let manifest = || RegisterManifestStore::new(manifests.clone());
        let start = |name: &str| open(bare(name).manifest_store(manifest()), folder.path(), name);
        let (a, b) = (start("a"), start("b"));
        assert_eq!((a.role(), b.role()), (Role::Leader, Role::Follower));
        for text in ["1", "2"] {
            insert(&a, text);
        }
        let last = insert(&b, "3").bookmark;
        a.wait_durable_blocking(&last, SOON).unwrap();
        drop(a);
        eventually("b leads", || leads(&b));
        let last = insert(&b, "4").bookmark;
        b.wait_durable_blocking(&last, SOON).unwrap();
        b.close_blocking().unwrap();
        let copy = folder.path().join("copy.db");
        let restore = Restore::new(&url).db_name("app").credentials(credentials.clone());
        let error = restore.clone().run(&copy).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
        restore.manifest_store(manifest()).run(&copy).unwrap();
        assert_eq!(texts(&HaQLite::local(&copy, "").unwrap()), ["1", "2", "3", "4"]);
    }
}
