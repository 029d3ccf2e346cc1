//! Sessions that lead, followers, floors that rise and slots that are deleted, over a bucket without conditions and a
//! manifest, where requests are delivered late, twice, or with their answers lost, listings lag, reads of the manifest
//! may be old, and sessions die at any step. What must hold at the end is that nothing confirmed is lost, nothing is
//! forked, and nothing that was denied is there.

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{FencedBucket, Manifest, ManifestPlace, ManifestPut, ManifestStore, ManifestVersion};
use crate::bucket::{
    Body, Bucket, Delete, Key, Layout, Listed, Listing, Object, Put, PutMode, PutOptions, Range, Version,
};
use crate::ltx::{Header, Origin};
use crate::replication::Floor;
use crate::types::{Chain, Epoch, Error, ErrorKind, PageNumber, PageSize, Result, SessionId, Txid};

const ROOT: &str = "app/";
const SESSIONS: usize = 3;
const FOLLOWERS: usize = 2;
const LEADERSHIPS: usize = 3;
const STEPS: usize = 2500;

/// A seed's whole state. Everything that is random comes from `rng`.
struct World {
    rng: u64,
    fine: bool,
    /// Whether reads of the manifest may be old, and looks write it again, as in NATS.
    lazy: bool,
    objects: BTreeMap<String, (Bytes, u64)>,
    /// What was ever sent to a key.
    contents: BTreeMap<String, Bytes>,
    late: Vec<Late>,
    /// Every manifest that there was: the last one counts.
    manifests: Vec<(Epoch, Vec<u8>)>,
    writes: u64,
    confirmed: BTreeMap<u64, Chain>,
    denied: BTreeSet<[u8; 16]>,
    /// What the log was up to a floor, by the session that raised it.
    snapshots: BTreeMap<u64, Vec<Chain>>,
    /// What each reader has applied, at its end and whenever it changed.
    views: BTreeMap<String, Vec<Chain>>,
    listed: BTreeSet<u64>,
    events: Vec<String>,
}

enum Late {
    Put(String, Bytes),
    Swap(Epoch, Vec<u8>, Option<u64>),
}

type Shared = Arc<Mutex<World>>;

impl World {
    fn random(&mut self, below: u64) -> u64 {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    /// One chance in so many, in foul weather.
    fn chance(&mut self, of: u64) -> bool {
        !self.fine && self.random(of) == 0
    }

    fn store(&mut self, key: &str, body: Bytes) -> u64 {
        if key.contains("/log/") {
            let first = self.contents.entry(key.to_owned()).or_insert_with(|| body.clone());
            assert_eq!(*first, body, "a key got two contents: {key}");
        }
        self.writes += 1;
        self.objects.insert(key.to_owned(), (body, self.writes));
        self.writes
    }

    fn swap(&mut self, epoch: Epoch, body: Vec<u8>, expected: Option<u64>) -> ManifestPut {
        let there = self.manifests.len() as u64;
        if (there > 0).then_some(there) != expected {
            return ManifestPut::Lost;
        }
        if self.manifests.last().is_some_and(|(newest, _)| *newest > epoch) {
            return ManifestPut::Lost;
        }
        self.manifests.push((epoch, body));
        ManifestPut::Done(ManifestVersion((there + 1).to_string()))
    }

    fn deliver(&mut self, one: usize) {
        let keep = self.random(4) == 0;
        match self.late.swap_remove(one) {
            Late::Put(key, body) => {
                self.store(&key, body.clone());
                if keep {
                    self.late.push(Late::Put(key, body));
                }
            }
            Late::Swap(epoch, body, expected) => {
                let _ = self.swap(epoch, body, expected);
            }
        }
    }

    fn note(&mut self, event: String) {
        self.events.push(event);
    }
}

/// Lets everybody else go on.
async fn others_go_on() {
    let mut waited = false;
    std::future::poll_fn(
        move |_| {
            if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }
        },
    )
    .await;
}

fn trouble() -> Error {
    Error::new(ErrorKind::StoreUnavailable, "no answer")
}

struct SimBucket(Shared);

