use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use haqlite::bucket::{
    Body, Bucket, Call, Delete, Fault, FaultyBucket, Key, Layout, Listing, MemoryBucket, Object, Put,
    PutMode, PutOptions, Range, Version,
};
use haqlite::{Compaction, CoordinatorConfig, ErrorKind, Event, HaQLite, Result, Role};

use crate::support::{SCHEMA, count, eventually, insert, leads};
use crate::world::{LeaseWay, ROOT, Way, World, config, node_on, object, puts_slot, slot_key, wait};

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
        events.contains(&Event::Degraded(ErrorKind::StoreUnavailable))
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

/// The slot was created at once, and the answer comes when the same node leads again and has another slot
/// under way.
#[test]
fn a_late_answer_to_an_earlier_leadership_is_not_taken_for_one_to_this() {
    let world = World::new();
    let first = world.open("a");
    insert_durably(&first, "one");
    first.close_blocking().unwrap();
    let (road, way) = (world.road(), world.leases.way());
    let late = LateAnswers { bucket: road.bucket.clone(), delay: Arc::default() };
    let a = node_on("a", late.clone(), way.clone()).open_blocking(world.path("a"), "").unwrap();
    // The first slot of this leadership, whose answer takes long.
    *late.delay.lock().unwrap() = Some(Duration::from_secs(4));
    insert(&a, "two");
    eventually("the slot is there", || world.restored_texts().len() == 2);
    lose_and_regain_the_lease(&a, &way);
    // The first slot of the next leadership does not come through.
    road.weather(|call| if puts_slot(call) { Fault::Refuse } else { Fault::None });
    let three = insert(&a, "three").bookmark;
    let waited = a.wait_durable_blocking(&three, Duration::from_secs(5));
    assert_eq!(waited.unwrap_err().kind(), ErrorKind::Timeout);
    road.clear();
    a.wait_durable_blocking(&three, SOON).unwrap();
    assert_eq!(world.restored_texts(), ["one", "three", "two"]);
    world.end([a]);
}

#[test]
fn a_late_answer_finds_the_next_leadership_idle_and_does_nothing() {
    let world = World::new();
    let (road, way) = (world.road(), world.leases.way());
    let late = LateAnswers { bucket: road.bucket.clone(), delay: Arc::default() };
    let a = node_on("a", late.clone(), way.clone()).open_blocking(world.path("a"), SCHEMA).unwrap();
    insert_durably(&a, "one");
    *late.delay.lock().unwrap() = Some(Duration::from_secs(4));
    insert(&a, "two");
    eventually("the slot is there", || world.restored_texts().len() == 2);
    lose_and_regain_the_lease(&a, &way);
    std::thread::sleep(Duration::from_secs(4));
    insert_durably(&a, "three");
    assert_eq!(world.restored_texts(), ["one", "three", "two"]);
    world.end([a]);
}

#[test]
fn a_write_whose_slot_belongs_to_the_second_leader_after_is_lost_however_the_node_came_there() {
    let world = World::new();
    let (a, road, way) = world.open_exposed("a");
    insert_durably(&a, "one");
    road.weather(|call| if puts_slot(call) { Fault::Refuse } else { Fault::None });
    let lost = insert(&a, "never shipped").bookmark;
    way.set(Way::Cut);
    eventually("a follows", || !leads(&a));
    // Two leaderships go by, so that what comes first after a's tail is not of the epoch that owns it.
    for name in ["b", "c"] {
        let leader = world.open(name);
        eventually("another leads", || leads(&leader));
        insert_durably(&leader, name);
        leader.close_blocking().unwrap();
    }
    road.clear();
    way.set(Way::Open);
    eventually("a leads again", || leads(&a));
    for waited in [a.wait_for_blocking(&lost, SOON), a.wait_durable_blocking(&lost, SOON)] {
        assert_eq!(waited.unwrap_err().kind(), ErrorKind::BookmarkLost);
    }
    assert_eq!(world.restored_texts(), ["b", "c", "one"]);
    world.end([a]);
}

fn lose_and_regain_the_lease(a: &HaQLite, way: &LeaseWay) {
    way.set(Way::Cut);
    eventually("a follows", || !leads(a));
    way.set(Way::Open);
    eventually("a leads again", || leads(a));
}

/// A bucket that does things at once and answers the next creation of a slot late.
#[derive(Clone)]
struct LateAnswers {
    bucket: FaultyBucket<MemoryBucket>,
    delay: Arc<Mutex<Option<Duration>>>,
}

#[async_trait]
impl Bucket for LateAnswers {
    fn describe(&self) -> String {
        self.bucket.describe()
    }

    fn layout(&self) -> Layout {
        self.bucket.layout()
    }

    async fn get(&self, key: &str, range: Range) -> Result<Option<Object>> {
        self.bucket.get(key, range).await
    }

