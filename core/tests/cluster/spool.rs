//! Outages of the bucket alone: the lease is elsewhere, so the leader stays the leader and goes on.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use haqlite::bucket::{Call, Fault};
use haqlite::ltx::Decoder;
use haqlite::{Bookmark, Builder, CoordinatorConfig, ErrorKind, Event, HaQLite, Role};

use crate::support::{SCHEMA, count, eventually, leads};
use crate::world::{LeaseWay, Road, Way, World, config, config_with, puts_slot, wait};

const SOON: Duration = Duration::from_secs(15);
const WAL_CAP: u64 = 1 << 20;
const TTL: Duration = Duration::from_secs(4);

/// About so many bytes that do not compress, with a number in front.
fn text(n: i64, bytes: usize) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(&n.to_le_bytes());
    let mut noise = vec![0; bytes / 2];
    hash.finalize_xof().fill(&mut noise);
    noise.iter().fold(format!("<row {n:06}>"), |text, byte| text + &format!("{byte:02x}"))
}

fn write(db: &HaQLite, n: i64, bytes: usize) -> haqlite::Result<Bookmark> {
    db.execute("INSERT INTO t (v) VALUES (?1)", &[text(n, bytes).into()]).map(|done| done.bookmark)
}

/// Writes rows that are far more together than the WAL may have; the last one's bookmark.
#[track_caller]
fn write_much(db: &HaQLite, numbers: std::ops::Range<i64>) -> Bookmark {
    numbers.fold(Bookmark::default(), |_, n| write(db, n, 20_000).unwrap())
}

fn numbers(texts: &[String]) -> Vec<i64> {
    let number = |text: &String| text.get(5..11).and_then(|digits| digits.parse().ok());
    let mut numbers: Vec<i64> = texts.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

struct Leader {
    db: HaQLite,
    road: Road,
    way: LeaseWay,
}

/// A small WAL, and a lease that a leader which is busy spooling does not lose.
fn small_wal(builder: Builder, name: &str) -> Builder {
    builder.coordinator_config(CoordinatorConfig { wal_cap_bytes: WAL_CAP, ..config_with(name, TTL) })
}

/// A small WAL, and a lease that is lost while a test looks on.
fn small_wal_and_short_lease(builder: Builder, name: &str) -> Builder {
    builder.coordinator_config(CoordinatorConfig { wal_cap_bytes: WAL_CAP, ..config(name) })
}

fn lead(world: &World) -> Leader {
    let (road, way) = (world.road(), world.leases.way());
    let db = reopen(world, &road, &way);
    Leader { db, road, way }
}

fn reopen(world: &World, road: &Road, way: &LeaseWay) -> HaQLite {
    let builder = small_wal(world.exposed("a", road, way), "a");
    builder.open_blocking(world.path("a"), SCHEMA).unwrap()
}

impl Leader {
    fn cut(&self) {
        self.road.weather(|_| Fault::Refuse);
    }

    /// The outage, and so many rows in it that a part of them is spooled.
    #[track_caller]
    fn write_into_the_spool(&self, numbers: std::ops::Range<i64>) -> Bookmark {
        self.cut();
        let last = write_much(&self.db, numbers);
        assert!(self.db.status().spool_bytes > WAL_CAP, "{:?}", self.db.status());
        last
    }
}

fn spooled_files(world: &World) -> usize {
    std::fs::read_dir(world.folder.path().join("a.db-haqlite/spool")).unwrap().count()
}

fn wal_bytes(world: &World) -> u64 {
    std::fs::metadata(world.folder.path().join("a.db-wal")).unwrap().len()
}

#[test]
fn in_an_outage_writers_go_on_far_beyond_the_wals_cap_and_everything_is_shipped_after_it() {
    let world = World::new();
    let a = lead(&world);
    // Which could write, and then it would lead.
    let b =
        small_wal(world.node("b"), "b").role(Role::Follower).open_blocking(world.path("b"), SCHEMA).unwrap();
    let first = write(&a.db, 0, 100).unwrap();
    b.wait_for_blocking(&first, SOON).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&told);
    let _subscription = a.db.subscribe(move |event| events.lock().unwrap().push(event)).unwrap();
    a.cut();
    let mut longest = 0;
    for n in 1..600 {
        write(&a.db, n, 20_000).unwrap_or_else(|error| panic!("row {n}: {error}"));
        longest = longest.max(wal_bytes(&world));
    }
    assert!(longest < WAL_CAP + 100_000, "the WAL had {longest} bytes");
    let status = a.db.status();
    assert!(status.spool_bytes > 5 * WAL_CAP, "{status:?}");
    assert!(status.lag_bytes >= status.spool_bytes && status.lag > Duration::from_millis(100), "{status:?}");
    assert_eq!(status.confirmed.txid, first.txid, "nothing of it is confirmed");
    assert_eq!(told.lock().unwrap().as_slice(), [Event::Degraded(ErrorKind::StoreUnavailable)]);
    assert_eq!(count(&b), 1);
    a.road.clear();
    let last = write(&a.db, 600, 100).unwrap();
    a.db.wait_durable_blocking(&last, SOON).unwrap();
    b.wait_for_blocking(&last, SOON).unwrap();
    assert_eq!(count(&b), 601);
    assert_eq!(numbers(&world.restored_texts()), (0..=600).collect::<Vec<i64>>());
    let status = a.db.status();
    assert_eq!((status.spool_bytes, status.last_error), (0, None));
    assert_eq!(told.lock().unwrap().last(), Some(&Event::Recovered));
    assert_eq!(spooled_files(&world), 0);
    assert!(leads(&a.db), "the leadership went on");
    world.end([a.db, b]);
}

