//! A lease store that is away for a moment is not noticed; one that is away for longer ends a leadership on time,
//! and it goes on by itself when the store is back.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "tests wait in real time")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use haqlite::{Event, HaQLite, Role};

use crate::stage::{MARGIN, Stage, TTL, Writer, eventually, leads, write, write_durably};

/// Shorter than the margin: no write fails, and nobody's role changes.
fn a_moment_is_not_noticed(stage: Stage) {
    let (a, b) = (stage.open("a"), stage.open("b"));
    write_durably(&b, -1);
    let roles = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&roles);
    let _subscription = a.subscribe(move |event| {
        if let Event::Role { .. } = event {
            heard.lock().unwrap().push(event);
        }
    });
    let epoch = a.status().epoch;
    let (here, there) = (Writer::start(&a, 0), Writer::start(&b, 1_000_000));
    // Once, and once more at another moment between two renewals.
    for _ in 0..2 {
        stage.hang(true);
        std::thread::sleep(MARGIN * 4 / 5);
        stage.hang(false);
        std::thread::sleep(TTL / 2 + MARGIN / 2);
    }
    for written in [here.stop(), there.stop()] {
        assert!(written.failed.is_empty(), "{:?}", written.failed.first());
    }
    assert_eq!((a.role(), b.role(), a.status().epoch), (Role::Leader, Role::Follower, epoch));
    assert!(roles.lock().unwrap().is_empty(), "{:?}", roles.lock().unwrap());
    close([a, b]);
}

/// Longer than the TTL: the leader stops on time, reads go on, and so do writes when the store is back.
fn a_long_one_ends_writes_on_time_and_they_resume(
    stage: &mut Stage,
    begin: fn(&mut Stage),
    end: fn(&mut Stage),
) {
    let (a, b) = (stage.open("a"), stage.open("b"));
    let first = write_durably(&b, -1);
    b.wait_for_blocking(&write(&a, -2).unwrap(), crate::stage::PATIENCE).unwrap();
    let road = Arc::clone(&stage.road);
    let acknowledged = until_the_leader_stops(&a, || begin(stage));
    let renewed = road.last_answered();
    let last = acknowledged.last().expect("writes were acknowledged before");
    assert!(*last <= renewed + TTL, "acknowledged {:?} after the last renewal", *last - renewed);
    for db in [&a, &b] {
        assert_eq!(db.role(), Role::Follower);
        let rows: i64 = db.query_row_local("SELECT count(*) FROM w", &[], |row| row.get(0)).unwrap();
        assert!(rows >= 2, "reads go on: {rows}");
    }
    // Nobody can lead now, however long it is tried.
    std::thread::sleep(TTL);
    assert!(!leads(&a) && !leads(&b), "nobody holds a lease");
    end(stage);
    let client = Writer::start(&b, 0);
    assert!(write_durably(&a, -3) > first);
    write_durably(&b, -4);
    let written = client.stop();
    assert!(written.failed.is_empty(), "{:?}", written.failed.first());
    close([a, b]);
    let restored = stage.restored();
    assert!([-1, -2, -3, -4].iter().all(|n| restored.binary_search(n).is_ok()), "{restored:?}");
    written.is_in(&restored.into_iter().filter(|n| (0..1_000_000).contains(n)).collect::<Vec<_>>());
}

