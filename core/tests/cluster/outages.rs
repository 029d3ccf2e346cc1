//! The leader's bucket gives no answers while its lease holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use haqlite::bucket::{Call, Fault};
use haqlite::{Builder, CoordinatorConfig, Durability, HaQLite, Outcome, Role};

use crate::support::{SCHEMA, count, eventually, insert, leads};
use crate::world::{LeaseWay, Road, Way, World, config_with, puts_slot, wait};

const SOON: Duration = Duration::from_secs(10);
/// Everything here takes some of them; a leader must not lose its lease because the machine is busy.
const TTL: Duration = Duration::from_millis(1500);
/// Three TTL without an answer, a TTL for the proof and the slots, and what a busy machine takes.
const BOUND: Duration = Duration::from_secs(13);

#[expect(clippy::disallowed_methods, reason = "a test measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn insert_durably(db: &HaQLite, text: &str) {
    let bookmark = insert(db, text).bookmark;
    db.wait_durable_blocking(&bookmark, SOON).unwrap();
}

fn refuse_all(road: &Road) {
    road.weather(|_| Fault::Refuse);
}

fn texts_of(db: &HaQLite) -> Vec<String> {
    db.query("SELECT v FROM t", &[]).unwrap().iter().map(|row| row.get(0).unwrap()).collect()
}

/// The epochs of all slots, each once.
fn epochs(world: &World) -> Vec<u64> {
    let mut epochs: Vec<u64> = world.slots().iter().map(|s| s.header.origin.unwrap().epoch.get()).collect();
    epochs.dedup();
    epochs
}