#[test]
fn at_the_spools_limit_writers_hear_backpressure_and_go_on_when_the_bucket_does() {
    const LIMIT: u64 = 3 << 20;
    let world = World::new();
    let (road, way) = (world.road(), world.leases.way());
    let builder = small_wal(world.exposed("a", &road, &way), "a").spool_limit(LIMIT);
    let a = Leader { db: builder.open_blocking(world.path("a"), SCHEMA).unwrap(), road, way };
    a.cut();
    let mut written = 0;
    let error = loop {
        match write(&a.db, written, 20_000) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 2000, "the spool has no limit");
    };
    assert_eq!(error.kind(), ErrorKind::Backpressure, "{error}");
    let status = a.db.status();
    assert!(status.spool_bytes <= LIMIT && status.spool_bytes > LIMIT / 2, "{status:?}");
    assert!(wal_bytes(&world) < WAL_CAP + 100_000);
    a.road.clear();
    let mut last = None;
    eventually("writers go on", || {
        last = write(&a.db, written, 100).ok();
        last.is_some()
    });
    a.db.wait_durable_blocking(&last.unwrap(), SOON).unwrap();
    assert_eq!(numbers(&world.restored_texts()), (0..=written).collect::<Vec<i64>>());
    world.end([a.db]);
}

#[test]
fn what_a_node_that_was_closed_in_an_outage_had_spooled_is_shipped_at_its_next_open() {
    let world = World::new();
    let a = lead(&world);
    write(&a.db, 0, 100).unwrap();
    let last = a.write_into_the_spool(1..200);
    let error = a.db.close_blocking().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error}");
    assert!(spooled_files(&world) > 1);
    a.road.clear();
    drop(a.db);
    let db = reopen(&world, &a.road, &a.way);
    eventually("a leads again", || leads(&db));
    assert_eq!(count(&db), 200);
    assert_eq!(numbers(&world.restored_texts()), (0..200).collect::<Vec<i64>>());
    assert_eq!(db.status().lost_tails.len(), 0);
    assert_eq!(spooled_files(&world), 0);
    // What was drafted is in the slot that its bookmark names; only what was not went into the fence.
    let spooled = Bookmark { txid: last.txid.previous().unwrap(), ..last };
    db.wait_durable_blocking(&spooled, SOON).unwrap();
    write(&db, 200, 100).unwrap();
    world.end([db]);
}

