use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use haqlite::bucket::{Body, Bucket, Call, Fault, Put, PutMode, PutOptions};
use haqlite::{CoordinatorConfig, ErrorKind, Event, HaQLite, Role};

use crate::support::{SCHEMA, count, eventually, insert, leads};
use crate::world::{Way, World, config, object, puts_slot, slot_key, wait};

const SOON: Duration = Duration::from_secs(10);

/// Writes, and waits until a slot has it.
fn insert_durably(db: &HaQLite, text: &str) {
    let bookmark = insert(db, text).bookmark;
    db.wait_durable_blocking(&bookmark, SOON).unwrap();
}

#[test]
fn a_slot_whose_answer_is_lost_is_recognised_as_our_own() {
    let world = World::new();
    let (a, road, _) = world.open_exposed("a");
    road.slots_meet(Fault::LoseAnswer, 1);
    insert_durably(&a, "one");
    insert_durably(&a, "two");
    assert_eq!(world.restored_texts(), ["one", "two"]);
    let epochs: Vec<u64> = world.slots().iter().map(|s| s.header.origin.unwrap().epoch.get()).collect();
    assert_eq!(epochs, vec![1; epochs.len()], "the leadership goes on");
    world.end([a]);
}

#[test]
fn a_fence_whose_answer_is_lost_does_not_stop_the_promotion() {
    let world = World::new();
    insert(&world.open("a"), "one");
    let (road, way) = (world.road(), world.leases.way());
    let lost = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&lost);
    road.weather(move |call| {
        if puts_slot(call) && seen.fetch_add(1, Ordering::SeqCst) == 0 {
            Fault::LoseAnswer
        } else {
            Fault::None
        }
    });
    let b = world.exposed("b", &road, &way).open_blocking(world.path("b"), SCHEMA).unwrap();
    eventually("b leads", || leads(&b));
    insert_durably(&b, "two");
    assert!(lost.load(Ordering::SeqCst) >= 2, "the same fence was sent again");
    assert_eq!(world.restored_texts(), ["one", "two"]);
    world.end([b]);
}

#[test]
fn a_genesis_whose_answer_is_lost_is_taken_up_again() {
    let world = World::new();
    let (road, way) = (world.road(), world.leases.way());
    let mut lost = false;
    road.weather(move |call| match call {
        Call::Put { key, .. } if key.ends_with("_genesis") && !lost => {
            lost = true;
            Fault::LoseAnswer
        }
        _ => Fault::None,
    });
    let a = world.exposed("a", &road, &way).open_blocking(world.path("a"), SCHEMA).unwrap();
    insert_durably(&a, "one");
    assert_eq!(world.restored_texts(), ["one"]);
    world.end([a]);
}

#[test]
fn a_refused_connection_is_tried_again_and_reported() {
    let world = World::new();
    let (a, road, _) = world.open_exposed("a");
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let _subscription = a.subscribe(move |event| seen.lock().unwrap().push(event)).unwrap();
    road.slots_meet(Fault::Refuse, 3);
    insert_durably(&a, "one");
    eventually("it was reported and is over", || {
        let events = events.lock().unwrap();
        events.iter().any(|event| *event == Event::Degraded(ErrorKind::StoreUnavailable))
            && events.last() == Some(&Event::Recovered)
    });
    assert_eq!(a.status().last_error, None);
    world.end([a]);
}