#[async_trait]
impl Bucket for SimBucket {
    fn describe(&self) -> String {
        "simulated".into()
    }
    fn layout(&self) -> Layout {
        Layout::S3
    }
    async fn get(&self, key: &str, range: Range) -> Result<Option<Object>> {
        others_go_on().await;
        let object = {
            let mut world = self.0.lock();
            if world.chance(20) {
                return Err(trouble());
            }
            let found = world.objects.get(key).cloned();
            found.map(|(body, version)| {
                let size = body.len() as u64;
                let body = match range {
                    Range::Whole => body,
                    Range::Part { length, .. } => body.slice(..length.min(size) as usize),
                    Range::Last(length) => body.slice((size - length.min(size)) as usize..),
                };
                Object { body, version: Version(version.to_string()), size, last_modified_ms: 0 }
            })
        };
        others_go_on().await;
        Ok(object)
    }
    async fn put(&self, key: &str, body: Body, _: PutOptions) -> Result<Put> {
        let Body::Bytes(body) = body else { panic!("bytes only") };
        others_go_on().await;
        let version = {
            let mut world = self.0.lock();
            if world.chance(6) {
                if world.chance(3) {
                    return Err(trouble());
                }
                world.late.push(Late::Put(key.to_owned(), body));
                return Err(trouble());
            }
            let version = world.store(key, body.clone());
            if world.chance(8) {
                world.late.push(Late::Put(key.to_owned(), body));
            }
            if world.chance(8) {
                return Err(trouble());
            }
            version
        };
        others_go_on().await;
        Ok(Put::Stored(Version(version.to_string())))
    }
    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Listing> {
        others_go_on().await;
        let mut world = self.0.lock();
        let mut objects: Vec<Listed> = Vec::new();
        let all: Vec<(String, u64)> =
            world.objects.iter().map(|(key, (body, _))| (key.clone(), body.len() as u64)).collect();
        for (key, size) in all {
            let is_wanted = key.starts_with(prefix) && start_after.is_none_or(|after| key.as_str() > after);
            if is_wanted && !world.chance(6) {
                objects.push(Listed { key, size, last_modified_ms: 0 });
            }
        }
        let more = objects.len() > 3;
        objects.truncate(3);
        Ok(Listing { objects, more })
    }
    async fn delete(&self, key: &str, _: Option<&Version>) -> Result<Delete> {
        others_go_on().await;
        self.0.lock().objects.remove(key);
        Ok(Delete::Gone)
    }
    async fn now_ms(&self) -> Result<i64> {
        Ok(0)
    }
}

/// One session's way to the manifest.
struct SimManifests {
    world: Shared,
    /// The newest one that was read or written here.
    known: Mutex<u64>,
}

impl SimManifests {
    fn found(&self, number: u64) -> Option<Manifest> {
        let world = self.world.lock();
        let (epoch, body) = world.manifests.get((number as usize).checked_sub(1)?)?.clone();
        Some(Manifest { epoch, body, version: ManifestVersion(number.to_string()) })
    }
}

fn number(version: &ManifestVersion) -> u64 {
    version.0.parse().unwrap()
}

