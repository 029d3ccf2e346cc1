use std::sync::{Arc, Mutex};
use std::time::Duration;

use haqlite::lease_store::MemoryLeaseStore;
use haqlite::{ErrorKind, Event, HaMode, HaQLite, NodeId, Role, TxMode};

use crate::support::{SCHEMA, count, eventually, insert, leads};
use crate::world::{Way, World};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn asking_for_the_leader_role_fails_while_another_leads() {
    let world = World::new();
    let a = world.open("a");
    let error = world.node("b").role(Role::Leader).open_blocking(world.path("b"), SCHEMA).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(error.message().contains("holds the lease"), "{error}");
    world.end([a]);
}

#[test]
fn a_node_with_the_follower_role_never_leads() {
    let world = World::new();
    let a = world.open("a");
    let b = world.node("b").role(Role::Follower).open_blocking(world.path("b"), SCHEMA).unwrap();
    a.close_blocking().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(b.role(), Role::Follower);
    assert_eq!(count(&b), 0);
    world.end([b]);
}

#[test]
fn an_open_that_takes_too_long_says_why() {
    let world = World::new();
    let way = world.leases.way();
    way.set(Way::Cut);
    let builder = world.exposed("a", &world.road(), &way).open_timeout(Duration::from_millis(700));
    let error = builder.open_blocking(world.path("a"), SCHEMA).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().contains("cut by the test"), "{error}");
    // The lock went with it: the next open finds the file free.
    let a = world.open("a");
    world.end([a]);
}

#[test]
fn a_configuration_that_names_nothing_or_nonsense_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let open = |builder: haqlite::Builder| {
        builder.open_blocking(folder.path().join("app.db"), SCHEMA).map(drop).unwrap_err()
    };
    let error = open(HaQLite::builder());
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.message().contains(".bucket(url)") && error.message().contains("HAQLITE_STORAGE_URL"));
    let error = open(HaQLite::builder().storage_url("memory://x"));
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.message().contains("lease"), "{error}");
    for url in ["ftp://x", "no url", "memory://x?y=z"] {
        assert_eq!(open(HaQLite::builder().bucket(url)).kind(), ErrorKind::InvalidConfig, "{url}");
    }
    let memory = || HaQLite::builder().bucket("memory://life");
    for builder in [
        memory().mode(HaMode::SharedWriter),
        memory().role(Role::Client),
        memory().manifest_url("ftp://x"),
        memory().lease_endpoint("memory://x", "t"),
        memory().lease_url("memory://x").lease_store(MemoryLeaseStore::new()),
    ] {
        let error = open(builder);
        assert!(matches!(error.kind(), ErrorKind::NotImplemented | ErrorKind::InvalidConfig), "{error:?}");
    }
}

#[test]
fn events_and_status_tell_the_story_in_order() {
    let world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let subscription = b.subscribe(move |event| seen.lock().unwrap().push(event)).unwrap();
    let one = insert(&a, "one").bookmark;
    b.wait_for_blocking(&one, SOON).unwrap();
    let (of_a, of_b) = (a.status(), b.status());
    assert_eq!((of_a.role, of_b.role), (Role::Leader, Role::Follower));
    assert_eq!((of_a.epoch, &of_a.leader), (of_b.epoch, &of_b.leader));
    assert_eq!(of_a.confirmed, of_b.confirmed);
    assert_eq!(of_b.applied, of_b.confirmed.txid);
    assert!(a.is_caught_up() && b.is_caught_up() && of_b.lost_tails.is_empty());

    eventually("handed over", || a.handoff_blocking(Some(NodeId::new("b"))).is_ok());
    eventually("b leads", || leads(&b));
    eventually("the event is delivered", || {
        let events = events.lock().unwrap();
        events.iter().any(|event| matches!(event, Event::Role { role: Role::Leader, .. }))
    });
    let epochs: Vec<_> = events
        .lock()
        .unwrap()
        .iter()
        .filter_map(|event| match event {
            Event::Role { epoch, .. } => Some(*epoch),
            _ => None,
        })
        .collect();
    assert!(epochs.is_sorted(), "{epochs:?}");
    drop(subscription);
    let before = events.lock().unwrap().len();
    eventually("handed back", || b.handoff_blocking(None).is_ok());
    eventually("a leads", || leads(&a));
    assert_eq!(events.lock().unwrap().len(), before, "nobody listens any more");
    world.end([a, b]);
}

