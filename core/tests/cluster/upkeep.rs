use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use haqlite::bucket::{Body, Bucket, Call, Fault, FaultyBucket, PutMode, PutOptions};
use haqlite::types::{Epoch, Txid};
use haqlite::{Bookmark, Builder, Compaction, ErrorKind, HaQLite, Retention};

use crate::cloud::fence_of_another_session;
use crate::support::{SCHEMA, count, eventually, insert, leads};
use crate::world::{ROOT, TTL, Way, World, object, slot_key, wait};

const SOON: Duration = Duration::from_secs(20);

/// A day in a second.
fn hasty(node: Builder) -> Builder {
    let ms = Duration::from_millis;
    node.compaction(Compaction { levels: vec![ms(100), ms(300), ms(900)], snapshots: Some(ms(700)) })
        .retention(Retention { enabled: true, slots: ms(100), window: ms(400), snapshots: 1 })
}

fn open(world: &World, name: &str) -> HaQLite {
    hasty(world.node(name)).open_blocking(world.path(name), SCHEMA).unwrap()
}

/// Writes rows, each in a slot of its own.
fn write(db: &HaQLite, rows: std::ops::Range<u32>) -> Bookmark {
    let mut last = Bookmark::default();
    for i in rows {
        last = insert(db, &format!("{i:06}")).bookmark;
        db.wait_durable_blocking(&last, SOON).unwrap();
    }
    last
}

/// Writes until the floor is as high as that.
fn write_until_floor(world: &World, db: &HaQLite, rows: &mut u32, floor: u64) -> Bookmark {
    let mut last = Bookmark::default();
    eventually("the floor does not rise", || {
        last = write(db, *rows..*rows + 1);
        *rows += 1;
        world.floor() >= floor
    });
    last
}

fn slots(world: &World) -> usize {
    world.slots().len()
}

#[test]
fn a_leader_keeps_its_log_short_and_who_joins_late_has_everything() {
    let world = World::new();
    let a = open(&world, "a");
    let mut rows = 0;
    write_until_floor(&world, &a, &mut rows, 60);
    eventually("old slots stay", || slots(&world) < 40);
    eventually("old files stay", || world.files().iter().filter(|f| f.0 == 9).count() <= 3);
    let levels: Vec<u8> = world.files().iter().map(|f| f.0).collect();
    assert!(levels.contains(&1) && levels.contains(&9), "{levels:?}");
    let b = open(&world, "b");
    let last = write(&a, rows..rows + 1);
    b.wait_for_blocking(&last, SOON).unwrap();
    assert_eq!(count(&b), i64::from(rows) + 1);
    assert_eq!(world.restored_texts().len() as u32, rows + 1);
    assert_eq!(a.status().last_error, None);
    // And it can lead.
    a.close_blocking().unwrap();
    eventually("b leads", || leads(&b));
    write(&b, rows + 1..rows + 3);
    assert_eq!(world.restored_texts().len() as u32, rows + 3);
    world.end([b]);
}

#[test]
fn a_follower_that_was_away_while_the_floor_rose_catches_up_and_has_lost_nothing() {
    let world = World::new();
    let a = open(&world, "a");
    let (road, way) = (world.road(), world.leases.way());
    let b = hasty(world.exposed("b", &road, &way)).open_blocking(world.path("b"), SCHEMA).unwrap();
    let mut rows = 20;
    b.wait_for_blocking(&write(&a, 0..rows), SOON).unwrap();
    let at = b.position().txid.get();
    road.weather(|_| Fault::Refuse);
    write_until_floor(&world, &a, &mut rows, at + 20);
    road.clear();
    let last = write(&a, rows..rows + 1);
    b.wait_for_blocking(&last, SOON).unwrap();
    assert_eq!(count(&b), i64::from(rows) + 1);
    assert!(b.status().lost_tails.is_empty());
    b.close_blocking().unwrap();
    // The same for a node that was closed meanwhile.
    let at = world.slots().last().unwrap().txid;
    rows += 1;
    write_until_floor(&world, &a, &mut rows, at + 10);
    let b = open(&world, "b");
    b.wait_for_blocking(&write(&a, rows..rows + 1), SOON).unwrap();
    assert_eq!(count(&b), i64::from(rows) + 1);
    assert!(b.status().lost_tails.is_empty());
    world.end([a, b]);
}

