//! The leadership moves on every lease store: it is handed over, its holder is killed, and writes go on.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use crate::stage::{PATIENCE, Stage, Writer, eventually, leads, write_durably};

/// Three nodes. One hands over, the successor is killed, a third node takes over; a client writes all the while.
fn the_leadership_moves_and_no_durable_write_is_lost(stage: Stage) {
    let (a, b) = (stage.open("a"), stage.open("b"));
    assert!(leads(&a) && !leads(&b));
    let first = write_durably(&b, -1);
    let mut c = stage.start("c");
    let client = Writer::start(&b, 0);
    eventually("handed over", || a.handoff_blocking(Some("c".into())).is_ok());
    let second = write_durably(&a, -2);
    assert!(second > first, "the epoch was {first} and is {second}");
    c.kill();
    eventually("another node leads", || leads(&a) || leads(&b));
    let third = write_durably(&a, -3);
    assert!(third > second, "the epoch was {second} and is {third}");
    write_durably(&b, -4);
    let written = client.stop();
    for db in [&a, &b] {
        let bookmark = crate::stage::write(db, -5).unwrap();
        db.wait_durable_blocking(&bookmark, PATIENCE).unwrap();
    }
    a.close_blocking().unwrap();
    b.close_blocking().unwrap();
    drop(c);
    let restored = stage.restored();
    let ours = restored.iter().filter(|n| **n < 0).count();
    assert_eq!(ours, 6, "{restored:?}");
    let rows: Vec<i64> = restored.into_iter().filter(|n| *n >= 0).collect();
    written.is_in(&rows);
}

#[test]
fn the_leadership_moves_with_the_lease_in_memory() {
    the_leadership_moves_and_no_durable_write_is_lost(Stage::memory());
}

#[test]
fn the_leadership_moves_with_the_lease_in_a_directory() {
    the_leadership_moves_and_no_durable_write_is_lost(Stage::directory());
}

#[cfg(feature = "s3")]
#[test]
fn the_leadership_moves_with_the_lease_on_s3() {
    the_leadership_moves_and_no_durable_write_is_lost(Stage::s3());
}

#[cfg(feature = "nats")]
#[test]
fn the_leadership_moves_with_the_lease_in_nats() {
    the_leadership_moves_and_no_durable_write_is_lost(Stage::nats());
}

#[cfg(feature = "etcd")]
#[test]
fn the_leadership_moves_with_the_lease_in_etcd() {
    the_leadership_moves_and_no_durable_write_is_lost(Stage::etcd());
}

#[cfg(feature = "cli")]
#[test]
fn the_leadership_moves_with_the_lease_on_the_store_server() {
    the_leadership_moves_and_no_durable_write_is_lost(Stage::http());
}
