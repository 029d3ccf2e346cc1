//! Registers and manifests in NATS JetStream, on a server that is killed, stopped and told to refuse.

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use haqlite::lease_store::{LeaseStore, LeaseVersion, NatsLeaseStore, NatsWarning, Register, Swap};
use haqlite::manifest_store::RegisterManifestStore;
use haqlite::{Error, ErrorKind, Result};

use crate::support::{Server, free_port, program, run};

/// A server with its own folder.
struct Nats {
    server: Server,
    port: u16,
    folder: tempfile::TempDir,
}

impl Nats {
    fn start() -> Nats {
        Nats::configured("")
    }

    /// With more lines for its configuration file.
    fn configured(more: &str) -> Nats {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let (file, store) = (folder.path().join("nats.conf"), folder.path().join("store"));
        let jetstream = format!("jetstream {{ store_dir: {:?} }}", store.display().to_string());
        let jetstream = if more.contains("no jetstream") { String::new() } else { jetstream };
        std::fs::write(&file, format!("listen: \"127.0.0.1:{port}\"\n{jetstream}\n{more}\n")).unwrap();
        let make = move || {
            let mut command = Command::new(program("HAQLITE_TEST_NATS"));
            command.arg("-c").arg(&file);
            command
        };
        let server = Server::start(make, move || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Nats { server, port, folder }
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}?bucket=leases", self.port)
    }

    fn store(&self) -> NatsLeaseStore {
        open(&self.url())
    }