#[test]
fn a_bookmark_whose_slot_was_deleted_is_still_answered() {
    let world = World::new();
    let a = open(&world, "a");
    let mut rows = 5;
    let old = write(&a, 0..rows);
    let b = open(&world, "b");
    b.wait_for_blocking(&old, SOON).unwrap();
    a.close_blocking().unwrap();
    eventually("b leads", || leads(&b));
    let newer = write(&b, rows..rows + 3);
    rows += 3;
    assert!(newer.epoch > old.epoch);
    write_until_floor(&world, &b, &mut rows, newer.txid.get() + 5);
    // A node that was never told of either epoch's beginning.
    let c = open(&world, "c");
    for bookmark in [old, newer] {
        c.wait_for_blocking(&bookmark, SOON).unwrap();
        c.wait_durable_blocking(&bookmark, SOON).unwrap();
    }
    let lost = Bookmark { epoch: old.epoch, txid: newer.txid };
    assert_eq!(c.wait_for_blocking(&lost, SOON).unwrap_err().kind(), ErrorKind::BookmarkLost);
    let never = Bookmark { epoch: Epoch::new(old.epoch.get()).unwrap(), txid: Txid::new(1) };
    c.wait_for_blocking(&never, SOON).unwrap();
    world.end([b, c]);
}

#[test]
fn what_a_replaced_leader_still_does_to_the_log_harms_nobody() {
    let world = World::new();
    let (road, way) = (world.road(), world.leases.way());
    let a = hasty(world.exposed("a", &road, &way)).open_blocking(world.path("a"), SCHEMA).unwrap();
    let b = open(&world, "b");
    let mut rows = 0;
    write_until_floor(&world, &a, &mut rows, 10);
    // From here on all that a's upkeep writes is on its way for very long.
    let held = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&held);
    road.weather(move |call| match call {
        Call::Put { key, mode } if !key.contains("ltx/0/") && **mode != PutMode::Overwrite => {
            counter.fetch_add(1, Ordering::Relaxed);
            Fault::Hold
        }
        Call::Delete { .. } => {
            counter.fetch_add(1, Ordering::Relaxed);
            Fault::Hold
        }
        _ => Fault::None,
    });
    write(&a, rows..rows + 30);
    rows += 30;
    eventually("a's upkeep does something", || held.load(Ordering::Relaxed) >= 2);
    way.set(Way::Cut);
    eventually("b leads", || leads(&b));
    let mut mine = rows;
    write_until_floor(&world, &b, &mut mine, world.floor() + 40);
    assert!(crate::world::wait(road.bucket.release()) >= 2);
    let last = write(&b, mine..mine + 5);
    way.set(Way::Open);
    road.clear();
    a.wait_for_blocking(&last, SOON).unwrap();
    assert_eq!(world.restored_texts().len() as u32, mine + 5);
    write_until_floor(&world, &b, &mut { mine + 5 }, world.floor() + 10);
    let c = open(&world, "c");
    assert_eq!(count(&c), count(&b));
    world.end([a, b, c]);
}

#[test]
fn leaders_come_and_go_and_no_confirmed_row_does() {
    let world = World::new();
    let ways = [world.leases.way(), world.leases.way(), world.leases.way()];
    let nodes: Vec<HaQLite> = ["a", "b", "c"]
        .iter()
        .zip(&ways)
        .map(|(name, way)| {
            let road = world.road();
            hasty(world.exposed(name, &road, way)).open_blocking(world.path(name), SCHEMA).unwrap()
        })
        .collect();
    let stop = AtomicBool::new(false);
    let mut confirmed = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut confirmed = Vec::new();
            for i in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let text = format!("{i:06}");
                let node = &nodes[i % 3];
                let written = node.execute("INSERT INTO t (v) VALUES (?1)", &[text.as_str().into()]);
                let written_at = written.as_ref().map(|done| done.bookmark).unwrap_or_default();
                let durable = written.and_then(|done| node.wait_durable_blocking(&done.bookmark, SOON));
                if durable.is_ok() {
                    confirmed.push((text, written_at));
                }
            }
            confirmed
        });
        for round in 0..3 {
            std::thread::sleep(TTL * 2);
            let leader = (0..3).find(|i| leads(&nodes[*i]));
            if let Some(leader) = leader {
                ways[leader].set(Way::Cut);
                eventually("another leads", || (0..3).any(|i| i != leader && leads(&nodes[i])));
                ways[leader].set(Way::Open);
            }
            assert!(round > 0 || leader.is_some());
        }
        std::thread::sleep(TTL);
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    confirmed.sort();
    assert!(confirmed.len() > 20 && world.floor() > 20, "{} rows, floor {}", confirmed.len(), world.floor());
    let there = world.restored_texts();
    let missing: Vec<_> = confirmed.iter().filter(|(row, _)| there.binary_search(row).is_err()).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let nodes: [HaQLite; 3] = nodes.try_into().unwrap_or_else(|_| panic!("three nodes"));
    world.end(nodes);
}

