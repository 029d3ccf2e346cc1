use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use haqlite::bucket::Fault;
use haqlite::{Bookmark, HaQLite, Outcome};

use crate::support::{count, eventually, insert, leads};
use crate::world::{Way, World, puts_slot};

const SOON: Duration = Duration::from_secs(10);

/// What writers were told of their rows.
#[derive(Default)]
struct Told {
    committed: Vec<(String, Bookmark)>,
    not_committed: Vec<String>,
    unknown: Vec<String>,
}

/// Writes rows with texts that no other row has until `stop`.
fn write_until(db: &HaQLite, writer: usize, stop: &AtomicBool) -> Told {
    let mut told = Told::default();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return told;
        }
        let text = format!("{writer}-{number}");
        match db.execute("INSERT INTO t (v) VALUES (?1)", &[text.as_str().into()]) {
            Ok(done) => told.committed.push((text, done.bookmark)),
            Err(error) => match error.outcome() {
                Outcome::Committed => told.committed.push((text, Bookmark::default())),
                Outcome::NotCommitted => told.not_committed.push(text),
                Outcome::Unknown => told.unknown.push(text),
            },
        }
        thread::sleep(Duration::from_millis(3));
    }
    told
}

/// Holds what writers were told against what the log has at the end.
fn judge(world: &World, told: &[Told], leader: &HaQLite) {
    let texts = world.restored_texts();
    let unique: BTreeSet<&String> = texts.iter().collect();
    assert_eq!(unique.len(), texts.len(), "a write was applied twice");
    let mut confirmed = 0;
    for told in told {
        for text in &told.not_committed {
            assert!(!unique.contains(text), "{text} was said to be not committed and is there");
        }
        for (text, bookmark) in &told.committed {
            let durable = *bookmark != Bookmark::default()
                && leader.wait_durable_blocking(bookmark, Duration::from_millis(200)).is_ok();
            confirmed += usize::from(durable);
            assert!(!durable || unique.contains(text), "{text} was confirmed ({bookmark}) and is gone");
        }
    }
    assert!(confirmed > 20, "the writers hardly wrote: {confirmed}");
    let committed: usize = told.iter().map(|told| told.committed.len()).sum();
    let unknown: usize = told.iter().map(|told| told.unknown.len()).sum();
    assert!(texts.len() <= committed + unknown);
}

/// Writers on all nodes while `disturb` runs.
fn write_through(nodes: &[&HaQLite], disturb: impl FnOnce()) -> Vec<Told> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = &stop;
        let write = |(number, db): (usize, &&HaQLite)| {
            let db = (*db).clone();
            scope.spawn(move || write_until(&db, number, stop))
        };
        let writers: Vec<_> = nodes.iter().enumerate().map(write).collect();
        disturb();
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    })
}

fn settle(nodes: &[&HaQLite]) -> HaQLite {
    let mut leader = None;
    eventually("one node leads and all have what it has", || {
        let Some(db) = nodes.iter().find(|db| leads(db)) else { return false };
        let Ok(done) = db.execute("DELETE FROM t WHERE v = 'none'", &[]) else { return false };
        leader = Some((*db).clone());
        let wait = Duration::from_secs(1);
        db.is_caught_up()
            && db.wait_durable_blocking(&done.bookmark, wait).is_ok()
            && nodes.iter().all(|db| db.wait_for_blocking(&done.bookmark, wait).is_ok())
            && nodes.iter().all(|node| node.position() == db.position())
    });
    leader.unwrap()
}

#[test]
fn what_writers_are_told_is_true_through_hand_overs() {
    let world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    let nodes = [&a, &b];
    let told = write_through(&nodes, || {
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(300));
            eventually("handed over", || {
                nodes.iter().any(|db| leads(db) && db.handoff_blocking(None).is_ok())
            });
        }
        thread::sleep(Duration::from_millis(300));
    });
    let leader = settle(&nodes);
    judge(&world, &told, &leader);
    drop(leader);
    world.end([a, b]);
}

