//! The promises of [`Bucket`], as a suite that every adapter runs, also adapters from outside.

use bytes::Bytes;
use std::future::Future;
use std::time::Duration;

use super::{
    Body, Bucket, Delete, Listed, Listing, Object, Put, PutMode, PutOptions, Range, Version, join_all,
};
use crate::types::Result;

const RACERS: usize = 20;
const ROUNDS: usize = 10;

/// How long a listing may lag behind: so many looks with a pause of 100 ms between them.
const LOOKS: usize = 100;

/// Checks every promise of [`Bucket`] below `root`, where nothing may be yet; what it writes stays there
/// for the caller to remove. Needs a tokio runtime with time.
///
/// # Panics
/// With the name of the law that the bucket breaks.
pub async fn laws(bucket: &dyn Bucket, root: &str) {
    nothing_is_where_nothing_was_put(bucket, &format!("{root}absent/")).await;
    what_was_put_is_read_back(bucket, &format!("{root}read-back/")).await;
    a_range_is_a_part_of_the_object(bucket, &format!("{root}range/")).await;
    a_create_never_replaces(bucket, &format!("{root}create/")).await;
    a_replace_needs_the_present_version(bucket, &format!("{root}replace/")).await;
    a_replace_needs_an_object(bucket, &format!("{root}replace-absent/")).await;
    another_content_is_another_version(bucket, &format!("{root}version/")).await;
    a_delete_spares_another_version(bucket, &format!("{root}delete/")).await;
    a_deleted_key_is_free_again(bucket, &format!("{root}free/")).await;
    a_file_is_stored_whole(bucket, &format!("{root}file/")).await;
    an_upload_in_parts_keeps_the_conditions(bucket, &format!("{root}parts/")).await;
    a_listing_is_in_order_and_goes_on(bucket, &format!("{root}list/")).await;
    keys_may_hold_any_letter(bucket, &format!("{root}ключ und mehr/")).await;
    the_clock_stamps_the_objects(bucket, &format!("{root}clock/")).await;
    of_racing_creators_one_wins(bucket, &format!("{root}create-race/")).await;
    of_racing_replacers_one_wins(bucket, &format!("{root}replace-race/")).await;
}

async fn nothing_is_where_nothing_was_put(bucket: &dyn Bucket, root: &str) {
    let law = "nothing is where nothing was put";
    let key = format!("{root}a");
    let found = must(law, bucket.get(&key, Range::Whole)).await;
    assert!(found.is_none(), "{law}: {found:?}");
    let found = must(law, bucket.get(&key, Range::Last(3))).await;
    assert!(found.is_none(), "{law}, by range: {found:?}");
    let gone = must(law, bucket.delete(&key, None)).await;
    assert_eq!(gone, Delete::Gone, "{law}: a delete of it is done");
    let gone = must(law, bucket.delete(&key, Some(&Version("\"none\"".into())))).await;
    assert_eq!(gone, Delete::Gone, "{law}: a conditional delete of it is done");
    let listing = must(law, bucket.list(root, None)).await;
    assert!(listing.objects.is_empty() && !listing.more, "{law}: {listing:?}");
}

async fn what_was_put_is_read_back(bucket: &dyn Bucket, root: &str) {
    let law = "what was put is read back at once";
    for (name, body) in [("empty", Bytes::new()), ("small", "small".into()), ("large", pattern(300_000))] {
        let key = format!("{root}{name}");
        let version = stored(law, put(bucket, &key, body.clone(), PutMode::Create).await);
        let object = read(law, bucket, &key, Range::Whole).await;
        assert_eq!(object.body, body, "{law}: the body of {name}");
        assert_eq!(object.size, body.len() as u64, "{law}: the size of {name}");
        assert_eq!(object.version, version, "{law}: the version of {name}");
        let other = pattern(10);
        let version = stored(law, put(bucket, &key, other.clone(), PutMode::Overwrite).await);
        let object = read(law, bucket, &key, Range::Whole).await;
        assert_eq!((object.body, object.version), (other, version), "{law}: {name} overwritten");
    }
}