#[test]
fn a_handoff_needs_a_leader_and_a_follower() {
    let world = World::new();
    let a = world.open("a");
    assert_eq!(a.handoff_blocking(None).unwrap_err().kind(), ErrorKind::LeaderUnavailable);
    let b = world.open("b");
    assert_eq!(b.handoff_blocking(None).unwrap_err().kind(), ErrorKind::NotLeader);
    let nobody = a.handoff_blocking(Some(NodeId::new("nobody"))).unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::LeaderUnavailable);
    assert!(leads(&a), "a hand-over that cannot be leaves the leader as it is");
    insert(&a, "one");
    world.end([b, a]);
}

#[test]
fn a_handoff_goes_to_the_node_that_is_named() {
    let world = World::new();
    let (a, b, c) = (world.open("a"), world.open("b"), world.open("c"));
    eventually("handed over", || a.handoff_blocking(Some(NodeId::new("c"))).is_ok());
    eventually("c leads", || leads(&c));
    assert!(!leads(&b) && !leads(&a));
    insert(&b, "through b");
    world.end([a, b, c]);
}

#[test]
fn a_port_and_a_file_that_are_taken_are_in_use() {
    let world = World::new();
    let a = world.open("a");
    let error = world.node("a2").open_blocking(world.path("a"), SCHEMA).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = world.node("b").forwarding_port(port).open_blocking(world.path("b"), SCHEMA).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    world.end([a]);
}

#[test]
fn nodes_with_another_secret_are_not_let_in() {
    let world = World::new();
    let a = world.node("a").secret("the-cluster's-secret").open_blocking(world.path("a"), SCHEMA).unwrap();
    let b = world.node("b").secret("the-cluster's-secret").open_blocking(world.path("b"), SCHEMA).unwrap();
    insert(&b, "one");
    let error = world
        .node("c")
        .secret("a-guess")
        .open_timeout(Duration::from_secs(5))
        .open_blocking(world.path("c"), SCHEMA)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert_eq!(count(&a), 1);
    world.end([b, a]);
}

#[test]
fn several_databases_live_in_one_process_and_one_bucket() {
    let world = World::new();
    let open = |name: &str| world.node("n").db_name(name).open_blocking(world.path(name), SCHEMA).unwrap();
    let databases: Vec<HaQLite> = ["x", "y", "z"].into_iter().map(open).collect();
    for (number, db) in databases.iter().enumerate() {
        for _ in 0..=number {
            insert(db, "row");
        }
    }
    for (number, db) in (1..).zip(&databases) {
        assert_eq!((db.role(), count(db)), (Role::Leader, number));
        db.close_blocking().unwrap();
    }
}

#[test]
fn after_close_everything_is_closed_and_closing_again_is_nothing() {
    let world = World::new();
    let a = world.open("a");
    insert(&a, "one");
    a.close_blocking().unwrap();
    a.close_blocking().unwrap();
    let closed = [
        a.execute("INSERT INTO t (v) VALUES ('x')", &[]).map(drop),
        a.batch(&["INSERT INTO t (v) VALUES ('x')".into()]).map(drop),
        a.query("SELECT 1", &[]).map(drop),
        a.begin(TxMode::Immediate).map(drop),
        a.connect().map(drop),
        a.backup(world.path("backup")),
    ];
    for (number, result) in closed.into_iter().enumerate() {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Closed, "call {number}");
    }
    world.end([]);
}

#[test]
fn a_close_is_no_trouble_to_anybody() {
    let world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    let (tell, told) = std::sync::mpsc::channel();
    let listen = |db: &HaQLite| {
        let tell = tell.clone();
        db.subscribe(move |event| drop(tell.send(event))).unwrap()
    };
    let _subscriptions = (listen(&a), listen(&b));
    insert(&b, "one");
    world.end([a, b]);
    std::thread::sleep(Duration::from_millis(200));
    let trouble: Vec<Event> = told.try_iter().filter(|e| matches!(e, Event::Degraded(_))).collect();
    assert_eq!(trouble, []);
}
