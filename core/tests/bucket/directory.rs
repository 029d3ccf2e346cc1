//! What a bucket in a folder promises beyond the laws.

use haqlite::ErrorKind;
use haqlite::bucket::{Body, Bucket, DirectoryBucket, Key, Put, PutMode, PutOptions, Range, Version};
use haqlite::testing::bucket_laws as laws;
use haqlite::types::Txid;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// Where a racing process finds the folder; not set in the process that starts the race.
const RACE: &str = "HAQLITE_TEST_RACE";

#[tokio::test(flavor = "multi_thread")]
async fn what_one_instance_writes_another_sees() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (open(folder.path()), open(folder.path()));
    let first = stored(put(&one, "a", "1", PutMode::Create).await);
    assert_eq!(put(&other, "a", "2", PutMode::Create).await, Put::Refused);
    let second = stored(put(&other, "a", "2", PutMode::Replace(first.clone())).await);
    assert_eq!(put(&one, "a", "3", PutMode::Replace(first)).await, Put::Refused);
    assert_eq!(one.get("a", Range::Whole).await.unwrap().unwrap().version, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_is_the_hash_of_the_content() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = open(folder.path());
    let expected = Version(blake3::hash(b"content").to_hex().to_string());
    assert_eq!(stored(put(&bucket, "a", "content", PutMode::Create).await), expected);
    let part = bucket.get("a", Range::Last(3)).await.unwrap().unwrap();
    assert_eq!((&*part.body, part.version), (&b"ent"[..], expected));
    // A part of what took its place has the new version, though the old one's was known.
    let version = stored(put(&bucket, "a", "CONTENT", PutMode::Overwrite).await);
    assert_eq!(bucket.get("a", Range::Last(3)).await.unwrap().unwrap().version, version);
}

