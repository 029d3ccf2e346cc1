//! A log in memory, a model of its database, and everything that upkeep does with it, in any order, with faults.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof};
use proptest::test_runner::TestRunner;
use tokio::runtime::Runtime;

use super::keeper::Keeper;
use super::log::Log;
use super::publish::Verdict;
use super::retain::Memory;
use crate::bucket::{
    Body, Bucket, Call, Fault, FaultyBucket, Key, Layout, MemoryBucket, PutMode, PutOptions, Range,
};
use crate::ltx::{After, Base, Decoder, Encoder, Header, Merge, Origin, Source, write_database};
use crate::replication::{Facts, Floor, Genesis, LogFile, Next, plan_as_far, plan_restore};
use crate::types::{
    Chain, Compaction, DatabaseId, Epoch, ErrorKind, PageNumber, PageSize, Result, Retention, SessionId, Txid,
};

const PAGE: u32 = 512;

/// A log, who leads it, and what its database was after each slot.
struct World {
    runtime: Runtime,
    store: MemoryBucket,
    bucket: FaultyBucket<MemoryBucket>,
    /// So many writes take place, then this befalls the others.
    weather: Arc<Mutex<(usize, Fault)>>,
    clock: Arc<AtomicI64>,
    log: Log,
    _staging: tempfile::TempDir,
    pages: Vec<Vec<u8>>,
    history: Vec<Vec<u8>>,
    chain: Chain,
    epoch: Epoch,
    fences: Vec<u64>,
    memory: Memory,
}

fn txid(n: u64) -> Txid {
    Txid::new(n)
}

fn file(level: u8, min: u64, max: u64) -> LogFile {
    LogFile { level, min: txid(min), max: txid(max), size: 0, modified_ms: 0 }
}

fn retention(slots_ms: u64, window_ms: u64, snapshots: u32) -> Retention {
    Retention {
        enabled: true,
        slots: Duration::from_millis(slots_ms),
        window: Duration::from_millis(window_ms),
        snapshots,
    }
}

impl World {
    fn new() -> World {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let clock = Arc::new(AtomicI64::new(1_000_000));
        let time = Arc::clone(&clock);
        let store = MemoryBucket::new().with_clock(move || time.load(Ordering::SeqCst));
        let weather = Arc::new(Mutex::new((usize::MAX, Fault::None)));
        let script = Arc::clone(&weather);
        let bucket = FaultyBucket::new(store.clone(), move |call| {
            let mut weather = script.lock();
            match call {
                Call::Put { .. } | Call::Delete { .. } if weather.0 == 0 => weather.1,
                Call::Put { .. } | Call::Delete { .. } => {
                    weather.0 -= 1;
                    Fault::None
                }
                _ => Fault::None,
            }
        });
        let staging = tempfile::tempdir().unwrap();
        let log = Log::new(Arc::new(bucket.clone()), String::new(), staging.path().to_path_buf());
        let genesis = Genesis {
            database: DatabaseId::from_bytes([7; 16]),
            page_size: PageSize::new(PAGE).unwrap(),
            base: [1; 32],
        };
        runtime.block_on(log.create_genesis(&genesis)).unwrap();
        let mut world = World {
            runtime,
            store,
            bucket,
            weather,
            clock,
            log,
            _staging: staging,
            pages: Vec::new(),
            history: vec![Vec::new()],
            chain: genesis.chain(),
            epoch: Epoch::FIRST,
            fences: vec![1],
            memory: Memory::default(),
        };
        world.write(&[], 3);
        world
    }

    fn end(&self) -> u64 {
        self.history.len() as u64 - 1
    }

