//! The same on a real S3 server, log and lease in one bucket.

use std::time::Duration;

use haqlite::bucket::S3Credentials;
use haqlite::{ErrorKind, HaQLite, Restore, Role};

use crate::support::{count, eventually, insert, leads, node, open};

/// What the server's launcher says; `make test` starts it.
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: `make test` starts the servers"))
}

fn url(server: &str) -> String {
    let prefix = format!("cluster-{}", std::process::id());
    format!(
        "s3://{}/{prefix}?endpoint={}&region=us-east-1",
        variable("HAQLITE_TEST_S3_BUCKET"),
        variable(server)
    )
}

fn credentials() -> S3Credentials {
    S3Credentials {
        access_key_id: variable("HAQLITE_TEST_S3_ACCESS_KEY_ID"),
        secret_access_key: variable("HAQLITE_TEST_S3_SECRET_ACCESS_KEY"),
        session_token: None,
    }
}

#[test]
fn three_nodes_on_s3_write_hand_over_lose_their_leader_and_are_restored() {
    let (url, folder) = (url("HAQLITE_TEST_S3_SEAWEED"), tempfile::tempdir().unwrap());
    let start = |name: &str| open(node(&url, name).credentials(credentials()), folder.path(), name);
    let (a, b, c) = (start("a"), start("b"), start("c"));
    assert_eq!((a.role(), b.role(), c.role()), (Role::Leader, Role::Follower, Role::Follower));
    for (db, text) in [(&a, "by a"), (&b, "by b"), (&c, "by c")] {
        insert(db, text);
    }
    eventually("followers have reported", || a.handoff_blocking(Some("b".into())).is_ok());
    eventually("b leads", || leads(&b));
    insert(&a, "through a to b");
    drop(b);
    eventually("another leads", || leads(&a) || leads(&c));
    let last = insert(&c, "after b").bookmark;
    let leader = if leads(&a) { &a } else { &c };
    leader.wait_durable_blocking(&last, Duration::from_secs(20)).unwrap();
    for db in [&a, &c] {
        db.wait_for_blocking(&last, Duration::from_secs(20)).unwrap();
        assert_eq!(count(db), 5);
    }
    let copy = folder.path().join("copy.db");
    Restore::new(&url).db_name("app").credentials(credentials()).run(&copy).unwrap();
    assert_eq!(count(&HaQLite::local(&copy, "").unwrap()), 5);
    a.close_blocking().unwrap();
    c.close_blocking().unwrap();
}

#[test]
fn a_store_that_ignores_conditions_is_refused_at_the_open() {
    let (url, folder) = (url("HAQLITE_TEST_S3_S3RVER"), tempfile::tempdir().unwrap());
    let builder = node(&url, "a").credentials(credentials());
    let error = builder.open_blocking(folder.path().join("a.db"), "").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnfit, "{error}");
}