/// The leader is cut off from the lease store, and what it sends to the bucket arrives late, or only the
/// answer is lost.
#[test]
fn what_writers_are_told_is_true_through_failovers_with_lost_and_late_puts() {
    let world = World::new();
    let (a, road_a, way_a) = world.open_exposed("a");
    let (b, road_b, way_b) = world.open_exposed("b");
    let nodes = [&a, &b];
    let told = write_through(&nodes, || {
        for round in 0..2 {
            thread::sleep(Duration::from_millis(300));
            let (db, road, way) = if leads(&a) { (&a, &road_a, &way_a) } else { (&b, &road_b, &way_b) };
            let fault = if round == 0 { Fault::Hold } else { Fault::LoseAnswer };
            road.weather(move |call| if puts_slot(call) { fault } else { Fault::None });
            thread::sleep(Duration::from_millis(100));
            way.set(Way::Cut);
            eventually("it stops", || !leads(db));
            let other = if std::ptr::eq(db, &raw const a) { &b } else { &a };
            eventually("the other leads", || leads(other));
            crate::world::wait(road.bucket.release());
            road.clear();
            way.set(Way::Open);
        }
        thread::sleep(Duration::from_millis(300));
    });
    let leader = settle(&nodes);
    judge(&world, &told, &leader);
    drop(leader);
    world.end([a, b]);
}

/// The way between the nodes swallows answers: the follower asks again, and the write is there once.
#[test]
fn a_forwarded_write_whose_answer_is_lost_happens_once() {
    let world = World::new();
    let a = world.open("a");
    let proxy = Proxy::before(&a.status().leader.unwrap());
    a.close_blocking().unwrap();
    drop(a);
    let port = proxy.target;
    let a = world
        .node("a")
        .forwarding_port(port)
        .address(format!("http://127.0.0.1:{}", proxy.port))
        .open_blocking(world.path("a"), crate::support::SCHEMA)
        .unwrap();
    let b = world.open("b");
    for number in 0..10 {
        proxy.swallow.store(u64::from(number % 2 == 0), Ordering::SeqCst);
        insert(&b, &number.to_string());
    }
    assert!(proxy.swallowed.load(Ordering::SeqCst) >= 5);
    let last = insert(&b, "last").bookmark;
    b.wait_for_blocking(&last, SOON).unwrap();
    assert_eq!((count(&a), count(&b)), (11, 11));
    assert_eq!(world.restored_texts().len(), 11);
    world.end([b, a]);
}

/// A TCP proxy that closes a connection instead of giving its answer, `swallow` times. Heartbeats are
/// answered like anything else.
struct Proxy {
    port: u16,
    target: u16,
    swallow: std::sync::Arc<AtomicU64>,
    swallowed: std::sync::Arc<AtomicU64>,
}

impl Proxy {
    fn before(address: &str) -> Proxy {
        use std::io::{Read, Write};
        use std::net::{TcpListener, TcpStream};
        let target: u16 = address.rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (swallow, swallowed) =
            (std::sync::Arc::new(AtomicU64::new(0)), std::sync::Arc::<AtomicU64>::default());
        let (left, count) = (swallow.clone(), swallowed.clone());
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(mut client), Ok(mut server)) = (client, TcpStream::connect(("127.0.0.1", target)))
                else {
                    continue;
                };
                let (left, count) = (left.clone(), count.clone());
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let is_write = std::sync::Arc::new(AtomicBool::new(false));
                let writes = is_write.clone();
                thread::spawn(move || {
                    let mut bytes = [0; 16 << 10];
                    while let Ok(size) = from.read(&mut bytes) {
                        let text = String::from_utf8_lossy(&bytes[..size]).into_owned();
                        writes.store(text.contains("INSERT"), Ordering::SeqCst);
                        if size == 0 || to.write_all(&bytes[..size]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
                thread::spawn(move || {
                    let mut bytes = [0; 16 << 10];
                    while let Ok(size) = server.read(&mut bytes) {
                        let take = |n: u64| n.checked_sub(1);
                        if is_write.load(Ordering::SeqCst)
                            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
                        {
                            count.fetch_add(1, Ordering::SeqCst);
                            break;
                        }
                        if size == 0 || client.write_all(&bytes[..size]).is_err() {
                            break;
                        }
                    }
                    let _ = client.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Proxy { port, target, swallow, swallowed }
    }
}
