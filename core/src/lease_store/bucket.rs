use async_trait::async_trait;
use bytes::Bytes;
use std::time::Duration;

use super::{LeaseStore, LeaseVersion, Register, Swap};
use crate::bucket::{Body, Bucket, Put, PutMode, PutOptions, Range, Version};
use crate::types::Result;

/// The lease in a bucket: a register is an object.
///
/// The version is the object's, which many stores take from the content: bodies must never repeat.
pub struct BucketLeaseStore<B> {
    bucket: B,
    watch_every: Option<Duration>,
}

impl<B: Bucket> BucketLeaseStore<B> {
    /// The lease in this bucket. [`LeaseStore::changed`] never returns.
    pub fn new(bucket: B) -> BucketLeaseStore<B> {
        BucketLeaseStore { bucket, watch_every: None }
    }

    /// The same, where [`LeaseStore::changed`] reads the object every so often. For buckets where a read
    /// costs next to nothing.
    #[must_use]
    pub fn watching(mut self, every: Duration) -> BucketLeaseStore<B> {
        self.watch_every = Some(every);
        self
    }

    async fn swap(&self, key: &str, body: &[u8], mode: PutMode) -> Result<Swap> {
        let body = Body::Bytes(Bytes::copy_from_slice(body));
        Ok(match self.bucket.put(key, body, PutOptions::new(mode)).await? {
            Put::Stored(version) => Swap::Done(LeaseVersion(version.0)),
            Put::Refused => Swap::Lost,
        })
    }
}

#[async_trait]
impl<B: Bucket> LeaseStore for BucketLeaseStore<B> {
    fn describe(&self) -> String {
        self.bucket.describe()
    }

    async fn read(&self, key: &str) -> Result<Option<Register>> {
        let object = self.bucket.get(key, Range::Whole).await?;
        Ok(object
            .map(|object| Register { body: object.body.to_vec(), version: LeaseVersion(object.version.0) }))
    }

    async fn create(&self, key: &str, body: &[u8]) -> Result<Swap> {
        self.swap(key, body, PutMode::Create).await
    }

    async fn replace(&self, key: &str, body: &[u8], version: &LeaseVersion) -> Result<Swap> {
        self.swap(key, body, PutMode::Replace(Version(version.0.clone()))).await
    }

    async fn changed(&self, key: &str, version: Option<&LeaseVersion>) {
        let Some(every) = self.watch_every else {
            return std::future::pending().await;
        };
        loop {
            // A failed look is no change: whoever polls beside us meets the error.
            if let Ok(found) = self.read(key).await
                && found.as_ref().map(|register| &register.version) != version
            {
                return;
            }
            tokio::time::sleep(every).await;
        }
    }
}
