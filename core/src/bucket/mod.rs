//! The port to object storage, and its adapters.
//!
//! Every promise that the log needs from a store is in the contract of [`Bucket`] and in its laws suite.

mod blocking;
mod clock;
mod credentials;
mod directory;
mod directory_list;
mod faulty;
mod join;
mod key;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod laws;
mod memory;
mod probe;
#[cfg(feature = "s3")]
mod s3;
mod url;
#[cfg(feature = "cli")]
mod url_facts;

use async_trait::async_trait;
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;

use crate::types::Result;
pub(crate) use blocking::blocking;
pub use credentials::S3Credentials;
pub use directory::DirectoryBucket;
pub use faulty::{Call, Fault, FaultyBucket};
pub(crate) use join::join_all;
pub(crate) use key::LOG_FILE_SUFFIX;
pub use key::{Key, Layout};
pub use memory::MemoryBucket;
pub use probe::probe;
pub(crate) use probe::{Fitness, fitness};
#[cfg(feature = "s3")]
pub use s3::{S3Bucket, S3Options};
pub use url::{Opened, UrlOptions, open_url};
#[cfg(feature = "cli")]
pub(crate) use url_facts::{UrlFacts, read_url};

/// Objects by key, with conditional writes.
///
/// An `Err` from a write leaves open whether it took place, now or later: the caller repeats the same
/// bytes at the same key until the answer is definite. Keys are relative to the bucket's root; they are
/// made by [`Key`] and nothing else.
#[async_trait]
pub trait Bucket: Send + Sync + 'static {
    /// The bucket's name for people: scheme, host, bucket and prefix, never a secret.
    fn describe(&self) -> String;

    /// How Litestream names files in a store of this kind.
    fn layout(&self) -> Layout;

    /// The object at `key`, or a part of it; `None` if there is none. Sees every write that finished
    /// before it began. An empty range past the end is an empty body.
    async fn get(&self, key: &str, range: Range) -> Result<Option<Object>>;

    /// Stores `body` at `key` as a whole or not at all.
    async fn put(&self, key: &str, body: Body, options: PutOptions) -> Result<Put>;

    /// The objects whose key begins with `prefix`, from after `start_after` on. One page; go on after its
    /// last key while `more` is set. May lag behind writes. Writes nothing.
    ///
    /// Keys that differ only after their last slash come in their order, byte by byte. Stores differ in how
    /// they order others, so what needs an order or several pages lists one such folder.
    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Listing>;

    /// Deletes the object, if it still is the `version`. Deleting what is not there is done.
    async fn delete(&self, key: &str, version: Option<&Version>) -> Result<Delete>;

    /// The time by the clock that stamps `last_modified_ms`, in milliseconds since 1970. It costs a
    /// request: ask only when an age has to be known.
    async fn now_ms(&self) -> Result<i64>;
}

/// What identifies the content that an object has: an ETag, a hash.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Version(pub String);

/// Which bytes of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Range {
    /// All of them.
    Whole,
    /// `length` bytes from `offset` on, fewer at the end.
    Part {
        /// The first byte.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// The last so many bytes.
    Last(u64),
}

/// An object, or the part of it that was asked for.
#[derive(Clone, Debug)]
pub struct Object {
    /// The bytes.
    pub body: Bytes,
    /// The version of the whole object.
    pub version: Version,
    /// The size of the whole object in bytes.
    pub size: u64,
    /// When it was written, by the store's clock, in milliseconds since 1970.
    pub last_modified_ms: i64,
}

/// What is to be stored.
#[derive(Clone, Debug)]
pub enum Body {
    /// These bytes.
    Bytes(Bytes),
    /// The content of a file, which stays as it is until the call is over.
    File(PathBuf),
}

/// When a write may take place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PutMode {
    /// Only if there is no object at the key.
    Create,
    /// Only if the object has this version. For small bodies: a store may refuse one above 16 MiB.
    Replace(Version),
    /// Always.
    Overwrite,
}

/// How a write is done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PutOptions {
    /// When it may take place.
    pub mode: PutMode,
    /// Milliseconds since 1970 that a log file carries, kept where Litestream looks for it.
    pub timestamp_ms: Option<i64>,
    /// Uploads in parts whatever the size, so that a probe can try it. A replacement never is.
    pub in_parts: bool,
}

impl PutOptions {
    /// The mode, without a timestamp.
    pub fn new(mode: PutMode) -> PutOptions {
        PutOptions { mode, timestamp_ms: None, in_parts: false }
    }
}

/// The definite answer to a write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Put {
    /// It was stored, and this is its version.
    Stored(Version),
    /// The condition did not hold; nothing was changed.
    Refused,
}

/// The definite answer to a delete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delete {
    /// There is no object at the key.
    Gone,
    /// There is another version; nothing was changed.
    Refused,
}

/// One page of a listing.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The objects, in the order that [`Bucket::list`] says.
    pub objects: Vec<Listed>,
    /// Whether there are more after the last one.
    pub more: bool,
}

/// An object in a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// The size in bytes.
    pub size: u64,
    /// When it was written, by the store's clock, in milliseconds since 1970.
    pub last_modified_ms: i64,
}

#[async_trait]
impl<T: Bucket + ?Sized> Bucket for Arc<T> {
    fn describe(&self) -> String {
        (**self).describe()
    }
    fn layout(&self) -> Layout {
        (**self).layout()
    }
    async fn get(&self, key: &str, range: Range) -> Result<Option<Object>> {
        (**self).get(key, range).await
    }
    async fn put(&self, key: &str, body: Body, options: PutOptions) -> Result<Put> {
        (**self).put(key, body, options).await
    }
    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Listing> {
        (**self).list(prefix, start_after).await
    }
    async fn delete(&self, key: &str, version: Option<&Version>) -> Result<Delete> {
        (**self).delete(key, version).await
    }
    async fn now_ms(&self) -> Result<i64> {
        (**self).now_ms().await
    }
}

/// Most objects in one page of a listing.
const PAGE: usize = 1000;

/// The bytes of an object of `size` bytes that `range` covers.
fn covered(range: Range, size: u64) -> std::ops::Range<u64> {
    match range {
        Range::Whole => 0..size,
        Range::Part { offset, length } => {
            let start = offset.min(size);
            start..start.saturating_add(length).min(size)
        }
        Range::Last(length) => size.saturating_sub(length)..size,
    }
}
