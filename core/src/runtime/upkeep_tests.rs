//! What compaction and retention make of a log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::log::Log;
use super::test_world::{World, file_of, retention, txid};
use crate::bucket::{Bucket, Call, Fault, FaultyBucket, Key, Layout};
use crate::replication::{Floor, LogFile};
use crate::types::ErrorKind;

#[test]
fn compactions_and_snapshots_hold_what_the_slots_held() {
    let mut world = World::new();
    for i in 0..9 {
        world.write(&[(i, i)], 3 + usize::from(i));
    }
    world.lead_anew();
    world.write(&[(2, 99)], 5);
    let first = world.compact(1).unwrap().unwrap();
    assert_eq!((first.min.get(), first.max.get()), (2, 12), "slot 1 is the snapshots'");
    assert_eq!(world.compact(1).unwrap(), None);
    world.write(&[(2, 98)], 8);
    world.compact(1).unwrap().unwrap();
    let second = world.compact(2).unwrap().unwrap();
    assert_eq!((second.min.get(), second.max.get()), (2, 13));
    let facts = world.runtime.block_on(world.log.facts(&second)).unwrap().unwrap();
    assert_eq!(facts.after, world.chain);
    let epochs: Vec<_> = facts.epochs.iter().map(|(e, first)| (e.get(), first.get())).collect();
    assert_eq!(epochs, [(1, 2), (2, 11)]);
    let snapshot = world.snapshot().unwrap().unwrap();
    assert_eq!((snapshot.min.get(), snapshot.max.get()), (1, 13));
    assert_eq!(world.snapshot().unwrap(), None, "nothing is new");
    world.check(true);
    world.check_restore();
}

#[test]
fn slots_go_once_they_are_covered_and_old_enough_but_fences_and_the_newest_stay() {
    let mut world = World::new();
    for i in 0..5 {
        world.write(&[(i, i)], 4);
    }
    world.lead_anew();
    world.write(&[], 4);
    world.compact(1).unwrap();
    let rules = retention(1000, 5000, 1);
    world.tick(2000);
    world.retain(&rules).unwrap();
    assert_eq!((world.floor(), world.slots().len()), (0, 8), "nothing goes before there is a snapshot");
    world.snapshot().unwrap().unwrap();
    world.retain(&rules).unwrap();
    assert_eq!(world.floor(), 0, "the snapshot is too young");
    world.tick(1000);
    world.retain(&rules).unwrap();
    assert_eq!(world.floor(), 7);
    assert_eq!(world.slots(), [7, 8], "the fence of epoch 2, and the newest slot");
    world.check(true);
    world.check_restore();
    for slot in [2, 6, 7] {
        let owner = world.runtime.block_on(world.log.owner(txid(slot))).unwrap().unwrap();
        assert_eq!(owner.get(), if slot < 7 { 1 } else { 2 });
    }
    assert_eq!(world.runtime.block_on(world.log.owner(txid(9))).unwrap(), None);
}

#[test]
fn old_compactions_and_snapshots_go_when_no_restore_inside_of_the_window_needs_them() {
    let mut world = World::new();
    let rules = retention(0, 5000, 1);
    for round in 0..4 {
        world.write(&[(1, round)], 4);
        world.write(&[(2, round)], 4);
        world.compact(1).unwrap();
        world.snapshot().unwrap();
        world.tick(3000);
        world.retain(&rules).unwrap();
        world.check(true);
    }
    // Written at 0, 3, 6 and 9 s; it is 12 s now: the one of 6 s is the newest before the window.
    assert_eq!(world.names(9), [(1, 7), (1, 9)]);
    assert_eq!(world.names(1), [(8, 9)]);
    world.check_restore();
    let keep_three = retention(0, 0, 3);
    world.write(&[], 4);
    world.snapshot().unwrap();
    world.tick(100_000);
    world.retain(&keep_three).unwrap();
    assert_eq!(world.names(9).len(), 3);
    let facts = world.runtime.block_on(world.bucket.list("_facts/", None)).unwrap();
    assert_eq!(facts.objects.len(), world.names(9).len() + world.names(1).len(), "facts go with their files");
}

