use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::object_reader::persistently;
use super::patience::body_bytes;
pub(super) use super::patience::{limited, limited_for};
use crate::bucket::{Body, Bucket, Key, Layout, Put, PutMode, PutOptions, Range};
use crate::ltx::{Decoder, Header, IndexStore};
use crate::manifest_store::FencedBucket;
use crate::replication::{Facts, Floor, Genesis, LogFile, PutAnswer, SlotFacts};
use crate::types::{Chain, Epoch, Error, ErrorKind, Result, Txid};

/// The log in its bucket: slots, genesis, floor. Reads and writes objects, decides nothing.
#[derive(Clone)]
pub(crate) struct Log {
    bucket: Arc<dyn Bucket>,
    root: String,
    layout: Layout,
    /// Where large objects are staged.
    staging: PathBuf,
    /// The bucket once more, if the log is fenced by a manifest.
    fence: Option<Arc<FencedBucket>>,
}

/// A slot's file, fetched, with what its header and hash say.
#[derive(Debug)]
pub(crate) struct SlotFile {
    /// What it is.
    pub(crate) facts: SlotFacts,
    /// Its header.
    pub(crate) header: Header,
    /// Its bytes.
    pub(crate) body: Fetched,
}

/// The bytes of an object: in memory if it is small, in a staging file that goes with this value if not.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// All bytes.
    Memory(Bytes),
    /// The staging file and its size.
    Staged(Staged, u64),
}

/// A staging file, deleted when this value goes.
#[derive(Debug)]
pub(crate) struct Staged(PathBuf);

/// Objects above this size are fetched in pieces of this size into a file.
const PIECE: u64 = 8 << 20;

impl Log {
    /// The log below `root` (empty, or ending in a slash). Large objects are staged in a folder that exists.
    pub(crate) fn new(bucket: Arc<dyn Bucket>, root: String, staging: PathBuf) -> Log {
        let layout = bucket.layout();
        Log { bucket, root, layout, staging, fence: None }
    }

    /// The log of a node, whose promotions claim epochs in the manifest, if there is one.
    pub(super) fn fenced_by(self, fence: Option<Arc<FencedBucket>>) -> Log {
        Log { fence, ..self }
    }

    /// Begins a promotion: the epoch that it is to be, at least this one. In a log that is fenced by a manifest it is
    /// claimed there before the log is read, so that what is read is what the first slot will follow.
    pub(super) async fn claim(&self, at_least: Epoch) -> Result<Epoch> {
        match &self.fence {
            Some(fence) => limited(fence.claim(at_least)).await,
            None => Ok(at_least),
        }
    }

    /// Whether a promotion cannot choose a higher epoch by itself: it has claimed one.
    pub(super) fn is_fenced(&self) -> bool {
        self.fence.is_some()
    }

    /// The log's name for people.
    pub(crate) fn describe(&self) -> String {
        format!("{} at {:?}", self.bucket.describe(), self.root)
    }

    /// The genesis object; `None` if there is none yet.
    pub(crate) async fn genesis(&self) -> Result<Option<Genesis>> {
        let object = limited(self.bucket.get(&self.key(&Key::Genesis), Range::Whole)).await?;
        object.map(|object| Genesis::decode(&object.body)).transpose()
    }

    /// Creates the genesis. `Refused` if there is another one; the same one counts as created.
    pub(crate) async fn create_genesis(&self, genesis: &Genesis) -> Result<PutAnswer> {
        // Before, so that nothing is left in a log that is fenced already, and after.
        self.refuse_fence().await?;
        let body = Body::Bytes(genesis.encode().into());
        let put = limited(self.bucket.put(&self.key(&Key::Genesis), body, PutOptions::new(PutMode::Create)))
            .await?;
        match put {
            Put::Stored(_) => self.refuse_fence().await.map(|()| PutAnswer::Stored),
            Put::Refused => match self.genesis().await? {
                Some(there) if there == *genesis => self.refuse_fence().await.map(|()| PutAnswer::Stored),
                Some(_) => Ok(PutAnswer::Refused),
                None => Ok(PutAnswer::Ambiguous),
            },
        }
    }

    /// Refuses to found a log where somebody begins one at the same time that is fenced by a manifest: both write,
    /// then look for the other.
    async fn refuse_fence(&self) -> Result<()> {
        if self.fence.is_some()
            || self.part(&Key::Fence, Range::Part { offset: 0, length: 1 }).await?.is_none()
        {
            return Ok(());
        }
        let message = format!("{} is fenced by a manifest, which this node does not have", self.describe());
        Err(Error::new(ErrorKind::StoreUnfit, message))
    }

