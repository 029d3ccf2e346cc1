//! A leader's upkeep for long, and everything that it does with a log, in any order, with faults.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof};
use proptest::test_runner::TestRunner;

use super::keeper::Keeper;
use super::log::Log;
use super::test_world::{World, keep, retention};
use crate::bucket::{Call, Fault, FaultyBucket};
use crate::replication::plan_as_far;
use crate::types::{Compaction, Retention, Txid};

/// How many calls of a kind were made.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Calls {
    gets: u64,
    puts: u64,
    lists: u64,
    deletes: u64,
    others: u64,
}

#[test]
fn an_hour_of_upkeep_at_one_slot_a_second_costs_few_requests_and_then_none() {
    let mut world = World::new();
    let calls = Arc::new(Mutex::new(Calls::default()));
    let counter = Arc::clone(&calls);
    let counted = FaultyBucket::new(world.store.clone(), move |call| {
        let mut calls = counter.lock();
        match call {
            Call::Get { .. } => calls.gets += 1,
            Call::Put { .. } => calls.puts += 1,
            Call::List { .. } => calls.lists += 1,
            Call::Delete { .. } => calls.deletes += 1,
            Call::Now => calls.others += 1,
        }
        Fault::None
    });
    let log = Log::new(Arc::new(counted), String::new(), world._staging.path().to_path_buf());
    let mut keeper = Keeper::new(log, Compaction::default(), Retention::default());
    let mut wake = Some(0);
    for second in 0..2 * 3600 {
        if second == 3600 {
            // In the first hour there is nothing old yet.
            *calls.lock() = Calls::default();
        }
        world.tick(1000);
        world.write(&[(second as u8, second as u8)], 4);
        if keeper.waits_for_slots()
            || wake.is_some_and(|at| at <= world.clock.load(Ordering::SeqCst))
            || second == 0
        {
            wake = keep(&world, &mut keeper);
        }
    }
    let hour = *calls.lock();
    println!("in an hour: {hour:?}");
    // Each slot is read once and deleted once; the rest is little.
    assert!(hour.gets < 3600 + 1500, "{hour:?}");
    assert!(hour.deletes < 3600 + 200, "{hour:?}");
    assert!(hour.puts < 400 && hour.lists < 600 && hour.others < 60, "{hour:?}");
    world.check(false);
    let slots = world.slots().len();
    assert!(slots < 800, "{slots} slots after two hours");
    // Nothing is added: a day later everything is done, and nothing is asked for any more.
    let mut rounds = 0;
    while let Some(at) = wake {
        rounds += 1;
        assert!(rounds < 100, "the upkeep has no end");
        world.clock.store(at, Ordering::SeqCst);
        wake = keep(&world, &mut keeper);
    }
    let done = *calls.lock();
    for _ in 0..48 {
        world.tick(3_600_000);
        assert_eq!(keep(&world, &mut keeper), None);
    }
    assert_eq!(*calls.lock(), done, "an idle log costs nothing");
    assert_eq!((world.slots(), world.names(9).len()), (vec![world.end()], 1));
    world.check(false);
    world.check_restore();
}

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(u8, u8)>, usize),
    Lead,
    Compact(u8),
    Snapshot,
    Retain(u64, u64, u32),
    Tick(u64),
    /// What is held so far arrives.
    Deliver,
    /// The next step ends after so many writes to the bucket: they fail, or take place and seem to fail, or
    /// take place much later.
    Abandon(usize, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (prop::collection::vec((any::<u8>(), any::<u8>()), 0..4), 1usize..9)
        .prop_map(|(changes, size)| Step::Write(changes, size));
    let step = prop_oneof![
        8 => write,
        1 => Just(Step::Lead),
        4 => (1u8..4).prop_map(Step::Compact),
        2 => Just(Step::Snapshot),
        3 => (0u64..300, 0u64..600, 1u32..3).prop_map(|(slots, window, count)| Step::Retain(slots, window, count)),
        3 => (1u64..400).prop_map(Step::Tick),
        1 => Just(Step::Deliver),
        2 => (0usize..5, 0u8..3).prop_map(|(after, kind)| Step::Abandon(after, kind)),
    ];
    prop::collection::vec(step, 5..40)
}

fn take(world: &mut World, step: &Step) {
    // What was abandoned failed, and what met its remains may have to be tried again.
    let result = match step {
        Step::Write(changes, size) => {
            world.write(changes, *size);
            Ok(())
        }
        Step::Lead => {
            world.lead_anew();
            Ok(())
        }
        Step::Compact(level) => world.compact(*level).map(drop),
        Step::Snapshot => world.snapshot().map(drop),
        Step::Retain(slots, window, count) => world.retain(&retention(*slots, *window, *count)),
        Step::Tick(ms) => {
            world.tick(*ms);
            Ok(())
        }
        Step::Deliver => {
            world.runtime.block_on(world.bucket.release());
            Ok(())
        }
        Step::Abandon(after, kind) => {
            let fault = [Fault::Refuse, Fault::LoseAnswer, Fault::Hold][usize::from(*kind)];
            *world.weather.lock() = (*after, fault);
            return;
        }
    };
    let fine = world.weather.lock().1 == Fault::None;
    if let Err(error) = result {
        assert!(!fine, "{step:?} failed in fine weather: {error}");
    }
    *world.weather.lock() = (usize::MAX, Fault::None);
}

#[test]
fn every_state_that_is_kept_is_restored_as_it_was() {
    let config = ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() };
    let life = |steps: Vec<Step>| {
        live(&steps);
        Ok(())
    };
    TestRunner::new(config).run(&steps(), life).unwrap();
}

fn live(steps: &[Step]) {
    let mut world = World::new();
    for step in steps {
        take(&mut world, step);
        world.check(matches!(step, Step::Retain(..) | Step::Snapshot | Step::Deliver));
    }
    // And in the end the log can go on, and all of its upkeep with it.
    *world.weather.lock() = (usize::MAX, Fault::None);
    world.runtime.block_on(world.bucket.release());
    world.write(&[(1, 1)], 4);
    world.compact(1).unwrap();
    world.snapshot().unwrap();
    world.tick(1000);
    world.retain(&retention(0, 0, 1)).unwrap();
    world.check(true);
    world.check_restore();
    let plan = plan_as_far(&world.listing(), Txid::ZERO);
    assert!(plan.files.len() <= 2, "{:?}", plan.files);
    assert_eq!(world.names(9).len(), 1);
    let fences = world.fences.iter().filter(|fence| **fence > 1).count();
    assert!(world.slots().len() <= fences + 1, "{:?}", world.slots());
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}
