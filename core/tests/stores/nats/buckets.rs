//! What buckets there are, and what fits into them.

use haqlite::lease_store::{LeaseStore, NatsLeaseStore, NatsWarning, Register};
use haqlite::{Error, ErrorKind};

use super::{Nats, done, kind};
use crate::support::run;

#[test]
fn a_value_that_is_too_large_is_refused_and_changes_nothing() {
    let nats = Nats::configured("max_payload: 65536");
    run(async {
        let store = nats.store();
        let version = done(store.create("k", b"1").await);
        let large = vec![b'x'; 65536];
        for error in [
            store.replace("k", &large, &version).await.unwrap_err(),
            store.create("new", &large).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error:?}");
            assert!(error.message().contains("65536"), "{error}");
        }
        assert_eq!(store.read("new").await.unwrap(), None);
        let found = store.read("k").await.unwrap();
        assert_eq!(found, Some(Register { body: b"1".to_vec(), version: version.clone() }));
        // What just fits does, and is read whole.
        let fits = vec![b'x'; 65000];
        let version = done(store.replace("k", &fits, &version).await);
        assert_eq!(store.read("k").await.unwrap(), Some(Register { body: fits, version }));
    });
}

#[test]
fn a_value_just_below_the_default_limit_is_read_whole() {
    let nats = Nats::start();
    run(async {
        let body = vec![0xa5; 1024 * 1024 - 200];
        let version = done(nats.store().create("k", &body).await);
        assert_eq!(nats.store().read("k").await.unwrap(), Some(Register { body, version }));
    });
}

#[test]
fn a_value_above_the_buckets_limit_is_refused_and_changes_nothing() {
    let nats = Nats::start();
    run(async {
        nats.client().make_bucket(r#","max_msg_size":1000"#).await;
        let store = nats.store();
        let version = done(store.create("k", b"1").await);
        assert_eq!(kind(store.replace("k", &[b'x'; 2000], &version).await), ErrorKind::LimitExceeded);
        assert_eq!(store.read("k").await.unwrap().map(|found| found.version), Some(version));
    });
}

#[test]
fn a_full_bucket_refuses_and_loses_nothing() {
    let nats = Nats::start();
    run(async {
        nats.client().make_bucket(r#","discard":"new","max_bytes":20000"#).await;
        let store = nats.store();
        let version = done(store.create("first", &[b'x'; 5000]).await);
        done(store.create("second", &[b'x'; 10000]).await);
        assert_eq!(kind(store.create("third", &[b'x'; 10000]).await), ErrorKind::LimitExceeded);
        assert_eq!(store.read("third").await.unwrap(), None);
        assert_eq!(store.read("first").await.unwrap().map(|found| found.version), Some(version));
    });
}

#[test]
fn a_bucket_whose_entries_expire_is_refused() {
    let nats = Nats::start();
    run(async {
        nats.client().make_bucket(r#","max_age":3600000000000"#).await;
        let store = nats.store();
        let error = store.create("k", b"1").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreUnfit, "{error:?}");
        assert!(error.message().contains("max_age"), "{error}");
    });
}

#[test]
fn a_bucket_that_is_there_is_used_as_it_is_and_judged() {
    let nats = Nats::start();
    run(async {
        nats.client()
            .make_bucket(r#","storage":"memory","allow_direct":true,"discard":"old","max_bytes":1000000"#)
            .await;
        let store = nats.store();
        assert_eq!(store.warnings(), [], "nothing was asked yet");
        haqlite::testing::lease_store_laws(&store, "laws/").await;
        let expected = [NatsWarning::MemoryStorage, NatsWarning::SingleReplica, NatsWarning::DiscardsOldest];
        assert_eq!(store.warnings(), expected);
        let config = nats.client().request("$JS.API.STREAM.INFO.KV_leases", &[], "").await;
        assert!(config.contains("\"max_bytes\":1000000"), "it was not changed: {config}");
    });
}

#[test]
fn a_bucket_that_is_made_keeps_one_version_for_ever_on_disk() {
    let nats = Nats::start();
    run(async {
        let store = nats.store();
        let mut version = done(store.create("k", b"0").await);
        for n in 1..50 {
            version = done(store.replace("k", format!("{n}").as_bytes(), &version).await);
        }
        let info = nats.client().request("$JS.API.STREAM.INFO.KV_leases", &[], "").await;
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["state"]["messages"], 1, "{info}");
        let config = &info["config"];
        assert_eq!(config["max_age"], 0);
        assert_eq!(config["storage"], "file");
        assert_eq!(config["discard"], "new");
        assert_eq!(config["allow_direct"], false);
        assert_eq!(config["max_msgs_per_subject"], 1);
    });
}

#[test]
fn a_bucket_that_was_deleted_is_not_made_again_by_who_used_it() {
    let nats = Nats::start();
    run(async {
        let store = nats.store();
        let version = done(store.create("k", b"1").await);
        nats.client().request("$JS.API.STREAM.DELETE.KV_leases", &[], "").await;
        for _ in 0..3 {
            assert_eq!(kind(store.read("k").await), ErrorKind::StoreUnavailable);
            assert_eq!(kind(store.replace("k", b"2", &version).await), ErrorKind::StoreUnavailable);
            assert_eq!(kind(store.create("k", b"2").await), ErrorKind::StoreUnavailable);
        }
        let message = store.read("k").await.unwrap_err().message().to_owned();
        assert!(message.contains("the bucket is gone"), "{message}");
        nats.client().make_bucket("").await;
        assert_eq!(store.read("k").await.unwrap(), None, "once it is there, it is used");
    });
}

#[test]
fn a_server_without_jetstream_is_unfit() {
    let nats = Nats::configured("# no jetstream");
    run(async {
        let error: Error = nats.store().read("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreUnfit, "{error:?}");
        assert!(error.message().contains("JetStream"), "{error}");
    });
}

#[test]
fn an_account_without_jetstream_is_unfit() {
    let nats = Nats::configured("accounts { A { users: [ { user: a, password: p } ] } }");
    run(async {
        let store =
            NatsLeaseStore::from_url(&format!("nats://a:p@127.0.0.1:{}?bucket=b", nats.port)).unwrap();
        assert_eq!(kind(store.read("k").await), ErrorKind::StoreUnfit);
    });
}
