use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use haqlite::{Builder, CoordinatorConfig, Durability, HaQLite, LeaseConfig, Role, SqlValue};

pub const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v TEXT);";

/// A bucket in memory that no other test has.
pub fn bucket() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("memory://test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A node with a short lease, shipping often.
pub fn node(bucket: &str, name: &str) -> Builder {
    let lease = LeaseConfig { ttl: Some(Duration::from_millis(1000)), ..LeaseConfig::new(name, "") };
    HaQLite::builder()
        .bucket(bucket)
        .db_name("app")
        .instance_id(name)
        .forwarding_port(0)
        .durability(Durability::Continuous { interval: Duration::from_millis(20) })
        .coordinator_config(CoordinatorConfig {
            follower_pull_interval: Duration::from_millis(50),
            lease: Some(lease),
            ..Default::default()
        })
}

pub fn open(builder: Builder, folder: &Path, name: &str) -> HaQLite {
    builder.open_blocking(folder.join(format!("{name}.db")), SCHEMA).unwrap()
}

pub fn count(db: &HaQLite) -> i64 {
    db.query_row_local("SELECT count(*) FROM t", &[], |r| r.get(0)).unwrap()
}

pub fn insert(db: &HaQLite, text: &str) -> haqlite::ExecuteResult {
    db.execute("INSERT INTO t (v) VALUES (?1)", &[SqlValue::from(text)]).unwrap()
}

/// Waits until it is so; fails after 20 s.
#[track_caller]
pub fn eventually(what: &str, mut test: impl FnMut() -> bool) {
    #[expect(clippy::disallowed_methods, reason = "a test waits in real time")]
    let start = Instant::now();
    while !test() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn leads(db: &HaQLite) -> bool {
    db.role() == Role::Leader
}