#[tokio::test(flavor = "multi_thread")]
async fn litestream_finds_the_files_where_it_looks() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = open(folder.path());
    let key = Key::slot(Txid::new(26)).path("db/", bucket.layout());
    put(&bucket, &key, "x", PutMode::Create).await;
    let path = folder.path().join("db/ltx/0/000000000000001a-000000000000001a.ltx");
    assert_eq!(fs::read(path).unwrap(), b"x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_file_shows_its_time_and_the_bucket_that_of_its_writing() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = open(folder.path());
    let before = bucket.now_ms().await.unwrap();
    for (key, timestamp_ms) in [("a", 1_700_000_000_120), ("b", 0), ("c", before + 3_600_000)] {
        let options = PutOptions { timestamp_ms: Some(timestamp_ms), ..PutOptions::new(PutMode::Create) };
        bucket.put(key, Body::Bytes("x".into()), options.clone()).await.unwrap();
        let metadata = fs::metadata(folder.path().join(key)).unwrap();
        assert_eq!(metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000, timestamp_ms);
        let written_ms = bucket.get(key, Range::Whole).await.unwrap().unwrap().last_modified_ms;
        assert!((before..before + 60_000).contains(&written_ms), "{written_ms}, not after {before}");

        // Who is refused changes nothing.
        let later = PutOptions { timestamp_ms: Some(5), ..options };
        assert_eq!(bucket.put(key, Body::Bytes("y".into()), later).await.unwrap(), Put::Refused);
        assert_eq!(fs::metadata(folder.path().join(key)).unwrap().mtime(), metadata.mtime());
    }
    let listed = bucket.list("", None).await.unwrap();
    assert!(listed.objects.iter().all(|object| (before..before + 60_000).contains(&object.last_modified_ms)));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_could_leave_the_folder_or_meet_its_own_files_are_refused() {
    let outside = tempfile::tempdir().unwrap();
    let bucket = open(&outside.path().join("root"));
    for key in ["", "/a", "a/", "a//b", "..", "../a", "a/../b", "a/.", "./a", "a\0b", ".haqlite/lock"] {
        let options = PutOptions::new(PutMode::Overwrite);
        let error = bucket.put(key, Body::Bytes("x".into()), options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "put {key:?}: {error}");
        let error = bucket.get(key, Range::Whole).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "get {key:?}: {error}");
        let error = bucket.delete(key, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "delete {key:?}: {error}");
    }
    for prefix in ["../", "a/../", ".haqlite/"] {
        let error = bucket.list(prefix, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "list {prefix:?}: {error}");
    }
    assert_eq!(names(outside.path()), ["root"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_leaves_no_temp_file_and_a_read_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = open(folder.path());
    let version = stored(put(&bucket, "a/b", "1", PutMode::Create).await);
    put(&bucket, "a/b", "2", PutMode::Create).await;
    put(&bucket, "a/b", "3", PutMode::Replace(version)).await;
    put(&bucket, "a/b", "4", PutMode::Overwrite).await;
    bucket.now_ms().await.unwrap();
    assert_eq!(names(&folder.path().join(".haqlite/tmp")), Vec::<String>::new());

    let before = changes(folder.path());
    bucket.get("a/b", Range::Whole).await.unwrap();
    bucket.list("", None).await.unwrap();
    bucket.list("a/", Some("a/a")).await.unwrap();
    assert_eq!(changes(folder.path()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_must_exist_is_left_as_it_is_until_the_first_write() {
    let folder = tempfile::tempdir().unwrap();
    let missing = DirectoryBucket::existing(folder.path().join("nowhere")).err().unwrap();
    assert_eq!(missing.kind(), ErrorKind::InvalidArgument);
    fs::write(folder.path().join("a"), "x").unwrap();
    assert!(DirectoryBucket::existing(folder.path().join("a")).is_err(), "a file is no folder");
    let bucket = DirectoryBucket::existing(folder.path()).unwrap();
    assert_eq!(&*bucket.get("a", Range::Whole).await.unwrap().unwrap().body, b"x");
    assert_eq!(bucket.list("", None).await.unwrap().objects.len(), 1);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    stored(put(&bucket, "b", "y", PutMode::Create).await);
    assert_eq!(&*open(folder.path()).get("b", Range::Whole).await.unwrap().unwrap().body, b"y");
    // What is gone as a whole, as when a volume is not mounted, is not made again.
    fs::remove_dir_all(folder.path()).unwrap();
    let options = PutOptions::new(PutMode::Create);
    assert!(bucket.put("c", Body::Bytes("z".into()), options).await.is_err());
    assert!(!folder.path().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_not_mounted_is_an_outage_and_no_empty_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let (root, away) = (folder.path().join("bucket"), folder.path().join("away"));
    let bucket = open(&root);
    stored(put(&bucket, "a", "x", PutMode::Create).await);
    fs::rename(&root, &away).unwrap();
    for place_is_there in [false, true] {
        if place_is_there {
            fs::create_dir(&root).unwrap();
        }
        let error = bucket.get("a", Range::Whole).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{place_is_there}");
        let error = bucket.list("", None).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{place_is_there}");
        let options = PutOptions::new(PutMode::Create);
        assert!(bucket.put("b", Body::Bytes("z".into()), options).await.is_err());
        assert!(bucket.delete("a", None).await.is_err());
    }
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "nothing is made there");
    fs::remove_dir(&root).unwrap();
    fs::rename(&away, &root).unwrap();
    assert_eq!(&*bucket.get("a", Range::Whole).await.unwrap().unwrap().body, b"x");
    assert!(bucket.get("b", Range::Whole).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_removes_temp_files_older_than_a_day() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let temps = folder.path().join(".haqlite/tmp");
    for (name, hours) in [("old", 25), ("young", 23)] {
        let file = fs::File::create(temps.join(name)).unwrap();
        #[allow(clippy::disallowed_methods, reason = "the file system stamps by this clock")]
        file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
    }
    open(folder.path());
    assert_eq!(names(&temps), ["young"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_goes_on_page_by_page() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = open(folder.path());
    let level = folder.path().join("db/ltx/0");
    fs::create_dir_all(&level).unwrap();
    // Made in an order that is not that of the names.
    for n in (0..2_500_u32).map(|n| n * 1_001 % 2_500) {
        fs::write(level.join(format!("{n:05}")), "x").unwrap();
    }
    let (mut keys, mut pages, mut after) = (Vec::new(), 0, None);
    loop {
        let page = bucket.list("db/ltx/0/", after.as_deref()).await.unwrap();
        keys.extend(page.objects.iter().map(|object| object.key.clone()));
        after = keys.last().cloned();
        pages += 1;
        if !page.more {
            break;
        }
    }
    assert_eq!(pages, 3);
    assert_eq!(keys, (0..2_500).map(|n| format!("db/ltx/0/{n:05}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_somebody_removed_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = open(folder.path());
    put(&bucket, "a/b/c", "1", PutMode::Create).await;
    fs::remove_dir_all(folder.path().join("a")).unwrap();
    let options = || PutOptions::new(PutMode::Create);
    let first = bucket.put("a/b/c", Body::Bytes("2".into()), options()).await;
    assert!(first.is_err(), "the first try finds out");
    assert!(matches!(bucket.put("a/b/c", Body::Bytes("2".into()), options()).await, Ok(Put::Stored(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_waits_for_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = open(folder.path());
    let version = stored(put(&bucket, "a", "1", PutMode::Create).await);
    let lock = fs::File::create(folder.path().join(".haqlite/lock")).unwrap();
    lock.lock().unwrap();
    let mut replacing = std::pin::pin!(put(&bucket, "a", "2", PutMode::Replace(version)));
    let waited = tokio::time::timeout(Duration::from_millis(200), &mut replacing).await;
    assert!(waited.is_err(), "it went on without the lock");
    lock.unlock().unwrap();
    assert!(matches!(replacing.await, Put::Stored(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_any_name_keeps_the_laws() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = open(&folder.path().join("not there yet/ünï 100%"));
    laws(&bucket, "").await;
}

/// Several processes each add one to a counter, a hundred times; and create slots, each its own.
#[tokio::test(flavor = "multi_thread")]
async fn processes_race_without_a_lost_update() {
    const PROCESSES: usize = 3;
    const UPDATES: usize = 100;
    if let Ok(folder) = std::env::var(RACE) {
        return race(&open(Path::new(&folder)), UPDATES).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let bucket = open(folder.path());
    put(&bucket, "counter", "0", PutMode::Create).await;
    let racers: Vec<_> = (0..PROCESSES)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "directory::processes_race_without_a_lost_update"])
                .env(RACE, folder.path())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut racer in racers {
        assert!(racer.wait().unwrap().success());
    }
    let counter = bucket.get("counter", Range::Whole).await.unwrap().unwrap();
    assert_eq!(counter.body, (PROCESSES * UPDATES).to_string());
    let slots = bucket.list("slots/", None).await.unwrap().objects;
    assert_eq!(slots.len(), PROCESSES * UPDATES, "every create that was told to have won is there");
}

async fn race(bucket: &DirectoryBucket, updates: usize) {
    let mut slot = 0;
    for _ in 0..updates {
        loop {
            let counter = bucket.get("counter", Range::Whole).await.unwrap().unwrap();
            let count: u64 = std::str::from_utf8(&counter.body).unwrap().parse().unwrap();
            let next = PutMode::Replace(counter.version);
            if let Put::Stored(_) = put(bucket, "counter", &(count + 1).to_string(), next).await {
                break;
            }
        }
        loop {
            slot += 1;
            let key = format!("slots/{slot:05}");
            if let Put::Stored(_) = put(bucket, &key, "mine", PutMode::Create).await {
                break;
            }
        }
    }
}

fn open(folder: &Path) -> DirectoryBucket {
    DirectoryBucket::open(folder).unwrap()
}

async fn put(bucket: &DirectoryBucket, key: &str, body: &str, mode: PutMode) -> Put {
    bucket.put(key, Body::Bytes(body.to_owned().into()), PutOptions::new(mode)).await.unwrap()
}

fn stored(put: Put) -> Version {
    match put {
        Put::Stored(version) => version,
        Put::Refused => panic!("refused"),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every file and folder with the times at which it changed.
fn changes(folder: &Path) -> Vec<(PathBuf, i64, i64)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                folders.push(entry.path());
            }
            found.push((entry.path(), metadata.ctime(), metadata.ctime_nsec()));
        }
    }
    found.sort();
    found
}
