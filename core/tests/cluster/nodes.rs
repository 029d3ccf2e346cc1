use std::time::Duration;

use haqlite::{ErrorKind, HaQLite, Role};

use crate::support::{SCHEMA, count, eventually, insert, leads};
use crate::world::{World, wait};

/// Who leads and who follows, as this node says.
fn names(db: &HaQLite) -> Vec<(String, Role)> {
    match db.nodes() {
        Ok(nodes) => nodes.iter().map(|node| (node.id.to_string(), node.role)).collect(),
        Err(error) => panic!("{error:?}"),
    }
}

fn is(db: &HaQLite, leader: &str, followers: &[&str]) -> bool {
    let mut expected = vec![(leader.to_owned(), Role::Leader)];
    expected.extend(followers.iter().map(|&name| (name.to_owned(), Role::Follower)));
    names(db) == expected
}

/// For how long the node with this name was not heard of; `None` if it is not there.
fn age(db: &HaQLite, name: &str) -> Option<Duration> {
    db.nodes().unwrap().iter().find(|node| node.id.as_str() == name).map(|node| node.last_seen)
}

#[test]
fn every_node_lists_the_same_cluster_and_sees_it_move() {
    let world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    let c = world.node("c").role(Role::Follower).open_blocking(world.path("c"), SCHEMA).unwrap();
    for db in [&a, &b, &c] {
        eventually("all three are there", || is(db, "a", &["b", "c"]));
        let nodes = db.nodes().unwrap();
        assert_eq!(nodes[0].last_seen, Duration::ZERO, "the leader has it from itself");
        assert_eq!(nodes[0].address, b.status().leader, "where the others reach it");
        assert!(nodes.iter().all(|node| node.address.as_ref().is_some_and(|at| at.starts_with("http://"))));
    }
    for round in 0..3 {
        let bookmark = insert(&b, &format!("{round}")).bookmark;
        for db in [&a, &b, &c] {
            eventually("each is seen to get there", || {
                db.nodes().unwrap().iter().all(|node| node.position >= bookmark.txid)
            });
        }
    }
    let listed = wait(c.nodes_async()).unwrap();
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().all(|node| node.last_seen < Duration::from_secs(10)), "{listed:?}");

    a.handoff_blocking(Some("b".into())).unwrap();
    eventually("b leads", || leads(&b));
    for db in [&a, &b, &c] {
        eventually("the others have found the new leader", || is(db, "b", &["a", "c"]));
    }
    assert_eq!(count(&b), 3);
    world.end([c, a, b]);
}

#[test]
fn a_node_that_stopped_ages_and_is_forgotten_and_one_that_comes_back_takes_its_own_place() {
    let world = World::new();
    let (a, b, c) = (world.open("a"), world.open("b"), world.open("c"));
    eventually("all three are there", || is(&a, "a", &["b", "c"]));
    c.close_blocking().unwrap();
    b.close_blocking().unwrap();
    eventually("they were not heard of for two seconds", || {
        age(&a, "b").is_some_and(|age| age > Duration::from_secs(2))
    });
    assert!(is(&a, "a", &["b", "c"]), "but they are listed");

    let b = world.open("b");
    eventually("its new session reports", || age(&a, "b").is_some_and(|age| age < Duration::from_secs(2)));
    let seen = b.nodes().unwrap();
    assert!(seen[2].last_seen > Duration::from_secs(1), "as the leader says: {seen:?}");
    assert_eq!(names(&b).len(), 3, "each name is there once");
    eventually("who is gone is forgotten", || is(&b, "a", &["b"]));
    world.end([b, a]);
}

#[test]
fn a_node_that_finds_no_leader_says_so_and_a_closed_one_that_it_is_closed() {
    let world = World::new();
    let a = world.open("a");
    let b = world.node("b").role(Role::Follower).open_blocking(world.path("b"), SCHEMA).unwrap();
    eventually("both are there", || is(&b, "a", &["b"]));
    a.close_blocking().unwrap();
    let error = b.nodes().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaderUnavailable, "{error:?}");
    let error = a.nodes().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error:?}");
    world.end([b]);
}

#[test]
fn a_local_database_lists_itself() {
    let db = HaQLite::local(":memory:", SCHEMA).unwrap();
    let nodes = db.nodes().unwrap();
    assert_eq!(nodes.len(), 1);
    assert_eq!((nodes[0].role, &nodes[0].address, nodes[0].last_seen), (Role::Leader, &None, Duration::ZERO));
}