    fn client(&self) -> Raw {
        Raw { address: format!("127.0.0.1:{}", self.port) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// JetStream from below: what operators and other clients do.
struct Raw {
    address: String,
}

impl Raw {
    async fn request(&self, subject: &str, headers: &[(&str, &str)], body: &str) -> String {
        let client = async_nats::connect(&self.address).await.unwrap();
        let mut map = async_nats::HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        let mut request = async_nats::Request::new().payload(body.to_owned().into());
        if !headers.is_empty() {
            request = request.headers(map);
        }
        let answer = client.send_request(subject.to_owned(), request).await.unwrap();
        String::from_utf8_lossy(&answer.payload).into_owned()
    }

    async fn make_bucket(&self, more: &str) {
        let config =
            format!(r#"{{"name":"KV_leases","subjects":["$KV.leases.>"],"max_msgs_per_subject":1{more}}}"#);
        let answer = self.request("$JS.API.STREAM.CREATE.KV_leases", &[], &config).await;
        assert!(answer.contains("did_create\":true"), "{answer}");
    }
}

fn open(url: &str) -> NatsLeaseStore {
    NatsLeaseStore::from_url(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn done(swap: Result<Swap>) -> LeaseVersion {
    match swap {
        Ok(Swap::Done(version)) => version,
        other => panic!("the write was not done: {other:?}"),
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

/// Repeats a read until it succeeds; how long that took.
async fn until_readable(store: &NatsLeaseStore, key: &str) -> (Option<Register>, Duration) {
    let begun = Instant::now();
    loop {
        match store.read(key).await {
            Ok(found) => return (found, begun.elapsed()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error:?}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

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

#[test]
fn a_killed_server_comes_back_with_its_registers_within_a_second() {
    let mut nats = Nats::start();
    let store = Arc::new(nats.store());
    run(async {
        let version = done(store.create("k", b"1").await);
        let version = done(store.replace("k", b"2", &version).await);
        let watch = {
            let (store, version) = (Arc::clone(&store), version.clone());
            tokio::spawn(async move { store.changed("k", Some(&version)).await })
        };
        tokio::time::sleep(Duration::from_millis(200)).await;
        nats.server.kill();
        for _ in 0..3 {
            let begun = Instant::now();
            assert_eq!(kind(store.read("k").await), ErrorKind::StoreUnavailable);
            assert_eq!(kind(store.replace("k", b"x", &version).await), ErrorKind::StoreUnavailable);
            assert!(begun.elapsed() < Duration::from_secs(1), "a server that is gone refuses at once");
        }
        nats.server.restart();
        let (found, took) = until_readable(&store, "k").await;
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(found, Some(Register { body: b"2".to_vec(), version: version.clone() }));
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(!watch.is_finished(), "a restart is no change");
        let third = done(store.replace("k", b"3", &version).await);
        assert!(tokio::time::timeout(Duration::from_secs(2), watch).await.is_ok(), "the watch survived");
        assert_ne!(third, version);
    });
}

#[test]
fn a_stopped_server_costs_the_callers_patience_and_nothing_more() {
    let nats = Nats::start();
    run(async {
        let store = nats.store();
        let version = done(store.create("k", b"1").await);
        nats.server.pause(true);
        let patience = Duration::from_millis(500);
        for _ in 0..2 {
            let write = store.replace("k", b"2", &version);
            assert!(tokio::time::timeout(patience, write).await.is_err(), "nobody answers");
        }
        let begun = Instant::now();
        assert_eq!(kind(store.read("k").await), ErrorKind::StoreUnavailable, "with a limit of its own");
        assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
        nats.server.pause(false);
        let (found, took) = until_readable(&store, "k").await;
        assert!(took < Duration::from_secs(1), "{took:?}");
        // The first write was on its way, the second never left.
        let found = found.unwrap();
        assert!(found.body == b"2" || found.version == version, "{found:?}");
        done(store.replace("k", b"3", &found.version).await);
    });
}

#[test]
fn what_waited_during_an_outage_is_not_sent_after_it() {
    let mut nats = Nats::start();
    run(async {
        let store = nats.store();
        let version = done(store.create("k", b"1").await);
        nats.server.kill();
        for n in 0..20 {
            let write = store.replace("k", format!("late {n}").as_bytes(), &version).await;
            assert_eq!(kind(write), ErrorKind::StoreUnavailable);
        }
        nats.server.restart();
        until_readable(&store, "k").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let found = store.read("k").await.unwrap();
        assert_eq!(found, Some(Register { body: b"1".to_vec(), version }));
    });
}

#[test]
fn of_two_servers_the_one_that_answers_is_used() {
    let nats = Nats::start();
    // This one takes connections and says nothing.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let (deaf, gone) = (deaf.local_addr().unwrap().port(), free_port());
    let url = format!("nats://127.0.0.1:{deaf},127.0.0.1:{gone},127.0.0.1:{}?bucket=leases", nats.port);
    run(async {
        let store = open(&url);
        // Whoever asks stops asking soon; the connection is made all the same.
        let begun = Instant::now();
        loop {
            match tokio::time::timeout(Duration::from_millis(700), store.create("k", b"1")).await {
                Ok(Ok(Swap::Done(_))) => break,
                Ok(Ok(Swap::Lost)) => panic!("nobody else is here"),
                Ok(Err(_)) | Err(_) => assert!(begun.elapsed() < Duration::from_secs(10), "no connection"),
            }
        }
        assert!(store.read("k").await.unwrap().is_some());
    });
}

#[test]
fn a_connection_that_is_cut_is_made_anew() {
    let nats = Nats::start();
    let proxy = Proxy::start(nats.port);
    run(async {
        let store = open(&format!("nats://127.0.0.1:{}?bucket=leases", proxy.port));
        let mut version = done(store.create("k", b"0").await);
        for n in 1..=5 {
            proxy.cut();
            let begun = Instant::now();
            version = loop {
                match store.replace("k", format!("{n}").as_bytes(), &version).await {
                    Ok(Swap::Done(version)) => break version,
                    Ok(Swap::Lost) => panic!("nobody else writes, and nothing was sent"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error:?}"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        }
    });
}

#[test]
fn a_store_outlives_the_runtime_that_it_was_used_on() {
    let nats = Nats::start();
    let store = Arc::new(nats.store());
    let mut version = run(async { done(store.create("k", b"0").await) });
    for n in 1..=3 {
        version = run(async {
            // A watch as well, so that a watcher of the old runtime is in the way.
            let watch = store.changed("k", Some(&version));
            assert!(tokio::time::timeout(Duration::from_millis(50), watch).await.is_err());
            done(store.replace("k", format!("{n}").as_bytes(), &version).await)
        });
    }
    // A runtime that goes while it connects leaves nothing behind that another one would stumble over.
    nats.server.pause(true);
    let other = nats.store();
    run(async { tokio::time::timeout(Duration::from_millis(100), other.read("k")).await.unwrap_err() });
    nats.server.pause(false);
    let found = run(async { other.read("k").await.unwrap() });
    assert_eq!(found.map(|found| found.body), Some(b"3".to_vec()));
}

#[test]
fn a_wrong_login_is_unauthorized_and_no_secret_is_shown() {
    let nats = Nats::configured("authorization { token: \"the right one\" }");
    run(async {
        let url = |login: &str| format!("nats://{login}127.0.0.1:{}?bucket=leases", nats.port);
        for login in ["", "hunter2@", "me:hunter2@"] {
            let store = open(&url(login));
            let error = store.read("k").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error:?}");
            let shown = format!("{error:?} {error} {store:?} {}", store.describe());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let store = open(&url("the%20right%20one@"));
        done(store.create("k", b"1").await);
        let store = open(&format!("{}&token=the+right+one", url("")));
        assert!(store.read("k").await.unwrap().is_some());
        let shown = format!("{store:?} {}", store.describe());
        assert!(shown.contains("leases") && !shown.contains("right"), "{shown}");
    });
}

#[test]
fn what_a_login_may_not_do_is_unauthorized_at_once() {
    let nats = Nats::configured(
        "authorization { users: [ { user: u, password: p, permissions: { publish: { deny: \"$KV.leases.closed/>\" } } }, \
         { user: v, password: p, permissions: { publish: [ \"_INBOX.>\" ] } } ] }",
    );
    run(async {
        let begun = Instant::now();
        let store = open(&format!("nats://u:p@127.0.0.1:{}?bucket=leases", nats.port));
        done(store.create("open", b"1").await);
        let store = open(&format!("nats://v:p@127.0.0.1:{}?bucket=leases", nats.port));
        let error = store.read("open").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error:?}");
        assert!(error.message().contains("STREAM.INFO.KV_leases"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_credentials_file_that_is_not_there_is_a_configuration_error() {
    let nats = Nats::start();
    run(async {
        let missing = nats.path("nobody.creds");
        let store = open(&format!("{}&creds={}", nats.url(), missing.display()));
        let error = store.read("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
        assert!(error.message().contains("nobody.creds"), "{error}");
    });
}

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

/// A way to the server that can be cut.
struct Proxy {
    port: u16,
    open: Arc<std::sync::Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn start(to: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::new(std::sync::Mutex::new(Vec::new()));
        let kept = Arc::clone(&open);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(std::result::Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                for (from, into) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut into) = (from.try_clone().unwrap(), into.try_clone().unwrap());
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut into);
                        let _ = into.flush();
                        let _ = into.shutdown(Shutdown::Both);
                    });
                }
                kept.lock().unwrap().extend([client, server]);
            }
        });
        Proxy { port, open }
    }

    /// Ends every connection there is.
    fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
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
