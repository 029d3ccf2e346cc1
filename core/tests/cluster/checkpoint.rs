//! Durability::Checkpoint: one slot per checkpoint, and nothing between.

use std::thread;
use std::time::Duration;

use haqlite::{CoordinatorConfig, Durability, ErrorKind, HaMode, HaQLite, Result, validate_mode_durability};

use crate::support::{SCHEMA, eventually, insert};
use crate::world::{World, config};

const NEVER: Duration = Duration::from_secs(3600);

/// A node with nothing to ship.
fn checkpointing(world: &World, durability: Durability) -> HaQLite {
    let before = world.open("a");
    let last = insert(&before, "before").bookmark;
    before.wait_durable_blocking(&last, Duration::from_secs(10)).unwrap();
    before.close_blocking().unwrap();
    world.node("a").durability(durability).open_blocking(world.path("a"), SCHEMA).unwrap()
}

#[test]
fn commits_are_gathered_for_one_slot_and_a_close_ships_the_rest() {
    let world = World::new();
    let db =
        checkpointing(&world, Durability::Checkpoint { interval: NEVER, commits: 50, wal_bytes: 64 << 20 });
    let before = db.position().txid.get();
    for n in 0..49 {
        insert(&db, &n.to_string());
    }
    thread::sleep(Duration::from_millis(300));
    let status = db.status();
    assert_eq!(status.confirmed.txid.get(), before, "nothing is shipped between");
    assert_eq!(status.committed.get(), before + 1);
    assert!(status.lag >= Duration::from_millis(250) && status.lag_bytes > 0);
    let last = insert(&db, "the fiftieth").bookmark;
    db.wait_durable_blocking(&last, Duration::from_secs(10)).unwrap();
    assert_eq!(db.position().txid.get(), before + 1, "one slot");
    assert_eq!(world.restored_texts().len(), 51);
    eventually("nothing is open", || db.status().lag_bytes == 0 && db.status().lag == Duration::ZERO);
    for n in 0..30 {
        insert(&db, &n.to_string());
    }
    db.close_blocking().unwrap();
    assert_eq!(world.slots().len() as u64, before + 2);
    assert_eq!(world.restored_texts().len(), 81);
    world.end([db]);
}

#[test]
fn an_interval_after_the_first_commit_a_checkpoint_is_due() {
    let world = World::new();
    let interval = Duration::from_millis(400);
    let db = checkpointing(&world, Durability::Checkpoint { interval, commits: 1_000, wal_bytes: 64 << 20 });
    let before = db.position().txid.get();
    for n in 0..10 {
        insert(&db, &n.to_string());
    }
    thread::sleep(interval / 2);
    assert_eq!(db.position().txid.get(), before);
    eventually("the checkpoint is shipped", || db.position().txid.get() == before + 1);
    assert_eq!(world.restored_texts().len(), 11);
    world.end([db]);
}

#[test]
fn so_many_bytes_are_a_checkpoint_and_the_wal_keeps_its_limit() {
    const BYTES: u64 = 2 << 20;
    const ROW: usize = 100_000;
    const ROWS: u64 = 200;
    let world = World::new();
    let config = CoordinatorConfig { wal_cap_bytes: 4 * BYTES, ..config("a") };
    let durability = Durability::Checkpoint { interval: NEVER, commits: u64::MAX, wal_bytes: BYTES };
    let node = world.node("a").coordinator_config(config).durability(durability);
    let db = node.open_blocking(world.path("a"), SCHEMA).unwrap();
    let before = db.position().txid.get();
    for _ in 0..ROWS {
        insert(&db, &"x".repeat(ROW));
        thread::sleep(Duration::from_millis(1));
    }
    db.close_blocking().unwrap();
    let (slots, bytes) = (world.slots().len() as u64 - before, ROWS * ROW as u64);
    assert!(slots <= bytes / BYTES + 1 && slots >= bytes / (4 * BYTES), "{slots} slots for {bytes} bytes");
    let wal = std::fs::metadata(world.path("a").with_extension("db-wal")).unwrap().len();
    assert!(wal <= 4 * BYTES + 2 * ROW as u64, "the WAL has {wal} bytes");
    world.end([db]);
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let world = World::new();
    let open = |durability, wal_cap_bytes| -> Result<HaQLite> {
        let config = CoordinatorConfig { wal_cap_bytes, ..config("a") };
        world
            .node("a")
            .coordinator_config(config)
            .durability(durability)
            .open_blocking(world.path("a"), SCHEMA)
    };
    let checkpoint = |wal_bytes| Durability::Checkpoint { interval: NEVER, commits: 10, wal_bytes };
    let refused = open(checkpoint(8 << 20), (16 << 20) - 1).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidConfig, "{refused}");
    open(checkpoint(8 << 20), 16 << 20).unwrap().close_blocking().unwrap();
    // The limit was left at its default: it follows.
    open(checkpoint(1 << 30), CoordinatorConfig::default().wal_cap_bytes).unwrap().close_blocking().unwrap();

    let kind = |mode, durability| validate_mode_durability(mode, durability).err().map(|error| error.kind());
    let none = Durability::Continuous { interval: Duration::ZERO };
    for fine in [Durability::default(), Durability::CHECKPOINT, Durability::Cloud] {
        assert_eq!(kind(HaMode::SingleWriter, fine), None);
    }
    for senseless in [
        none,
        Durability::Checkpoint { interval: Duration::ZERO, commits: 1, wal_bytes: 1 },
        Durability::Checkpoint { interval: NEVER, commits: 0, wal_bytes: 1 },
        Durability::Checkpoint { interval: NEVER, commits: 1, wal_bytes: 0 },
    ] {
        assert_eq!(kind(HaMode::SingleWriter, senseless), Some(ErrorKind::InvalidConfig), "{senseless:?}");
        assert_eq!(open(senseless, 16 << 20).unwrap_err().kind(), ErrorKind::InvalidConfig);
    }
    assert_eq!(kind(HaMode::SharedWriter, Durability::Cloud), Some(ErrorKind::NotImplemented));
    assert_eq!(kind(HaMode::SharedWriter, Durability::CHECKPOINT), Some(ErrorKind::InvalidConfig));
}
