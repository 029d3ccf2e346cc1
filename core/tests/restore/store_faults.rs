use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use haqlite::bucket::{Bucket, Call, Fault, FaultyBucket};
use haqlite::{ErrorKind, Restore};

use crate::written::{Written, file_key, slot_key};

/// A restore from the bucket of `written`, under a script.
fn under(written: &Written, script: impl Fn(&Call<'_>) -> Fault + Send + Sync + 'static) -> Restore {
    let bucket: Arc<dyn Bucket> = Arc::clone(&written.bucket);
    Restore::from_bucket(FaultyBucket::new(bucket, script)).db_name("app")
}

#[test]
fn a_store_that_fails_now_and_then_is_asked_again() {
    let written = Written::with_a_life();
    written.snapshot(5);
    let calls = AtomicUsize::new(0);
    let restore = under(&written, move |_| match calls.fetch_add(1, Ordering::SeqCst) % 5 {
        0 => Fault::Refuse,
        1 => Fault::LoseAnswer,
        2 => Fault::Delay(Duration::from_millis(5)),
        _ => Fault::None,
    });
    let restored = written.check(restore, 10);
    assert_eq!(restored.damaged, [], "a store that fails is no damage");
}

#[test]
fn answers_that_are_cut_short_are_made_whole_by_what_is_missing() {
    let written = Written::with_a_life();
    let calls = AtomicUsize::new(0);
    let restore = under(&written, move |call| match call {
        Call::Get { key } if key.ends_with(".ltx") => {
            Fault::Truncate([0, 1, 700, 10_000][calls.fetch_add(1, Ordering::SeqCst) % 4])
        }
        _ => Fault::None,
    });
    assert_eq!(written.check(restore, 10).damaged, []);
}

#[test]
fn a_store_that_is_away_is_no_damage() {
    let written = Written::with_a_life();
    let key = written.key(&slot_key(4));
    let error = written.refused(under(&written, move |call| match call {
        Call::Get { key: asked } if *asked == key => Fault::Refuse,
        _ => Fault::None,
    }));
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
    assert!(error.message().contains(&written.key(&slot_key(4))), "{error}");
}

/// A bucket in which retention is at work: what it deletes is gone between the listing and the read.
#[test]
fn files_that_retention_deletes_meanwhile_are_done_without() {
    let written = Written::with_a_life();
    written.compact(1, 2, 6);
    let bucket = Arc::clone(&written.bucket);
    let keys: Vec<String> = (2..=4).map(|slot| written.key(&slot_key(slot))).collect();
    let compaction = written.key(&file_key(1, 2, 6));
    let before = Arc::new(Mutex::new(true));
    let first = Arc::clone(&before);
    // The first listing of level 1 does not show the compaction, and then the slots are deleted.
    let restore = under(&written, move |call| match call {
        Call::List { prefix }
            if prefix.contains("/ltx/1/") && std::mem::take(&mut *first.lock().unwrap()) =>
        {
            Fault::Stale
        }
        Call::Get { key } if keys.iter().any(|slot| slot == key) => {
            let (bucket, key) = (Arc::clone(&bucket), (*key).to_owned());
            std::thread::spawn(move || crate::written::wait(bucket.delete(&key, None)).unwrap())
                .join()
                .unwrap();
            Fault::None
        }
        _ => Fault::None,
    });
    let restored = written.check(restore, 10);
    assert_eq!(restored.damaged, []);
    assert!(!*before.lock().unwrap());
    assert!(!compaction.is_empty());
}

#[test]
fn a_listing_that_lags_behind_hides_nothing_at_the_end() {
    let mut written = Written::with_a_life();
    let bucket: Arc<dyn Bucket> = Arc::clone(&written.bucket);
    let listings = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
    let seen = Arc::clone(&listings);
    let faulty = FaultyBucket::new(bucket, move |call| match call {
        Call::List { prefix } => {
            let mut seen = seen.lock().unwrap();
            let count = seen.entry((*prefix).to_owned()).or_default();
            *count += 1;
            if *count == 1 { Fault::None } else { Fault::Stale }
        }
        _ => Fault::None,
    });
    let restore = Restore::from_bucket(faulty).db_name("app");
    written.check(restore.clone(), 10);
    written.ship("UPDATE t SET b = 'late' WHERE a = 2");
    written.ship("UPDATE t SET b = 'later' WHERE a = 3");
    written.check(restore.clone(), 12);
    written.compact(1, 8, 12);
    written.check(restore, 12);
}
