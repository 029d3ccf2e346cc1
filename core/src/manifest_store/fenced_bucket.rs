use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

use super::fenced_manifest::State;
use super::{ManifestPlace, ManifestPut};
use crate::bucket::{
    Body, Bucket, Delete, Key, Layout, Listing, Object, Put, PutMode, PutOptions, Range, Version,
};
use crate::replication::{Floor, LogManifest};
use crate::types::{Chain, Error, ErrorKind, Result, SessionId};

/// A log in a bucket without conditional writes, as if it had them: a manifest elsewhere decides.
///
/// Code above it creates slots once, raises the floor by version, and reads. Below it, slot N by epoch E is an object
/// of its own, `N-E`, written unconditionally; `LogManifest` says whose slots the log is made of, and holds genesis
/// and floor. What the manifest store must be is said at [`ManifestStore`](super::ManifestStore); of the bucket it is
/// only asked that a read of one object sees every write that finished before, and what an earlier read saw. Listings
/// may lag.
///
/// # Why nothing is lost and nothing is forked
///
/// *Claims.* An epoch is claimed by one compare-and-swap, so no two sessions have the same. An object `N-E` is
/// written only by the session that claimed E (or with its bytes), one slot after the other, each after the one
/// before it was confirmed; so one key has one content, and that `N-E` is there says that all slots before it are.
///
/// *Start.* E starts by a compare-and-swap that takes place only while its claim is the newest entry. Before it, and
/// after the claim, E has looked: slot T, the one before its start, is there by its owner D, slot T+1 is not, and the
/// floor in the very manifest that the swap replaces does not cover T+1, so that the absence is no deletion. Nothing
/// below a start ever changes its owner: later starts are behind it.
///
/// *What counts.* Take an object `N-D`, at or behind the start of D, and a moment m *after* it was there, at which D
/// is the newest entry: started, nothing claimed. Whoever starts later claims after m, looks after that, sees `N-D`
/// (and, as said, all before it), and starts behind N. So `N-D` is slot N for ever. A writer confirms on exactly
/// that, with a linearizable look at the manifest that begins after its PUT has ended; a reader shows an open slot on
/// exactly that, with one that begins after it has read the object. A slot below a later start, or below the floor,
/// needs no second look.
///
/// *While a claim is open* that is not so: its look may have been before `N-D` was there. Then the fate of what is
/// open is told to nobody (`Err`, never "there is none", and never "refused"), until it has started, or another claim
/// took its place: an entry that is not the newest can never start. Only who has the claim itself goes on reading,
/// for its own look is still to come; from the moment that it begins to look, it shows nothing open either.
///
/// *Late deliveries.* A PUT that arrives late writes the same bytes at the same key, or a key that no reader asks
/// for. A late swap of the manifest names a version that is gone. An unanswered start leaves the claim unusable for
/// anything but the same start.
///
/// *Deletions* are only of slots that the manifest's floor covers; those are settled, and no start can be near.
///
/// *Loss of the manifest.* A manifest that is gone or older than the objects breaks all of this. An object of an
/// epoch that no manifest knows, or objects without a manifest, end in `Corrupt`, and nobody leads or follows.
///
/// # The rest
///
/// Files of level 1 and above, and their facts, are a function of the log; their keys end in the hash of the file, so
/// whoever writes a key writes the same bytes, and no order of writes does harm. Of several by one name the newest is
/// shown. A damaged one is not deleted by version, as the port would have it, but written again, for an unconditional
/// delete could arrive after the repair.
pub(crate) struct FencedBucket {
    pub(super) inner: Arc<dyn Bucket>,
    pub(super) place: ManifestPlace,
    pub(super) root: String,
    pub(super) layout: Layout,
    pub(super) session: SessionId,
    pub(super) is_patient: bool,
    pub(super) state: Mutex<State>,
}

/// How often something that others change at the same time is looked at again.
pub(super) const TRIES: u32 = 6;

impl FencedBucket {
    /// The log below `root` of this bucket, fenced by the manifest at this place.
    pub(crate) fn new(inner: Arc<dyn Bucket>, root: String, place: ManifestPlace) -> FencedBucket {
        let layout = inner.layout();
        let session = SessionId::from_bytes(uuid::Uuid::new_v4().into_bytes());
        FencedBucket { inner, place, root, layout, session, is_patient: false, state: Mutex::default() }
    }