    /// The next slot: these pages change, and the database has so many pages after it.
    fn write(&mut self, changes: &[(u8, u8)], size: usize) {
        let old = self.pages.len();
        self.pages.resize_with(size, || vec![0xee; PAGE as usize]);
        let mut changed: BTreeMap<u32, ()> = (old + 1..=size).map(|n| (n as u32, ())).collect();
        for (page, seed) in changes {
            let index = usize::from(*page) % size;
            self.pages[index] = vec![*seed; PAGE as usize];
            self.pages[index][0] = self.end() as u8;
            changed.insert(index as u32 + 1, ());
        }
        changed.entry(1).or_default();
        let slot = self.end() + 1;
        let origin = Origin::new(self.epoch, self.chain, SessionId::from_bytes([self.epoch.get() as u8; 16]));
        let page_size = PageSize::new(PAGE).unwrap();
        let commit = PageNumber::new(size as u32).unwrap();
        let header = Header::slot(txid(slot), page_size, commit, slot as i64, origin);
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, header).unwrap();
        for page in changed.keys() {
            encoder.page(PageNumber::new(*page).unwrap(), &self.pages[*page as usize - 1]).unwrap();
        }
        self.chain = encoder.finish().unwrap().chain;
        self.put(&Key::slot(txid(slot)), bytes);
        self.history.push(self.pages.concat());
    }

    fn lead_anew(&mut self) {
        self.epoch = self.epoch.next().unwrap();
        self.fences.push(self.end() + 1);
        self.memory = Memory::default();
        self.write(&[], self.pages.len());
    }

    fn put(&self, key: &Key, bytes: Vec<u8>) {
        let (key, body) = (key.path("", Layout::Directory), Body::Bytes(bytes.into()));
        self.runtime.block_on(self.store.put(&key, body, PutOptions::new(PutMode::Overwrite))).unwrap();
    }

    fn object(&self, key: &Key) -> Option<Vec<u8>> {
        let key = key.path("", Layout::Directory);
        self.runtime.block_on(self.store.get(&key, Range::Whole)).unwrap().map(|object| object.body.to_vec())
    }

    fn tick(&self, ms: u64) {
        self.clock.fetch_add(ms as i64, Ordering::SeqCst);
    }

    fn compact(&self, level: u8) -> Result<Option<LogFile>> {
        self.runtime.block_on(self.log.compact(level, Some(txid(self.end()))))
    }

    fn snapshot(&self) -> Result<Option<LogFile>> {
        self.runtime.block_on(self.log.make_snapshot(Some(txid(self.end()))))
    }

    fn retain(&mut self, retention: &Retention) -> Result<()> {
        let end = txid(self.end());
        self.runtime.block_on(self.log.retain(end, retention, &mut self.memory)).map(drop)
    }

    fn listing(&self) -> Vec<LogFile> {
        self.runtime.block_on(self.log.list()).unwrap()
    }

    fn floor(&self) -> u64 {
        self.runtime.block_on(self.log.floor()).unwrap().0.get()
    }

    fn slots(&self) -> Vec<u64> {
        let files = self.runtime.block_on(self.log.list_level(0, Txid::ZERO)).unwrap();
        files.iter().map(|file| file.max.get()).collect()
    }

    fn names(&self, level: u8) -> Vec<(u64, u64)> {
        let files = self.runtime.block_on(self.log.list_level(level, Txid::ZERO)).unwrap();
        files.iter().map(|file| (file.min.get(), file.max.get())).collect()
    }

    fn flip_a_bit(&self, key: &Key, at: usize) {
        let mut bytes = self.object(key).unwrap();
        let place = at % bytes.len();
        bytes[place] ^= 4;
        self.put(key, bytes);
    }

    /// What a restore to this slot makes; `None` if the log cannot tell any more.
    fn restored(&self, files: &[LogFile], slot: u64) -> Option<Vec<u8>> {
        let plan = plan_restore(files, Txid::ZERO, Some(txid(slot))).ok()?;
        let sources = plan
            .files
            .iter()
            .map(|f| {
                let bytes = self.object(&Key::File { level: f.level, min: f.min, max: f.max }).unwrap();
                let decoder = Decoder::new(Cursor::new(bytes)).unwrap();
                let after = match self.runtime.block_on(self.log.facts(f)).unwrap() {
                    Some(facts) => After::Known(facts.after),
                    None => After::OwnHash,
                };
                Source { decoder, after }
            })
            .collect();
        let mut out = Cursor::new(Vec::new());
        write_database(Merge::new(Base::Empty, sources).unwrap(), &mut out).unwrap();
        Some(out.into_inner())
    }

    /// Holds what must always be so; with `all`, for each slot that can be restored.
    fn check(&self, all: bool) {
        let files = self.listing();
        let (floor, end) = (self.floor(), self.end());
        assert!(floor < end, "the newest slot is above the floor");
        let slots = self.slots();
        for fence in self.fences.iter().filter(|fence| **fence > 1) {
            assert!(slots.contains(fence), "the fence {fence} is gone");
        }
        assert!((floor + 1..=end).all(|slot| slots.contains(&slot)), "a slot above the floor is gone");
        let snapshots = files.iter().filter(|f| f.level == 9).map(|f| f.max.get());
        let oldest = snapshots.min().unwrap_or(0);
        let promised = |slot: u64| {
            let compacted = files.iter().any(|f| f.level > 0 && f.max.get() == slot);
            slot >= oldest && (slot > floor || compacted)
        };
        for slot in (1..=end).rev().filter(|slot| all || *slot + 2 > end) {
            match self.restored(&files, slot) {
                Some(image) => assert!(image == self.history[slot as usize], "slot {slot} is restored wrong"),
                None => assert!(!promised(slot), "slot {slot} cannot be restored: {files:?}, floor {floor}"),
            }
        }
    }

    /// The newest state by the restore that nodes use: content, chain and epoch.
    fn check_restore(&self) {
        let target = self._staging.path().join("restored.db");
        let restored = self.runtime.block_on(self.log.restore(&target)).unwrap().unwrap();
        let position = restored.position;
        assert_eq!((position.txid.get(), position.chain), (self.end(), self.chain));
        assert_eq!(position.epoch, self.epoch);
        assert!(std::fs::read(&target).unwrap() == self.history[self.end() as usize]);
        std::fs::remove_file(target).unwrap();
    }
}

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

fn file_of(world: &World, slot: u64) -> LogFile {
    world.listing().into_iter().find(|f| f.level == 0 && f.max == txid(slot)).unwrap()
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

/// How many calls of a kind were made.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Calls {
    gets: u64,
    puts: u64,
    lists: u64,
    deletes: u64,
    others: u64,
}

/// Lets the upkeep of a leader run until it waits; at which time it wants to go on.
fn keep(world: &World, keeper: &mut Keeper) -> Option<i64> {
    for _ in 0..1000 {
        let now_ms = world.clock.load(Ordering::SeqCst);
        match world.runtime.block_on(keeper.step(txid(world.end()), now_ms)).unwrap() {
            Next::At(at) if at <= now_ms => {}
            Next::At(at) => return Some(at),
            Next::Idle => return None,
            Next::Now(chore) => panic!("{chore:?} is not done"),
        }
    }
    panic!("the upkeep has no end")
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

#[test]
fn nothing_is_staged_on_a_disk_without_room_for_it_twice() {
    let world = World::new();
    assert!(world.log.require_room(1 << 20).is_ok());
    let error = world.log.require_room(u64::MAX / 4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
}
