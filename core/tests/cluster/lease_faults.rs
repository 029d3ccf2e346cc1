use std::time::Duration;

use haqlite::{ErrorKind, HaQLite, Role};

use crate::support::{count, eventually, insert, leads};
use crate::world::{TTL, Way, World};

const SOON: Duration = Duration::from_secs(10);

fn insert_durably(db: &HaQLite, text: &str) {
    let bookmark = insert(db, text).bookmark;
    db.wait_durable_blocking(&bookmark, SOON).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "a test measures real time")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

fn stops_acknowledging_within_its_ttl(way_to: Way) {
    let world = World::new();
    let (a, _road, way) = world.open_exposed("a");
    insert_durably(&a, "one");
    let writer = a.clone();
    way.set(way_to);
    let cut = now();
    // In a transaction, so that nothing is forwarded.
    let mut acknowledged = cut;
    let error = loop {
        let began = now();
        let wrote = writer.transaction(|tx| tx.execute("INSERT INTO t (v) VALUES ('x')", &[]).map(drop));
        match wrote {
            Ok(()) => acknowledged = now(),
            Err(error) => break error,
        }
        assert!(began - cut < TTL * 3, "it goes on acknowledging");
    };
    assert!(acknowledged - cut <= TTL, "acknowledged {:?} after the cut", acknowledged - cut);
    assert!(
        matches!(error.kind(), ErrorKind::NotLeader | ErrorKind::NotImplemented | ErrorKind::OutcomeUnknown)
            || error.kind() == ErrorKind::TransactionAborted,
        "{error:?}"
    );
    let b = world.open("b");
    eventually("b leads", || leads(&b));
    way.set(Way::Open);
    insert_durably(&b, "by b");
    let through = insert(&a, "through a").bookmark;
    a.wait_for_blocking(&through, SOON).unwrap();
    assert_eq!((a.role(), count(&a)), (Role::Follower, count(&b)));
    world.end([a, b]);
}

#[test]
fn a_leader_that_is_cut_off_from_its_lease_stops_within_the_ttl_and_follows_again() {
    stops_acknowledging_within_its_ttl(Way::Cut);
}

#[test]
fn a_leader_whose_lease_store_is_silent_stops_within_the_ttl_and_follows_again() {
    stops_acknowledging_within_its_ttl(Way::Silent);
}

#[test]
fn a_lease_store_that_loses_its_data_splits_nothing() {
    let world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    insert_durably(&a, "one");
    world.leases.forget();
    // Somebody new sees no lease at all, and takes it.
    let c = world.open("c");
    let nodes = [&a, &b, &c];
    for i in 0..5 {
        world.leases.forget();
        let _ = nodes[i % 3].execute("INSERT INTO t (v) VALUES ('x')", &[]);
    }
    eventually("one leads", || nodes.iter().filter(|node| leads(node)).count() == 1);
    eventually("everybody writes", || {
        let leader = nodes.iter().find(|node| leads(node));
        leader.is_some_and(|db| {
            let wrote = db.execute("INSERT INTO t (v) VALUES ('last')", &[]);
            wrote.is_ok_and(|done| {
                nodes
                    .iter()
                    .all(|node| node.wait_for_blocking(&done.bookmark, Duration::from_secs(3)).is_ok())
                    && nodes.iter().all(|node| count(node) == count(&a))
            })
        })
    });
    assert!(world.restored_texts().contains(&"one".to_owned()));
    world.end([a, b, c]);
}

#[test]
fn a_lease_that_is_set_back_splits_nothing() {
    let world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    insert_durably(&a, "by a");
    let old = world.leases.copy();
    eventually("handed over", || a.handoff_blocking(None).is_ok());
    eventually("b leads", || leads(&b));
    insert_durably(&b, "by b");
    world.leases.set_back(old);
    eventually("somebody leads and writes", || {
        let leader = [&a, &b].into_iter().find(|node| leads(node));
        leader.is_some_and(|db| db.execute("INSERT INTO t (v) VALUES ('after')", &[]).is_ok())
    });
    eventually("both have the same", || count(&a) == count(&b) && a.position() == b.position());
    let texts = world.restored_texts();
    assert!(texts.contains(&"by a".to_owned()) && texts.contains(&"by b".to_owned()), "{texts:?}");
    world.end([a, b]);
}

#[test]
fn two_nodes_with_one_instance_id_do_not_lead_at_once() {
    let world = World::new();
    let a = world.open("a");
    insert_durably(&a, "one");
    let twin = world.node("a").open_blocking(world.path("twin"), crate::support::SCHEMA).unwrap();
    assert_eq!((a.role(), twin.role()), (Role::Leader, Role::Follower));
    insert(&twin, "through the twin");
    std::thread::sleep(TTL * 2);
    assert_eq!((a.role(), twin.role()), (Role::Leader, Role::Follower));
    a.close_blocking().unwrap();
    eventually("the twin leads", || leads(&twin));
    insert_durably(&twin, "by the twin");
    assert_eq!(world.restored_texts().len(), 3);
    world.end([twin]);
}

#[test]
fn slow_lease_answers_cost_no_leadership() {
    let world = World::new();
    let (a, _road, way) = world.open_exposed("a");
    way.set(Way::Slow(Duration::from_millis(60)));
    let first = a.status().epoch;
    for i in 0..20 {
        insert(&a, &i.to_string());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!((a.role(), a.status().epoch), (Role::Leader, first));
    way.set(Way::Open);
    world.end([a]);
}