#[async_trait]
impl ManifestStore for SimManifests {
    fn describe(&self) -> String {
        "simulated".into()
    }
    async fn read(&self, _: &str) -> Result<Option<Manifest>> {
        others_go_on().await;
        let number = {
            let mut world = self.world.lock();
            if world.chance(25) {
                return Err(trouble());
            }
            let (newest, mut known) = (world.manifests.len() as u64, self.known.lock());
            // An absence that is old looks like a loss, and is tried again by whoever hears of it.
            let oldest = (*known).max(1);
            let old = match world.lazy && !world.fine && oldest < newest {
                true if world.random(3) > 0 => newest - oldest,
                true => world.random(newest - oldest + 1),
                false => 0,
            };
            *known = newest - old;
            *known
        };
        others_go_on().await;
        Ok(self.found(number))
    }
    async fn put(
        &self,
        _: &str,
        epoch: Epoch,
        body: &[u8],
        expected: Option<&ManifestVersion>,
    ) -> Result<ManifestPut> {
        others_go_on().await;
        let answer = {
            let mut world = self.world.lock();
            let expected = expected.map(number);
            if world.chance(6) {
                if world.chance(2) {
                    world.late.push(Late::Swap(epoch, body.to_vec(), expected));
                }
                return Err(trouble());
            }
            let answer = world.swap(epoch, body.to_vec(), expected);
            if world.chance(8) {
                return Err(trouble());
            }
            // A client that repeats a request may be told of its own success like this.
            if world.chance(20) { ManifestPut::Lost } else { answer }
        };
        others_go_on().await;
        if let ManifestPut::Done(version) = &answer {
            let mut known = self.known.lock();
            *known = (*known).max(number(version));
        }
        Ok(answer)
    }
    async fn confirm(&self, _: &str, version: &ManifestVersion) -> Result<Option<ManifestVersion>> {
        others_go_on().await;
        let answer = {
            let mut world = self.world.lock();
            if world.chance(25) {
                return Err(trouble());
            }
            if world.manifests.len() as u64 != number(version) {
                None
            } else if world.lazy {
                let (epoch, body) = world.manifests.last().unwrap().clone();
                world.manifests.push((epoch, body));
                Some(ManifestVersion(world.manifests.len().to_string()))
            } else {
                Some(version.clone())
            }
        };
        others_go_on().await;
        if let Some(version) = &answer {
            let mut known = self.known.lock();
            *known = (*known).max(number(version));
        }
        Ok(answer)
    }
}

fn session(world: &Shared) -> FencedBucket {
    let store = SimManifests { world: Arc::clone(world), known: Mutex::default() };
    let place = ManifestPlace { store: Arc::new(store), key: "manifest".into() };
    FencedBucket::new(Arc::new(SimBucket(Arc::clone(world))), ROOT.into(), place)
}

pub(super) fn slot_key(txid: u64) -> String {
    Key::slot(Txid::new(txid)).path(ROOT, Layout::S3)
}

fn fixed_key(key: Key) -> String {
    key.path(ROOT, Layout::S3)
}

/// A slot's file: a header and something of its own.
pub(super) fn slot_body(txid: u64, epoch: Epoch, previous: Chain, payload: [u8; 16]) -> Bytes {
    let origin = Origin::new(epoch, previous, SessionId::default());
    let header =
        Header::slot(Txid::new(txid), PageSize::DEFAULT, PageNumber::new(1).unwrap(), 0, origin).to_bytes();
    [&header.unwrap()[..], &payload].concat().into()
}

fn origin_of(body: &[u8]) -> Origin {
    Header::from_bytes(body[..Header::SIZE].try_into().unwrap()).unwrap().origin.unwrap()
}

/// A reader of the log, with what it has applied.
struct Reader {
    world: Shared,
    name: String,
    bucket: FencedBucket,
    view: Vec<Chain>,
    epoch: Epoch,
}

enum Read {
    Slot,
    End,
}

impl Reader {
    fn new(world: &Shared, name: String) -> Reader {
        let view = world.lock().views.get(&name).cloned().unwrap_or_default();
        Reader { world: Arc::clone(world), bucket: session(world), name, view, epoch: Epoch::ZERO }
    }

    fn next(&self) -> u64 {
        self.view.len() as u64 + 1
    }

    fn last(&self) -> Chain {
        self.view.last().copied().unwrap_or(Chain::ZERO)
    }

    fn keep(&self) {
        self.world.lock().views.insert(self.name.clone(), self.view.clone());
    }

    fn apply(&mut self, body: &[u8]) {
        let origin = origin_of(body);
        assert_eq!(origin.previous, self.last(), "FORK: {} at {}", self.name, self.next());
        assert!(origin.epoch >= self.epoch, "the epoch goes down at {}", self.next());
        self.epoch = origin.epoch;
        self.view.push(Chain::of(body));
        self.keep();
    }

    async fn floor(&self) -> Result<u64> {
        let object = self.bucket.get(&fixed_key(Key::Floor), Range::Whole).await?;
        object.map_or(Ok(0), |object| Ok(Floor::decode(&object.body)?.0.get()))
    }

