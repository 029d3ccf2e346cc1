//! Values in storage, without a network: versions that never come back, a disk that fails, a folder that is damaged.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::record::{Kind, Record};
use super::storage::{Condition, Storage, StorageLimits, Written};
use crate::types::{ErrorKind, Result};

const LIMITS: StorageLimits = StorageLimits { keys: 100, bytes: 10_000 };

fn long_ago() -> i64 {
    0
}

fn open(folder: &Path) -> Storage {
    Storage::open(folder, LIMITS, long_ago).unwrap()
}

fn put(storage: &Storage, key: &str, condition: Condition, body: &'static str) -> Result<Written> {
    storage.write(Kind::Lease, key, condition, 0, Some(Bytes::from(body)))
}

#[track_caller]
fn done(written: Result<Written>) -> u64 {
    match written {
        Ok(Written::Done(version)) => version,
        other => panic!("{other:?}"),
    }
}

fn text(storage: &Storage, key: &str) -> Option<String> {
    let record = storage.read(Kind::Lease, key).unwrap()?;
    Some(String::from_utf8(record.body.unwrap().to_vec()).unwrap())
}

fn file(folder: &Path, key: &str) -> std::path::PathBuf {
    folder.join(Record::file_name(Kind::Lease, key))
}

#[test]
fn versions_only_grow_over_deletes_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 0..4 {
        let storage = open(folder.path());
        assert_eq!(text(&storage, "k"), None, "round {round}");
        let created = done(put(&storage, "k", Condition::Absent, "a"));
        assert!(created > last, "{created} after {last}");
        assert_eq!(put(&storage, "k", Condition::Absent, "b").unwrap(), Written::Lost);
        let replaced = done(put(&storage, "k", Condition::Version(created), "b"));
        assert!(replaced > created);
        assert_eq!(put(&storage, "k", Condition::Version(created), "c").unwrap(), Written::Lost);
        drop(storage);
        let storage = open(folder.path());
        assert_eq!(text(&storage, "k").as_deref(), Some("b"));
        assert_eq!(storage.read(Kind::Lease, "k").unwrap().unwrap().version, replaced);
        let delete = |condition| storage.write(Kind::Lease, "k", condition, 0, None).unwrap();
        assert_eq!(delete(Condition::Version(created)), Written::Lost);
        assert_eq!(delete(Condition::Version(replaced)), Written::Done(replaced));
        assert_eq!(delete(Condition::Any), Written::Done(replaced), "again");
        assert_eq!(put(&storage, "k", Condition::Version(replaced), "d").unwrap(), Written::Lost);
        last = replaced;
    }
}

#[test]
fn versions_grow_with_time_where_everything_was_lost_and_without_it_otherwise() {
    static NOW: AtomicI64 = AtomicI64::new(1_000);
    let fresh = || Storage::in_memory(LIMITS, || NOW.load(Ordering::Relaxed));
    let storage = fresh();
    let first = done(put(&storage, "k", Condition::Absent, "a"));
    assert_eq!(first, 1_000);
    NOW.store(10, Ordering::Relaxed);
    let second = done(put(&storage, "k", Condition::Version(first), "b"));
    assert_eq!(second, 1_001, "the clock went back, the version did not");
    NOW.store(2_000, Ordering::Relaxed);
    assert_eq!(done(put(&fresh(), "k", Condition::Absent, "c")), 2_000);
    NOW.store(-1, Ordering::Relaxed);
    assert_eq!(done(put(&fresh(), "k", Condition::Absent, "d")), 1);
}

#[test]
fn leases_and_manifests_of_a_key_are_apart_and_epochs_never_go_back() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    done(put(&storage, "k", Condition::Absent, "lease"));
    let manifest = |condition, epoch| {
        storage.write(Kind::Manifest, "k", condition, epoch, Some(Bytes::from_static(b"manifest")))
    };
    let version = done(manifest(Condition::Absent, 5));
    assert_eq!(manifest(Condition::Version(version), 4).unwrap(), Written::Outranked(5));
    assert_eq!(manifest(Condition::Version(version + 1), 4).unwrap(), Written::Outranked(5));
    let version = done(manifest(Condition::Version(version), 6));
    drop(storage);
    let storage = open(folder.path());
    assert_eq!(text(&storage, "k").as_deref(), Some("lease"));
    let found = storage.read(Kind::Manifest, "k").unwrap().unwrap();
    assert_eq!((found.version, found.epoch, found.body), (version, 6, Some(Bytes::from_static(b"manifest"))));
}

#[test]
fn a_folder_is_held_by_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("a/b");
    let first = open(&below);
    let second = Storage::open(&below, LIMITS, long_ago).err().unwrap();
    assert_eq!(second.kind(), ErrorKind::InUse);
    drop(first);
    open(&below);
}

