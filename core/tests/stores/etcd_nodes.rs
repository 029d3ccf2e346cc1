use std::time::{Duration, Instant};

use haqlite::bucket::MemoryBucket;
use haqlite::{CoordinatorConfig, HaQLite, LeaseConfig, Role};

use crate::etcd::Etcd;

/// A node whose lease is in this etcd, and that polls it rarely.
fn open(name: &str, bucket: &MemoryBucket, etcd: &Etcd, folder: &tempfile::TempDir) -> HaQLite {
    let lease = LeaseConfig { ttl: Some(Duration::from_secs(20)), ..LeaseConfig::new(name, "") };
    let config = CoordinatorConfig { lease: Some(lease), ..CoordinatorConfig::default() };
    let builder = HaQLite::builder()
        .storage(bucket.clone())
        .lease_store(etcd.store())
        .db_name("app")
        .instance_id(name)
        .forwarding_port(0)
        .coordinator_config(config);
    let path = folder.path().join(format!("{name}.db"));
    builder.open_blocking(path, "CREATE TABLE IF NOT EXISTS t (v)").expect("it opens")
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test waits in real time")]
fn nodes_with_their_lease_in_etcd_hand_over_and_go_on_after_a_restart_of_etcd() {
    let mut etcd = Etcd::with(&[]);
    let (bucket, folder) = (MemoryBucket::new(), tempfile::tempdir().expect("a folder"));
    let a = open("a", &bucket, &etcd, &folder);
    let b = open("b", &bucket, &etcd, &folder);
    assert_eq!((a.role(), b.role()), (Role::Leader, Role::Follower));
    b.execute("INSERT INTO t VALUES (1)", &[]).expect("a forwarded write");

    etcd.server.kill();
    a.execute("INSERT INTO t VALUES (2)", &[]).expect("the lease still holds");
    etcd.server.restart();

    let begun = Instant::now();
    a.close_blocking().expect("it closes");
    while b.role() != Role::Leader {
        assert!(begun.elapsed() < Duration::from_secs(15), "well before the lease would end");
        std::thread::sleep(Duration::from_millis(5));
    }
    let count: i64 = b.query_row_local("SELECT count(*) FROM t", &[], |row| row.get(0)).expect("a count");
    assert_eq!(count, 2);
    b.execute("INSERT INTO t VALUES (3)", &[]).expect("it leads");
    b.close_blocking().expect("it closes");
}
