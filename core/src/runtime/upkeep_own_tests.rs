//! Slots of which nothing can be made, another tool's or damaged ones, and the snapshots of a leader's own database
//! that cover them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::keeper::Keeper;
use super::own_snapshot::{OwnDatabase, OwnSnapshot};
use super::test_world::{World, retention, txid};
use crate::bucket::{Bucket, Fault, Key, Layout};
use crate::replication::{Floor, Next};
use crate::types::{Compaction, Epoch, ErrorKind, Result, Retention, Txid};

fn hasty(retention: Retention) -> (Compaction, Retention) {
    let ms = Duration::from_millis;
    (Compaction { levels: vec![ms(100), ms(300)], snapshots: Some(ms(1000)) }, retention)
}

fn keeper(world: &World, (compaction, retention): (Compaction, Retention)) -> Keeper {
    Keeper::new(world.log.clone(), compaction, retention)
        .with_database(world.own.clone(), txid(world.fences.last().unwrap() - 1))
}

/// Lets the upkeep run until it waits. What failed is tried again, as often as a leader does in some seconds.
fn keep(world: &World, keeper: &mut Keeper) {
    let mut failures = 0;
    for _ in 0..1000 {
        let now_ms = world.clock.load(Ordering::SeqCst);
        match world.runtime.block_on(keeper.step(txid(world.end()), now_ms)) {
            Ok(Next::At(at)) if at <= now_ms => {}
            Ok(Next::At(_) | Next::Idle) => return,
            Ok(Next::Now(chore)) => panic!("{chore:?} is not done"),
            Err(error) => {
                failures += 1;
                assert!(failures < 4, "{error}");
            }
        }
    }
    panic!("the upkeep has no end")
}

/// Writes slots, and has the keeper do what is due after each.
fn live(world: &mut World, keeper: &mut Keeper, slots: u8) {
    for i in 0..slots {
        world.tick(60);
        world.write(&[(i, i), (3, i)], 4 + usize::from(i % 3));
        keep(world, keeper);
    }
}

/// Ours up to `ours`, then another tool's slots and files, and then the fence of the leader that adopted it.
fn adopted(ours: u8) -> World {
    let mut world = World::begun_by(ours == 0);
    for i in 1..ours {
        world.write(&[(i, i)], 4);
    }
    let first = world.end() + 1;
    world.foreign = true;
    for i in 0..9 {
        world.write(&[(i, i)], 4 + usize::from(i));
    }
    let end = world.end();
    world.compact_as_another_tool(1, first.max(2), end - 3);
    world.compact_as_another_tool(1, end - 2, end);
    world.compact_as_another_tool(2, first.max(2), end - 3);
    world.compact_as_another_tool(9, 1, end - 4);
    world.lead_anew();
    world
}

fn epochs(world: &World) -> Vec<(u64, u64)> {
    let epochs = world.runtime.block_on(world.log.epochs_until(txid(world.end()))).unwrap();
    epochs.iter().map(|(epoch, first)| (epoch.get(), first.get())).collect()
}

#[test]
fn an_adopted_log_gets_a_snapshot_of_the_leaders_own_and_is_kept_short_behind_it() {
    for ours in [0, 4] {
        let mut world = adopted(ours);
        let fence = world.end();
        let foreign = if ours == 0 { vec![(0, 1)] } else { vec![(1, 1), (0, 5)] };
        assert_eq!(epochs(&world), [foreign, vec![(2, fence)]].concat());
        let rules = retention(200, 600, 1);
        let mut keeper = keeper(&world, hasty(rules));
        live(&mut world, &mut keeper, 2);
        let own = world.names(9).into_iter().map(|(_, max)| max).max().unwrap();
        assert!(own >= fence, "{:?}", world.names(9));
        world.check(true);
        world.check_restore();
        live(&mut world, &mut keeper, 60);
        // Nothing of the other tool is left but what stands like a fence.
        let kept: Vec<u64> = world.slots().into_iter().filter(|slot| *slot < fence).collect();
        assert_eq!(kept, if ours == 0 { vec![] } else { vec![5] });
        assert!(world.floor() > fence && world.slots().contains(&fence));
        let old =
            [1, 2, 9].map(|level| world.names(level).into_iter().filter(|(_, max)| *max < fence).count());
        assert_eq!(old, [0, 0, 0]);
        assert!(world.names(1).iter().all(|(min, _)| *min > own));
        let owner = |slot: u64| world.runtime.block_on(world.log.owner(txid(slot))).unwrap().map(Epoch::get);
        let first = if ours == 0 { None } else { Some(1) };
        assert_eq!([owner(2), owner(5), owner(6), owner(fence)], [first, None, None, Some(2)]);
        world.check(true);
        world.check_restore();
    }
}