async fn a_range_is_a_part_of_the_object(bucket: &dyn Bucket, root: &str) {
    let law = "a range is a part of the object";
    let key = format!("{root}a");
    let version = stored(law, put(bucket, &key, "0123456789".into(), PutMode::Create).await);
    for (range, expected) in [
        (Range::Part { offset: 0, length: 10 }, "0123456789"),
        (Range::Part { offset: 2, length: 3 }, "234"),
        (Range::Part { offset: 8, length: 100 }, "89"),
        (Range::Part { offset: 3, length: 0 }, ""),
        (Range::Part { offset: 10, length: 1 }, ""),
        (Range::Part { offset: 999, length: u64::MAX }, ""),
        (Range::Last(3), "789"),
        (Range::Last(0), ""),
        (Range::Last(999), "0123456789"),
    ] {
        let object = read(law, bucket, &key, range).await;
        assert_eq!(object.body, expected.as_bytes(), "{law}: {range:?}");
        assert_eq!((object.size, &object.version), (10, &version), "{law}: {range:?}, the whole");
    }
    let empty = format!("{root}empty");
    stored(law, put(bucket, &empty, Bytes::new(), PutMode::Create).await);
    for range in [Range::Part { offset: 0, length: 5 }, Range::Last(5)] {
        let object = read(law, bucket, &empty, range).await;
        assert_eq!((object.body.len(), object.size), (0, 0), "{law}: {range:?} of nothing");
    }
}

async fn a_create_never_replaces(bucket: &dyn Bucket, root: &str) {
    let law = "a create never replaces";
    let key = format!("{root}a");
    let version = stored(law, put(bucket, &key, "first".into(), PutMode::Create).await);
    for body in ["second", "first"] {
        let answer = put(bucket, &key, body.into(), PutMode::Create).await;
        assert_eq!(must_be(law, answer), Put::Refused, "{law}: {body}");
    }
    let object = read(law, bucket, &key, Range::Whole).await;
    assert_eq!((&*object.body, object.version), (&b"first"[..], version), "{law}: the old content is kept");
}

async fn a_replace_needs_the_present_version(bucket: &dyn Bucket, root: &str) {
    let law = "a replace needs the present version";
    let key = format!("{root}a");
    let first = stored(law, put(bucket, &key, "first".into(), PutMode::Create).await);
    let second = stored(law, put(bucket, &key, "second".into(), PutMode::Replace(first.clone())).await);
    let answer = put(bucket, &key, "third".into(), PutMode::Replace(first)).await;
    assert_eq!(must_be(law, answer), Put::Refused, "{law}: a stale one is refused");
    let object = read(law, bucket, &key, Range::Whole).await;
    assert_eq!((&*object.body, &object.version), (&b"second"[..], &second), "{law}: nothing was changed");
    stored(law, put(bucket, &key, "fourth".into(), PutMode::Replace(object.version)).await);
}

async fn a_replace_needs_an_object(bucket: &dyn Bucket, root: &str) {
    let law = "a replace needs an object";
    let other = stored(law, put(bucket, &format!("{root}other"), "a".into(), PutMode::Create).await);
    let key = format!("{root}absent");
    let answer = put(bucket, &key, "b".into(), PutMode::Replace(other)).await;
    assert_eq!(must_be(law, answer), Put::Refused, "{law}");
    assert!(must(law, bucket.get(&key, Range::Whole)).await.is_none(), "{law}: nothing was stored");
}

async fn another_content_is_another_version(bucket: &dyn Bucket, root: &str) {
    let law = "another content is another version";
    let key = format!("{root}a");
    let mut seen: Vec<Version> = Vec::new();
    for n in 0..20 {
        let version = stored(law, put(bucket, &key, format!("content {n}").into(), PutMode::Overwrite).await);
        assert!(!seen.contains(&version), "{law}: {version:?} came back at {n}");
        seen.push(version);
    }
}

async fn a_delete_spares_another_version(bucket: &dyn Bucket, root: &str) {
    let law = "a delete spares another version";
    let key = format!("{root}a");
    let first = stored(law, put(bucket, &key, "first".into(), PutMode::Create).await);
    let second = stored(law, put(bucket, &key, "second".into(), PutMode::Overwrite).await);
    let answer = must(law, bucket.delete(&key, Some(&first))).await;
    assert_eq!(answer, Delete::Refused, "{law}");
    assert_eq!(&*read(law, bucket, &key, Range::Whole).await.body, b"second", "{law}: it is there");
    let answer = must(law, bucket.delete(&key, Some(&second))).await;
    assert_eq!(answer, Delete::Gone, "{law}: the right one deletes");
    assert!(must(law, bucket.get(&key, Range::Whole)).await.is_none(), "{law}: it is gone");
}

async fn a_deleted_key_is_free_again(bucket: &dyn Bucket, root: &str) {
    let law = "a deleted key is free again";
    let key = format!("{root}a");
    let version = stored(law, put(bucket, &key, "first".into(), PutMode::Create).await);
    assert_eq!(must(law, bucket.delete(&key, None)).await, Delete::Gone, "{law}");
    let answer = put(bucket, &key, "second".into(), PutMode::Replace(version)).await;
    assert_eq!(must_be(law, answer), Put::Refused, "{law}: there is nothing to replace");
    stored(law, put(bucket, &key, "third".into(), PutMode::Create).await);
    assert_eq!(&*read(law, bucket, &key, Range::Whole).await.body, b"third", "{law}");
}

