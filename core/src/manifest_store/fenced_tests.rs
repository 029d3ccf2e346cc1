//! The schedules that matter most, one by one.

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fenced_simulation_tests::{slot_body, slot_key};
use super::{
    FencedBucket, Manifest, ManifestPlace, ManifestPut, ManifestStore, ManifestVersion, RegisterManifestStore,
};
use crate::bucket::{Body, Bucket, Key, Layout, MemoryBucket, Object, Put, PutMode, PutOptions, Range};
use crate::lease_store::MemoryLeaseStore;
use crate::types::{Chain, Epoch, Error, ErrorKind, Result, Txid};

type Memory = RegisterManifestStore<MemoryLeaseStore>;
type LateSwap = (Epoch, Vec<u8>, Option<ManifestVersion>);

/// A way to the manifest that can be disturbed.
struct Way {
    inner: Memory,
    /// Reads give what the last one gave.
    is_old: AtomicBool,
    last: Mutex<Option<Manifest>>,
    /// Swaps are not answered, and do not take place yet.
    holds: AtomicBool,
    held: Mutex<Vec<LateSwap>>,
}

#[async_trait]
impl ManifestStore for Arc<Way> {
    fn describe(&self) -> String {
        "the test's".into()
    }
    async fn read(&self, key: &str) -> Result<Option<Manifest>> {
        if !self.is_old.load(Ordering::SeqCst) {
            let found = self.inner.read(key).await?;
            *self.last.lock() = found;
        }
        Ok(self.last.lock().clone())
    }
    async fn put(
        &self,
        key: &str,
        epoch: Epoch,
        body: &[u8],
        expected: Option<&ManifestVersion>,
    ) -> Result<ManifestPut> {
        if self.holds.load(Ordering::SeqCst) {
            self.held.lock().push((epoch, body.to_vec(), expected.cloned()));
            return Err(Error::new(ErrorKind::StoreUnavailable, "no answer"));
        }
        self.inner.put(key, epoch, body, expected).await
    }
    async fn confirm(&self, key: &str, version: &ManifestVersion) -> Result<Option<ManifestVersion>> {
        self.inner.confirm(key, version).await
    }
}

struct World {
    bucket: MemoryBucket,
    manifests: MemoryLeaseStore,
}

impl World {
    fn new() -> World {
        World { bucket: MemoryBucket::with_layout(Layout::S3), manifests: MemoryLeaseStore::new() }
    }

    fn session(&self) -> (FencedBucket, Arc<Way>) {
        let way = Arc::new(Way {
            inner: RegisterManifestStore::new(self.manifests.clone()),
            is_old: AtomicBool::new(false),
            last: Mutex::default(),
            holds: AtomicBool::new(false),
            held: Mutex::default(),
        });
        let place = ManifestPlace { store: Arc::new(Arc::clone(&way)), key: "m".into() };
        (FencedBucket::new(Arc::new(self.bucket.clone()), "app/".into(), place), way)
    }

    /// A PUT of this slot's object arrives, whoever sent it.
    async fn arrives(&self, body: &Bytes, txid: u64, epoch: Epoch) {
        let key = Key::FencedSlot { txid: Txid::new(txid), epoch }.path("app/", Layout::S3);
        let put = PutOptions::new(PutMode::Overwrite);
        self.bucket.put(&key, Body::Bytes(body.clone()), put).await.unwrap();
    }
}

fn body(txid: u64, epoch: Epoch, previous: &Bytes) -> Bytes {
    slot_body(txid, epoch, Chain::of(previous), [epoch.get() as u8; 16])
}

async fn put(session: &FencedBucket, txid: u64, body: &Bytes) -> Result<bool> {
    let options = PutOptions::new(PutMode::Create);
    let put = session.put(&slot_key(txid), Body::Bytes(body.clone()), options).await?;
    Ok(matches!(put, Put::Stored(_)))
}

async fn get(session: &FencedBucket, txid: u64) -> Result<Option<Bytes>> {
    let found: Option<Object> = session.get(&slot_key(txid), Range::Whole).await?;
    Ok(found.map(|object| object.body))
}

/// A leader with slot 1 confirmed.
async fn leader(world: &World) -> (FencedBucket, Arc<Way>, Epoch, Bytes) {
    let (d, way) = world.session();
    let epoch = d.claim(Epoch::FIRST).await.unwrap();
    assert_eq!(get(&d, 1).await.unwrap(), None);
    let one = body(1, epoch, &Bytes::new());
    assert!(put(&d, 1, &one).await.unwrap());
    (d, way, epoch, one)
}

