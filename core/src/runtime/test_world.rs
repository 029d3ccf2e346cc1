//! A log in memory, a model of its database, and a leader's upkeep of it.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use super::keeper::Keeper;
use super::log::Log;
use super::own_snapshot::{OwnDatabase, OwnState, Pages};
use super::retain::Memory;
use crate::bucket::{
    Body, Bucket, Call, Fault, FaultyBucket, Key, Layout, MemoryBucket, PutMode, PutOptions, Range,
};
use crate::ltx::{After, Base, Decoder, Encoder, Header, Merge, Origin, Source, write_database};
use crate::replication::{Barred, Genesis, LogFile, Next, plan_restore};
use crate::types::{
    Chain, DatabaseId, Epoch, PageNumber, PageSize, Position, Result, Retention, SessionId, Txid,
};

const PAGE: u32 = 512;

/// A log, who leads it, and what its database was after each slot.
pub(super) struct World {
    pub(super) runtime: Runtime,
    pub(super) store: MemoryBucket,
    pub(super) bucket: FaultyBucket<MemoryBucket>,
    /// So many writes take place, then this befalls the others.
    pub(super) weather: Arc<Mutex<(usize, Fault)>>,
    pub(super) clock: Arc<AtomicI64>,
    pub(super) log: Log,
    pub(super) _staging: tempfile::TempDir,
    pub(super) pages: Vec<Vec<u8>>,
    pub(super) history: Vec<Vec<u8>>,
    pub(super) chain: Chain,
    pub(super) epoch: Epoch,
    pub(super) fences: Vec<u64>,
    pub(super) memory: Memory,
    /// Another tool writes now.
    pub(super) foreign: bool,
    /// Where the database of the leader is.
    pub(super) own: ModelDatabase,
}

/// The database of a leader whose every boundary is the newest slot.
#[derive(Clone, Default)]
pub(super) struct ModelDatabase(Arc<Mutex<(Position, Vec<Vec<u8>>)>>);

#[async_trait]
impl OwnDatabase for ModelDatabase {
    async fn at_a_boundary(&self) -> Result<OwnState> {
        let (position, pages) = self.0.lock().clone();
        Ok(OwnState { position, size: pages.len() as u32, pages: Box::new(ModelPages(pages)) })
    }
}

struct ModelPages(Vec<Vec<u8>>);

impl Pages for ModelPages {
    fn for_each(&mut self, take: &mut dyn FnMut(PageNumber, &[u8]) -> Result<()>) -> Result<()> {
        let numbered = (1..).filter_map(PageNumber::new).zip(&self.0);
        for (page, data) in numbered {
            take(page, data)?;
        }
        Ok(())
    }
}

pub(super) fn txid(n: u64) -> Txid {
    Txid::new(n)
}

pub(super) fn file(level: u8, min: u64, max: u64) -> LogFile {
    LogFile { level, min: txid(min), max: txid(max), size: 0, modified_ms: 0 }
}

pub(super) fn retention(slots_ms: u64, window_ms: u64, snapshots: u32) -> Retention {
    Retention {
        enabled: true,
        slots: Duration::from_millis(slots_ms),
        window: Duration::from_millis(window_ms),
        snapshots,
    }
}

impl World {
    pub(super) fn new() -> World {
        World::begun_by(false)
    }

