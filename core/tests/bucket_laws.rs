//! Every adapter keeps the promises of the port.

use haqlite::bucket::{DirectoryBucket, Layout, MemoryBucket, laws::laws, probe};
use haqlite::lease_store::{BucketLeaseStore, MemoryLeaseStore, laws as lease};
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
    lease::laws(&store, "root/").await;
    lease::watch_laws(&store, "root/").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_in_a_bucket_in_memory_keeps_the_laws() {
    let store = BucketLeaseStore::new(MemoryBucket::new()).watching(Duration::from_millis(20));
    lease::laws(&store, "root/").await;
    lease::watch_laws(&store, "root/").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_in_a_directory_keeps_the_laws() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = DirectoryBucket::open(folder.path()).unwrap();
    let store = BucketLeaseStore::new(bucket).watching(Duration::from_millis(20));
    lease::laws(&store, "root/").await;
    lease::watch_laws(&store, "root/").await;
}
