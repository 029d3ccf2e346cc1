use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use haqlite::bucket::{Call, Fault, FaultyBucket};
use haqlite::{Durability, ErrorKind, Follow, HaQLite, LogTools, ReadReplica};

use crate::support::{SCHEMA, eventually, insert, leads};
use crate::world::{World, wait};

const SOON: Duration = Duration::from_secs(20);
const OFTEN: Duration = Duration::from_millis(20);

/// What is only acknowledged, the log need not have yet.
fn insert_durably(db: &HaQLite, text: &str) {
    let bookmark = insert(db, text).bookmark;
    db.wait_durable_blocking(&bookmark, SOON).unwrap();
}

fn texts(replica: &ReadReplica) -> Vec<String> {
    let rows = replica.query("SELECT v FROM t ORDER BY id", &[]).unwrap();
    rows.iter().map(|row| row.get(0).unwrap()).collect()
}

#[test]
fn a_read_replica_follows_through_a_hand_over_and_writes_nothing_to_the_bucket() {
    let world = World::new();
    let writes = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&writes);
    let counted = FaultyBucket::new(world.bucket.clone(), move |call| {
        if !matches!(call, Call::Get { .. } | Call::List { .. }) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Fault::None
    });
    let (a, b) = (world.open("a"), world.open("b"));
    insert_durably(&a, "one");
    let follow = Follow::from_bucket(counted).db_name("app").interval(OFTEN);
    let replica = wait(follow.start_async(world.path("copy"))).unwrap();
    wait(replica.wait_current_async(SOON)).unwrap();
    eventually("b has reported", || a.handoff_blocking(Some("b".into())).is_ok());
    eventually("b leads", || leads(&b));
    let last = insert(&a, "two").bookmark;
    wait(replica.wait_for_async(&last, SOON)).unwrap();
    assert_eq!(texts(&replica), ["one", "two"]);
    let rows = wait(replica.query_async("SELECT count(*) FROM t", &[])).unwrap();
    assert_eq!(rows.rows[0].get::<i64>(0).unwrap(), 2);
    let refused = replica.query("INSERT INTO t (v) VALUES ('mine')", &[]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ReadOnly, "{refused}");
    let status = replica.status();
    assert_eq!((status.is_current, status.trouble, status.stopped), (true, None, None));
    assert_eq!(status.applied.txid, b.position().txid);
    wait(replica.close_async()).unwrap();
    assert_eq!(replica.query("SELECT 1", &[]).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(writes.load(Ordering::Relaxed), 0);
    world.end([a, b]);
}

#[test]
fn a_read_replica_waits_for_a_bucket_that_is_away_and_goes_on() {
    let world = World::new();
    let a = world.open("a");
    insert_durably(&a, "one");
    let road = world.road();
    let start =
        || Follow::from_bucket(road.bucket.clone()).db_name("app").interval(OFTEN).start(world.path("copy"));

    road.weather(|_| Fault::Refuse);
    // Nothing is known of this log, and nothing is made.
    assert_eq!(start().unwrap_err().kind(), ErrorKind::StoreUnavailable);
    assert!(!world.path("copy").exists());

    road.clear();
    let replica = start().unwrap();
    replica.wait_current(SOON).unwrap();
    road.weather(|_| Fault::Refuse);
    let mut status = replica.status();
    while status.trouble.is_none() {
        status = replica.wait_change(&status, SOON);
    }
    assert!(!status.is_current && status.stopped.is_none(), "{status:?}");
    assert_eq!(texts(&replica), ["one"]);
    let two = insert(&a, "two").bookmark;
    road.clear();
    replica.wait_for(&two, SOON).unwrap();
    replica.wait_current(SOON).unwrap();
    assert_eq!(replica.status().trouble, None);
    replica.close().unwrap();

    road.weather(|_| Fault::Refuse);
    let replica = start().unwrap();
    assert_eq!(replica.wait_current(OFTEN * 5).unwrap_err().kind(), ErrorKind::Timeout);
    let three = insert(&a, "three").bookmark;
    road.clear();
    replica.wait_for(&three, SOON).unwrap();
    assert_eq!(texts(&replica), ["one", "two", "three"]);
    drop(replica);
    world.end([a]);
}

#[test]
fn a_read_replica_refuses_a_database_with_commits_that_the_log_does_not_have() {
    let world = World::new();
    let node = world.node("a").durability(Durability::Continuous { interval: Duration::from_secs(3600) });
    let a = node.open_blocking(world.path("a"), SCHEMA).unwrap();
    insert(&a, "never shipped");
    // What is left of the leader when it is killed now.
    copy(&world.path("a"), &world.path("killed"));
    let follow = Follow::from_bucket(world.bucket.clone()).db_name("app").interval(OFTEN);
    let replica = follow.start(world.path("killed")).unwrap();
    let error = replica.wait_current(SOON).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ForeignDatabase, "{error}");
    assert!(replica.status().stopped.is_some());
    replica.close().unwrap();
    // A node can ship them, later.
    let connection = rusqlite::Connection::open(world.path("killed")).unwrap();
    let rows: i64 = connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
    drop(connection);
    world.end([a]);
}

fn copy(from: &Path, to: &Path) {
    let beside = |path: &Path, suffix: &str| {
        let mut path = path.to_path_buf().into_os_string();
        path.push(suffix);
        std::path::PathBuf::from(path)
    };
    for suffix in ["", "-wal"] {
        std::fs::copy(beside(from, suffix), beside(to, suffix)).unwrap();
    }
    let (from, to) = (beside(from, "-haqlite"), beside(to, "-haqlite"));
    std::fs::create_dir(&to).unwrap();
    for name in ["journal", "identity.json"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[test]
fn tools_look_at_a_log_in_any_bucket_and_under_any_executor() {
    let world = World::new();
    let a = world.open("a");
    let last = insert(&a, "one").bookmark;
    a.wait_durable_blocking(&last, SOON).unwrap();
    let tools = LogTools::from_bucket(world.bucket.clone()).db_name("app");
    let info = wait(tools.info_async()).unwrap();
    let newest = info.newest.unwrap();
    assert_eq!((newest.txid, info.oldest.unwrap().txid.get()), (last.txid, 1));
    // The lease is kept elsewhere in this world.
    assert_eq!((info.lease, info.damage, info.floor.get()), (None, None, 0));
    let files = wait(tools.files_async()).unwrap();
    assert_eq!(files, tools.files().unwrap());
    assert_eq!(files.iter().map(|file| file.size).sum::<u64>(), info.bytes);
    assert_eq!(files.last().unwrap().max, newest.txid);
    let nothing = LogTools::from_bucket(world.bucket.clone()).db_name("another");
    assert_eq!(nothing.info().unwrap_err().kind(), ErrorKind::InvalidArgument);
    world.end([a]);
}