async fn a_file_is_stored_whole(bucket: &dyn Bucket, root: &str) {
    let law = "a file is stored whole";
    let file = TempFile::new(law, &pattern(3_000_000));
    let key = format!("{root}a");
    let options = PutOptions { timestamp_ms: Some(1_700_000_000_120), ..PutOptions::new(PutMode::Create) };
    let version = stored(law, bucket.put(&key, file.body(), options).await);
    let object = read(law, bucket, &key, Range::Whole).await;
    assert!(object.body == pattern(3_000_000) && object.version == version, "{law}");
}

async fn an_upload_in_parts_keeps_the_conditions(bucket: &dyn Bucket, root: &str) {
    let law = "an upload in parts keeps the conditions";
    // More than three parts of the size that the S3 adapter takes, the last one short.
    let body = pattern(26 * 1024 * 1024 + 7);
    let file = TempFile::new(law, &body);
    let key = format!("{root}a");
    let in_parts = |mode| PutOptions { in_parts: true, ..PutOptions::new(mode) };
    let version = stored(law, bucket.put(&key, file.body(), in_parts(PutMode::Create)).await);
    let object = read(law, bucket, &key, Range::Whole).await;
    assert!(object.body == body && object.version == version, "{law}: stored whole");
    let end = read(law, bucket, &key, Range::Last(10)).await;
    assert!(end.body == body.slice(body.len() - 10..) && end.version == version, "{law}: its end");

    let small = || Body::Bytes("small".into());
    let answer = bucket.put(&key, small(), in_parts(PutMode::Create)).await;
    assert_eq!(must_be(law, answer), Put::Refused, "{law}: a second create");
    let object = read(law, bucket, &key, Range::Whole).await;
    assert!(object.body == body && object.version == version, "{law}: nothing was changed");
    let version = stored(law, bucket.put(&key, small(), in_parts(PutMode::Overwrite)).await);
    let object = read(law, bucket, &key, Range::Whole).await;
    assert_eq!((&*object.body, object.version), (&b"small"[..], version), "{law}: overwritten");
}

async fn a_listing_is_in_order_and_goes_on(bucket: &dyn Bucket, root: &str) {
    let law = "a listing is in order and goes on after a key";
    let named = |names: &[&str]| names.iter().map(|name| format!("{root}{name}")).collect::<Vec<_>>();
    let mut keys = named(&["0/b", "0/a.", "0/a0", "0/a", "0/a-", "0/B", "0/ä", "0/a1"]);
    let others = named(&["0.", "00/a", "1/2/3", "1/2-"]);
    for key in keys.iter().chain(&others) {
        stored(law, put(bucket, key, "body".into(), PutMode::Create).await);
    }
    keys.sort();
    let folder = format!("{root}0/");
    let all = list_until(law, bucket, &folder, None, |found| *found == keys).await;
    assert!(all.objects.iter().all(|object| object.size == 4), "{law}: the sizes: {all:?}");
    assert!(!all.more, "{law}: there is no more");
    for (at, after) in keys.iter().enumerate() {
        let rest = &keys[at + 1..];
        list_until(law, bucket, &folder, Some(after), |found| found == rest).await;
    }
    // After a key that is not there.
    list_until(law, bucket, &folder, Some(&format!("{folder}a,")), |found| *found == keys[2..]).await;

    keys.extend(others);
    for prefix in ["", "0", "0/a", "00", "1/", "1/2", "1/2/", "zzz"] {
        let prefix = format!("{root}{prefix}");
        let mut expected: Vec<_> = keys.iter().filter(|key| key.starts_with(&prefix)).collect();
        expected.sort();
        list_until(law, bucket, &prefix, None, |found| {
            let mut found: Vec<_> = found.iter().collect();
            found.sort();
            found == expected
        })
        .await;
    }
}

async fn keys_may_hold_any_letter(bucket: &dyn Bucket, root: &str) {
    let law = "keys may hold any letter";
    let mut keys: Vec<String> = ["with space", "plus+and&=?", "ünïcödé-日本", "100%25 #1"]
        .iter()
        .map(|n| format!("{root}{n}"))
        .collect();
    for key in &keys {
        stored(law, put(bucket, key, key.clone().into(), PutMode::Create).await);
        let object = read(law, bucket, key, Range::Whole).await;
        assert_eq!(&*object.body, key.as_bytes(), "{law}: {key}");
    }
    keys.sort();
    list_until(law, bucket, root, None, |found| *found == keys).await;
}