    /// The floor; 0 if it was never raised.
    pub(crate) async fn floor(&self) -> Result<Floor> {
        let object = limited(self.bucket.get(&self.key(&Key::Floor), Range::Whole)).await?;
        object.map_or(Ok(Floor::default()), |object| Floor::decode(&object.body))
    }

    /// The slot, whole; `None` if there is no such object.
    pub(crate) async fn slot(&self, txid: Txid) -> Result<Option<SlotFile>> {
        let key = self.key(&Key::slot(txid));
        let Some(body) = self.fetch_key(&key).await? else { return Ok(None) };
        let header = Decoder::new(body.reader()?)
            .map_err(|e| e.context(format_args!("slot {txid}")))?
            .header()
            .clone();
        if header.min != txid || header.max != txid {
            return Err(Error::corrupt(format!("the file of slot {txid} holds another slot")));
        }
        let chain = body.chain()?;
        let facts = match header.origin {
            Some(o) => SlotFacts { txid, chain, previous: o.previous, epoch: o.epoch, session: o.session },
            None => SlotFacts { txid, chain, previous: Chain::ZERO, epoch: Epoch::ZERO, session: [0; 6] },
        };
        Ok(Some(SlotFile { facts, header, body }))
    }

    /// Creates the slot. Only `Stored` and `Refused` are definite; the error says what was ambiguous.
    pub(crate) async fn create_slot(
        &self,
        txid: Txid,
        body: Body,
        timestamp_ms: i64,
    ) -> (PutAnswer, Option<Error>) {
        let options = PutOptions { mode: PutMode::Create, timestamp_ms: Some(timestamp_ms), in_parts: false };
        let (bytes, key) = (body_bytes(&body), self.key(&Key::slot(txid)));
        match limited_for(bytes, self.bucket.put(&key, body, options)).await {
            Ok(Put::Stored(_)) => (PutAnswer::Stored, None),
            Ok(Put::Refused) => (PutAnswer::Refused, None),
            Err(error) => (PutAnswer::Ambiguous, Some(error)),
        }
    }

    /// Creates an object that no other call names, deletes it, and reads: this node can do now what a leader
    /// has to. A crash leaves a few bytes below `_probe/`.
    pub(crate) async fn prove(&self, name: String) -> Result<()> {
        let key = self.key(&Key::Probe(name));
        let body = Body::Bytes(Bytes::from_static(b"proof"));
        let Put::Stored(version) =
            limited(self.bucket.put(&key, body, PutOptions::new(PutMode::Create))).await?
        else {
            return Err(Error::new(ErrorKind::StoreUnfit, format!("{key} exists, which nobody created")));
        };
        if let Err(error) = limited(self.bucket.delete(&key, Some(&version))).await {
            tracing::debug!(%error, "a proof stays behind");
        }
        self.floor().await.map(drop)
    }

    /// What is kept beside the file; `None` for a slot, and for a file of another tool.
    pub(crate) async fn facts(&self, file: &LogFile) -> Result<Option<Facts>> {
        if file.level == 0 {
            return Ok(None);
        }
        let key = self.key(&Key::Facts { level: file.level, min: file.min, max: file.max });
        let object = limited(self.bucket.get(&key, Range::Whole)).await?;
        object.map(|object| Facts::decode(&object.body)).transpose()
    }

    /// Every file of the log above the floor: compactions and snapshots first, slots last, so that a slot
    /// that was compacted meanwhile is not missed. A request that fails is made again some times.
    pub(crate) async fn list(&self) -> Result<Vec<LogFile>> {
        let mut files = Vec::new();
        for level in (0..=9).rev() {
            files.extend(self.list_level(level, Txid::ZERO).await?);
        }
        let floor = persistently(|| self.floor()).await?;
        files.retain(|file| file.level > 0 || !floor.covers(file.max));
        Ok(files)
    }

    /// The files of a level that begin after this slot, also slots below the floor.
    pub(crate) async fn list_level(&self, level: u8, after: Txid) -> Result<Vec<LogFile>> {
        Ok(self.list_folder(level, after).await?.into_iter().filter_map(|(_, file)| file).collect())
    }