#[test]
fn a_damaged_file_costs_its_own_key_only_and_an_unfinished_one_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    for key in ["good", "bad", "swapped"] {
        done(put(&storage, key, Condition::Absent, "v"));
    }
    drop(storage);
    let path = file(folder.path(), "bad");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::copy(file(folder.path(), "good"), file(folder.path(), "swapped")).unwrap();
    let unfinished = folder.path().join(format!("new-{}", Record::file_name(Kind::Lease, "good")));
    fs::write(&unfinished, b"half").unwrap();
    let storage = open(folder.path());
    assert!(!unfinished.exists());
    assert_eq!(text(&storage, "good").as_deref(), Some("v"));
    for key in ["bad", "swapped"] {
        assert_eq!(storage.read(Kind::Lease, key).unwrap_err().kind(), ErrorKind::Corrupt);
        for condition in [Condition::Absent, Condition::Any, Condition::Version(1)] {
            assert_eq!(put(&storage, key, condition, "new").unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}

#[test]
fn a_write_that_the_disk_left_in_doubt_is_done_before_anything_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let first = done(put(&storage, "k", Condition::Absent, "old"));
    // A folder in the file's place: the rename fails.
    let path = file(folder.path(), "k");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(put(&storage, "k", Condition::Version(first), "new").is_err());
    assert_eq!(storage.read(Kind::Lease, "k").unwrap_err().kind(), ErrorKind::StoreUnavailable);
    assert!(storage.settle(Kind::Lease, "k").is_err());
    assert!(put(&storage, "k", Condition::Version(first), "newer").is_err(), "still in doubt");
    fs::remove_dir(&path).unwrap();
    storage.settle(Kind::Lease, "k").unwrap();
    assert_eq!(text(&storage, "k").as_deref(), Some("new"));
    assert_eq!(put(&storage, "k", Condition::Version(first), "newer").unwrap(), Written::Lost);
    drop(storage);
    assert_eq!(text(&open(folder.path()), "k").as_deref(), Some("new"));
}

#[test]
fn a_write_that_never_reached_the_disk_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let first = done(put(&storage, "k", Condition::Absent, "old"));
    // Where the unfinished file would be there is a folder.
    let unfinished = folder.path().join(format!("new-{}", Record::file_name(Kind::Lease, "k")));
    fs::create_dir(&unfinished).unwrap();
    assert_eq!(put(&storage, "k", Condition::Version(first), "new").unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(text(&storage, "k").as_deref(), Some("old"));
    fs::remove_dir(&unfinished).unwrap();
    done(put(&storage, "k", Condition::Version(first), "new"));
}

#[test]
fn keys_and_bytes_have_limits_and_room_is_given_back() {
    let storage = Storage::in_memory(StorageLimits { keys: 2, bytes: 25 }, long_ago);
    let a = done(put(&storage, "a", Condition::Absent, "12345"));
    done(put(&storage, "b", Condition::Absent, "12345"));
    let refused = put(&storage, "c", Condition::Absent, "").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LimitExceeded);
    assert_eq!(put(&storage, "c", Condition::Version(1), "").unwrap(), Written::Lost);
    assert_eq!(storage.write(Kind::Lease, "c", Condition::Any, 0, None).unwrap(), Written::Done(0));
    let large = put(&storage, "a", Condition::Version(a), "1234567890123").unwrap_err();
    assert_eq!(large.kind(), ErrorKind::LimitExceeded);
    let mut version = a;
    for _ in 0..20 {
        version = done(put(&storage, "a", Condition::Version(version), "54321"));
    }
    assert_eq!(text(&storage, "a").as_deref(), Some("54321"));
}

#[test]
fn a_first_write_that_fails_takes_no_place() {
    let storage = Storage::in_memory(StorageLimits { keys: 1, bytes: 10 }, long_ago);
    for _ in 0..3 {
        let refused = put(&storage, "large", Condition::Absent, "12345678901").unwrap_err();
        assert!(
            refused.kind() == ErrorKind::LimitExceeded && refused.message().contains("bytes"),
            "{refused}"
        );
    }
    done(put(&storage, "small", Condition::Absent, "1"));
}

#[test]
fn of_racing_writers_one_wins_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Arc::new(open(folder.path()));
    let mut condition = Condition::Absent;
    for _ in 0..5 {
        let writers: Vec<_> = (0..8)
            .map(|_| {
                let storage = Arc::clone(&storage);
                std::thread::spawn(move || put(&storage, "k", condition, "v").unwrap())
            })
            .collect();
        let answers: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        let winners: Vec<u64> = answers
            .iter()
            .filter_map(|answer| match answer {
                Written::Done(version) => Some(*version),
                Written::Lost | Written::Outranked(_) => None,
            })
            .collect();
        assert_eq!(winners.len(), 1, "{answers:?}");
        condition = Condition::Version(winners[0]);
    }
}

#[tokio::test]
async fn a_change_is_heard_of_and_what_is_none_is_not() {
    let storage = Arc::new(Storage::in_memory(LIMITS, long_ago));
    let soon = Duration::from_secs(10);
    let hears = |key: &'static str, version| {
        let storage = Arc::clone(&storage);
        async move { tokio::time::timeout(soon, storage.changed(Kind::Lease, key, version)).await.unwrap() }
    };
    let write = |key: &'static str, condition| {
        let storage = Arc::clone(&storage);
        async move { done(put(&storage, key, condition, "v")) }
    };
    let ((), first) = tokio::join!(hears("k", None), write("k", Condition::Absent));
    hears("k", None).await;
    for n in 0..200 {
        // Some of them share the channel.
        done(storage.write(
            Kind::Manifest,
            &format!("other-{}", n % 50),
            Condition::Any,
            0,
            Some(Bytes::new()),
        ));
    }
    let still = storage.changed(Kind::Lease, "k", Some(first));
    assert!(tokio::time::timeout(Duration::from_millis(50), still).await.is_err());
    tokio::join!(hears("k", Some(first)), write("k", Condition::Version(first)));
    let deleted = async { storage.write(Kind::Lease, "k", Condition::Any, 0, None).unwrap() };
    let present = storage.read(Kind::Lease, "k").unwrap().unwrap().version;
    tokio::join!(hears("k", Some(present)), deleted);
}