    /// A log whose first slot is another tool's, or ours.
    pub(super) fn begun_by(foreign: bool) -> World {
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
            foreign,
            own: ModelDatabase::default(),
        };
        world.write(&[], 3);
        world
    }

    pub(super) fn end(&self) -> u64 {
        self.history.len() as u64 - 1
    }

    /// The next slot: these pages change, and the database has so many pages after it.
    pub(super) fn write(&mut self, changes: &[(u8, u8)], size: usize) {
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
        let mut header = Header::slot(txid(slot), page_size, commit, slot as i64, origin);
        header.origin = header.origin.filter(|_| !self.foreign);
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, header).unwrap();
        for page in changed.keys() {
            encoder.page(PageNumber::new(*page).unwrap(), &self.pages[*page as usize - 1]).unwrap();
        }
        self.chain = encoder.finish().unwrap().chain;
        self.put(&Key::slot(txid(slot)), bytes);
        self.history.push(self.pages.concat());
        let position = Position { txid: txid(slot), chain: self.chain, epoch: self.epoch };
        *self.own.0.lock() = (position, self.pages.clone());
    }

    /// Another tool makes one file of these slots, as it does.
    pub(super) fn compact_as_another_tool(&self, level: u8, min: u64, max: u64) {
        let sources = (min..=max).map(|slot| {
            let bytes = self.object(&Key::slot(txid(slot))).unwrap();
            Source { decoder: Decoder::new(Cursor::new(bytes)).unwrap(), after: After::OwnHash }
        });
        let mut merge = Merge::new(Base::Anything, sources.collect()).unwrap();
        let (mut bytes, mut data) = (Vec::new(), Vec::new());
        let mut encoder = Encoder::new(&mut bytes, Header { origin: None, ..merge.header() }).unwrap();
        while let Some(page) = merge.next_page(&mut data).unwrap() {
            encoder.page(page, &data).unwrap();
        }
        encoder.finish().unwrap();
        self.put(&Key::File { level, min: txid(min), max: txid(max) }, bytes);
    }

    pub(super) fn lead_anew(&mut self) {
        self.foreign = false;
        self.epoch = self.epoch.next().unwrap();
        self.fences.push(self.end() + 1);
        self.memory = Memory::default();
        self.write(&[], self.pages.len());
    }

    pub(super) fn put(&self, key: &Key, bytes: Vec<u8>) {
        let (key, body) = (key.path("", Layout::Directory), Body::Bytes(bytes.into()));
        self.runtime.block_on(self.store.put(&key, body, PutOptions::new(PutMode::Overwrite))).unwrap();
    }

    pub(super) fn object(&self, key: &Key) -> Option<Vec<u8>> {
        let key = key.path("", Layout::Directory);
        self.runtime.block_on(self.store.get(&key, Range::Whole)).unwrap().map(|object| object.body.to_vec())
    }

    pub(super) fn tick(&self, ms: u64) {
        self.clock.fetch_add(ms as i64, Ordering::SeqCst);
    }

    pub(super) fn compact(&self, level: u8) -> Result<Option<LogFile>> {
        self.runtime.block_on(self.log.compact(level, Some(txid(self.end()))))
    }

    pub(super) fn snapshot(&self) -> Result<Option<LogFile>> {
        self.runtime.block_on(self.log.make_snapshot(Some(txid(self.end()))))
    }

    pub(super) fn retain(&mut self, retention: &Retention) -> Result<()> {
        let end = txid(self.end());
        self.runtime.block_on(self.log.retain(end, retention, &Barred::default(), &mut self.memory)).map(drop)
    }

    pub(super) fn listing(&self) -> Vec<LogFile> {
        self.runtime.block_on(self.log.list()).unwrap()
    }

    pub(super) fn floor(&self) -> u64 {
        self.runtime.block_on(self.log.floor()).unwrap().0.get()
    }

    pub(super) fn slots(&self) -> Vec<u64> {
        let files = self.runtime.block_on(self.log.list_level(0, Txid::ZERO)).unwrap();
        files.iter().map(|file| file.max.get()).collect()
    }

    pub(super) fn names(&self, level: u8) -> Vec<(u64, u64)> {
        let files = self.runtime.block_on(self.log.list_level(level, Txid::ZERO)).unwrap();
        files.iter().map(|file| (file.min.get(), file.max.get())).collect()
    }

    pub(super) fn flip_a_bit(&self, key: &Key, at: usize) {
        let mut bytes = self.object(key).unwrap();
        let place = at % bytes.len();
        bytes[place] ^= 4;
        self.put(key, bytes);
    }

    /// What a restore to this slot makes; `None` if the log cannot tell any more.
    pub(super) fn restored(&self, files: &[LogFile], slot: u64) -> Option<Vec<u8>> {
        let plan = plan_restore(files, Txid::ZERO, Some(txid(slot))).ok()?;
        let sources = plan
            .files
            .iter()
            .map(|f| {
                let bytes = self.object(&Key::File { level: f.level, min: f.min, max: f.max }).unwrap();
                let decoder = Decoder::new(Cursor::new(bytes)).unwrap();
                let after = match self.runtime.block_on(self.log.facts(f)).unwrap() {
                    Some(facts) => After::Known(facts.after),
                    None if f.level > 0 => After::Unknown,
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
    pub(super) fn check(&self, all: bool) {
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
    pub(super) fn check_restore(&self) {
        let target = self._staging.path().join("restored.db");
        let restored = self.runtime.block_on(self.log.restore(&target)).unwrap().unwrap();
        let position = restored.position;
        assert_eq!((position.txid.get(), position.chain), (self.end(), self.chain));
        assert_eq!(position.epoch, self.epoch);
        assert!(std::fs::read(&target).unwrap() == self.history[self.end() as usize]);
        std::fs::remove_file(target).unwrap();
    }
}

/// Lets the upkeep of a leader run until it waits; at which time it wants to go on.
pub(super) fn keep(world: &World, keeper: &mut Keeper) -> Option<i64> {
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

pub(super) fn file_of(world: &World, slot: u64) -> LogFile {
    world.listing().into_iter().find(|f| f.level == 0 && f.max == txid(slot)).unwrap()
}