    async fn put(&self, key: &str, body: Body, options: PutOptions) -> Result<Put> {
        let answer = self.bucket.put(key, body, options).await;
        let delay = if key.ends_with(".ltx") { self.delay.lock().unwrap().take() } else { None };
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        answer
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Listing> {
        self.bucket.list(prefix, start_after).await
    }

    async fn delete(&self, key: &str, version: Option<&Version>) -> Result<Delete> {
        self.bucket.delete(key, version).await
    }

    async fn now_ms(&self) -> Result<i64> {
        self.bucket.now_ms().await
    }
}

#[test]
fn reads_that_fail_delay_a_follower_and_no_more() {
    let world = World::new();
    let a = world.open("a");
    insert_durably(&a, "one");
    let (b, road, _) = world.open_exposed("b");
    // Nothing is read until there is much to read; then every third read of a slot fails.
    road.weather(|call| if matches!(call, Call::Get { .. }) { Fault::Refuse } else { Fault::None });
    for i in 0..10 {
        insert_durably(&a, &i.to_string());
    }
    let last = insert(&a, "last").bookmark;
    let mut number = 0;
    road.weather(move |call| match call {
        Call::Get { key } if key.ends_with(".ltx") => {
            number += 1;
            if number % 3 == 0 { Fault::LoseAnswer } else { Fault::None }
        }
        _ => Fault::None,
    });
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
    let a = builder.spool_limit(0).open_blocking(world.path("a"), SCHEMA).unwrap();
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
    let (b, road, _) = world.open_exposed("b");
    let one = insert(&a, "one").bookmark;
    b.wait_for_blocking(&one, SOON).unwrap();
    road.weather(|call| if matches!(call, Call::Get { .. }) { Fault::Refuse } else { Fault::None });
    let two = insert(&a, "two").bookmark;
    a.wait_durable_blocking(&two, SOON).unwrap();
    let key = slot_key(two.txid.get());
    let good = object(&world.bucket, &key);
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    put(&world.bucket, &key, bad);
    road.clear();
    eventually("b says so", || b.status().last_error.is_some_and(|(kind, _)| kind == ErrorKind::Corrupt));
    insert_durably(&a, "three");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(count(&b), 1, "what it has stays readable");
    assert_eq!(b.status().applied, one.txid);
    // A damaged log is led by nobody who has not proven it.
    let late = world.node("c").open_timeout(Duration::from_secs(3)).open_blocking(world.path("c"), SCHEMA);
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Corrupt);
    put(&world.bucket, &key, good);
    world.end([b, a]);
}

#[test]
fn a_follower_goes_past_a_damaged_slot_that_a_compacted_file_covers() {
    goes_past_what_befell_a_slot(|bucket, key, good| put(bucket, key, good[..good.len() / 2].to_vec()));
}

#[test]
fn a_follower_goes_past_a_missing_slot_that_a_compacted_file_covers() {
    goes_past_what_befell_a_slot(|bucket, key, _| {
        wait(bucket.delete(key, None)).unwrap();
    });
}

fn goes_past_what_befell_a_slot(damage: fn(&dyn Bucket, &str, &[u8])) {
    let world = World::new();
    let compaction = Compaction { levels: vec![Duration::from_secs(1)], snapshots: None };
    let a = world.node("a").compaction(compaction).open_blocking(world.path("a"), SCHEMA).unwrap();
    let (b, road, _) = world.open_exposed("b");
    let one = insert(&a, "one").bookmark;
    b.wait_for_blocking(&one, SOON).unwrap();
    road.weather(|call| if matches!(call, Call::Get { .. }) { Fault::Refuse } else { Fault::None });
    let two = insert(&a, "two").bookmark;
    a.wait_durable_blocking(&two, SOON).unwrap();
    let compacted = Key::level_prefix(1, ROOT, Layout::Directory);
    eventually("it is compacted", || {
        let files = wait(world.bucket.list(&compacted, None)).unwrap().objects;
        files.iter().any(|file| file.key.ends_with(&format!("-{:016x}.ltx", two.txid.get())))
    });
    let key = slot_key(two.txid.get());
    let good = object(&world.bucket, &key);
    damage(&world.bucket, &key, &good);
    let three = insert(&a, "three").bookmark;
    a.wait_durable_blocking(&three, SOON).unwrap();
    road.clear();
    b.wait_for_blocking(&three, SOON).unwrap();
    eventually("all is well", || b.status().last_error.is_none());
    assert_eq!((count(&b), b.status().lost_tails.len()), (3, 0));
    put(&world.bucket, &key, good);
    world.end([b, a]);
}

#[test]
fn a_slot_that_is_missing_in_the_middle_is_damage_and_never_the_end() {
    let world = World::new();
    let a = world.open("a");
    let b = world.node("b").role(Role::Follower).open_blocking(world.path("b"), SCHEMA).unwrap();
    insert_durably(&a, "one");
    eventually("b has it", || count(&b) == 1);
    let missing = b.status().applied.next();
    b.close_blocking().unwrap();
    drop(b);
    for text in ["two", "three", "four"] {
        insert_durably(&a, text);
    }
    wait(world.bucket.delete(&slot_key(missing.get()), None)).unwrap();
    let opened = world.node("b").role(Role::Follower).open_blocking(world.path("b"), SCHEMA);
    let error = opened.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains(&format!("slot {missing} is missing")), "{error}");
    drop(a);
}

fn put(bucket: &dyn Bucket, key: &str, body: Vec<u8>) {
    let put = bucket.put(key, Body::Bytes(body.into()), PutOptions::new(PutMode::Overwrite));
    assert!(matches!(wait(put).unwrap(), Put::Stored(_)));
}