/// Writes on the leader, in transactions, which are not forwarded; when each was acknowledged, until one is refused.
fn until_the_leader_stops(db: &HaQLite, begin: impl FnOnce()) -> Vec<std::time::Instant> {
    let writer = db.clone();
    let thread = std::thread::spawn(move || {
        let mut acknowledged = Vec::new();
        for n in 1_000_000_i64.. {
            let sql = "INSERT INTO w (n, who) VALUES (?1, 'transaction')";
            let wrote = writer.transaction(|tx| tx.execute(sql, &[n.into()]).map(drop));
            match wrote {
                Ok(()) => acknowledged.push(std::time::Instant::now()),
                Err(_) => break,
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        acknowledged
    });
    begin();
    eventually("the writer hears that the node does not lead", || thread.is_finished());
    thread.join().unwrap()
}

fn close<const N: usize>(nodes: [HaQLite; N]) {
    for node in nodes {
        node.close_blocking().unwrap();
    }
}

fn hang(stage: &mut Stage) {
    stage.hang(true);
}

fn go_on(stage: &mut Stage) {
    stage.hang(false);
}

#[cfg(any(feature = "nats", feature = "etcd", feature = "cli"))]
fn kill(stage: &mut Stage) {
    stage.server.as_mut().unwrap().kill();
}

#[cfg(any(feature = "nats", feature = "etcd", feature = "cli"))]
fn restart(stage: &mut Stage) {
    stage.server.as_mut().unwrap().restart();
}

#[test]
fn a_moment_without_memory_is_not_noticed() {
    a_moment_is_not_noticed(Stage::memory());
}

#[test]
fn a_moment_without_the_directory_is_not_noticed() {
    a_moment_is_not_noticed(Stage::directory());
}

#[cfg(feature = "s3")]
#[test]
fn a_moment_without_s3_is_not_noticed() {
    a_moment_is_not_noticed(Stage::s3());
}

#[cfg(feature = "nats")]
#[test]
fn a_moment_without_nats_is_not_noticed() {
    a_moment_is_not_noticed(Stage::nats());
}

#[cfg(feature = "etcd")]
#[test]
fn a_moment_without_etcd_is_not_noticed() {
    a_moment_is_not_noticed(Stage::etcd());
}

#[test]
fn a_long_outage_of_a_directory_ends_writes_on_time_and_they_resume() {
    a_long_one_ends_writes_on_time_and_they_resume(&mut Stage::directory(), hang, go_on);
}

#[test]
fn a_long_outage_of_memory_ends_writes_on_time_and_they_resume() {
    a_long_one_ends_writes_on_time_and_they_resume(&mut Stage::memory(), hang, go_on);
}

#[cfg(feature = "s3")]
#[test]
fn a_long_outage_of_s3_ends_writes_on_time_and_they_resume() {
    a_long_one_ends_writes_on_time_and_they_resume(&mut Stage::s3(), hang, go_on);
}

#[cfg(feature = "nats")]
#[test]
fn nats_that_hangs_for_long_ends_writes_on_time_and_they_resume() {
    a_long_one_ends_writes_on_time_and_they_resume(&mut Stage::nats(), hang, go_on);
}

#[cfg(feature = "nats")]
#[test]
fn nats_that_is_killed_and_comes_back_ends_writes_on_time_and_they_resume() {
    a_long_one_ends_writes_on_time_and_they_resume(&mut Stage::nats(), kill, restart);
}

#[cfg(feature = "etcd")]
#[test]
fn etcd_that_hangs_for_long_ends_writes_on_time_and_they_resume() {
    a_long_one_ends_writes_on_time_and_they_resume(&mut Stage::etcd(), hang, go_on);
}

#[cfg(feature = "etcd")]
#[test]
fn etcd_that_is_killed_and_comes_back_ends_writes_on_time_and_they_resume() {
    a_long_one_ends_writes_on_time_and_they_resume(&mut Stage::etcd(), kill, restart);
}

#[cfg(feature = "cli")]
#[test]
fn a_moment_without_the_store_server_is_not_noticed() {
    a_moment_is_not_noticed(Stage::http());
}

#[cfg(feature = "cli")]
#[test]
fn a_store_server_that_hangs_for_long_ends_writes_on_time_and_they_resume() {
    a_long_one_ends_writes_on_time_and_they_resume(&mut Stage::http(), hang, go_on);
}

#[cfg(feature = "cli")]
#[test]
fn a_store_server_that_is_killed_and_comes_back_ends_writes_on_time_and_they_resume() {
    a_long_one_ends_writes_on_time_and_they_resume(&mut Stage::http(), kill, restart);
}