#[test]
fn what_was_spooled_of_a_database_that_was_taken_away_is_kept() {
    let world = World::new();
    let a = lead(&world);
    let first = write(&a.db, 0, 100).unwrap();
    a.db.wait_durable_blocking(&first, SOON).unwrap();
    a.write_into_the_spool(1..150);
    a.db.close_blocking().unwrap_err();
    drop(a.db);
    let spooled = spooled_files(&world);
    assert!(spooled > 0);
    for file in ["a.db", "a.db-wal", "a.db-shm"] {
        let gone = std::fs::remove_file(world.folder.path().join(file));
        assert!(gone.is_ok() || file == "a.db-shm", "{file}: {gone:?}");
    }
    a.road.clear();
    let db = reopen(&world, &a.road, &a.way);
    assert_eq!(count(&db), 1);
    let lost = db.status().lost_tails;
    assert_eq!((lost.len(), spooled_files(&world)), (spooled, 0));
    let rows: BTreeSet<i64> = lost.iter().flat_map(|path| rows_in(path)).collect();
    assert!((1..100).all(|n| rows.contains(&n)), "kept are only {rows:?}");
    world.end([db]);
}

#[test]
fn a_leader_that_lost_its_lease_too_and_leads_again_ships_its_spool() {
    let world = World::new();
    let a = lead(&world);
    write(&a.db, 0, 100).unwrap();
    a.write_into_the_spool(1..150);
    a.way.set(Way::Cut);
    eventually("a follows", || !leads(&a.db));
    a.way.set(Way::Open);
    std::thread::sleep(TTL + TTL / 2);
    assert!(!leads(&a.db), "nobody leads without the bucket");
    assert_eq!(count(&a.db), 150, "reads go on");
    a.road.clear();
    eventually("a leads again", || leads(&a.db));
    let last = write(&a.db, 150, 100).unwrap();
    a.db.wait_durable_blocking(&last, SOON).unwrap();
    assert_eq!(numbers(&world.restored_texts()), (0..=150).collect::<Vec<i64>>());
    assert_eq!(a.db.status().lost_tails.len(), 0);
    world.end([a.db]);
}

#[test]
fn what_was_spooled_when_another_node_took_over_is_saved_whole_and_undone() {
    let world = World::new();
    let a = lead(&world);
    let first = write(&a.db, 0, 100).unwrap();
    a.db.wait_durable_blocking(&first, SOON).unwrap();
    let (road_b, way_b) = (world.road(), world.leases.way());
    let b = small_wal(world.exposed("b", &road_b, &way_b), "b");
    let b = b.open_blocking(world.path("b"), SCHEMA).unwrap();
    // Or the leader would hand over to it.
    road_b.weather(|call| if matches!(call, Call::Put { .. }) { Fault::Refuse } else { Fault::None });
    let lost = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&lost);
    let _subscription = a.db.subscribe(move |event| {
        if let Event::TailLost { path, from, .. } = event {
            seen.lock().unwrap().push((path, from));
        }
    });
    let spooled = a.write_into_the_spool(1..150);
    // Some that are in the WAL only.
    write(&a.db, 150, 100).unwrap();
    a.way.set(Way::Cut);
    eventually("a leads no more", || !leads(&a.db));
    road_b.clear();
    eventually("b leads", || leads(&b));
    let of_b = write(&b, 900, 100).unwrap();
    b.wait_durable_blocking(&of_b, SOON).unwrap();
    a.road.clear();
    a.way.set(Way::Open);
    a.db.wait_for_blocking(&of_b, SOON).unwrap();
    assert_eq!(count(&a.db), 2);
    eventually("the lost tail is reported", || !lost.lock().unwrap().is_empty());
    let (path, from) = lost.lock().unwrap().pop().unwrap();
    assert_eq!(from, first.txid);
    assert_eq!(a.db.status().lost_tails, std::slice::from_ref(&path));
    let saved = rows_in(&path);
    assert!((1..=150).all(|n| saved.contains(&n)), "saved are only {saved:?}");
    assert_eq!(spooled_files(&world), 0);
    let error = a.db.wait_durable_blocking(&spooled, SOON).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BookmarkLost);
    let status = a.db.status();
    assert_eq!((status.spool_bytes, status.lag_bytes, status.committed), (0, 0, status.confirmed.txid));
    assert_eq!(numbers(&world.restored_texts()), [0, 900]);
    world.end([a.db, b]);
}