#[test]
fn an_idle_leader_asks_the_bucket_nothing_once_its_upkeep_is_done() {
    let world = World::new();
    let calls = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&calls);
    let counted = FaultyBucket::new(world.bucket.clone(), move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        Fault::None
    });
    let a = hasty(world.node("a").storage(counted)).open_blocking(world.path("a"), SCHEMA).unwrap();
    let mut rows = 0;
    write_until_floor(&world, &a, &mut rows, 20);
    // Longer than every interval, one after the other.
    eventually("the last work is done", || {
        let before = calls.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(2500));
        calls.load(Ordering::Relaxed) == before
    });
    let newest = world.slots().last().unwrap().txid;
    let of_level = |level: u8| world.files().into_iter().filter(|f| f.0 == level).map(|f| f.2).max();
    assert_eq!(of_level(9), Some(newest), "the last word is in a snapshot");
    assert_eq!(world.floor(), newest - 1);
    // One write is one more round of everything, and then it is quiet again.
    write(&a, rows..rows + 1);
    eventually("a snapshot of the next write", || of_level(9) == Some(newest + 1));
    world.end([a]);
}

#[test]
fn a_founder_that_never_heard_of_its_slot_1_follows_when_that_was_deleted() {
    let world = World::new();
    // The state of a founder that was killed while slot 1 was on its way: the base, and what it wrote before.
    let base = rusqlite::Connection::open(world.path("founder")).unwrap();
    base.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE old (x)").unwrap();
    drop(base);
    std::fs::copy(world.path("founder"), world.path("a")).unwrap();
    let a = open(&world, "a");
    let beside = |name: &str, file: &str| world.folder.path().join(format!("{name}.db-haqlite/{file}"));
    std::fs::create_dir(beside("founder", "")).unwrap();
    std::fs::copy(beside("a", "identity.json"), beside("founder", "identity.json")).unwrap();
    let genesis = object(&world.bucket, &format!("{ROOT}_genesis"));
    std::fs::write(beside("founder", "founding.json"), genesis).unwrap();

    let mut rows = 0;
    write_until_floor(&world, &a, &mut rows, 5);
    eventually("slot 1 stays", || world.slots()[0].txid > 1);
    let founder = open(&world, "founder");
    founder.wait_for_blocking(&write(&a, rows..rows + 1), SOON).unwrap();
    assert_eq!(count(&founder), i64::from(rows) + 1);
    world.end([a, founder]);
}

#[test]
fn a_fence_in_a_deleted_slot_is_not_applied_when_the_read_after_it_fails() {
    let world = World::new();
    let a = world.open("a");
    let (b, road, _) = world.open_exposed("b");
    b.wait_for_blocking(&write(&a, 0..3), SOON).unwrap();
    let at = b.position();
    road.weather(|_| Fault::Refuse);
    // A session that has read the log up to here is slow with its fence.
    let (slot, late) = fence_of_another_session(&world);
    assert_eq!(slot, at.txid.get() + 1);
    let last = write(&a, 3..8);
    let tools = haqlite::LogTools::from_bucket(world.bucket.clone()).db_name("app");
    tools.staging(world.folder.path()).snapshot().unwrap().unwrap();
    let floor = last.txid.get() - 1;
    let put = |key: String, bytes: Vec<u8>| {
        let options = PutOptions::new(PutMode::Overwrite);
        wait(world.bucket.put(&key, Body::Bytes(bytes.into()), options)).unwrap();
    };
    put(format!("{ROOT}_floor"), format!("{{\"floor\":{floor}}}").into_bytes());
    for deleted in slot..=floor {
        wait(world.bucket.delete(&slot_key(deleted), None)).unwrap();
    }
    put(slot_key(slot), late);
    let refused = Arc::new(AtomicU64::new(0));
    let (counter, next) = (Arc::clone(&refused), slot_key(slot + 1));
    road.weather(move |call| match call {
        Call::Get { key } if **key == next => {
            counter.fetch_add(1, Ordering::Relaxed);
            Fault::Refuse
        }
        _ => Fault::None,
    });
    eventually("b does not look", || refused.load(Ordering::Relaxed) >= 3);
    assert_eq!(b.position(), at, "what lies in a hole is not the log");
    road.clear();
    b.wait_for_blocking(&last, SOON).unwrap();
    assert_eq!((count(&b), b.position().epoch), (8, at.epoch));
    b.close_blocking().unwrap();
    a.close_blocking().unwrap();
}