    async fn step(&mut self) -> Result<Read> {
        let next = self.next();
        if let Some(object) = self.bucket.get(&slot_key(next), Range::Whole).await? {
            self.apply(&object.body);
            return Ok(Read::Slot);
        }
        if self.floor().await? < next {
            return Ok(Read::End);
        }
        let snapshot = self.world.lock().snapshots.values().next_back().cloned();
        let snapshot = snapshot.expect("a floor without a snapshot");
        assert_eq!(snapshot[..self.view.len()], self.view[..], "FORK: {} and a snapshot", self.name);
        self.view = snapshot;
        self.keep();
        Ok(Read::Slot)
    }

    async fn read_to_the_end(&mut self) -> Result<()> {
        while let Read::Slot = self.step().await? {}
        Ok(())
    }

    async fn look_at_a_listing(&self) {
        let mut after: Option<String> = None;
        while let Ok(page) = self.bucket.list(&Key::level_prefix(0, ROOT, Layout::S3), after.as_deref()).await
        {
            after = page.objects.last().map(|object| object.key.clone());
            for object in page.objects {
                let Some(Key::File { min, .. }) = Key::parse(&object.key, ROOT, Layout::S3) else {
                    panic!("{} is no slot", object.key)
                };
                self.world.lock().listed.insert(min.get());
            }
            if !page.more {
                return;
            }
        }
    }
}

async fn follow(world: Shared, name: String) {
    let mut reader = Reader::new(&world, name);
    loop {
        let _ = reader.step().await;
        if world.lock().random(5) == 0 {
            reader.look_at_a_listing().await;
        }
        others_go_on().await;
    }
}

#[derive(PartialEq)]
enum Sent {
    Ours,
    Foreign,
    Unknown,
}

/// A slot that was sent, or is to be.
struct Draft {
    txid: u64,
    body: Bytes,
    payload: [u8; 16],
}

struct Leader {
    reader: Reader,
    /// A slot whose fate was open when an earlier leadership ended.
    spooled: Option<Draft>,
    count: u64,
}

impl Leader {
    fn draft(&mut self, epoch: Epoch) -> Draft {
        let (txid, previous) = (self.reader.next(), self.reader.last());
        let payload = {
            let mut world = self.reader.world.lock();
            let mut payload = [0; 16];
            payload[..8].copy_from_slice(&world.random(u64::MAX).to_be_bytes());
            payload[8..].copy_from_slice(&self.count.to_be_bytes());
            payload
        };
        self.count += 1;
        Draft { txid, body: slot_body(txid, epoch, previous, payload), payload }
    }

    /// What the shipper does, with all that it asks.
    async fn send(&mut self, draft: &Draft, is_first: bool) -> Sent {
        let (world, key) = (Arc::clone(&self.reader.world), slot_key(draft.txid));
        let relay = session(&world);
        let mut doubt = is_first;
        for _ in 0..12 {
            let through = !is_first && world.lock().random(6) == 0;
            let road = if through { &relay } else { &self.reader.bucket };
            let put = road
                .put(&key, Body::Bytes(draft.body.clone()), PutOptions::new(PutMode::Create))
                .await
                .inspect_err(|error| assert_ne!(error.kind(), ErrorKind::Corrupt, "{error}"));
            let found = match put {
                Ok(Put::Stored(_)) if !doubt => return self.confirm(draft),
                Ok(Put::Stored(_)) => Some(draft.body.clone()),
                Ok(Put::Refused) => match self.reader.bucket.get(&key, Range::Whole).await {
                    Ok(Some(object)) => Some(object.body),
                    Ok(None) => {
                        doubt = true;
                        continue;
                    }
                    Err(_) => continue,
                },
                Err(error) if error.kind() == ErrorKind::Fenced => return Sent::Unknown,
                Err(_) => continue,
            };
            let Ok(floor) = self.reader.floor().await else { continue };
            if floor >= draft.txid {
                return Sent::Unknown;
            }
            if found.as_ref() == Some(&draft.body) {
                return self.confirm(draft);
            }
            world.lock().denied.insert(draft.payload);
            return Sent::Foreign;
        }
        Sent::Unknown
    }

