//! The promises of [`ManifestStore`], as a suite that every adapter runs, also adapters from outside.

use std::time::Duration;

use super::{MAX_MANIFEST_BYTES, Manifest, ManifestPut, ManifestStore, ManifestVersion};
use crate::bucket::join_all;
use crate::lease_store::laws::{RACERS, ROUNDS, must, until_definite};
use crate::types::{Epoch, ErrorKind, Result};

/// Checks every promise of [`ManifestStore`] at keys that begin with `root`, where nothing may be yet. What it writes
/// stays. Needs a tokio runtime with time.
///
/// # Panics
/// With the name of the law that the store breaks.
pub async fn laws(store: &dyn ManifestStore, root: &str) {
    what_was_put_is_read(store, &format!("{root}read")).await;
    a_put_needs_the_present_version(store, &format!("{root}version")).await;
    an_epoch_never_goes_back(store, &format!("{root}epoch")).await;
    a_version_never_comes_back(store, &format!("{root}versions")).await;
    what_is_there_is_confirmed_and_nothing_else(store, &format!("{root}confirm")).await;
    large_manifests_pass_and_too_large_ones_are_refused(store, &format!("{root}large")).await;
    of_racing_puts_one_wins(store, &format!("{root}race")).await;
}

/// Checks that [`ManifestStore::changed`] returns soon after a change and at once when there was one already, for
/// stores that can watch.
///
/// # Panics
/// With the name of the law that the store breaks.
pub async fn watch_laws(store: &dyn ManifestStore, root: &str) {
    let law = "a watcher hears of a change";
    let soon = Duration::from_secs(5);
    let key = format!("{root}watch");
    let created = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        done(law, store.put(&key, epoch(1), b"1", None).await)
    };
    let (heard, first) = tokio::join!(tokio::time::timeout(soon, store.changed(&key, None)), created);
    assert!(heard.is_ok(), "{law}: a creation");

    let still = tokio::time::timeout(Duration::from_millis(200), store.changed(&key, Some(&first))).await;
    assert!(still.is_err(), "{law}: there was none");

    let replaced = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        done(law, store.put(&key, epoch(1), b"2", Some(&first)).await)
    };
    let (heard, _) = tokio::join!(tokio::time::timeout(soon, store.changed(&key, Some(&first))), replaced);
    assert!(heard.is_ok(), "{law}: a replacement");
    let heard = tokio::time::timeout(soon, store.changed(&key, Some(&first))).await;
    assert!(heard.is_ok(), "{law}: one from before it looked");
}

async fn what_was_put_is_read(store: &dyn ManifestStore, key: &str) {
    let law = "what was put is read";
    assert_eq!(must(law, store.read(key).await), None, "{law}: nothing yet");
    let mut version = None;
    for n in 0..20_u64 {
        let body = if n == 0 { vec![] } else { format!("manifest {n}").into_bytes() };
        let put = done(law, store.put(key, epoch(n / 4 + 1), &body, version.as_ref()).await);
        let found = must(law, store.read(key).await);
        assert_eq!(
            found,
            Some(Manifest { epoch: epoch(n / 4 + 1), body, version: put.clone() }),
            "{law}: {n}"
        );
        version = Some(put);
    }
}

async fn a_put_needs_the_present_version(store: &dyn ManifestStore, key: &str) {
    let law = "a put needs the present version";
    let first = done(law, store.put(key, epoch(1), b"1", None).await);
    assert_eq!(must(law, store.put(key, epoch(1), b"x", None).await), ManifestPut::Lost, "{law}: a creation");
    let second = done(law, store.put(key, epoch(1), b"2", Some(&first)).await);
    assert_eq!(
        must(law, store.put(key, epoch(2), b"3", Some(&first)).await),
        ManifestPut::Lost,
        "{law}: a stale one"
    );
    let found = must(law, store.read(key).await);
    let expected = Manifest { epoch: epoch(1), body: b"2".to_vec(), version: second };
    assert_eq!(found, Some(expected), "{law}: it is as it was");
}