/// Writes on the leader for so long or until it does not lead any more; the texts that it acknowledged.
fn write_while_it_leads(db: &HaQLite, most: Duration) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let since = now();
    while leads(db) && since.elapsed() < most {
        let text = format!("row {}", acknowledged.len());
        // In a transaction, so that nothing is forwarded.
        let insert = "INSERT INTO t (v) VALUES (?1)";
        if db.transaction(|tx| tx.execute(insert, &[text.as_str().into()]).map(drop)).is_ok() {
            acknowledged.push(text);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    acknowledged
}

fn exposed(world: &World, name: &str, road: &Road, way: &LeaseWay) -> Builder {
    world.exposed(name, road, way).coordinator_config(config_with(name, TTL))
}

/// A leader `a` and a follower `b`, with their roads.
struct Pair {
    world: World,
    a: HaQLite,
    road_a: Road,
    way_a: LeaseWay,
    b: HaQLite,
    road_b: Road,
}

impl Pair {
    fn new() -> Pair {
        Pair::with(|builder| builder)
    }

    fn with(settings: impl Fn(Builder) -> Builder) -> Pair {
        let world = World::new();
        let (road_a, way_a) = (world.road(), world.leases.way());
        let a = settings(exposed(&world, "a", &road_a, &way_a));
        let a = a.open_blocking(world.path("a"), SCHEMA).unwrap();
        insert_durably(&a, "before");
        let (road_b, way_b) = (world.road(), world.leases.way());
        let b = exposed(&world, "b", &road_b, &way_b).open_blocking(world.path("b"), SCHEMA).unwrap();
        Pair { world, a, road_a, way_a, b, road_b }
    }

    /// From the cut on: `b` leads within the bound and has all that `a` acknowledged, and so has `a` in the end.
    fn hands_over(self) {
        let Pair { world, a, road_a, b, road_b, .. } = self;
        let began = now();
        let acknowledged = write_while_it_leads(&a, BOUND * 2);
        eventually("b leads", || leads(&b));
        let took = began.elapsed();
        assert!(TTL * 2 < took && took < BOUND, "{took:?}");
        assert!(acknowledged.len() > 50, "{}", acknowledged.len());
        road_b.clear();
        insert_durably(&b, "by b");
        // The old leader forwards, cut off or not.
        insert(&a, "through a");
        let texts = texts_of(&b);
        for text in &acknowledged {
            assert!(texts.contains(text), "{text} was acknowledged and is gone");
        }
        assert_eq!(texts.len(), acknowledged.len() + 3);
        assert_eq!(epochs(&world), [1, 2]);
        road_a.clear();
        eventually("a has caught up", || count(&a) == count(&b));
        assert_eq!(a.status().lost_tails.len(), 0);
        eventually("all is in the log", || world.restored_texts().len() == texts.len());
        world.end([a, b]);
    }
}

#[test]
fn a_leader_that_is_cut_off_from_the_bucket_hands_over_with_all_that_it_acknowledged() {
    let pair = Pair::new();
    refuse_all(&pair.road_a);
    pair.hands_over();
}

#[test]
fn what_waits_in_the_spool_goes_through_the_follower_too() {
    let small = CoordinatorConfig { wal_cap_bytes: 1 << 20, ..config_with("a", TTL) };
    let pair = Pair::with(|builder| builder.coordinator_config(small.clone()));
    refuse_all(&pair.road_a);
    let text = "x".repeat(20_000);
    let mut written = 0;
    let before = pair.a.status().confirmed.txid;
    while pair.a.status().committed.get() < before.get() + 5 {
        insert(&pair.a, &text);
        written += 1;

        assert!(written < 1000, "nothing is spooled");
    }
    assert!(pair.a.status().spool_bytes > 0);
    assert_eq!(pair.a.status().confirmed.txid, before);
    let Pair { world, a, road_a, b, .. } = pair;
    eventually("b leads", || leads(&b));
    assert_eq!(count(&b), written + 1);
    insert_durably(&b, "by b");
    road_a.clear();
    eventually("a has caught up", || count(&a) == count(&b));
    assert_eq!((a.status().lost_tails.len(), a.status().spool_bytes), (0, 0));
    assert_eq!(epochs(&world), [1, 2]);
    world.end([a, b]);
}

#[test]
fn writers_wait_for_the_hand_over_itself_and_not_for_the_outage() {
    let Pair { world, a, road_a, b, .. } = Pair::new();
    refuse_all(&road_a);
    let (mut longest, mut wrote) = (Duration::ZERO, 0);
    while !leads(&b) {
        let began = now();
        insert(&a, "x");
        longest = longest.max(began.elapsed());
        wrote += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(longest < TTL * 2, "{longest:?}");
    assert_eq!(count(&b), wrote + 1);
    road_a.clear();
    world.end([a, b]);
}

#[test]
fn a_leader_that_can_read_and_not_write_hands_over_too() {
    let pair = Pair::new();
    pair.road_a.weather(|call| match call {
        Call::Put { .. } | Call::Delete { .. } => Fault::Refuse,
        Call::Get { .. } | Call::List { .. } | Call::Now => Fault::None,
    });
    pair.hands_over();
}

#[test]
fn a_leader_whose_bucket_is_silent_hands_over_and_what_arrives_late_changes_nothing() {
    let pair = Pair::new();
    // Nothing is answered for half a minute, and then all of it takes place.
    pair.road_a.weather(|call| match call {
        Call::Put { .. } => Fault::Delay(Duration::from_secs(30)),
        _ => Fault::Refuse,
    });
    pair.hands_over();
}

#[test]
fn what_a_network_delivers_after_the_hand_over_changes_nothing() {
    let pair = Pair::new();
    let late = pair.road_a.clone();
    pair.road_a.weather(|call| if puts_slot(call) { Fault::Hold } else { Fault::Refuse });
    let mut released = false;
    pair.road_b.weather(move |call| {
        // The fence of b is the first that is not the leader's.
        if puts_slot(call) && late.bucket.held() > 0 && !released {
            released = true;
            let late = late.clone();
            std::thread::spawn(move || wait(late.bucket.release()));
        }
        Fault::None
    });
    pair.hands_over();
}

#[test]
fn answers_that_are_lost_on_the_way_through_the_follower_cost_no_write() {
    let pair = Pair::new();
    let lost = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&lost);
    pair.road_b.weather(move |call| {
        let first = puts_slot(call) && seen.fetch_add(1, Ordering::SeqCst) < 2;
        if first { Fault::LoseAnswer } else { Fault::None }
    });
    refuse_all(&pair.road_a);
    pair.hands_over();
    assert!(lost.load(Ordering::SeqCst) > 3);
}

#[test]
fn an_outage_that_ends_in_the_middle_of_a_hand_over_loses_nothing() {
    let pair = Pair::new();
    refuse_all(&pair.road_a);
    let back = pair.road_a.clone();
    pair.road_b.weather(move |call| {
        if puts_slot(call) {
            back.clear();
        }
        Fault::None
    });
    pair.hands_over();
}

#[test]
fn without_a_follower_that_can_write_the_leader_goes_on() {
    let Pair { world, a, road_a, b, road_b, .. } = Pair::new();
    for road in [&road_a, &road_b] {
        refuse_all(road);
    }
    let (c, road_c, _) = {
        let (road, way) = (world.road(), world.leases.way());
        let c = exposed(&world, "c", &road, &way).role(Role::Follower);
        (c.open_blocking(world.path("c"), SCHEMA).unwrap(), road, way)
    };
    // c could write, and must not lead.
    let proofs = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&proofs);
    road_c.weather(move |call| {
        seen.fetch_add(usize::from(matches!(call, Call::Put { .. })), Ordering::SeqCst);
        Fault::None
    });
    let acknowledged = write_while_it_leads(&a, TTL * 6);
    assert!(leads(&a) && acknowledged.len() > 100);
    assert_eq!(proofs.load(Ordering::SeqCst), 0);
    road_a.clear();
    insert_durably(&a, "after");
    road_b.clear();
    assert_eq!(world.restored_texts().len(), acknowledged.len() + 2);
    assert_eq!(epochs(&world), [1]);
    world.end([a, b, c]);
}

