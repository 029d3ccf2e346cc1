use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::blocking::blocking;
use super::clock::{Clock, process_clock};
use super::{
    Body, Bucket, Delete, Layout, Listed, Listing, Object, PAGE, Put, PutMode, PutOptions, Range, Version,
    covered,
};
use crate::types::{Error, Result};

/// A bucket in the memory of this process, for tests and for trying things out. Clones share it. What it
/// holds is gone with the process.
#[derive(Clone)]
pub struct MemoryBucket {
    name: Arc<str>,
    layout: Layout,
    clock: Clock,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Stored>,
    versions: u64,
}

#[derive(Clone)]
struct Stored {
    body: Bytes,
    version: Version,
    modified_ms: i64,
}

impl MemoryBucket {
    /// An empty bucket that names files as directories do.
    pub fn new() -> MemoryBucket {
        MemoryBucket::with_layout(Layout::Directory)
    }

    /// An empty bucket that names files in this way.
    pub fn with_layout(layout: Layout) -> MemoryBucket {
        MemoryBucket { name: "".into(), layout, clock: process_clock(), state: Arc::default() }
    }

    /// The same bucket by a clock that the caller moves: milliseconds since 1970.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> i64 + Send + Sync + 'static) -> MemoryBucket {
        self.clock = Arc::new(clock);
        self
    }

    /// The same bucket under a name for people.
    pub(super) fn named(mut self, name: &str) -> MemoryBucket {
        self.name = name.into();
        self
    }
}

impl Default for MemoryBucket {
    fn default() -> MemoryBucket {
        MemoryBucket::new()
    }
}

#[async_trait]
impl Bucket for MemoryBucket {
    fn describe(&self) -> String {
        format!("memory://{}", self.name)
    }

    fn layout(&self) -> Layout {
        self.layout
    }

    async fn get(&self, key: &str, range: Range) -> Result<Option<Object>> {
        let Some(stored) = self.state.lock().objects.get(key).cloned() else {
            return Ok(None);
        };
        let size = stored.body.len() as u64;
        let part = covered(range, size);
        Ok(Some(Object {
            body: stored.body.slice(part.start as usize..part.end as usize),
            version: stored.version,
            size,
            last_modified_ms: stored.modified_ms,
        }))
    }

    async fn put(&self, key: &str, body: Body, options: PutOptions) -> Result<Put> {
        let body = match body {
            // A copy, so that a small slice does not keep a large buffer alive.
            Body::Bytes(bytes) => Bytes::copy_from_slice(&bytes),
            Body::File(path) => {
                let read = move || {
                    std::fs::read(&path).map_err(|e| Error::io(format!("read {}", path.display()), e))
                };
                blocking(read).await?.into()
            }
        };
        let modified_ms = (self.clock)();
        let mut state = self.state.lock();
        let present = state.objects.get(key).map(|stored| &stored.version);
        let allowed = match &options.mode {
            PutMode::Create => present.is_none(),
            PutMode::Replace(version) => present == Some(version),
            PutMode::Overwrite => true,
        };
        if !allowed {
            return Ok(Put::Refused);
        }
        state.versions += 1;
        let version = Version(state.versions.to_string());
        state.objects.insert(key.to_owned(), Stored { body, version: version.clone(), modified_ms });
        Ok(Put::Stored(version))
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Listing> {
        let state = self.state.lock();
        let from = match start_after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut rest = state
            .objects
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, stored)| Listed {
                key: key.clone(),
                size: stored.body.len() as u64,
                last_modified_ms: stored.modified_ms,
            });
        let objects: Vec<Listed> = rest.by_ref().take(PAGE).collect();
        let more = rest.next().is_some();
        Ok(Listing { objects, more })
    }

    async fn delete(&self, key: &str, version: Option<&Version>) -> Result<Delete> {
        let mut state = self.state.lock();
        match (state.objects.get(key), version) {
            (Some(stored), Some(version)) if stored.version != *version => Ok(Delete::Refused),
            _ => {
                state.objects.remove(key);
                Ok(Delete::Gone)
            }
        }
    }

    async fn now_ms(&self) -> Result<i64> {
        Ok((self.clock)())
    }
}
