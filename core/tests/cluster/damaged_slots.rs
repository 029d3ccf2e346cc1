//! Slots that rot in the bucket: the leader that is beyond them covers them, and nobody else.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use haqlite::bucket::{Body, Bucket, Call, Fault, Put, PutMode, PutOptions};
use haqlite::{Builder, Compaction, ErrorKind, HaQLite, Restore};

use crate::support::{SCHEMA, count, eventually, insert};
use crate::world::{Road, World, object, slot_key, wait};

const SOON: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3600);

/// A leader whose upkeep makes nothing by itself for an hour.
fn slow(node: Builder) -> Builder {
    node.compaction(Compaction { levels: vec![HOUR], snapshots: Some(24 * HOUR) })
}

fn open(world: &World, name: &str) -> HaQLite {
    slow(world.node(name)).open_blocking(world.path(name), SCHEMA).unwrap()
}

/// Writes a row in a slot of its own; which slot that is.
fn write(db: &HaQLite, text: &str) -> u64 {
    let bookmark = insert(db, text).bookmark;
    db.wait_durable_blocking(&bookmark, SOON).unwrap();
    bookmark.txid.get()
}

fn put(world: &World, key: &str, body: Vec<u8>) {
    let put = world.bucket.put(key, Body::Bytes(body.into()), PutOptions::new(PutMode::Overwrite));
    assert!(matches!(wait(put).unwrap(), Put::Stored(_)));
}

fn flip(world: &World, slot: u64) -> Vec<u8> {
    let good = object(&world.bucket, &slot_key(slot));
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    put(world, &slot_key(slot), bad);
    good
}

/// A leader, and a follower that is cut off from the bucket at the leader's newest slot.
fn leader_and_follower(world: &World) -> (HaQLite, HaQLite, Road) {
    let a = open(world, "a");
    let (b, road, _) = world.open_exposed("b");
    let one = insert(&a, "one").bookmark;
    b.wait_for_blocking(&one, SOON).unwrap();
    road.weather(|call| if matches!(call, Call::Get { .. }) { Fault::Refuse } else { Fault::None });
    (a, b, road)
}

fn snapshots(world: &World) -> Vec<u64> {
    world.files().into_iter().filter(|file| file.0 == 9).map(|file| file.2).collect()
}

fn is_corrupt(db: &HaQLite) -> bool {
    db.status().last_error.is_some_and(|(kind, _)| kind == ErrorKind::Corrupt)
}

#[test]
fn a_leader_covers_a_damaged_slot_that_a_follower_cannot_read() {
    is_covered(|world, slot| drop(flip(world, slot)));
}

#[test]
fn a_leader_covers_a_missing_slot_that_a_follower_cannot_read() {
    is_covered(|world, slot| {
        wait(world.bucket.delete(&slot_key(slot), None)).unwrap();
    });
}

fn is_covered(damage: fn(&World, u64)) {
    let world = World::new();
    let (a, b, road) = leader_and_follower(&world);
    let two = write(&a, "two");
    let good = object(&world.bucket, &slot_key(two));
    damage(&world, two);
    write(&a, "three");
    road.clear();
    let four = insert(&a, "four").bookmark;
    b.wait_for_blocking(&four, SOON).unwrap();
    eventually("all is well", || b.status().last_error.is_none() && a.status().last_error.is_none());
    assert_eq!((count(&b), b.status().lost_tails.len()), (4, 0));
    assert!(snapshots(&world).iter().all(|max| *max > two) && snapshots(&world).len() == 1);
    // Nobody who comes later needs the slot either.
    let c = world.open("c");
    assert_eq!(count(&c), 4);
    put(&world, &slot_key(two), good);
    world.end([c, b, a]);
}

#[test]
fn the_newest_slot_is_covered_as_soon_as_the_leader_is_beyond_it() {
    let world = World::new();
    let (a, b, road) = leader_and_follower(&world);
    let two = write(&a, "two");
    let good = flip(&world, two);
    road.clear();
    eventually("b says so", || is_corrupt(&b));
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!((count(&b), snapshots(&world).len()), (1, 0), "nobody is beyond it");
    let three = insert(&a, "three").bookmark;
    b.wait_for_blocking(&three, SOON).unwrap();
    assert_eq!(count(&b), 3);
    assert_eq!(snapshots(&world).len(), 1);
    put(&world, &slot_key(two), good);
    world.end([b, a]);
}