/// The rows whose pages are in a file of lost commits.
fn rows_in(path: &Path) -> BTreeSet<i64> {
    let mut decoder = Decoder::new(std::fs::File::open(path).unwrap()).unwrap();
    let (mut rows, mut data) = (BTreeSet::new(), Vec::new());
    while decoder.next_page(&mut data).unwrap().is_some() {
        let text = String::from_utf8_lossy(&data);
        let number = |(at, _): (usize, &str)| text.get(at + 5..at + 11)?.parse::<i64>().ok();
        rows.extend(text.match_indices("<row ").filter_map(number));
    }
    decoder.finish().unwrap();
    rows
}

#[test]
fn puts_that_are_delivered_late_in_an_outage_are_recognised_and_nothing_is_there_twice() {
    let world = World::new();
    let a = lead(&world);
    write(&a.db, 0, 100).unwrap();
    a.road.weather(|call| if puts_slot(call) { Fault::Hold } else { Fault::None });
    write_much(&a.db, 1..100);
    eventually("puts are under way", || a.road.bucket.held() > 0);
    // One is delivered while the leader hears nothing, and its repetitions are refused.
    a.cut();
    assert!(wait(a.road.bucket.release()) > 0);
    write_much(&a.db, 100..150);
    a.road.weather(|call| if puts_slot(call) { Fault::LoseAnswer } else { Fault::None });
    write_much(&a.db, 150..200);
    a.road.clear();
    let last = write(&a.db, 200, 100).unwrap();
    a.db.wait_durable_blocking(&last, SOON).unwrap();
    assert_eq!(numbers(&world.restored_texts()), (0..=200).collect::<Vec<i64>>());
    assert!(world.slots().iter().all(|slot| slot.header.origin.unwrap().epoch.get() == 1));
    world.end([a.db]);
}

#[test]
fn a_database_that_shrinks_and_grows_in_an_outage_is_the_same_after_it() {
    let world = World::new();
    let a = lead(&world);
    // Which could write, and then it would lead.
    let b =
        small_wal(world.node("b"), "b").role(Role::Follower).open_blocking(world.path("b"), SCHEMA).unwrap();
    write_much(&a.db, 0..50);
    a.cut();
    for round in 1..6 {
        write_much(&a.db, round * 100..round * 100 + 60);
        a.db.execute("DELETE FROM t WHERE id % 3 = 0 OR id < ?1", &[(round * 20).into()]).unwrap();
        a.db.execute("VACUUM", &[]).unwrap();
        a.db.execute(&format!("CREATE TABLE t{round} (x)"), &[]).unwrap();
    }
    assert!(spooled_files(&world) > 1);
    a.road.clear();
    let last = write(&a.db, 999, 100).unwrap();
    b.wait_for_blocking(&last, SOON).unwrap();
    let sql = "SELECT group_concat(v) || (SELECT group_concat(sql) FROM sqlite_schema) FROM t";
    let of = |db: &HaQLite| db.query_row_local(sql, &[], |row| row.get::<String>(0)).unwrap();
    assert_eq!(of(&a.db), of(&b));
    let restored: String = world.restored().query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(of(&a.db), restored);
    world.end([a.db, b]);
}

#[test]
fn without_a_spool_the_wals_cap_is_the_end_and_nothing_is_written_aside() {
    let world = World::new();
    let (road, way) = (world.road(), world.leases.way());
    let builder = small_wal(world.exposed("a", &road, &way), "a").spool_limit(0);
    let a = Leader { db: builder.open_blocking(world.path("a"), SCHEMA).unwrap(), road, way };
    a.cut();
    let refused = (0..500).find_map(|n| write(&a.db, n, 20_000).err()).expect("the WAL has no limit");
    assert_eq!(refused.kind(), ErrorKind::Backpressure);
    assert_eq!((a.db.status().spool_bytes, spooled_files(&world)), (0, 0));
    a.road.clear();
    world.end([a.db]);
}