#[test]
fn a_follower_that_fails_in_the_middle_leaves_the_leader_leading() {
    let Pair { world, a, road_a, b, road_b, .. } = Pair::new();
    refuse_all(&road_a);
    let (failed, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (fails, sees) = (Arc::clone(&failed), Arc::clone(&seen));
    road_b.weather(move |call| {
        if fails.load(Ordering::SeqCst) {
            return Fault::Refuse;
        }
        if puts_slot(call) {
            // This one still goes through.
            fails.store(true, Ordering::SeqCst);
            sees.store(true, Ordering::SeqCst);
        }
        Fault::None
    });
    let writer = a.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let writing = std::thread::spawn(move || {
        let mut acknowledged = 0;
        while !stopped.load(Ordering::SeqCst) {
            acknowledged += usize::from(writer.execute("INSERT INTO t (v) VALUES ('x')", &[]).is_ok());
            std::thread::sleep(Duration::from_millis(10));
        }
        acknowledged
    });
    eventually("a slot went through b", || seen.load(Ordering::SeqCst));
    std::thread::sleep(TTL * 4);
    eventually("a leads", || leads(&a));
    stop.store(true, Ordering::SeqCst);
    let acknowledged = writing.join().unwrap();
    assert_eq!(epochs(&world), [1]);
    road_a.clear();
    insert_durably(&a, "after");
    road_b.clear();
    assert_eq!(world.restored_texts().len(), acknowledged + 2);
    world.end([a, b]);
}

#[test]
fn a_leader_that_dies_in_the_middle_of_a_hand_over_loses_only_what_it_reports() {
    let Pair { world, a, road_a, way_a, b, road_b } = Pair::new();
    refuse_all(&road_a);
    let (way, mut left) = (way_a.clone(), 2);
    let (dead, dies) = (Arc::new(AtomicBool::new(false)), road_a.clone());
    let is_dead = Arc::clone(&dead);
    road_b.weather(move |call| {
        if puts_slot(call) && left > 0 {
            left -= 1;
            if left == 0 {
                // Nobody hears of the leader any more.
                way.set(Way::Cut);
                refuse_all(&dies);
                is_dead.store(true, Ordering::SeqCst);
                return Fault::LoseAnswer;
            }
        }
        Fault::None
    });
    let acknowledged = write_while_it_leads(&a, BOUND * 2);
    assert!(dead.load(Ordering::SeqCst));
    eventually("b leads", || leads(&b));
    insert_durably(&b, "by b");
    way_a.set(Way::Open);
    road_a.clear();
    eventually("a has caught up", || count(&a) == count(&b) && a.position() == b.position());
    let texts = world.restored_texts();
    let missing = acknowledged.iter().filter(|text| !texts.contains(text)).count();
    assert_eq!(missing > 0, !a.status().lost_tails.is_empty(), "{missing} missing");
    assert!(texts.contains(&"before".to_owned()) && texts.contains(&"row 0".to_owned()));
    world.end([a, b]);
}

#[test]
fn a_leader_that_is_closed_in_an_outage_ships_through_a_follower_first() {
    let Pair { world, a, road_a, b, .. } = Pair::new();
    refuse_all(&road_a);
    for i in 0..20 {
        insert(&a, &i.to_string());
    }
    let began = now();
    a.close_blocking().unwrap();
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    eventually("b leads", || leads(&b));
    assert_eq!(count(&b), 21);
    assert_eq!(world.restored_texts().len(), 21);
    world.end([b]);
}

#[test]
fn with_cloud_writers_hear_of_their_commits_through_the_follower() {
    let Pair { world, a, road_a, b, .. } = Pair::with(|builder| builder.durability(Durability::Cloud));
    refuse_all(&road_a);
    let began = now();
    insert(&a, "in the outage");
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    assert_eq!(world.restored_texts(), ["before", "in the outage"]);
    eventually("b leads", || leads(&b));
    road_a.clear();
    world.end([a, b]);
}

#[test]
fn with_cloud_a_leader_that_nobody_helps_answers_unknown_and_releases() {
    let Pair { world, a, road_a, b, road_b, .. } =
        Pair::with(|builder| builder.durability(Durability::Cloud));
    for road in [&road_a, &road_b] {
        refuse_all(road);
    }
    let began = now();
    let error = a.execute("INSERT INTO t (v) VALUES ('perhaps')", &[]).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    assert!(TTL * 2 < began.elapsed() && began.elapsed() < BOUND, "{:?}", began.elapsed());
    eventually("nobody leads", || !leads(&a) && !leads(&b));
    // Whoever can write leads from now on.
    road_b.clear();
    eventually("b leads", || leads(&b));
    insert_durably(&b, "by b");
    road_a.clear();
    eventually("a has caught up", || count(&a) == count(&b) && a.is_caught_up());
    assert_eq!(a.status().lost_tails.len(), 1);
    assert_eq!(world.restored_texts(), ["before", "by b"]);
    world.end([a, b]);
}

#[test]
fn a_bucket_that_answers_now_and_then_is_no_reason_to_hand_over() {
    let Pair { world, a, road_a, b, .. } = Pair::new();
    // Every fifth slot is answered: never three TTL without an answer.
    let mut number = 0;
    road_a.weather(move |call| {
        number += usize::from(puts_slot(call));
        if number % 5 == 0 { Fault::None } else { Fault::Refuse }
    });
    let acknowledged = write_while_it_leads(&a, TTL * 8);
    assert!(leads(&a));
    road_a.clear();
    insert_durably(&a, "after");
    assert_eq!(world.restored_texts().len(), acknowledged.len() + 2);
    assert_eq!(epochs(&world), [1]);
    world.end([a, b]);
}

#[test]
fn buckets_that_fail_in_turn_cost_one_hand_over_per_window() {
    let Pair { world, a, road_a, b, road_b, .. } = Pair::new();
    let nodes = [(&a, &road_a), (&b, &road_b)];
    let mut changes = Vec::new();
    for round in 0..3 {
        let (leader, road) = nodes[round % 2];
        let (next, its_road) = nodes[(round + 1) % 2];
        its_road.clear();
        eventually("the leader is caught up", || leads(leader) && next.is_caught_up());
        refuse_all(road);
        write_while_it_leads(leader, BOUND * 2);
        eventually("the other leads", || leads(next));
        changes.push(now());
    }
    for pair in changes.windows(2) {
        assert!(pair[1] - pair[0] >= TTL * 3, "{:?}", pair[1] - pair[0]);
    }
    assert_eq!(epochs(&world), [1, 2, 3, 4]);
    road_a.clear();
    road_b.clear();
    eventually("both have the same", || a.position() == b.position());
    assert_eq!((a.status().lost_tails.len(), b.status().lost_tails.len()), (0, 0));
    world.end([a, b]);
}
