//! The promises of [`LeaseStore`], as a suite that every adapter runs, also adapters from outside.

use std::time::Duration;

use super::{LeaseStore, LeaseVersion, Register, Swap};
use crate::bucket::join_all;
use crate::types::Result;

pub(crate) const RACERS: usize = 20;
pub(crate) const ROUNDS: usize = 10;

/// How often a racer repeats a write that ended with an error, 20 ms apart.
const TRIES: usize = 100;

/// Checks every promise of [`LeaseStore`] at keys that begin with `root`, where nothing may be yet. What it
/// writes stays. Needs a tokio runtime with time.
///
/// # Panics
/// With the name of the law that the store breaks.
pub async fn laws(store: &dyn LeaseStore, root: &str) {
    what_was_written_is_read_at_once(store, &format!("{root}read")).await;
    a_register_is_created_once(store, &format!("{root}create")).await;
    a_replacement_needs_the_present_version(store, &format!("{root}replace")).await;
    nothing_is_not_replaced(store, root).await;
    a_version_never_comes_back(store, &format!("{root}versions")).await;
    registers_are_apart(store, root).await;
    of_racing_creators_one_wins(store, root).await;
    of_racing_replacers_one_wins(store, &format!("{root}replace-race")).await;
}

/// Checks that [`LeaseStore::changed`] returns soon after a change and at once when there was one already,
/// for stores that can watch.
///
/// # Panics
/// With the name of the law that the store breaks.
pub async fn watch_laws(store: &dyn LeaseStore, root: &str) {
    let law = "a watcher hears of a change";
    let soon = Duration::from_secs(5);
    let key = format!("{root}watch");
    let created = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        done(law, store.create(&key, b"1").await)
    };
    let (heard, first) = tokio::join!(tokio::time::timeout(soon, store.changed(&key, None)), created);
    assert!(heard.is_ok(), "{law}: a creation");

    let still = tokio::time::timeout(Duration::from_millis(200), store.changed(&key, Some(&first))).await;
    assert!(still.is_err(), "{law}: there was none");

    let replaced = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        done(law, store.replace(&key, b"2", &first).await)
    };
    let (heard, _) = tokio::join!(tokio::time::timeout(soon, store.changed(&key, Some(&first))), replaced);
    assert!(heard.is_ok(), "{law}: a replacement");
    let heard = tokio::time::timeout(soon, store.changed(&key, Some(&first))).await;
    assert!(heard.is_ok(), "{law}: one from before it looked");
}

async fn what_was_written_is_read_at_once(store: &dyn LeaseStore, key: &str) {
    let law = "what was written is read at once";
    let nothing = must(law, store.read(key).await);
    assert_eq!(nothing, None, "{law}: nothing yet");
    let mut version = done(law, store.create(key, b"").await);
    let found = must(law, store.read(key).await);
    assert_eq!(found, Some(Register { body: vec![], version: version.clone() }), "{law}: nothing in it");
    for n in 0..20 {
        let body = format!("{{\"renewal\":{n}}}").into_bytes();
        version = done(law, store.replace(key, &body, &version).await);
        let found = must(law, store.read(key).await);
        assert_eq!(found, Some(Register { body, version: version.clone() }), "{law}: write {n}");
    }
}

async fn a_register_is_created_once(store: &dyn LeaseStore, key: &str) {
    let law = "a register is created once";
    let version = done(law, store.create(key, b"first").await);
    for body in [&b"second"[..], b"first"] {
        assert_eq!(must(law, store.create(key, body).await), Swap::Lost, "{law}");
    }
    let found = must(law, store.read(key).await);
    assert_eq!(found, Some(Register { body: b"first".to_vec(), version }), "{law}: it is as it was");
}

async fn a_replacement_needs_the_present_version(store: &dyn LeaseStore, key: &str) {
    let law = "a replacement needs the present version";
    let first = done(law, store.create(key, b"1").await);
    let second = done(law, store.replace(key, b"2", &first).await);
    assert_eq!(must(law, store.replace(key, b"3", &first).await), Swap::Lost, "{law}: a stale one");
    let found = must(law, store.read(key).await);
    assert_eq!(
        found,
        Some(Register { body: b"2".to_vec(), version: second.clone() }),
        "{law}: it is as it was"
    );
    done(law, store.replace(key, b"4", &second).await);
}