#[tokio::test]
async fn a_reader_with_an_old_manifest_never_shows_what_came_too_late() {
    let world = World::new();
    let (d, _, old, one) = leader(&world).await;
    let (reader, way) = world.session();
    assert_eq!(get(&reader, 1).await.unwrap(), Some(one.clone()));
    way.is_old.store(true, Ordering::SeqCst);
    let (e, _) = world.session();
    let epoch = e.claim(Epoch::FIRST).await.unwrap();
    assert!(epoch > old);
    assert_eq!(get(&e, 2).await.unwrap(), None);
    let theirs = body(2, epoch, &one);
    assert!(put(&e, 2, &theirs).await.unwrap());
    let late = body(2, old, &one);
    world.arrives(&late, 2, old).await;
    assert!(get(&reader, 2).await.is_err(), "by an old manifest it is the slot");
    way.is_old.store(false, Ordering::SeqCst);
    assert_eq!(get(&reader, 2).await.unwrap(), Some(theirs.clone()));
    // Who sent it hears that it is not the log's.
    assert!(!put(&d, 2, &late).await.unwrap());
    assert_eq!(get(&d, 2).await.unwrap(), Some(theirs));
}

#[tokio::test]
async fn a_start_without_an_answer_leaves_nothing_but_the_same_start() {
    let world = World::new();
    let (_, _, old, one) = leader(&world).await;
    let (e, way) = world.session();
    let epoch = e.claim(Epoch::FIRST).await.unwrap();
    assert_eq!(get(&e, 2).await.unwrap(), None);
    way.holds.store(true, Ordering::SeqCst);
    let ours = body(2, epoch, &one);
    assert!(put(&e, 2, &ours).await.is_err());
    way.holds.store(false, Ordering::SeqCst);
    // What arrives now may be behind the start, and may be in front of it.
    let late = body(2, old, &one);
    world.arrives(&late, 2, old).await;
    assert_eq!(get(&e, 2).await.unwrap_err().kind(), ErrorKind::LeaderUnavailable);
    let after = body(3, epoch, &late);
    assert_eq!(put(&e, 3, &after).await.unwrap_err().kind(), ErrorKind::Fenced);
    let held = std::mem::take(&mut *way.held.lock());
    assert_eq!(held.len(), 1);
    let (epoch_then, bytes, expected) = &held[0];
    way.inner.put("m", *epoch_then, bytes, expected.as_ref()).await.unwrap();
    assert!(put(&e, 2, &ours).await.unwrap());
    let (reader, _) = world.session();
    assert_eq!(get(&reader, 2).await.unwrap(), Some(ours));
}

#[tokio::test]
async fn while_a_claim_is_open_a_slot_is_neither_confirmed_nor_denied_nor_shown() {
    let world = World::new();
    let (d, _, old, one) = leader(&world).await;
    let (dead, _) = world.session();
    dead.claim(Epoch::FIRST).await.unwrap();
    let two = body(2, old, &one);
    for _ in 1..8 {
        assert_eq!(put(&d, 2, &two).await.unwrap_err().kind(), ErrorKind::LeaderUnavailable);
    }
    // Nobody comes: whoever leads has to look for itself.
    assert_eq!(put(&d, 2, &two).await.unwrap_err().kind(), ErrorKind::Fenced);
    let (reader, _) = world.session();
    assert_eq!(get(&reader, 2).await.unwrap_err().kind(), ErrorKind::LeaderUnavailable);
    assert_eq!(get(&reader, 3).await.unwrap(), None);
    let folder = Key::level_prefix(0, "app/", Layout::S3);
    assert_eq!(reader.list(&folder, None).await.unwrap_err().kind(), ErrorKind::LeaderUnavailable);
    // It finds its own slot, and goes on behind it.
    let epoch = d.claim(Epoch::FIRST).await.unwrap();
    assert_eq!(get(&d, 2).await.unwrap(), Some(two.clone()));
    let three = body(3, epoch, &two);
    assert!(!put(&d, 2, &body(2, epoch, &one)).await.unwrap());
    assert!(put(&d, 3, &three).await.unwrap());
    assert_eq!(get(&reader, 2).await.unwrap(), Some(two));
    assert_eq!(get(&reader, 3).await.unwrap(), Some(three));
    assert_eq!(reader.list(&folder, None).await.unwrap().objects.len(), 3);
    // The dead one comes back, and has nothing to say.
    assert_eq!(put(&dead, 2, &body(2, Epoch::new(2).unwrap(), &one)).await.ok(), Some(false));
}

#[tokio::test]
async fn objects_of_an_epoch_that_no_manifest_knows_stop_everybody() {
    let world = World::new();
    let (_, _, _, one) = leader(&world).await;
    let high = Epoch::new(9).unwrap();
    world.arrives(&body(2, high, &one), 2, high).await;
    let (e, _) = world.session();
    assert_eq!(e.claim(Epoch::FIRST).await.unwrap_err().kind(), ErrorKind::Corrupt);
    let folder = Key::level_prefix(0, "app/", Layout::S3);
    assert_eq!(e.list(&folder, None).await.unwrap_err().kind(), ErrorKind::Corrupt);
}