#[test]
fn where_nobody_leads_who_is_beyond_a_damaged_slot_a_follower_stops_and_says_so() {
    let world = World::new();
    let (a, b, road) = leader_and_follower(&world);
    let two = write(&a, "two");
    let good = flip(&world, two);
    a.close_blocking().unwrap();
    drop(a);
    road.clear();
    eventually("b says so", || is_corrupt(&b));
    let written = b.execute("INSERT INTO t (v) VALUES ('lost')", &[]);
    assert!(written.is_err(), "a damaged log is led by nobody who has not proven it");
    assert_eq!((count(&b), snapshots(&world).len()), (1, 0));
    put(&world, &slot_key(two), good);
    b.close_blocking().unwrap();
}

#[test]
fn what_a_follower_says_of_a_slot_that_is_whole_is_not_believed() {
    let world = World::new();
    let a = open(&world, "a");
    let two = write(&a, "two");
    write(&a, "three");
    let address = a.status().leader.unwrap();
    let complain = |slot: u64| {
        let session = "0".repeat(32);
        let body = format!(
            r#"{{"node_id":"liar","session":"{session}","address":"http://127.0.0.1:1","successor":false,"unreadable":{slot},"position":{{"txid":1,"chain":"{session}","epoch":1}}}}"#
        );
        let host = address.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        let head = format!(
            "POST /haqlite/follow HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.contains(r#""covers":true"#)
    };
    assert!(!complain(1000), "of that the leader knows nothing itself");
    assert!(complain(two), "it looks first");
    eventually("it has looked", || !complain(two));
    assert!(snapshots(&world).is_empty());
    assert_eq!(a.status().last_error, None);
    world.end([a]);
}

#[test]
fn a_snapshot_that_is_taken_while_writers_write_is_exactly_the_log_at_its_slot() {
    let world = World::new();
    let (a, b, road) = leader_and_follower(&world);
    let mut slots = BTreeMap::new();
    slots.insert("two".to_owned(), write(&a, "two"));
    let bad = slots["two"];
    let good = flip(&world, bad);
    road.clear();
    let stop = AtomicBool::new(false);
    let written: BTreeMap<String, u64> = std::thread::scope(|scope| {
        let (a, stop) = (&a, &stop);
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                scope.spawn(move || {
                    let mut written = BTreeMap::new();
                    for i in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let text = format!("{writer}-{i:06}");
                        let bookmark = insert(a, &text).bookmark;
                        written.insert(text, bookmark.txid.get());
                    }
                    written
                })
            })
            .collect();
        // Also if it is not, or the writers never end.
        let covered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("the slot is covered", || snapshots(&world).len() == 1);
        }));
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        covered.unwrap();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    let last = insert(&a, "last").bookmark;
    a.wait_durable_blocking(&last, SOON).unwrap();
    b.wait_for_blocking(&last, SOON).unwrap();
    assert_eq!(count(&b) as usize, written.len() + 3);
    let max = snapshots(&world)[0];
    let path: PathBuf = world.folder.path().join("at-the-snapshot.db");
    Restore::from_bucket(world.bucket.clone()).db_name("app").txid(max).run(&path).unwrap();
    let there = rusqlite::Connection::open(&path).unwrap();
    let mut rows = there.prepare("SELECT v FROM t WHERE v LIKE '%-%' ORDER BY v").unwrap();
    let rows: Vec<String> = rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let expected: Vec<String> =
        written.iter().filter(|(_, slot)| **slot <= max).map(|(text, _)| text.clone()).collect();
    assert!(rows == expected, "{} rows and not {} in slot {max}", rows.len(), expected.len());
    let held_up = written.values().filter(|slot| **slot > max).count();
    assert!(held_up > 0, "writers went on while it was made");
    put(&world, &slot_key(bad), good);
    world.end([b, a]);
}