    /// Every object in the folder of a level beyond this slot, by key, with the file that it is.
    pub(super) async fn list_folder(&self, level: u8, after: Txid) -> Result<Vec<(String, Option<LogFile>)>> {
        let prefix = Key::level_prefix(level, &self.root, self.layout);
        let last = Key::File { level, min: after, max: Txid::new(u64::MAX) };
        let mut after = Some(self.key(&last)).filter(|_| after > Txid::ZERO);
        let mut found = Vec::new();
        loop {
            let request = || limited(self.bucket.list(&prefix, after.as_deref()));
            let page = persistently(request).await?;
            after = page.objects.last().map(|object| object.key.clone());
            for object in page.objects {
                let file = match Key::parse_file(&object.key, level, &self.root, self.layout) {
                    Some(Key::File { level, min, max }) => {
                        let (size, modified_ms) = (object.size, object.last_modified_ms);
                        Some(LogFile { level, min, max, size, modified_ms })
                    }
                    _ => None,
                };
                found.push((object.key, file));
            }
            if !page.more || after.is_none() {
                return Ok(found);
            }
        }
    }

    /// All facts, named as the files that they are kept beside, with their own sizes and times.
    pub(super) async fn list_facts(&self) -> Result<Vec<LogFile>> {
        let prefix = Key::facts_prefix(&self.root);
        let (mut after, mut found) = (None::<String>, Vec::new());
        loop {
            let request = || limited(self.bucket.list(&prefix, after.as_deref()));
            let page = persistently(request).await?;
            after = page.objects.last().map(|object| object.key.clone());
            found.extend(page.objects.into_iter().filter_map(|object| {
                match Key::parse(&object.key, &self.root, self.layout) {
                    Some(Key::Facts { level, min, max }) => {
                        let (size, modified_ms) = (object.size, object.last_modified_ms);
                        Some(LogFile { level, min, max, size, modified_ms })
                    }
                    _ => None,
                }
            }));
            if !page.more || after.is_none() {
                return Ok(found);
            }
        }
    }

    /// The keys of objects below the root that are no part of a log, as many as `most`. Where the root is
    /// empty, only those in the folders of the levels: others belong to somebody else.
    pub(super) async fn unknown_keys(&self, most: usize) -> Result<Vec<String>> {
        let level = |level| Key::level_prefix(level, &self.root, self.layout);
        let folders =
            if self.root.is_empty() { (0..=9).map(level).collect() } else { vec![self.root.clone()] };
        let mut unknown = Vec::new();
        for prefix in folders {
            let mut after: Option<String> = None;
            loop {
                let page = persistently(|| limited(self.bucket.list(&prefix, after.as_deref()))).await?;
                after = page.objects.last().map(|object| object.key.clone());
                let keys = page.objects.into_iter().map(|object| object.key);
                unknown.extend(keys.filter(|key| Key::parse(key, &self.root, self.layout).is_none()));
                if !page.more || after.is_none() || unknown.len() >= most {
                    break;
                }
            }
        }
        unknown.truncate(most);
        Ok(unknown)
    }

    /// The slot as a listing would name it; `None` if there is no such object.
    pub(super) async fn slot_name(&self, txid: Txid) -> Result<Option<LogFile>> {
        let key = self.key(&Key::slot(txid));
        let first = Range::Part { offset: 0, length: 1 };
        let object = limited(self.bucket.get(&key, first)).await?;
        Ok(object.map(|object| LogFile {
            level: 0,
            min: txid,
            max: txid,
            size: object.size,
            modified_ms: object.last_modified_ms,
        }))
    }

    /// The first slot beyond `txid` that a listing shows: one request.
    pub(crate) async fn first_slot_after(&self, txid: Txid) -> Result<Option<Txid>> {
        let prefix = Key::level_prefix(0, &self.root, self.layout);
        let page = limited(self.bucket.list(&prefix, Some(&self.key(&Key::slot(txid))))).await?;
        let slots = page.objects.iter().filter_map(|object| {
            match Key::parse_file(&object.key, 0, &self.root, self.layout)? {
                Key::File { min, max, .. } if min > txid && min == max => Some(min),
                _ => None,
            }
        });
        Ok(slots.min())
    }

    async fn fetch_key(&self, key: &str) -> Result<Option<Fetched>> {
        let range = Range::Part { offset: 0, length: PIECE };
        let Some(first) = limited_for(PIECE, self.bucket.get(key, range)).await? else { return Ok(None) };
        if first.body.len() as u64 == first.size {
            return Ok(Some(Fetched::Memory(first.body)));
        }
        let staged = Staged(self.staging_file("fetch"));
        let doing = || format!("staging {key}");
        let mut file = File::create(&staged.0).map_err(|e| Error::io(doing(), e))?;
        write(&mut file, &first.body).map_err(|e| Error::io(doing(), e))?;
        let mut offset = first.body.len() as u64;
        while offset < first.size {
            let range = Range::Part { offset, length: PIECE };
            let part = limited_for(PIECE, self.bucket.get(key, range))
                .await?
                .filter(|part| part.version == first.version);
            let Some(part) = part.filter(|part| !part.body.is_empty()) else {
                let message = format!("{key} changed while it was read");
                return Err(Error::new(ErrorKind::StoreUnavailable, message));
            };
            write(&mut file, &part.body).map_err(|e| Error::io(doing(), e))?;
            offset += part.body.len() as u64;
        }
        Ok(Some(Fetched::Staged(staged, offset)))
    }