    fn confirm(&mut self, draft: &Draft) -> Sent {
        let chain = Chain::of(&draft.body);
        let mut world = self.reader.world.lock();
        let name = self.reader.name.clone();
        let before = world.confirmed.insert(draft.txid, chain);
        assert!(before.is_none_or(|before| before == chain), "TWO confirm slot {}", draft.txid);
        world.note(format!("{name} confirms {}", draft.txid));
        drop(world);
        self.reader.view.push(chain);
        self.reader.epoch = self.reader.epoch.max(origin_of(&draft.body).epoch);
        self.reader.keep();
        Sent::Ours
    }

    async fn lead(&mut self) -> Result<()> {
        let epoch = self.reader.bucket.claim(Epoch::FIRST).await?;
        self.reader.world.lock().note(format!("{} claims {epoch}", self.reader.name));
        let genesis = Body::Bytes(Bytes::from_static(b"{}"));
        let key = fixed_key(Key::Genesis);
        self.reader.bucket.put(&key, genesis, PutOptions::new(PutMode::Create)).await?;
        self.reader.read_to_the_end().await?;
        if let Some(draft) = self.spooled.take() {
            let known = self.reader.view.get(draft.txid as usize - 1);
            if known.is_none()
                && draft.txid == self.reader.next()
                && origin_of(&draft.body).previous == self.reader.last()
                && self.send(&draft, true).await == Sent::Unknown
            {
                self.spooled = Some(draft);
                return Ok(());
            }
        }
        let mut is_first = true;
        for _ in 0..4 {
            if is_first {
                self.reader.read_to_the_end().await?;
            }
            let draft = self.draft(epoch);
            match self.send(&draft, is_first).await {
                Sent::Ours => is_first = false,
                Sent::Foreign if is_first => continue,
                Sent::Foreign => return Ok(()),
                Sent::Unknown => {
                    self.spooled = Some(draft);
                    return Ok(());
                }
            }
            if self.reader.world.lock().random(4) == 0 {
                self.retain().await?;
            }
        }
        Ok(())
    }

    /// Raises the floor below the last confirmed slot, and deletes what it covers.
    async fn retain(&mut self) -> Result<()> {
        let newest = self.reader.view.len() as u64;
        if newest < 2 {
            return Ok(());
        }
        let to = 1 + self.reader.world.lock().random(newest - 1);
        self.reader.world.lock().snapshots.insert(newest, self.reader.view.clone());
        let key = fixed_key(Key::Floor);
        let there = self.reader.bucket.get(&key, Range::Whole).await?;
        let mode = match there {
            None => PutMode::Create,
            Some(object) if Floor::decode(&object.body)?.0.get() >= to => return Ok(()),
            Some(object) => PutMode::Replace(object.version),
        };
        let body = Body::Bytes(Floor(Txid::new(to)).encode().into());
        if let Put::Stored(_) = self.reader.bucket.put(&key, body, PutOptions::new(mode)).await? {
            for txid in 1..=to {
                self.reader.bucket.delete(&slot_key(txid), None).await?;
            }
        }
        Ok(())
    }
}