    /// The same for somebody who has time: a listing waits ten seconds for a take-over that is under way.
    pub(crate) fn patient(self) -> FencedBucket {
        FencedBucket { is_patient: true, ..self }
    }

    pub(super) fn key(&self, key: &Key) -> String {
        key.path(&self.root, self.layout)
    }

    fn parse(&self, key: &str) -> Result<Key> {
        Key::parse(key, &self.root, self.layout).ok_or_else(|| unexpected(key))
    }

    async fn genesis(&self) -> Result<Option<Object>> {
        let Some(seen) = self.read().await? else {
            self.refuse_loss().await?;
            return Ok(None);
        };
        Ok(seen.manifest.genesis().map(|bytes| whole(bytes.to_vec(), Chain::of(bytes).to_hex())))
    }

    async fn create_genesis(&self, body: Body) -> Result<Put> {
        let Body::Bytes(bytes) = body else { return Err(unexpected("a genesis in a file")) };
        for _ in 0..TRIES {
            // A claim comes before: it has made the manifest.
            let seen = self.must_read().await?;
            if seen.manifest.genesis().is_some() {
                return Ok(Put::Refused);
            }
            self.refuse_plain().await?;
            let next = seen.manifest.with_genesis(&bytes);
            if let ManifestPut::Done(_) = self.swap(Some(&seen), &next).await? {
                self.mark(&next).await?;
                return Ok(Put::Stored(Version(Chain::of(&bytes).to_hex())));
            }
        }
        Err(self.busy())
    }

    async fn floor(&self) -> Result<Option<Object>> {
        let Some(seen) = self.read().await? else { return Ok(None) };
        let floor = seen.manifest.floor();
        Ok((floor != Floor::default()).then(|| whole(floor.encode(), floor_version(floor).0)))
    }

    async fn raise_floor(&self, body: Body, mode: PutMode) -> Result<Put> {
        let Body::Bytes(bytes) = body else { return Err(unexpected("a floor in a file")) };
        let to = Floor::decode(&bytes)?;
        for _ in 0..TRIES {
            let seen = self.must_read().await?;
            let there = seen.manifest.floor();
            let holds = match &mode {
                PutMode::Create => there == Floor::default(),
                PutMode::Replace(version) => floor_version(there) == *version,
                PutMode::Overwrite => true,
            };
            if !holds || to < there {
                return Ok(Put::Refused);
            }
            let next = seen.manifest.with_floor(to);
            if let ManifestPut::Done(_) = self.swap(Some(&seen), &next).await? {
                return Ok(Put::Stored(floor_version(to)));
            }
        }
        Err(self.busy())
    }

    /// Says in the bucket that the log is fenced by a manifest, and who it is once that is known. For people, and
    /// for those who come without the manifest; nothing is decided by it.
    pub(super) async fn mark(&self, manifest: &LogManifest) -> Result<()> {
        let mark = Mark {
            haqlite: 1,
            manifest: self.place.key.clone(),
            genesis: manifest.genesis().map(|bytes| String::from_utf8_lossy(bytes).into_owned()),
        };
        let key = self.key(&Key::Fence);
        let there = self.inner.get(&key, Range::Whole).await?;
        let there = there.and_then(|object| serde_json::from_slice::<Mark>(&object.body).ok());
        if there.is_some_and(|there| there.genesis.is_some() || mark.genesis.is_none()) {
            return Ok(());
        }
        let body = serde_json::to_vec(&mark)
            .map_err(|e| Error::new(ErrorKind::Internal, "a mark cannot be written").with_source(e))?;
        self.inner.put(&key, Body::Bytes(body.into()), PutOptions::new(PutMode::Overwrite)).await?;
        Ok(())
    }