#[test]
fn a_disk_that_takes_no_slot_is_as_no_spool_until_it_does() {
    let world = World::new();
    let a = lead(&world);
    let folder = world.folder.path().join("a.db-haqlite/spool");
    std::fs::remove_dir(&folder).unwrap();
    std::fs::write(&folder, b"").unwrap();
    a.cut();
    let written = (0..500).take_while(|n| write(&a.db, *n, 20_000).is_ok()).count() as i64;
    assert!(written > 10 && written < 100, "{written} rows were written");
    assert!(leads(&a.db), "it goes on leading");
    assert_eq!(a.db.status().spool_bytes, 0);
    std::fs::remove_file(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    let mut last = None;
    eventually("writers go on", || {
        last = write(&a.db, written, 100).ok();
        last.is_some()
    });
    write_much(&a.db, written + 1..written + 60);
    assert!(a.db.status().spool_bytes > 0);
    a.road.clear();
    let last = write(&a.db, written + 60, 100).unwrap();
    a.db.wait_durable_blocking(&last, SOON).unwrap();
    // Each row that was acknowledged is there, in the slot that its bookmark named.
    let there = numbers(&world.restored_texts());
    assert!((0..=written + 60).all(|n| there.contains(&n)));
    world.end([a.db]);
}

/// Outages of the bucket, of the lease store and of both, short and long, one after the other, while two
/// nodes write what they may: nothing that was confirmed is lost, and what was acknowledged and is not in the
/// log is in a file.
#[test]
fn through_random_outages_nothing_confirmed_is_lost_and_the_rest_is_in_the_log_or_in_a_file() {
    let world = World::new();
    let open = |name: &str| {
        let (road, way) = (world.road(), world.leases.way());
        let builder = small_wal_and_short_lease(world.exposed(name, &road, &way), name);
        Leader { db: builder.open_blocking(world.path(name), SCHEMA).unwrap(), road, way }
    };
    let (a, b) = (open("a"), open("b"));
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let (mut acked, mut confirmed) = (BTreeSet::new(), BTreeSet::new());
    let (mut next, mut spooled) = (0, 0);
    for _ in 0..14 {
        for node in [&a, &b] {
            match random(4) {
                0 => node.cut(),
                1 => node.road.weather(|call| if puts_slot(call) { Fault::LoseAnswer } else { Fault::None }),
                _ => node.road.clear(),
            }
            node.way.set(if random(5) == 0 { Way::Cut } else { Way::Open });
        }
        let mut last = None;
        for _ in 0..random(90) {
            next += 1;
            let node = if leads(&a.db) { &a } else { &b };
            // A node that does not lead would look for the leader for long.
            if !leads(&node.db) {
                break;
            }
            let Ok(bookmark) = write(&node.db, next, 20_000) else { break };
            acked.insert(next);
            last = Some((node, next, bookmark));
            spooled = spooled.max(node.db.status().spool_bytes);
        }
        if let Some((node, n, bookmark)) = last
            && node.db.wait_durable_blocking(&bookmark, Duration::from_millis(random(700))).is_ok()
        {
            confirmed.insert(n);
        }
    }
    for node in [&a, &b] {
        node.road.clear();
        node.way.set(Way::Open);
    }
    eventually("one of them leads", || leads(&a.db) || leads(&b.db));
    let leader = if leads(&a.db) { &a } else { &b };
    let last = write(&leader.db, next + 1, 100).unwrap();
    for node in [&a, &b] {
        node.db.wait_for_blocking(&last, SOON).unwrap();
    }
    let there: BTreeSet<i64> = numbers(&world.restored_texts()).into_iter().collect();
    let gone: Vec<_> = confirmed.difference(&there).collect();
    assert!(gone.is_empty(), "confirmed and gone: {gone:?}");
    assert!(acked.len() > 100 && spooled > WAL_CAP, "{} rows, {spooled} bytes spooled", acked.len());
    let tails = [&a, &b].map(|node| node.db.status().lost_tails);
    let saved: BTreeSet<i64> = tails.iter().flatten().flat_map(|tail| rows_in(tail)).collect();
    let gone: Vec<_> = acked.iter().filter(|n| !there.contains(n) && !saved.contains(n)).collect();
    assert!(gone.is_empty(), "acknowledged and nowhere: {gone:?}");
    let copies = [&a, &b].map(|node| count(&node.db));
    assert_eq!(copies, [there.len() as i64; 2]);
    world.end([a.db, b.db]);
}