    /// A part of an object; `None` if there is none.
    pub(super) async fn part(&self, key: &Key, range: Range) -> Result<Option<Bytes>> {
        Ok(limited(self.bucket.get(&self.key(key), range)).await?.map(|object| object.body))
    }

    /// The bucket.
    pub(super) fn bucket(&self) -> &Arc<dyn Bucket> {
        &self.bucket
    }

    /// The key of a file of a listing.
    pub(super) fn file_key(&self, file: &LogFile) -> String {
        self.key(&Key::File { level: file.level, min: file.min, max: file.max })
    }

    /// Fails with `LimitExceeded` unless the disk has twice this room: what is staged lies beside the database, and
    /// must not take the last room from it. A disk that cannot be asked is taken at its word.
    pub(super) fn require_room(&self, bytes: u64) -> Result<()> {
        let folder = if self.staging.as_os_str().is_empty() { Path::new(".") } else { &self.staging };
        let Ok(disk) = rustix::fs::statvfs(folder) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free / 2 >= bytes {
            return Ok(());
        }
        let message = format!(
            "{} has {free} bytes left, and a file of up to {bytes} is to be made there: twice as much has to be free",
            folder.display()
        );
        Err(Error::new(ErrorKind::LimitExceeded, message))
    }

    /// A path for something that goes with its owner.
    pub(super) fn staging_file(&self, what: &str) -> PathBuf {
        // Never one that an earlier handle of this process has: what that had running may end later.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        self.staging.join(format!(".{what}-{}-{number}", std::process::id()))
    }

    /// Where an object of the log is.
    pub(super) fn key(&self, key: &Key) -> String {
        key.path(&self.root, self.layout)
    }
}

/// Writes while the runtime's other tasks go on elsewhere: a slow disk must not delay a renewal of the lease.
fn write(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    tokio::task::block_in_place(|| file.write_all(bytes))
}

impl Staged {
    /// The staging file at this path, which this value deletes when it goes.
    pub(crate) fn new(path: PathBuf) -> Staged {
        Staged(path)
    }

    /// The path.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0
    }

    /// A new file there, without a name: it goes with its handle, whatever happens to this process.
    pub(crate) fn open_unnamed(self) -> io::Result<Box<dyn IndexStore>> {
        let file = File::options().create_new(true).read(true).write(true).open(&self.0)?;
        std::fs::remove_file(&self.0)?;
        Ok(Box::new(file))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What stays behind is cleared at the next open.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Fetched {
    /// Bytes.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Fetched::Memory(bytes) => bytes.len() as u64,
            Fetched::Staged(_, size) => *size,
        }
    }

    /// A reader from the first byte on.
    pub(crate) fn reader(&self) -> Result<FetchedReader> {
        match self {
            Fetched::Memory(bytes) => Ok(FetchedReader::Memory(io::Cursor::new(bytes.clone()))),
            Fetched::Staged(staged, _) => {
                let file = File::open(&staged.0).map_err(|e| Error::io("opening a staging file", e))?;
                Ok(FetchedReader::File(file))
            }
        }
    }

    fn chain(&self) -> Result<Chain> {
        match self {
            Fetched::Memory(bytes) => Ok(Chain::of(bytes)),
            Fetched::Staged(..) => {
                let mut hasher = blake3::Hasher::new();
                let mut reader = self.reader()?;
                tokio::task::block_in_place(|| io::copy(&mut reader, &mut hasher))
                    .map_err(|e| Error::io("reading a staging file", e))?;
                Ok(Chain::from_hash(hasher.finalize()))
            }
        }
    }
}

/// Reads what was fetched.
#[derive(Debug)]
pub(crate) enum FetchedReader {
    /// From memory.
    Memory(io::Cursor<Bytes>),
    /// From a staging file.
    File(File),
}

impl Read for FetchedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            FetchedReader::Memory(bytes) => bytes.read(buffer),
            FetchedReader::File(file) => file.read(buffer),
        }
    }
}
