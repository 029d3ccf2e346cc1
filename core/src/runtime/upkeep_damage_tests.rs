//! Damaged files of a log, and what its upkeep makes of them.

use super::publish::Verdict;
use super::retain::Memory;
use super::test_world::{World, file, file_of, retention, txid};
use crate::bucket::{Bucket, Key, Layout};
use crate::replication::Facts;
use crate::types::{Chain, ErrorKind};

#[test]
fn a_damaged_compaction_is_never_used_for_a_delete_and_is_replaced() {
    for at in [0, 30, 120, 300, 500, 100_000] {
        let mut world = World::new();
        world.write(&[(3, 3)], 9);
        world.snapshot().unwrap();
        for i in 0..5 {
            world.write(&[(i, i), (i + 3, i)], 9);
        }
        let compacted = world.compact(1).unwrap().unwrap();
        world.tick(10);
        let key = Key::File { level: 1, min: compacted.min, max: compacted.max };
        let whole = world.object(&key).unwrap();
        world.flip_a_bit(&key, at);
        // With one slot missing it cannot be made again: then nothing may go by it.
        let slot = Key::slot(txid(4));
        let kept = world.object(&slot).unwrap();
        world.runtime.block_on(world.store.delete(&slot.path("", Layout::Directory), None)).unwrap();
        let rules = retention(0, 1_000_000, 9);
        let error = world.retain(&rules).unwrap_err();
        assert!(error.to_string().contains("0000000000000003-0000000000000007"), "{error}");
        assert_eq!((world.floor(), world.slots().len()), (0, 6));
        world.put(&slot, kept);
        world.retain(&rules).unwrap();
        assert!(world.object(&key).unwrap() == whole, "made again from the slots");
        assert_eq!(world.floor(), 6);
        world.check(true);
        world.check_restore();
    }
}

#[test]
fn a_damaged_input_is_an_error_that_names_it_and_is_made_again() {
    let mut world = World::new();
    world.write(&[(1, 1)], 3);
    world.write(&[(1, 2)], 3);
    let compacted = world.compact(1).unwrap().unwrap();
    let key = Key::File { level: 1, min: compacted.min, max: compacted.max };
    world.flip_a_bit(&key, 200);
    let error = world.compact(2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("log file 2-3"), "{error}");
    world.runtime.block_on(world.log.repair_among(&[compacted])).unwrap();
    world.compact(2).unwrap().unwrap();
    world.check(true);
    // A damaged slot has no replacement.
    world.write(&[(1, 3)], 3);
    world.flip_a_bit(&Key::slot(txid(4)), 150);
    assert!(world.compact(1).unwrap_err().to_string().contains("4-4"));
}

#[test]
fn a_damaged_snapshot_is_made_again_of_the_one_before_it_and_compactions() {
    let mut world = World::new();
    for round in 0..2 {
        world.write(&[(1, round)], 3);
        world.write(&[(2, round)], 4);
        world.compact(1).unwrap();
        world.snapshot().unwrap().unwrap();
    }
    world.write(&[(1, 7)], 4);
    world.tick(10);
    world.retain(&retention(0, 1_000_000, 9)).unwrap();
    assert_eq!((world.names(9), world.slots()), (vec![(1, 3), (1, 5)], vec![6]));
    world.flip_a_bit(&Key::File { level: 9, min: txid(1), max: txid(5) }, 300);
    world.memory = Memory::default();
    world.tick(10);
    world.retain(&retention(0, 0, 1)).unwrap();
    assert_eq!(world.names(9), [(1, 5)]);
    world.check(true);
    world.check_restore();
}

#[test]
fn facts_are_made_before_the_file_and_only_added_to() {
    let mut world = World::new();
    world.write(&[(1, 1)], 3);
    world.write(&[(1, 2)], 3);
    let name = file(1, 2, 3);
    // Another version made other bytes of it, and was killed before the file.
    world.compact(1).unwrap();
    let key = Key::Facts { level: 1, min: name.min, max: name.max };
    let mine = Facts::decode(&world.object(&key).unwrap()).unwrap();
    let theirs = Facts { file: Chain::of(b"theirs"), ..mine.clone() };
    world.put(&key, theirs.encode());
    let path = Key::File { level: 1, min: name.min, max: name.max }.path("", Layout::Directory);
    world.runtime.block_on(world.store.delete(&path, None)).unwrap();
    world.compact(1).unwrap().unwrap();
    let both = Facts::decode(&world.object(&key).unwrap()).unwrap();
    assert!(both.vouches_for(mine.file) && both.vouches_for(theirs.file));
    // Damaged facts are made again, and the file that is there is good with them.
    world.flip_a_bit(&key, 40);
    let damaged = world.runtime.block_on(world.log.verify(&name)).unwrap();
    assert!(matches!(damaged, Verdict::Damaged(..)), "{damaged:?}");
    world.runtime.block_on(world.log.make(1, &[file_of(&world, 2), file_of(&world, 3)])).unwrap();
    assert!(matches!(world.runtime.block_on(world.log.verify(&name)).unwrap(), Verdict::Whole(_)));
    world.check(true);
}
