use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::OnceCell;

use super::log::limited;
use super::node::NodeOptions;
use super::object_reader::persistently;
use crate::bucket::{
    Body, Bucket, Delete, Fitness, Key, Layout, Listing, Object, Put, PutOptions, Range, Version, fitness,
    join_all, probe,
};
use crate::manifest_store::{FencedBucket, ManifestPlace, ManifestPut};
use crate::types::{Epoch, Error, ErrorKind, Result};

/// What makes sure that a slot of a log is created once. It is chosen when the log is founded, and stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Footing {
    /// The bucket's conditional writes.
    Conditions,
    /// A manifest in another store, for a bucket that has none.
    Manifest,
}

/// How often others may change the probe's manifest at the same time.
const TRIES: u32 = 10;
/// Of so many that replace the probe's manifest at one time one wins, in so many rounds.
const RACERS: usize = 6;
const ROUNDS: u32 = 2;

/// On what the log of these options stands: what was found out `before` about the store, or what the log was begun
/// with, or what the probe says.
///
/// `StoreUnfit` names the promise that the store breaks and the way out, `InvalidConfig` a manifest that is missing.
pub(super) async fn choose_footing(options: &NodeOptions, before: Option<Footing>) -> Result<Footing> {
    let (bucket, root) = (&*options.bucket, &options.root);
    match (before, &options.manifest) {
        (Some(Footing::Manifest), None) => return Err(manifest_is_missing(bucket, root)),
        (Some(Footing::Manifest), Some(_)) => return Ok(Footing::Manifest),
        (Some(Footing::Conditions) | None, _) => {}
    }
    let is_fenced = match (before, has(bucket, &Key::Fence, root).await) {
        // What is known of the store says nothing of the log: that one may be fenced all the same. A bucket that is
        // away is met later.
        (Some(Footing::Conditions), Ok(false)) => return Ok(Footing::Conditions),
        (Some(Footing::Conditions), Err(error)) if error.kind() == ErrorKind::StoreUnavailable => {
            return Ok(Footing::Conditions);
        }
        (_, is_fenced) => is_fenced?,
    };
    let Some(place) = &options.manifest else {
        if is_fenced {
            return Err(manifest_is_missing(bucket, root));
        }
        return match probe(bucket, root).await {
            Ok(()) => Ok(Footing::Conditions),
            Err(broken) if broken.kind() == ErrorKind::StoreUnfit => Err(no_manifest(&broken)),
            Err(error) => Err(error),
        };
    };
    let broken = match fitness(bucket, root).await? {
        Fitness::Conditional if is_fenced => None,
        Fitness::Conditional => return Ok(Footing::Conditions),
        Fitness::Plain(broken) => Some(broken),
    };
    if let Some(broken) = broken
        && has(bucket, &Key::Genesis, root).await?
    {
        let why = "the log was begun on conditional writes, and cannot get a manifest";
        return Err(Error::new(ErrorKind::StoreUnfit, format!("{}; {why}", broken.message())));
    }
    probe_manifest(place, &Key::Probe("manifest".to_owned()).path(root, bucket.layout())).await?;
    Ok(Footing::Manifest)
}

/// The bucket as a tool reads it that is no node: through the manifest, if the log is fenced by one.
///
/// `InvalidConfig` if it is and there is none: without it nobody knows which slots are the log's.
pub(crate) async fn bucket_of_log(
    bucket: Arc<dyn Bucket>,
    root: &str,
    manifest: Option<ManifestPlace>,
) -> Result<Arc<dyn Bucket>> {
    let is_fenced = persistently(|| has(&*bucket, &Key::Fence, root)).await?;
    through(is_fenced, bucket, root, manifest)
}

fn through(
    is_fenced: bool,
    bucket: Arc<dyn Bucket>,
    root: &str,
    manifest: Option<ManifestPlace>,
) -> Result<Arc<dyn Bucket>> {
    match (is_fenced, manifest) {
        (false, _) => Ok(bucket),
        (true, None) => Err(manifest_is_missing(&*bucket, root)),
        (true, Some(place)) => Ok(Arc::new(FencedBucket::new(bucket, root.to_owned(), place).patient())),
    }
}

