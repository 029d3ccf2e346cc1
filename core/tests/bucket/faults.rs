//! The decorator does what it says, and the probe tells a bad moment from a bad store.

use async_trait::async_trait;
use haqlite::bucket::{
    Body, Bucket, Call, Delete, Fault, FaultyBucket, Layout, Listing, MemoryBucket, Object, Put, PutMode,
    PutOptions, Range, Version, probe,
};
use haqlite::{ErrorKind, Outcome, Result};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[tokio::test]
async fn a_lost_answer_leaves_the_object_there() {
    let bucket = FaultyBucket::new(MemoryBucket::new(), |call| match call {
        Call::Put { .. } => Fault::LoseAnswer,
        _ => Fault::None,
    });
    let error = create(&bucket, "a", "1").await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::StoreUnavailable, Outcome::Unknown));
    assert_eq!(body(&bucket, "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_refused_call_never_takes_place() {
    let bucket = FaultyBucket::new(MemoryBucket::new(), |call| match call {
        Call::Put { key: "a", mode: PutMode::Create } => Fault::Refuse,
        _ => Fault::None,
    });
    create(&bucket, "a", "1").await.unwrap_err();
    assert_eq!(body(&bucket, "a").await, None);
    assert!(matches!(create(&bucket, "b", "1").await, Ok(Put::Stored(_))));
}

#[tokio::test]
async fn a_held_put_takes_place_when_it_is_released() {
    let bucket = FaultyBucket::new(MemoryBucket::new(), |call| match call {
        Call::Put { key: "late", .. } => Fault::Hold,
        _ => Fault::None,
    });
    create(&bucket, "late", "1").await.unwrap_err();
    assert_eq!((body(&bucket, "late").await, bucket.held()), (None, 1));
    assert_eq!(bucket.clone().release().await, 1);
    assert_eq!((body(&bucket, "late").await.as_deref(), bucket.held()), (Some("1"), 0));
}

#[tokio::test]
async fn a_stale_listing_is_the_one_before() {
    let stale = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let switch = stale.clone();
    let bucket = FaultyBucket::new(MemoryBucket::new(), move |call| match call {
        Call::List { .. } if switch.load(Ordering::Relaxed) => Fault::Stale,
        _ => Fault::None,
    });
    create(&bucket, "a", "1").await.unwrap();
    assert_eq!(bucket.list("", None).await.unwrap().objects.len(), 0);
    stale.store(false, Ordering::Relaxed);
    assert_eq!(bucket.list("", None).await.unwrap().objects.len(), 1);
    create(&bucket, "b", "1").await.unwrap();
    stale.store(true, Ordering::Relaxed);
    assert_eq!(bucket.list("", None).await.unwrap().objects.len(), 1);
}

#[tokio::test]
async fn a_truncated_body_and_a_delay() {
    let bucket = FaultyBucket::new(MemoryBucket::new(), |call| match call {
        Call::Get { .. } => Fault::Truncate(2),
        Call::Now => Fault::Delay(Duration::from_secs(3600)),
        _ => Fault::None,
    });
    create(&bucket, "a", "12345").await.unwrap();
    assert_eq!(body(&bucket, "a").await.as_deref(), Some("12"));
    assert!(tokio::time::timeout(Duration::from_millis(50), bucket.now_ms()).await.is_err());
}

#[tokio::test]
async fn the_probe_accepts_a_store_that_loses_answers_and_misses_calls() {
    let calls = AtomicUsize::new(0);
    let store = MemoryBucket::new();
    // Now a call is lost, now its answer.
    let bucket = FaultyBucket::new(store.clone(), move |_| match calls.fetch_add(1, Ordering::Relaxed) {
        1 | 13 | 26 => Fault::Refuse,
        0 | 3 | 7 | 20 => Fault::LoseAnswer,
        _ => Fault::None,
    });
    probe(&bucket, "root/").await.unwrap();
    assert!(store.list("", None).await.unwrap().objects.is_empty(), "it cleans up");
}

#[tokio::test]
async fn the_probe_tells_of_a_store_that_does_not_answer() {
    let bucket = FaultyBucket::new(MemoryBucket::new(), |_| Fault::Refuse);
    let error = probe(&bucket, "").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
}

/// What a store does that breaks one promise.
#[derive(Clone, Copy, PartialEq)]
enum Breach {
    CreateReplaces,
    ReplaceIgnoresTheVersion,
    UploadsInPartsIgnoreTheCondition,
    RacersAllWin,
    ReadsAreStale,
}

#[tokio::test]
async fn the_probe_refuses_whatever_promise_is_broken() {
    for (breach, promise) in [
        (Breach::CreateReplaces, "a create of a key that exists is refused"),
        (Breach::ReplaceIgnoresTheVersion, "a replace of a version that is no longer there is refused"),
        (Breach::UploadsInPartsIgnoreTheCondition, "the completion of a multipart upload"),
        (Breach::RacersAllWin, "exactly one wins"),
        (Breach::ReadsAreStale, "a read sees the last write"),
    ] {
        let store = MemoryBucket::new();
        let error = probe(&Unfit(store.clone(), breach), "root/").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreUnfit, "{error}");
        assert!(error.message().contains(promise), "{error}");
        assert!(error.message().contains("an unfit store"), "{error} names the store");
        assert!(store.list("", None).await.unwrap().objects.is_empty(), "it cleans up: {error}");
    }
}

struct Unfit(MemoryBucket, Breach);

#[async_trait]
impl Bucket for Unfit {
    fn describe(&self) -> String {
        "an unfit store".to_owned()
    }

    fn layout(&self) -> Layout {
        self.0.layout()
    }

    async fn get(&self, key: &str, range: Range) -> Result<Option<Object>> {
        match self.1 {
            Breach::ReadsAreStale => Ok(None),
            _ => self.0.get(key, range).await,
        }
    }

    async fn put(&self, key: &str, body: Body, mut options: PutOptions) -> Result<Put> {
        let ignored = match (self.1, &options.mode) {
            (Breach::CreateReplaces, PutMode::Create) => !options.in_parts,
            (Breach::UploadsInPartsIgnoreTheCondition, PutMode::Create) => options.in_parts,
            (Breach::RacersAllWin, PutMode::Create) => key.contains("race"),
            (Breach::ReplaceIgnoresTheVersion, PutMode::Replace(_)) => true,
            _ => false,
        };
        if ignored {
            options.mode = PutMode::Overwrite;
        }
        self.0.put(key, body, options).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Listing> {
        self.0.list(prefix, start_after).await
    }

    async fn delete(&self, key: &str, version: Option<&Version>) -> Result<Delete> {
        self.0.delete(key, version).await
    }

    async fn now_ms(&self) -> Result<i64> {
        self.0.now_ms().await
    }
}

async fn create(bucket: &dyn Bucket, key: &str, body: &str) -> Result<Put> {
    bucket.put(key, Body::Bytes(body.to_owned().into()), PutOptions::new(PutMode::Create)).await
}

async fn body(bucket: &dyn Bucket, key: &str) -> Option<String> {
    let found = bucket.get(key, Range::Whole).await.unwrap();
    found.map(|object| String::from_utf8(object.body.to_vec()).unwrap())
}
