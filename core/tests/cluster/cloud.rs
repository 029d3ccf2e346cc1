//! Durability::Cloud: what is acknowledged is in the log, and writers share its slots.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use haqlite::bucket::Fault;
use haqlite::{Builder, Durability, HaQLite};

use crate::support::{SCHEMA, insert};
use crate::world::{Road, World, puts_slot};

const PUT: Duration = Duration::from_millis(50);

fn cloud(world: &World, name: &str, road: &Road) -> Builder {
    world.exposed(name, road, &world.leases.way()).durability(Durability::Cloud)
}

/// A node whose every slot takes 50 ms.
fn slow(world: &World, name: &str) -> (HaQLite, Road) {
    let road = world.road();
    let db = cloud(world, name, &road).open_blocking(world.path(name), SCHEMA).unwrap();
    road.weather(|call| if puts_slot(call) { Fault::Delay(PUT) } else { Fault::None });
    (db, road)
}

#[test]
fn writers_at_one_time_share_slots_and_each_hears_of_its_own() {
    const WRITERS: usize = 64;
    const EACH: usize = 6;
    let world = World::new();
    let (db, _road) = slow(&world, "a");
    let before = db.position().txid.get();
    let together = Barrier::new(WRITERS);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (db, together) = (&db, &together);
            scope.spawn(move || {
                together.wait();
                for n in 0..EACH {
                    let done = insert(db, &format!("{writer}-{n}"));
                    assert!(db.position().txid >= done.bookmark.txid, "acknowledged and not confirmed");
                }
            });
        }
    });
    let slots = db.position().txid.get() - before;
    let commits = (WRITERS * EACH) as u64;
    assert!(slots * 20 <= commits, "{commits} commits took {slots} slots");
    assert_eq!(world.restored_texts().len() as u64, commits);
    world.end([db]);
}