#[test]
fn states_before_the_adoption_are_restored_from_the_other_tools_files_while_they_are_kept() {
    let mut world = adopted(0);
    let fence = world.end();
    let day = Duration::from_secs(24 * 3600).as_millis() as u64;
    let mut keeper = keeper(&world, hasty(retention(200, day, 1)));
    live(&mut world, &mut keeper, 60);
    assert!(world.floor() > fence, "their slots are covered");
    let files = world.listing();
    for kept in [fence - 5, fence - 4, fence - 1] {
        assert!(world.restored(&files, kept).unwrap() == world.history[kept as usize], "slot {kept}");
    }
    world.check(true);
}

#[test]
fn without_a_database_or_without_snapshots_an_adopted_log_stays_as_it_is() {
    let mut world = adopted(3);
    let (compaction, rules) = hasty(retention(0, 0, 1));
    world.tick(1000);
    let mut without = Keeper::new(world.log.clone(), compaction.clone(), rules.clone());
    let now = world.clock.load(Ordering::SeqCst);
    let mut step = || world.runtime.block_on(without.step(txid(world.end()), now));
    assert!(step().is_ok(), "what failed was learned from");
    assert_eq!(step().unwrap_err().kind(), ErrorKind::Corrupt);
    let tools = world.snapshot().unwrap_err();
    assert_eq!(tools.kind(), ErrorKind::ForeignDatabase);
    let mut never = keeper(&world, (Compaction { snapshots: None, ..compaction }, rules));
    keep(&world, &mut never);
    assert_eq!(world.names(9).len(), 1);
    world.check(true);
    // The tools go on where a snapshot of ours covers the other's files.
    assert!(matches!(publish(&world).unwrap(), OwnSnapshot::Made(_)));
    world.write(&[(1, 1)], 4);
    assert_eq!(world.compact(1).unwrap().map(|f| (f.min, f.max)), Some((txid(13), txid(world.end()))));
    assert_eq!(world.snapshot().unwrap().map(|f| f.max), Some(txid(world.end())));
    world.check(true);
}

fn publish(world: &World) -> Result<OwnSnapshot> {
    let state = world.runtime.block_on(world.own.at_a_boundary()).unwrap();
    world.runtime.block_on(world.log.publish_own(state))
}

#[test]
fn a_snapshot_is_made_only_of_a_slot_that_the_log_has_from_this_node() {
    let mut world = World::new();
    world.write(&[(1, 1)], 3);
    world.write(&[(1, 2)], 3);
    let wrong = |change: &dyn Fn(&mut super::own_snapshot::OwnState)| {
        let mut state = world.runtime.block_on(world.own.at_a_boundary()).unwrap();
        change(&mut state);
        world.runtime.block_on(world.log.publish_own(state)).unwrap_err().kind()
    };
    assert_eq!(wrong(&|state| state.position.chain = Default::default()), ErrorKind::NotLeader);
    assert_eq!(wrong(&|state| state.position.txid = txid(2)), ErrorKind::NotLeader);
    assert_eq!(wrong(&|state| state.position.epoch = Epoch::new(7).unwrap()), ErrorKind::NotLeader);
    assert_eq!(wrong(&|state| state.size = 4), ErrorKind::Internal);
    assert!(world.names(9).is_empty());
    // Its slot lies in a hole by now.
    world.runtime.block_on(world.log.raise_floor(Floor(txid(3)))).unwrap();
    assert_eq!(publish(&world).unwrap_err().kind(), ErrorKind::NotLeader);
    assert!(world.names(9).is_empty());
}