    /// There is no manifest. `Corrupt` if the bucket shows that there was one.
    pub(super) async fn refuse_loss(&self) -> Result<()> {
        let mark = self.inner.get(&self.key(&Key::Fence), Range::Whole).await?;
        let mark = mark.and_then(|object| serde_json::from_slice::<Mark>(&object.body).ok());
        let known = mark.is_some_and(|mark| mark.genesis.is_some());
        if known || !self.inner.list(&Key::fenced_prefix(&self.root), None).await?.objects.is_empty() {
            // Perhaps it was made between the two looks.
            return match self.place.store.read(&self.place.key).await? {
                None => Err(self.lost("it is not there")),
                Some(_) => Err(self.busy()),
            };
        }
        Ok(())
    }

    pub(super) fn lost(&self, how: &str) -> Error {
        let message = format!(
            "the manifest {} in {} has lost what was stored there: {how}. It says which slots of {} are the log's, so \
             nobody can lead or follow: bring back the newest manifest",
            self.place.key,
            self.place.store.describe(),
            self.inner.describe()
        );
        Error::corrupt(message)
    }

    pub(super) fn busy(&self) -> Error {
        let message = format!("others change the manifest {} at the same time", self.place.key);
        Error::new(ErrorKind::StoreUnavailable, message)
    }
}

/// What lies in the bucket of a log that is fenced by a manifest.
#[derive(serde::Serialize, serde::Deserialize)]
struct Mark {
    haqlite: u32,
    /// The manifest's key.
    manifest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    genesis: Option<String>,
}

fn whole(body: Vec<u8>, version: String) -> Object {
    let size = body.len() as u64;
    Object { body: body.into(), version: Version(version), size, last_modified_ms: 0 }
}

fn floor_version(floor: Floor) -> Version {
    Version(format!("floor {}", floor.0))
}

pub(super) fn unexpected(what: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("nothing is known to be done with {what} in a fenced log"))
}

#[async_trait]
impl Bucket for FencedBucket {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn layout(&self) -> Layout {
        self.layout
    }

    async fn get(&self, key: &str, range: Range) -> Result<Option<Object>> {
        match self.parse(key)? {
            Key::Genesis => Ok(self.genesis().await?.map(|object| part(object, range))),
            Key::Floor => Ok(self.floor().await?.map(|object| part(object, range))),
            Key::File { level: 0, min, max } if min == max => self.get_slot(min, range).await,
            Key::File { level: 0, .. } => Ok(None),
            key @ (Key::File { .. } | Key::Facts { .. }) => self.get_copy(&key, range).await,
            _ => self.inner.get(key, range).await,
        }
    }

    async fn put(&self, key: &str, body: Body, options: PutOptions) -> Result<Put> {
        match self.parse(key)? {
            Key::Genesis => self.create_genesis(body).await,
            Key::Floor => self.raise_floor(body, options.mode).await,
            Key::File { level: 0, min, max } if min == max => self.put_slot(min, body, options).await,
            key @ (Key::File { level: 1.., .. } | Key::Facts { .. }) => {
                self.put_copy(&key, body, options).await
            }
            // Nobody else has its name.
            Key::Probe(_) => {
                let options = PutOptions { mode: PutMode::Overwrite, ..options };
                self.inner.put(key, body, options).await
            }
            _ => Err(unexpected(key)),
        }
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Listing> {
        if prefix == Key::level_prefix(0, &self.root, self.layout) {
            return self.list_slots(start_after).await;
        }
        self.list_copies(prefix, start_after).await
    }

    async fn delete(&self, key: &str, version: Option<&Version>) -> Result<Delete> {
        match self.parse(key)? {
            Key::File { level: 0, min, max } if min == max => self.delete_slot(min).await,
            key @ (Key::File { level: 1.., .. } | Key::Facts { .. }) => match version {
                Some(_) => self.give_up(&key).await,
                None => self.delete_copies(&key).await,
            },
            Key::Probe(_) => self.inner.delete(key, None).await,
            _ => Err(unexpected(key)),
        }
    }

    async fn now_ms(&self) -> Result<i64> {
        self.inner.now_ms().await
    }
}

fn part(object: Object, range: Range) -> Object {
    let size = object.size;
    let (from, to) = match range {
        Range::Whole => (0, size),
        Range::Part { offset, length } => (offset.min(size), offset.saturating_add(length).min(size)),
        Range::Last(length) => (size.saturating_sub(length), size),
    };
    let body: Bytes = object.body.slice(from as usize..to.max(from) as usize);
    Object { body, ..object }
}