async fn the_clock_stamps_the_objects(bucket: &dyn Bucket, root: &str) {
    let law = "the clock stamps the objects";
    // Stores round to seconds, up or down.
    let rounding_ms = 1_000;
    let before = must(law, bucket.now_ms()).await;
    let key = format!("{root}a");
    let options = PutOptions { timestamp_ms: Some(1_000), ..PutOptions::new(PutMode::Create) };
    stored(law, bucket.put(&key, Body::Bytes("a".into()), options).await);
    let after = must(law, bucket.now_ms()).await;
    let in_time = before - rounding_ms..=after + rounding_ms;
    let read_ms = read(law, bucket, &key, Range::Whole).await.last_modified_ms;
    assert!(in_time.contains(&read_ms), "{law}: {read_ms} by a read, not within {in_time:?}");
    let listed = list_until(law, bucket, root, None, |found| found.len() == 1).await;
    let listed_ms = listed.objects[0].last_modified_ms;
    assert!(in_time.contains(&listed_ms), "{law}: {listed_ms} by a listing, not within {in_time:?}");
}

async fn of_racing_creators_one_wins(bucket: &dyn Bucket, root: &str) {
    let law = "of racing creators one wins";
    for round in 0..ROUNDS {
        let key = format!("{root}{round}");
        race(law, bucket, &key, &PutMode::Create, round).await;
    }
}

async fn of_racing_replacers_one_wins(bucket: &dyn Bucket, root: &str) {
    let law = "of racing replacers one wins";
    let key = format!("{root}a");
    stored(law, put(bucket, &key, "start".into(), PutMode::Create).await);
    for round in 0..ROUNDS {
        let version = read(law, bucket, &key, Range::Whole).await.version;
        race(law, bucket, &key, &PutMode::Replace(version), round).await;
    }
}

/// A put with an error is repeated by its racer until the answer is definite; a racer that met one may
/// have won unheard.
async fn race(law: &str, bucket: &dyn Bucket, key: &str, mode: &PutMode, round: usize) {
    let body = |racer: usize| format!("round {round}, racer {racer}");
    let racers = (0..RACERS).map(|racer| async move {
        let mut failed = false;
        for _ in 0..LOOKS {
            match put(bucket, key, body(racer).into(), mode.clone()).await {
                Ok(answer) => return (answer, failed),
                Err(_) => failed = true,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{law}: no definite answer in round {round}");
    });
    let answers = join_all(racers).await;
    let object = read(law, bucket, key, Range::Whole).await;
    let winner = (0..RACERS)
        .find(|&racer| object.body == body(racer))
        .unwrap_or_else(|| panic!("{law}: {:?} is nobody's in round {round}", object.body));
    for (racer, (answer, failed)) in answers.iter().enumerate() {
        match answer {
            Put::Stored(version) => {
                assert_eq!(racer, winner, "{law}: two winners in round {round}");
                assert_eq!(*version, object.version, "{law}: the winner's version in round {round}");
            }
            Put::Refused => assert!(racer != winner || *failed, "{law}: no winner in round {round}"),
        }
    }
}

async fn put(bucket: &dyn Bucket, key: &str, body: Bytes, mode: PutMode) -> Result<Put> {
    bucket.put(key, Body::Bytes(body), PutOptions::new(mode)).await
}

async fn read(law: &str, bucket: &dyn Bucket, key: &str, range: Range) -> Object {
    must(law, bucket.get(key, range)).await.unwrap_or_else(|| panic!("{law}: {key} is not there"))
}

/// Lists all pages until the keys are the expected ones.
async fn list_until(
    law: &str,
    bucket: &dyn Bucket,
    prefix: &str,
    start_after: Option<&str>,
    expected: impl Fn(&Vec<String>) -> bool,
) -> Listing {
    let mut found = Vec::new();
    for _ in 0..LOOKS {
        let listing = must(law, bucket.list(prefix, start_after)).await;
        found = listing.objects.iter().map(|Listed { key, .. }| key.clone()).collect();
        if expected(&found) {
            return listing;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{law}: {found:?} is not what is below {prefix:?} after {start_after:?}");
}

async fn must<T>(law: &str, call: impl Future<Output = Result<T>>) -> T {
    must_be(law, call.await)
}

fn must_be<T>(law: &str, result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{law}: {error:?}"))
}

fn stored(law: &str, answer: Result<Put>) -> Version {
    match must_be(law, answer) {
        Put::Stored(version) => version,
        Put::Refused => panic!("{law}: refused"),
    }
}

/// Bytes that differ from place to place, so that parts in a wrong order are seen.
fn pattern(length: usize) -> Bytes {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

struct TempFile(std::path::PathBuf);

impl TempFile {
    fn new(law: &str, content: &[u8]) -> TempFile {
        let path = std::env::temp_dir().join(format!("haqlite-laws-{}", uuid::Uuid::new_v4()));
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("{law}: {error}"));
        TempFile(path)
    }

    fn body(&self) -> Body {
        Body::File(self.0.clone())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