/// What befalls a slot.
fn damage(world: &World, slot: u64, how: u8) {
    let key = Key::slot(txid(slot));
    let bytes = world.object(&key).unwrap();
    match how {
        0 if !bytes.is_empty() => world.flip_a_bit(&key, 150),
        1 => world.put(&key, bytes[..bytes.len().min(120)].to_vec()),
        0 | 2 => world.put(&key, Vec::new()),
        _ => {
            let path = key.path("", Layout::Directory);
            world.runtime.block_on(world.store.delete(&path, None)).unwrap();
        }
    }
}

/// The node's restore makes the newest state, past all damage.
fn is_restored(world: &World) {
    let target = world._staging.path().join("past-damage.db");
    let restored = world.runtime.block_on(world.log.restore(&target));
    let restored = restored
        .unwrap_or_else(|e| {
            panic!(
                "{e}: {:?}",
                world.listing().iter().map(|f| (f.level, f.min.get(), f.max.get())).collect::<Vec<_>>()
            )
        })
        .unwrap();
    assert_eq!((restored.position.txid.get(), restored.position.chain), (world.end(), world.chain));
    assert!(std::fs::read(&target).unwrap() == world.history[world.end() as usize]);
}

#[test]
fn a_leader_beyond_a_damaged_slot_covers_it_and_keeps_the_log_short_behind_it() {
    for how in 0..4 {
        let mut world = World::new();
        let mut keeper = keeper(&world, hasty(retention(200, 600, 1)));
        live(&mut world, &mut keeper, 20);
        world.write(&[(1, 77)], 4);
        let bad = world.end();
        world.write(&[(2, 78)], 4);
        damage(&world, bad, how);
        live(&mut world, &mut keeper, 3);
        assert!(world.names(9).iter().any(|(_, max)| *max > bad), "{how}: {:?}", world.names(9));
        is_restored(&world);
        live(&mut world, &mut keeper, 60);
        assert!(world.floor() > bad + 10, "{how}: the floor is {}", world.floor());
        assert!(world.slots().len() < 20 && !world.slots().contains(&bad), "{how}: {:?}", world.slots());
        is_restored(&world);
    }
}

#[test]
fn the_newest_slot_is_covered_when_the_leader_is_beyond_it() {
    let mut world = World::new();
    let mut keeper = keeper(&world, hasty(retention(200, 600, 1)));
    world.write(&[(1, 1)], 4);
    let bad = world.end();
    damage(&world, bad, 0);
    assert!(world.runtime.block_on(keeper.judge(txid(bad))).unwrap());
    assert!(!world.runtime.block_on(keeper.judge(txid(1))).unwrap(), "a complaint is no proof");
    keep(&world, &mut keeper);
    assert!(world.names(9).is_empty(), "a snapshot that ends with a slot that cannot be read helps nobody");
    assert!(matches!(publish(&world).unwrap(), OwnSnapshot::EndsDamaged(slot) if slot == txid(bad)));
    world.write(&[(2, 2)], 4);
    keep(&world, &mut keeper);
    assert_eq!(world.names(9), [(1, bad + 1)]);
    is_restored(&world);
}

#[test]
fn the_next_leader_finds_what_the_one_before_has_covered() {
    let mut world = World::new();
    let mut first = keeper(&world, hasty(retention(100_000, 100_000, 1)));
    live(&mut world, &mut first, 10);
    world.write(&[(1, 1)], 4);
    let bad = world.end();
    world.write(&[(1, 1)], 4);
    damage(&world, bad, 0);
    live(&mut world, &mut first, 3);
    let covered = world.names(9);
    assert!(covered.iter().any(|(_, max)| *max > bad));
    world.lead_anew();
    let (compaction, rules) = hasty(retention(100_000, 100_000, 1));
    let no_more = Compaction { snapshots: Some(Duration::from_secs(1000)), ..compaction };
    let mut second = keeper(&world, (no_more, rules));
    live(&mut world, &mut second, 20);
    assert_eq!(world.names(9), covered);
    assert!(world.names(1).last().unwrap().1 > bad + 10);
    is_restored(&world);
}