#[test]
fn facts_that_a_crash_left_alone_go_after_a_day_once_a_snapshot_stands_for_their_file() {
    const DAY: u64 = 24 * 3600 * 1000;
    let mut world = World::new();
    let rules = retention(0, 1000, 1);
    let facts_of = |level, min, max| Key::Facts { level, min: txid(min), max: txid(max) };
    // None has a file, and the last is about slots that no snapshot
    // covers yet.
    let mine = [facts_of(2, 2, 3), facts_of(9, 1, 2), facts_of(2, 2, 90)];
    let is_there = |world: &World, key: &Key| world.object(key).is_some();
    let turn = |world: &mut World, ms: u64| {
        world.write(&[(1, ms as u8)], 4);
        world.compact(1).unwrap();
        world.snapshot().unwrap();
        world.tick(ms);
        world.retain(&rules).unwrap();
        world.check(true);
    };
    world.write(&[(1, 1)], 4);
    mine.iter().for_each(|key| world.put(key, b"{}".to_vec()));
    turn(&mut world, 2000);
    turn(&mut world, 2000);
    assert!(mine.iter().all(|key| is_there(&world, key)), "they are young");
    world.tick(DAY);
    // Nothing to delete, and nothing is looked for.
    world.retain(&retention(0, 2 * DAY, 9)).unwrap();
    assert!(mine.iter().all(|key| is_there(&world, key)));
    turn(&mut world, 2000);
    let left: Vec<bool> = mine.iter().map(|key| is_there(&world, key)).collect();
    assert_eq!(left, [false, false, true]);
    // None went that has a file.
    let files = world.listing();
    for file in files.iter().filter(|file| file.level > 0) {
        assert!(is_there(&world, &facts_of(file.level, file.min.get(), file.max.get())), "{file:?}");
    }
    world.check_restore();
}

#[test]
fn a_slot_that_the_floor_passed_while_it_was_read_is_not_compacted() {
    let mut world = World::new();
    for i in 0..4 {
        world.write(&[(1, i)], 3);
    }
    let inputs: Vec<LogFile> = (2..=3).map(|slot| file_of(&world, slot)).collect();
    world.runtime.block_on(world.log.raise_floor(Floor(txid(2)))).unwrap();
    let error = world.runtime.block_on(world.log.make(1, &inputs)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
    assert!(world.names(1).is_empty());
    world.runtime.block_on(world.log.make(1, &inputs[1..])).unwrap();
}

#[test]
fn a_listing_from_before_the_floor_is_never_taken_for_the_log() {
    let mut world = World::new();
    world.write(&[(1, 1)], 3);
    world.write(&[(1, 2)], 3);
    world.snapshot().unwrap().unwrap();
    let stale = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_stale = Arc::clone(&stale);
    let bucket = FaultyBucket::new(world.store.clone(), move |call| match call {
        Call::List { .. } if is_stale.load(Ordering::SeqCst) => Fault::Stale,
        _ => Fault::None,
    });
    let log = Log::new(Arc::new(bucket), String::new(), world._staging.path().to_path_buf());
    world.runtime.block_on(log.list()).unwrap();
    world.lead_anew();
    world.write(&[(1, 3)], 3);
    world.snapshot().unwrap().unwrap();
    world.write(&[(1, 4)], 3);
    world.tick(10);
    world.retain(&retention(0, 1_000_000, 9)).unwrap();
    assert_eq!((world.floor(), world.slots()), (5, vec![4, 6]), "the fence is right behind what was listed");
    stale.store(true, Ordering::SeqCst);
    let target = world._staging.path().join("restored.db");
    let restored = world.runtime.block_on(log.restore(&target));
    assert_eq!(restored.unwrap_err().kind(), ErrorKind::Corrupt);
    stale.store(false, Ordering::SeqCst);
    assert_eq!(world.runtime.block_on(log.restore(&target)).unwrap().unwrap().position.txid, txid(6));
}

#[test]
fn the_floor_is_only_ever_raised() {
    let world = World::new();
    for (to, is) in [(5, 5), (3, 5), (6, 6), (6, 6)] {
        let floor = world.runtime.block_on(world.log.raise_floor(Floor(txid(to)))).unwrap();
        assert_eq!(floor.0, txid(is));
        assert_eq!(world.floor(), is);
    }
}

#[test]
fn a_compaction_that_reaches_beyond_the_newest_slot_is_refused() {
    let mut world = World::new();
    world.write(&[], 3);
    world.compact(1).unwrap();
    let path = Key::slot(txid(2)).path("", Layout::Directory);
    world.runtime.block_on(world.store.delete(&path, None)).unwrap();
    for error in [world.compact(2).unwrap_err(), world.retain(&retention(0, 0, 1)).unwrap_err()] {
        assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("newest slot"), "{error}");
    }
}

#[test]
fn nothing_is_staged_on_a_disk_without_room_for_it_twice() {
    let world = World::new();
    assert!(world.log.require_room(1 << 20).is_ok());
    let error = world.log.require_room(u64::MAX / 4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
}