/// The same, where that is found out at the first request that is answered: a copy that exists goes on although the
/// bucket is away.
pub(crate) fn bucket_of_log_later(
    bucket: Arc<dyn Bucket>,
    root: &str,
    manifest: Option<ManifestPlace>,
) -> Arc<dyn Bucket> {
    Arc::new(Later { bucket, root: root.to_owned(), manifest, found: OnceCell::new() })
}

struct Later {
    bucket: Arc<dyn Bucket>,
    root: String,
    manifest: Option<ManifestPlace>,
    found: OnceCell<Arc<dyn Bucket>>,
}

impl Later {
    async fn found(&self) -> Result<&Arc<dyn Bucket>> {
        let find = || async {
            let is_fenced = has(&*self.bucket, &Key::Fence, &self.root).await?;
            through(is_fenced, Arc::clone(&self.bucket), &self.root, self.manifest.clone())
        };
        self.found.get_or_try_init(find).await
    }
}

#[async_trait]
impl Bucket for Later {
    fn describe(&self) -> String {
        self.bucket.describe()
    }
    fn layout(&self) -> Layout {
        self.bucket.layout()
    }
    async fn get(&self, key: &str, range: Range) -> Result<Option<Object>> {
        self.found().await?.get(key, range).await
    }
    async fn put(&self, key: &str, body: Body, options: PutOptions) -> Result<Put> {
        self.found().await?.put(key, body, options).await
    }
    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Listing> {
        self.found().await?.list(prefix, start_after).await
    }
    async fn delete(&self, key: &str, version: Option<&Version>) -> Result<Delete> {
        self.found().await?.delete(key, version).await
    }
    async fn now_ms(&self) -> Result<i64> {
        self.found().await?.now_ms().await
    }
}

async fn has(bucket: &dyn Bucket, key: &Key, root: &str) -> Result<bool> {
    let first = Range::Part { offset: 0, length: 1 };
    Ok(limited(bucket.get(&key.path(root, bucket.layout()), first)).await?.is_some())
}

/// Makes sure that the manifest is in a store that compares before it swaps: not in the bucket that does not. Leaves
/// one small manifest at the key.
async fn probe_manifest(place: &ManifestPlace, key: &str) -> Result<()> {
    let store = &place.store;
    let name = uuid::Uuid::new_v4();
    let mut rounds = 0;
    for _ in 0..TRIES {
        let before = limited(store.read(key)).await?;
        let version = before.as_ref().map(|manifest| &manifest.version);
        let epoch = before.as_ref().map_or(Epoch::FIRST, |manifest| manifest.epoch);
        // At one time, for a store that reads, compares and then writes is right one by one.
        let racers = (0..RACERS).map(|racer| async move {
            limited(store.put(key, epoch, format!("{name} {racer}").as_bytes(), version)).await
        });
        let answers = join_all(racers).await.into_iter().collect::<Result<Vec<_>>>()?;
        match answers.iter().filter(|answer| matches!(answer, ManifestPut::Done(_))).count() {
            0 => continue,
            1 => rounds += 1,
            winners => {
                let message = format!(
                    "{} cannot keep the manifest: of {RACERS} that replace one version exactly one wins ({winners} did)",
                    store.describe()
                );
                return Err(Error::new(ErrorKind::StoreUnfit, message));
            }
        }
        if rounds == ROUNDS {
            return Ok(());
        }
    }
    let message = format!("others change {key} in {} at the same time", store.describe());
    Err(Error::new(ErrorKind::StoreUnavailable, message))
}

fn no_manifest(broken: &Error) -> Error {
    let message = format!(
        "{}; such a store can keep a log that is fenced by a manifest in another store: name one with \
         `.manifest_store(store)`, or set HAQLITE_MANIFEST_URL",
        broken.message()
    );
    Error::new(ErrorKind::StoreUnfit, message)
}

fn manifest_is_missing(bucket: &dyn Bucket, root: &str) -> Error {
    let message = format!(
        "the log at {root:?} of {} is fenced by a manifest in another store, and nobody can tell its slots without \
         it: name that store with `.manifest_store(store)`, or set HAQLITE_MANIFEST_URL",
        bucket.describe()
    );
    Error::new(ErrorKind::InvalidConfig, message)
}