/// A node: it leads now and then, as the same session or after a restart.
async fn node(world: Shared, name: String) {
    let mut leader = Leader { reader: Reader::new(&world, name.clone()), spooled: None, count: 0 };
    for _ in 0..LEADERSHIPS {
        let pause = world.lock().random(40);
        for _ in 0..pause {
            others_go_on().await;
        }
        let ended = leader.lead().await;
        if let Err(error) = ended {
            assert_ne!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
        if world.lock().random(2) == 0 {
            leader.reader = Reader::new(&world, name.clone());
        }
    }
}

type Actor = Pin<Box<dyn Future<Output = ()>>>;

fn run(seed: u64) -> usize {
    let world = Arc::new(Mutex::new(World {
        rng: seed,
        fine: false,
        lazy: seed % 2 == 1,
        objects: BTreeMap::new(),
        contents: BTreeMap::new(),
        late: Vec::new(),
        manifests: Vec::new(),
        writes: 0,
        confirmed: BTreeMap::new(),
        denied: BTreeSet::new(),
        snapshots: BTreeMap::new(),
        views: BTreeMap::new(),
        listed: BTreeSet::new(),
        events: Vec::new(),
    }));
    let mut actors: Vec<Option<Actor>> = Vec::new();
    for n in 0..SESSIONS {
        actors.push(Some(Box::pin(node(Arc::clone(&world), format!("node {n}")))));
    }
    for n in 0..FOLLOWERS {
        actors.push(Some(Box::pin(follow(Arc::clone(&world), format!("follower {n}")))));
    }
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..STEPS {
        let (who, dies, late) = {
            let mut world = world.lock();
            let late = world.late.len() as u64;
            let deliver = (late > 0 && world.random(12) == 0).then(|| world.random(late) as usize);
            (world.random(actors.len() as u64) as usize, world.random(400) == 0, deliver)
        };
        if let Some(one) = late {
            world.lock().deliver(one);
        }
        if dies && who < SESSIONS {
            // At whatever it was doing; and it comes back with what it had.
            actors[who] = Some(Box::pin(node(Arc::clone(&world), format!("node {who}"))));
        }
        if let Some(actor) = &mut actors[who]
            && actor.as_mut().poll(&mut context).is_ready()
        {
            actors[who] = None;
        }
    }
    drop(actors);
    judge(&world, &mut context)
}

/// A last session takes the log over in fine weather, and says what it is.
fn judge(world: &Shared, context: &mut Context<'_>) -> usize {
    world.lock().fine = true;
    let mut last = Leader { reader: Reader::new(world, "last".into()), spooled: None, count: 0 };
    let end = async {
        let epoch = last.reader.bucket.claim(Epoch::FIRST).await.unwrap();
        last.reader.read_to_the_end().await.unwrap();
        let draft = last.draft(epoch);
        assert!(last.send(&draft, true).await == Sent::Ours, "the last session cannot lead");
        last.reader.look_at_a_listing().await;
    };
    let mut end = Box::pin(end);
    for round in 0.. {
        assert!(round < 100_000, "the last session does not come to an end");
        if end.as_mut().poll(context).is_ready() {
            break;
        }
    }
    drop(end);
    let log = last.reader.view;
    // What is still on its way changes nothing.
    loop {
        let mut world = world.lock();
        if world.late.is_empty() {
            break;
        }
        world.deliver(0);
    }
    let mut again = Reader::new(world, "again".into());
    let mut reading = Box::pin(again.read_to_the_end());
    while reading.as_mut().poll(context).map(Result::unwrap).is_pending() {}
    drop(reading);
    assert_eq!(again.view, log, "the log is another one after late deliveries");
    let world = world.lock();
    for (txid, chain) in &world.confirmed {
        assert_eq!(
            log.get(*txid as usize - 1),
            Some(chain),
            "LOST: confirmed slot {txid}: {:?}",
            world.events
        );
    }
    for (name, view) in &world.views {
        assert!(log.starts_with(view), "FORK: {name} is no part of the log: {:?}", world.events);
    }
    let payloads: BTreeSet<&[u8]> = log
        .iter()
        .filter_map(|chain| world.contents.values().find(|body| Chain::of(body) == *chain))
        .map(|body| &body[Header::SIZE..])
        .collect();
    for denied in &world.denied {
        assert!(!payloads.contains(&denied[..]), "FALSE: what was denied is there: {:?}", world.events);
    }
    assert!(world.listed.iter().all(|txid| *txid <= log.len() as u64), "a listing showed what is no slot");
    world.confirmed.len()
}

/// `HAQLITE_FENCED_SEEDS` runs more of them.
#[test]
fn whatever_is_late_lost_or_dead_no_confirmed_slot_is_lost_and_nothing_is_forked() {
    let seeds = std::env::var("HAQLITE_FENCED_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    let mut confirmed = 0;
    for seed in 0..seeds {
        let result = std::panic::catch_unwind(|| run(seed));
        confirmed += result.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    assert!(confirmed as u64 > seeds * 3, "{confirmed} slots were confirmed in {seeds} runs");
    println!("{confirmed} slots were confirmed in {seeds} runs");
}