#[test]
fn a_damaged_slot_between_two_epochs_stays_like_a_fence_and_so_does_the_next() {
    let mut world = World::new();
    for i in 0..5 {
        world.write(&[(i, i)], 4);
    }
    let bad = world.end();
    world.lead_anew();
    world.write(&[(1, 1)], 4);
    damage(&world, bad, 0);
    assert_eq!(epochs(&world), [(1, 1), (0, bad), (2, bad + 1)]);
    // A header that tells of another epoch deceives nobody.
    let key = Key::slot(txid(3));
    let mut bytes = world.object(&key).unwrap();
    bytes[75] ^= 1;
    world.put(&key, bytes);
    assert_eq!(epochs(&world), [(1, 1), (0, bad), (2, bad + 1)]);
    let mut keeper = keeper(&world, hasty(retention(200, 600, 1)));
    live(&mut world, &mut keeper, 60);
    let kept: Vec<u64> = world.slots().into_iter().filter(|slot| *slot <= bad + 1).collect();
    assert_eq!(kept, [bad, bad + 1]);
    is_restored(&world);
}

#[test]
fn whatever_becomes_of_the_writes_of_a_snapshot_the_next_one_covers_the_same() {
    for fault in [Fault::Refuse, Fault::LoseAnswer, Fault::Hold] {
        for writes in 0..3 {
            let mut world = adopted(4);
            let fence = world.end();
            world.write(&[(1, 1)], 5);
            *world.weather.lock() = (writes, fault);
            let cut_short = publish(&world).is_err();
            assert_eq!(cut_short, writes < 2, "facts and a file are two writes");
            *world.weather.lock() = (usize::MAX, Fault::None);
            world.write(&[(2, 2)], 6);
            world.lead_anew();
            let mut keeper = keeper(&world, hasty(retention(200, 600, 1)));
            live(&mut world, &mut keeper, 3);
            // What a network held up comes now.
            world.runtime.block_on(world.bucket.release());
            live(&mut world, &mut keeper, 40);
            assert!(world.floor() > fence && world.names(9).iter().all(|(_, max)| *max > fence));
            world.check(true);
            world.check_restore();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is damaged behind a leader, its successors and its followers go on, and every fence stays.
    #[test]
    fn damage_anywhere_behind_the_leader_is_covered_and_no_fence_goes(
        rounds in prop::collection::vec((1u8..12, any::<bool>(), prop::collection::vec((any::<u8>(), 0u8..4), 0..3)), 1..8),
    ) {
        let mut world = World::new();
        let rules = || hasty(retention(150, 400, 1));
        let mut kept = keeper(&world, rules());
        let mut harmed: Vec<Txid> = Vec::new();
        for (slots, anew, damages) in rounds {
            if anew {
                world.lead_anew();
                kept = keeper(&world, rules());
            }
            live(&mut world, &mut kept, slots);
            // Not the newest: nobody would be beyond it.
            let there: Vec<u64> = world.slots().into_iter().filter(|slot| *slot > world.floor()).collect();
            for (which, how) in damages {
                if there.len() > 1 {
                    let slot = there[usize::from(which) % (there.len() - 1)];
                    if world.slots().contains(&slot) {
                        damage(&world, slot, how);
                        harmed.push(txid(slot));
                    }
                }
            }
        }
        live(&mut world, &mut kept, 36);
        is_restored(&world);
        let slots = world.slots();
        for fence in world.fences.iter().filter(|fence| **fence > 1 && !harmed.contains(&txid(**fence))) {
            assert!(slots.contains(fence), "the fence {fence} is gone");
        }
    }
}
