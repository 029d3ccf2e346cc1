//! Every bucket, and every lease store over one, keeps the promises of its port; and what each does beyond.

#![allow(clippy::unwrap_used, reason = "a test")]

mod directory;
mod faults;
#[cfg(feature = "s3")]
mod s3;
mod url;

use haqlite::bucket::{
    Body, Bucket, DirectoryBucket, Layout, MemoryBucket, PutMode, PutOptions, Range, probe,
};
use haqlite::lease_store::{BucketLeaseStore, LeaseStore, MemoryLeaseStore};
use haqlite::testing::bucket_laws as laws;
use haqlite::testing::{lease_store_laws, lease_store_watch_laws};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_laws() {
    for layout in [Layout::Directory, Layout::S3] {
        let bucket = MemoryBucket::with_layout(layout);
        laws(&bucket, "").await;
        probe(&bucket, "root/").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_keeps_the_laws() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = DirectoryBucket::open(folder.path()).unwrap();
    laws(&bucket, "").await;
    probe(&bucket, "root/").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_in_memory_keeps_the_laws() {
    let store = MemoryLeaseStore::new();
    lease_store_laws(&store, "root/").await;
    lease_store_watch_laws(&store, "root/").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_in_a_bucket_in_memory_keeps_the_laws() {
    let store = BucketLeaseStore::new(MemoryBucket::new()).watching(Duration::from_millis(20));
    lease_store_laws(&store, "root/").await;
    lease_store_watch_laws(&store, "root/").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_in_a_directory_keeps_the_laws() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = DirectoryBucket::open(folder.path()).unwrap();
    let store = BucketLeaseStore::new(bucket).watching(Duration::from_millis(20));
    lease_store_laws(&store, "root/").await;
    lease_store_watch_laws(&store, "root/").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_of_a_bucket_in_memory_can_be_the_callers() {
    let now = Arc::new(AtomicI64::new(5));
    let clock = now.clone();
    let bucket = MemoryBucket::new().with_clock(move || clock.load(Ordering::Relaxed));
    bucket.put("a", Body::Bytes("x".into()), PutOptions::new(PutMode::Create)).await.unwrap();
    now.store(1_000, Ordering::Relaxed);
    assert_eq!(bucket.now_ms().await.unwrap(), 1_000);
    assert_eq!(bucket.clone().get("a", Range::Whole).await.unwrap().unwrap().last_modified_ms, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_in_memory_goes_on_page_by_page() {
    let bucket = MemoryBucket::new();
    for n in 0..1_000 {
        let (key, options) = (format!("p/{n:04}"), PutOptions::new(PutMode::Create));
        bucket.put(&key, Body::Bytes("x".into()), options).await.unwrap();
    }
    assert!(!bucket.list("p/", None).await.unwrap().more, "a full page is the last one");
    bucket.put("p/1000", Body::Bytes("x".into()), PutOptions::new(PutMode::Create)).await.unwrap();
    let first = bucket.list("p/", None).await.unwrap();
    assert_eq!((first.objects.len(), first.more), (1_000, true));
    let second = bucket.list("p/", Some(&first.objects[999].key)).await.unwrap();
    assert_eq!((second.objects.len(), second.more), (1, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_not_watched_tells_of_no_change() {
    let store = BucketLeaseStore::new(MemoryBucket::new());
    store.create("a", b"1").await.unwrap();
    let heard = tokio::time::timeout(Duration::from_millis(100), store.changed("a", None)).await;
    assert!(heard.is_err());
}