/// The old leader's slot arrives after the new leader's fence: it is refused, and what was in it is never
/// confirmed.
#[test]
fn a_put_that_is_delivered_after_another_leaders_fence_confirms_nothing() {
    let world = World::new();
    let (a, road, way) = world.open_exposed("a");
    insert_durably(&a, "confirmed");
    let b = world.open("b");
    let lost = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&lost);
    let _subscription = a.subscribe(move |event| {
        if let Event::TailLost { .. } = &event {
            seen.lock().unwrap().push(event);
        }
    });
    road.weather(|call| if puts_slot(call) { Fault::Hold } else { Fault::None });
    let zombie = insert(&a, "zombie").bookmark;
    eventually("a put is under way", || road.bucket.held() > 0);
    way.set(Way::Cut);
    eventually("b leads", || leads(&b));
    insert_durably(&b, "of b");
    assert!(wait(road.bucket.release()) > 0);
    road.clear();
    way.set(Way::Open);
    let late = insert(&b, "late").bookmark;
    a.wait_for_blocking(&late, SOON).unwrap();
    assert_eq!(a.role(), Role::Follower);
    let error = a.wait_durable_blocking(&zombie, SOON).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BookmarkLost);
    eventually("the lost tail is reported", || lost.lock().unwrap().len() == 1);
    assert_eq!(a.status().lost_tails.len(), 1);
    assert_eq!(world.restored_texts(), ["confirmed", "late", "of b"]);
    assert_eq!(count(&a), 3);
    world.end([a, b]);
}

/// A put of a leadership that is over answers while the same node leads again.
#[test]
fn a_late_answer_to_an_earlier_leadership_is_not_taken_for_one_to_this() {
    let world = World::new();
    let (a, road, way) = world.open_exposed("a");
    insert_durably(&a, "one");
    road.slots_meet(Fault::Delay(Duration::from_millis(4500)), 1);
    insert(&a, "two");
    way.set(Way::Cut);
    eventually("a follows", || !leads(&a));
    way.set(Way::Open);
    eventually("a leads again", || leads(&a));
    // From here on a put hangs: only the late answer could end it.
    road.weather(|call| if puts_slot(call) { Fault::Delay(Duration::from_secs(6)) } else { Fault::None });
    let three = insert(&a, "three").bookmark;
    a.wait_durable_blocking(&three, Duration::from_secs(20)).unwrap();
    assert_eq!(world.restored_texts(), ["one", "three", "two"]);
    road.clear();
    world.end([a]);
}

#[test]
fn reads_that_fail_are_cut_short_or_are_stale_delay_a_follower_and_no_more() {
    let world = World::new();
    let a = world.open("a");
    insert_durably(&a, "one");
    let (road, way) = (world.road(), world.leases.way());
    let mut number = 0;
    road.weather(move |call| match call {
        Call::Get { key } if key.ends_with(".ltx") => {
            number += 1;
            match number % 3 {
                0 => Fault::None,
                1 => Fault::Refuse,
                _ => Fault::LoseAnswer,
            }
        }
        Call::List { .. } => Fault::None,
        _ => Fault::None,
    });
    let b = world.exposed("b", &road, &way).role(Role::Follower);
    let b = b.open_blocking(world.path("b"), SCHEMA).unwrap();
    for i in 0..10 {
        insert_durably(&a, &i.to_string());
    }
    let last = insert(&a, "last").bookmark;
    b.wait_for_blocking(&last, SOON).unwrap();
    assert_eq!(count(&b), 12);
    road.clear();
    world.end([b, a]);
}

#[test]
fn a_truncated_answer_is_never_applied() {
    let world = World::new();
    let a = world.open("a");
    let (b, road, _) = world.open_exposed("b");
    let mut number = 0;
    road.weather(move |call| match call {
        Call::Get { key } if key.ends_with(".ltx") => {
            number += 1;
            if number < 4 { Fault::Truncate(150) } else { Fault::None }
        }
        _ => Fault::None,
    });
    let one = insert(&a, "one").bookmark;
    b.wait_for_blocking(&one, SOON).unwrap();
    assert_eq!(count(&b), 1);
    world.end([b, a]);
}

