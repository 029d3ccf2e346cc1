use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Body, Bucket, Delete, Layout, Listing, Object, Put, PutMode, PutOptions, Range, Version};
use crate::types::{Error, ErrorKind, Outcome, Result};

/// Most calls that are held at one time.
const HELD: usize = 1024;

/// A bucket in which things go wrong: a decorator for tests. Clones share the script and what is held.
///
/// Before each call the script says what becomes of it.
#[derive(Clone)]
pub struct FaultyBucket<B> {
    inner: B,
    script: Arc<dyn Fn(&Call<'_>) -> Fault + Send + Sync>,
    held: Arc<Mutex<Vec<Held>>>,
    listings: Arc<Mutex<BTreeMap<Page, Listing>>>,
}

/// The prefix and the key after which a listing begins.
type Page = (String, Option<String>);

/// A call that is about to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call<'a> {
    /// [`Bucket::get`].
    Get {
        /// Of this object.
        key: &'a str,
    },
    /// [`Bucket::put`].
    Put {
        /// Of this object.
        key: &'a str,
        /// On this condition.
        mode: &'a PutMode,
    },
    /// [`Bucket::list`].
    List {
        /// Of the keys that begin with this.
        prefix: &'a str,
    },
    /// [`Bucket::delete`].
    Delete {
        /// Of this object.
        key: &'a str,
    },
    /// [`Bucket::now_ms`].
    Now,
}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing goes wrong.
    None,
    /// It fails and never takes place.
    Refuse,
    /// It takes place and the answer is lost: the caller gets an error.
    LoseAnswer,
    /// The caller gets an error; the put or delete takes place at [`FaultyBucket::release`]. Other calls
    /// fail.
    Hold,
    /// It takes place so much later, and the caller waits for it.
    Delay(Duration),
    /// A get answers with no more than so many bytes of the body; any other call goes through.
    Truncate(usize),
    /// A listing answers as it did the last time, nothing the first time; any other call goes through.
    Stale,
}

enum Held {
    Put(String, Body, PutOptions),
    Delete(String, Option<Version>),
}

impl<B: Bucket> FaultyBucket<B> {
    /// The bucket, with this script.
    pub fn new(inner: B, script: impl Fn(&Call<'_>) -> Fault + Send + Sync + 'static) -> FaultyBucket<B> {
        let script = Arc::new(script);
        FaultyBucket { inner, script, held: Arc::default(), listings: Arc::default() }
    }

    /// Lets the puts and deletes that are held take place, in their order; how many they were. Their answers
    /// go nowhere, as those of requests that a network delivers late.
    pub async fn release(&self) -> usize {
        let held = std::mem::take(&mut *self.held.lock());
        let count = held.len();
        for call in held {
            let late = match call {
                Held::Put(key, body, options) => self.inner.put(&key, body, options).await.map(drop),
                Held::Delete(key, version) => self.inner.delete(&key, version.as_ref()).await.map(drop),
            };
            if let Err(error) = late {
                tracing::debug!(%error, "a late call failed");
            }
        }
        count
    }

    /// How many calls are held.
    pub fn held(&self) -> usize {
        self.held.lock().len()
    }

    /// What goes wrong with the call, once a delay is over; an error if it must not take place.
    async fn meet(&self, call: &Call<'_>) -> Result<Fault> {
        let fault = (self.script)(call);
        match fault {
            Fault::Refuse => return Err(broken("the call was refused")),
            Fault::Delay(delay) => tokio::time::sleep(delay).await,
            Fault::None | Fault::LoseAnswer | Fault::Hold | Fault::Truncate(_) | Fault::Stale => {}
        }
        Ok(fault)
    }

    fn hold(&self, call: Held) -> Error {
        let mut held = self.held.lock();
        assert!(held.len() < HELD, "the script holds more than {HELD} calls");
        held.push(call);
        broken("the call is held").with_outcome(Outcome::Unknown)
    }
}

#[async_trait]
impl<B: Bucket> Bucket for FaultyBucket<B> {
    fn describe(&self) -> String {
        format!("faulty {}", self.inner.describe())
    }

    fn layout(&self) -> Layout {
        self.inner.layout()
    }

    async fn get(&self, key: &str, range: Range) -> Result<Option<Object>> {
        let fault = self.meet(&Call::Get { key }).await?;
        let found = self.inner.get(key, range).await?;
        match fault {
            Fault::LoseAnswer | Fault::Hold => Err(broken("the answer was lost")),
            Fault::Truncate(length) => Ok(found.map(|mut object| {
                object.body.truncate(length);
                object
            })),
            Fault::None | Fault::Refuse | Fault::Delay(_) | Fault::Stale => Ok(found),
        }
    }

    async fn put(&self, key: &str, body: Body, options: PutOptions) -> Result<Put> {
        let fault = self.meet(&Call::Put { key, mode: &options.mode }).await?;
        if fault == Fault::Hold {
            return Err(self.hold(Held::Put(key.to_owned(), body, options)));
        }
        let answer = self.inner.put(key, body, options).await;
        if fault == Fault::LoseAnswer { Err(lost()) } else { answer }
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Listing> {
        let fault = self.meet(&Call::List { prefix }).await?;
        let place = (prefix.to_owned(), start_after.map(str::to_owned));
        if fault == Fault::Stale {
            let old = self.listings.lock().get(&place).cloned();
            return Ok(old.unwrap_or(Listing { objects: Vec::new(), more: false }));
        }
        let listing = self.inner.list(prefix, start_after).await?;
        self.listings.lock().insert(place, listing.clone());
        match fault {
            Fault::LoseAnswer | Fault::Hold => Err(broken("the answer was lost")),
            _ => Ok(listing),
        }
    }

    async fn delete(&self, key: &str, version: Option<&Version>) -> Result<Delete> {
        let fault = self.meet(&Call::Delete { key }).await?;
        if fault == Fault::Hold {
            return Err(self.hold(Held::Delete(key.to_owned(), version.cloned())));
        }
        let answer = self.inner.delete(key, version).await;
        if fault == Fault::LoseAnswer { Err(lost()) } else { answer }
    }

    async fn now_ms(&self) -> Result<i64> {
        match self.meet(&Call::Now).await? {
            Fault::LoseAnswer | Fault::Hold => Err(broken("the answer was lost")),
            _ => self.inner.now_ms().await,
        }
    }
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::StoreUnavailable, format!("by the test's script {what}"))
}

fn lost() -> Error {
    broken("the answer was lost").with_outcome(Outcome::Unknown)
}