async fn an_epoch_never_goes_back(store: &dyn ManifestStore, key: &str) {
    let law = "an epoch never goes back";
    let first = done(law, store.put(key, epoch(7), b"1", None).await);
    let outranked = ManifestPut::Outranked { epoch: epoch(7) };
    assert_eq!(must(law, store.put(key, epoch(6), b"2", Some(&first)).await), outranked, "{law}");
    let found = must(law, store.read(key).await);
    assert_eq!(
        found,
        Some(Manifest { epoch: epoch(7), body: b"1".to_vec(), version: first.clone() }),
        "{law}: it is as it was"
    );
    let second = done(law, store.put(key, epoch(7), b"3", Some(&first)).await);
    let third = done(law, store.put(key, epoch(9), b"4", Some(&second)).await);
    let outranked = ManifestPut::Outranked { epoch: epoch(9) };
    assert_eq!(must(law, store.put(key, epoch(8), b"5", Some(&third)).await), outranked, "{law}: again");
}

async fn a_version_never_comes_back(store: &dyn ManifestStore, key: &str) {
    let law = "a version never comes back";
    let mut seen = vec![done(law, store.put(key, epoch(1), b"a", None).await)];
    for n in 1..20 {
        let body: &[u8] = if n % 2 == 0 { b"a" } else { b"b" };
        let version = done(law, store.put(key, epoch(1), body, seen.last()).await);
        assert!(!seen.contains(&version), "{law}: {version:?} at {n}, although the body came back");
        seen.push(version);
    }
}

async fn what_is_there_is_confirmed_and_nothing_else(store: &dyn ManifestStore, key: &str) {
    let law = "what is there is confirmed and nothing else";
    let first = done(law, store.put(key, epoch(1), b"1", None).await);
    let mut version = first.clone();
    for _ in 0..3 {
        version =
            must(law, store.confirm(key, &version).await).unwrap_or_else(|| panic!("{law}: it is there"));
    }
    let found = must(law, store.read(key).await);
    let expected = Manifest { epoch: epoch(1), body: b"1".to_vec(), version: version.clone() };
    assert_eq!(found, Some(expected), "{law}: it is as it was");
    let second = done(law, store.put(key, epoch(2), b"2", Some(&version)).await);
    for stale in [&first, &version] {
        assert_eq!(must(law, store.confirm(key, stale).await), None, "{law}: a stale one");
    }
    assert!(must(law, store.confirm(key, &second).await).is_some(), "{law}: the newest");
}

async fn large_manifests_pass_and_too_large_ones_are_refused(store: &dyn ManifestStore, key: &str) {
    let law = "large manifests pass and too large ones are refused";
    let body = vec![0xa5; MAX_MANIFEST_BYTES];
    let version = done(law, store.put(key, epoch(1), &body, None).await);
    let found = must(law, store.read(key).await).map(|manifest| manifest.body.len());
    assert_eq!(found, Some(body.len()), "{law}");
    let larger = vec![0xa5; MAX_MANIFEST_BYTES + 1];
    match store.put(key, epoch(2), &larger, Some(&version)).await {
        Err(error) if error.kind() == ErrorKind::LimitExceeded => {}
        other => panic!("{law}: {other:?} for one byte too many"),
    }
    let found = must(law, store.read(key).await).map(|manifest| manifest.version);
    assert_eq!(found, Some(version), "{law}: it is as it was");
}

async fn of_racing_puts_one_wins(store: &dyn ManifestStore, key: &str) {
    let law = "of racing puts one wins";
    let mut version: Option<ManifestVersion> = None;
    for round in 0..ROUNDS {
        let body = |racer: usize| format!("round {round}, racer {racer}").into_bytes();
        let expected = version.as_ref();
        let racers = (0..RACERS).map(|racer| async move {
            until_definite(law, round, || async { store.put(key, epoch(1), &body(racer), expected).await })
                .await
        });
        let answers = join_all(racers).await;
        let found = must(law, store.read(key).await)
            .unwrap_or_else(|| panic!("{law}: nothing was stored in round {round}"));
        for (racer, (answer, failed)) in answers.iter().enumerate() {
            let won = found.body == body(racer);
            match answer {
                ManifestPut::Done(version) => {
                    assert!(won, "{law}: two winners in round {round}");
                    assert_eq!(*version, found.version, "{law}: the winner's version in round {round}");
                }
                ManifestPut::Lost => assert!(!won || *failed, "{law}: no winner in round {round}"),
                ManifestPut::Outranked { epoch } => panic!("{law}: outranked by {epoch} in round {round}"),
            }
        }
        version = Some(found.version);
    }
}

fn epoch(number: u64) -> Epoch {
    Epoch::new(number).expect("BUG: a small epoch")
}

fn done(law: &str, answer: Result<ManifestPut>) -> ManifestVersion {
    match must(law, answer) {
        ManifestPut::Done(version) => version,
        other => panic!("{law}: the put was refused: {other:?}"),
    }
}