async fn nothing_is_not_replaced(store: &dyn LeaseStore, root: &str) {
    let law = "nothing is not replaced";
    let other = done(law, store.create(&format!("{root}other"), b"1").await);
    let key = format!("{root}nothing");
    assert_eq!(must(law, store.replace(&key, b"2", &other).await), Swap::Lost, "{law}");
    assert_eq!(must(law, store.read(&key).await), None, "{law}: still nothing");
}

async fn a_version_never_comes_back(store: &dyn LeaseStore, key: &str) {
    let law = "a version never comes back";
    let mut seen = vec![done(law, store.create(key, b"holder a, renewal 0").await)];
    for n in 1..20 {
        let body = format!("holder {}, renewal {n}", if n % 2 == 0 { "a" } else { "b" });
        let version = done(law, store.replace(key, body.as_bytes(), &seen[n - 1]).await);
        assert!(!seen.contains(&version), "{law}: {version:?} at {n}");
        seen.push(version);
    }
    let (last, old) = seen.split_last().expect("BUG: at least one was written");
    for version in old {
        assert_eq!(must(law, store.replace(key, b"stale", version).await), Swap::Lost, "{law}: as a key");
    }
    done(law, store.replace(key, b"fresh", last).await);
}

async fn registers_are_apart(store: &dyn LeaseStore, root: &str) {
    let law = "registers are apart";
    let (a, b) = (format!("{root}apart-a"), format!("{root}apart-b"));
    let version = done(law, store.create(&a, b"a").await);
    done(law, store.create(&b, b"b").await);
    done(law, store.replace(&a, b"aa", &version).await);
    assert_eq!(must(law, store.read(&b).await).map(|register| register.body), Some(b"b".to_vec()), "{law}");
}

async fn of_racing_creators_one_wins(store: &dyn LeaseStore, root: &str) {
    let law = "of racing creators one wins";
    for round in 0..ROUNDS {
        race(law, store, &format!("{root}create-race-{round}"), None, round).await;
    }
}

async fn of_racing_replacers_one_wins(store: &dyn LeaseStore, key: &str) {
    let law = "of racing replacers one wins";
    let mut version = done(law, store.create(key, b"start").await);
    for round in 0..ROUNDS {
        version = race(law, store, key, Some(&version), round).await;
    }
}

/// A racer repeats a write that ended with an error until the answer is definite; it may have won unheard.
async fn race(
    law: &str,
    store: &dyn LeaseStore,
    key: &str,
    version: Option<&LeaseVersion>,
    round: usize,
) -> LeaseVersion {
    let body = |racer: usize| format!("round {round}, racer {racer}").into_bytes();
    let racers = (0..RACERS).map(|racer| async move {
        until_definite(law, round, || async {
            match version {
                None => store.create(key, &body(racer)).await,
                Some(version) => store.replace(key, &body(racer), version).await,
            }
        })
        .await
    });
    let answers = join_all(racers).await;
    let found = must(law, store.read(key).await)
        .unwrap_or_else(|| panic!("{law}: nothing was stored in round {round}"));
    let winner = (0..RACERS)
        .find(|&racer| found.body == body(racer))
        .unwrap_or_else(|| panic!("{law}: nobody's body in round {round}"));
    for (racer, (answer, failed)) in answers.iter().enumerate() {
        match answer {
            Swap::Done(version) => {
                assert_eq!(racer, winner, "{law}: two winners in round {round}");
                assert_eq!(*version, found.version, "{law}: the winner's version in round {round}");
            }
            Swap::Lost => assert!(racer != winner || *failed, "{law}: no winner in round {round}"),
        }
    }
    found.version
}

fn done(law: &str, answer: Result<Swap>) -> LeaseVersion {
    match must(law, answer) {
        Swap::Done(version) => version,
        Swap::Lost => panic!("{law}: the write was lost"),
    }
}

/// Repeats a write that ended with an error until the answer is definite, and tells whether there was an error before.
pub(crate) async fn until_definite<T, F: Future<Output = Result<T>>>(
    law: &str,
    round: usize,
    write: impl Fn() -> F,
) -> (T, bool) {
    let mut failed = false;
    for _ in 0..TRIES {
        match write().await {
            Ok(answer) => return (answer, failed),
            Err(_) => failed = true,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{law}: no definite answer in round {round}");
}

pub(crate) fn must<T>(law: &str, result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{law}: {error:?}"))
}
