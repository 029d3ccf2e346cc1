//! The laws, and what belongs to them: deletions, watches, and the cost of a write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use haqlite::lease_store::{LeaseStore, LeaseVersion, NatsWarning, Swap};
use haqlite::manifest_store::RegisterManifestStore;

use super::{Nats, done, open};
use crate::support::run;

#[test]
fn registers_in_nats_keep_the_laws() {
    let nats = Nats::start();
    run(async {
        let store = nats.store();
        haqlite::testing::lease_store_laws(&store, "laws/").await;
        haqlite::testing::lease_store_watch_laws(&store, "watch/").await;
        assert!(!store.reads_are_linearizable());
        assert_eq!(store.warnings(), [NatsWarning::SingleReplica]);
    });
}

#[test]
fn manifests_in_nats_keep_the_laws() {
    let nats = Nats::start();
    run(async {
        let store = RegisterManifestStore::new(nats.store());
        haqlite::testing::manifest_store_laws(&store, "m/").await;
        haqlite::testing::manifest_store_watch_laws(&store, "w/").await;
    });
}

#[test]
fn a_deleted_register_is_made_again_with_a_new_version() {
    let nats = Nats::start();
    run(async {
        let (store, raw) = (nats.store(), nats.client());
        let mut seen = Vec::new();
        for mark in [&[("KV-Operation", "DEL")][..], &[("KV-Operation", "PURGE"), ("Nats-Rollup", "sub")]] {
            let version = done(store.create("a/_lease", b"1").await);
            assert!(!seen.contains(&version), "{version:?} came back");
            let (heard, answer) = tokio::join!(
                tokio::time::timeout(Duration::from_secs(5), store.changed("a/_lease", Some(&version))),
                raw.request("$KV.leases.a/_lease", mark, "")
            );
            assert!(heard.is_ok(), "the deletion is heard: {answer}");
            assert_eq!(store.read("a/_lease").await.unwrap(), None);
            assert_eq!(store.replace("a/_lease", b"2", &version).await.unwrap(), Swap::Lost);
            let still = store.changed("a/_lease", None);
            assert!(
                tokio::time::timeout(Duration::from_millis(300), still).await.is_err(),
                "there is nothing"
            );
            seen.push(version);
        }
        // A purge of the stream leaves no mark at all.
        let version = done(store.create("a/_lease", b"3").await);
        raw.request("$JS.API.STREAM.PURGE.KV_leases", &[], r#"{"filter":"$KV.leases.a/_lease"}"#).await;
        assert_eq!(store.read("a/_lease").await.unwrap(), None);
        assert_eq!(store.replace("a/_lease", b"4", &version).await.unwrap(), Swap::Lost);
        assert!(!seen.contains(&version));
        assert!(!seen.contains(&done(store.create("a/_lease", b"5").await)));
    });
}

#[test]
fn versions_of_other_stores_are_lost() {
    let nats = Nats::start();
    run(async {
        let store = nats.store();
        for version in ["0", "", "\"etag\"", "-1", "18446744073709551616"] {
            let version = LeaseVersion(version.to_owned());
            assert_eq!(store.replace("k", b"x", &version).await.unwrap(), Swap::Lost, "{version:?}");
        }
        assert_eq!(store.read("k").await.unwrap(), None);
    });
}

#[test]
fn a_watcher_hears_of_every_write_of_a_burst_while_it_stops_and_asks_again() {
    let nats = Nats::start();
    run(async {
        let (store, key) = (Arc::new(nats.store()), "burst");
        let writer = {
            let url = nats.url();
            tokio::spawn(async move {
                let store = open(&url);
                let mut version = done(store.create(key, b"0").await);
                for n in 1..=300 {
                    version = done(store.replace(key, format!("{n}").as_bytes(), &version).await);
                    // Bursts with pauses: a hole is heard at the latest when there is silence after it.
                    let pause = if n % 50 == 0 { 150 } else { n % 3 };
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                version
            })
        };
        let mut seen = None;
        loop {
            let watch = tokio::time::timeout(Duration::from_secs(10), async {
                // The lease task drops its watch at every turn and asks again.
                while tokio::time::timeout(Duration::from_millis(7), store.changed(key, seen.as_ref()))
                    .await
                    .is_err()
                {}
            });
            assert!(watch.await.is_ok(), "a write after {seen:?} was not heard");
            let found = store.read(key).await.unwrap();
            let last = found.as_ref().is_some_and(|found| found.body == b"300");
            seen = found.map(|found| found.version);
            if last {
                break;
            }
        }
        assert_eq!(Some(writer.await.unwrap()), seen);
        let quiet = tokio::time::timeout(Duration::from_millis(500), store.changed(key, seen.as_ref())).await;
        assert!(quiet.is_err(), "there was nothing more");
    });
}

#[test]
fn watchers_do_not_pile_up_on_the_server() {
    let nats = Nats::start();
    run(async {
        let store = nats.store();
        let version = done(store.create("k", b"1").await);
        for _ in 0..30 {
            let watch = store.changed("k", Some(&version));
            assert!(tokio::time::timeout(Duration::from_millis(20), watch).await.is_err());
        }
        let info = nats.client().request("$JS.API.STREAM.INFO.KV_leases", &[], "").await;
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["state"]["consumer_count"], 1, "{info}");
    });
}

/// What a replacement costs, for whoever asks: `cargo test ... -- --nocapture cost`.
#[test]
fn the_cost_of_a_replacement_is_a_round_trip() {
    let nats = Nats::start();
    run(async {
        let store = nats.store();
        let mut version = done(store.create("k", b"0").await);
        let mut spans = Vec::new();
        for n in 0..1000 {
            let begun = Instant::now();
            version = done(store.replace("k", format!("{{\"renewal\":{n}}}").as_bytes(), &version).await);
            spans.push(begun.elapsed());
        }
        spans.sort();
        println!("replace: p50 {:?}, p99 {:?}, most {:?}", spans[500], spans[990], spans[999]);
        assert!(spans[500] < Duration::from_millis(100), "{:?}", spans[500]);
    });
}