#[test]
fn a_stale_listing_hides_nothing_that_is_confirmed() {
    let world = World::new();
    let (road, way) = (world.road(), world.leases.way());
    // The first listing is kept, and given for ever after.
    let a = world.exposed("a", &road, &way).open_blocking(world.path("a"), SCHEMA).unwrap();
    wait(road.bucket.list(&format!("{}ltx/0/", crate::world::ROOT), None)).unwrap();
    road.weather(|call| if matches!(call, Call::List { .. }) { Fault::Stale } else { Fault::None });
    for i in 0..5 {
        insert_durably(&a, &i.to_string());
    }
    let (other, way) = (road.clone(), world.leases.way());
    let b = world.exposed("b", &other, &way).open_blocking(world.path("b"), SCHEMA).unwrap();
    assert_eq!(count(&b), 5);
    a.close_blocking().unwrap();
    eventually("b leads", || leads(&b));
    insert_durably(&b, "by b");
    assert_eq!(world.restored_texts().len(), 6);
    world.end([b]);
}

#[test]
fn a_bucket_outage_degrades_holds_writers_up_at_the_cap_and_loses_nothing() {
    let world = World::new();
    let (road, way) = (world.road(), world.leases.way());
    let builder = world.exposed("a", &road, &way);
    let builder = builder.coordinator_config(CoordinatorConfig { wal_cap_bytes: 1 << 20, ..config("a") });
    let a = builder.open_blocking(world.path("a"), SCHEMA).unwrap();
    road.weather(|_| Fault::Refuse);
    let text = "x".repeat(20_000);
    let mut written = 0;
    let error = loop {
        match a.execute("INSERT INTO t (v) VALUES (?1)", &[text.as_str().into()]) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1000, "the WAL has no limit");
        std::thread::sleep(Duration::from_millis(2));
    };
    assert_eq!(error.kind(), ErrorKind::Backpressure, "{error}");
    assert!(written > 5, "writers went on without the bucket: {written}");
    let status = a.status();
    assert_eq!(status.last_error.map(|(kind, _)| kind), Some(ErrorKind::StoreUnavailable));
    assert!(status.lag > Duration::ZERO && status.lag_bytes > 0, "{:?}", status.lag);
    road.clear();
    let mut last = None;
    eventually("writers go on", || {
        last = a.execute("INSERT INTO t (v) VALUES ('y')", &[]).ok();
        last.is_some()
    });
    a.wait_durable_blocking(&last.unwrap().bookmark, SOON).unwrap();
    assert_eq!(world.restored_texts().len(), written + 1);
    assert_eq!(a.status().last_error, None);
    world.end([a]);
}

#[test]
fn a_slot_with_a_flipped_bit_stops_a_follower_and_is_never_applied() {
    let world = World::new();
    let a = world.open("a");
    insert_durably(&a, "one");
    let b = world.open("b");
    let one = insert(&a, "two").bookmark;
    b.wait_for_blocking(&one, SOON).unwrap();
    // The bucket's own damage: the next slot is damaged before the follower can see it.
    let next = a.position().txid.get() + 1;
    let damaged = Arc::new(AtomicBool::new(false));
    a.close_blocking().unwrap();
    eventually("b leads", || leads(&b));
    insert_durably(&b, "three");
    let good = object(&world.bucket, &slot_key(next + 1));
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    put(&world.bucket, &slot_key(next + 1), bad);
    damaged.store(true, Ordering::SeqCst);
    let a = world.node("a").role(Role::Follower).open_timeout(Duration::from_secs(3));
    let error = a.open_blocking(world.path("a"), SCHEMA).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    let local = rusqlite::Connection::open(world.path("a")).unwrap();
    let rows: i64 = local.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 2);
    put(&world.bucket, &slot_key(next + 1), good);
    drop(local);
    world.end([b]);
}

fn put(bucket: &dyn Bucket, key: &str, body: Vec<u8>) {
    let put = bucket.put(key, Body::Bytes(body.into()), PutOptions::new(PutMode::Overwrite));
    assert!(matches!(wait(put).unwrap(), Put::Stored(_)));
}
