//! What a database costs while nothing happens, and what stays bounded while very much does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use haqlite::bucket::{Call, Fault, FaultyBucket};
use haqlite::{CoordinatorConfig, LeaseConfig, SqlValue};

use crate::support::{SCHEMA, insert};
use crate::world::{TTL, World};

#[test]
fn an_idle_cluster_puts_nothing_but_the_lease() {
    let world = World::new();
    let puts = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&puts);
    let counted = FaultyBucket::new(world.bucket.clone(), move |call| {
        if matches!(call, Call::Put { .. }) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Fault::None
    });
    let open = |name: &str| {
        world.node(name).storage(counted.clone()).open_blocking(world.path(name), SCHEMA).unwrap()
    };
    let (a, b) = (open("a"), open("b"));
    let last = insert(&b, "the last write").bookmark;
    a.wait_durable_blocking(&last, Duration::from_secs(10)).unwrap();
    b.wait_for_blocking(&last, Duration::from_secs(10)).unwrap();
    let before = puts.load(Ordering::Relaxed);
    std::thread::sleep(TTL * 3);
    assert_eq!(puts.load(Ordering::Relaxed), before);
    world.end([a, b]);
}

#[test]
fn writers_that_never_pause_do_not_keep_slots_from_being_cut() {
    const WRITERS: usize = 64;
    let world = World::new();
    let db = world.open("a");
    let (before, stop) = (db.position().txid.get(), AtomicBool::new(false));
    let mut longest = 0;
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            let (db, stop) = (&db, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    insert(db, "busy");
                }
            });
        }
        let mut last = before;
        let mut since = 0;
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(20));
            let now = db.position().txid.get();
            since = if now == last { since + 20 } else { 0 };
            (last, longest) = (now, longest.max(since));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let slots = db.position().txid.get() - before;
    assert!(slots >= 10 && longest <= 1_000, "{slots} slots in 2 s, none for {longest} ms");
    world.end([db]);
}

#[test]
fn the_wal_stays_within_its_limit_and_one_transaction() {
    const CAP: u64 = 4 << 20;
    const ROW: usize = 100_000;
    let world = World::new();
    let config = CoordinatorConfig {
        wal_cap_bytes: CAP,
        follower_pull_interval: Duration::from_millis(50),
        lease: Some(LeaseConfig { ttl: Some(TTL), ..LeaseConfig::new("", "") }),
    };
    let open = |name: &str| {
        world.node(name).coordinator_config(config.clone()).open_blocking(world.path(name), SCHEMA).unwrap()
    };
    let (a, b) = (open("a"), open("b"));
    let mut last = insert(&a, "first").bookmark;
    for _ in 0..400 {
        last =
            a.execute("INSERT INTO t (v) VALUES (?1)", &[SqlValue::Text("x".repeat(ROW))]).unwrap().bookmark;
    }
    b.wait_for_blocking(&last, Duration::from_secs(30)).unwrap();
    for name in ["a", "b"] {
        let wal = std::fs::metadata(world.path(name).with_extension("db-wal")).unwrap().len();
        // A follower's limit is checked before each group, and a group is at most a slot or so many bytes.
        let limit = if name == "a" { CAP + 2 * ROW as u64 } else { 3 * CAP };
        assert!(wal <= limit, "the WAL of {name} has {wal} bytes");
    }
    world.end([a, b]);
}
