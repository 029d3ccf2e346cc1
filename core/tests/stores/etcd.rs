#![allow(clippy::disallowed_methods, reason = "tests wait in real time")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use haqlite::lease_store::{EtcdLeaseStore, LeaseStore, LeaseVersion, Swap};
use haqlite::manifest_store::RegisterManifestStore;
use haqlite::testing::{
    lease_store_laws, lease_store_watch_laws, manifest_store_laws, manifest_store_watch_laws,
};
use haqlite::{Error, ErrorKind, Outcome};
use tokio::time::{sleep, timeout};

use crate::support::{Server, free_port, program, run};

/// Well below the time after which a watcher looks whether it missed something.
const SOON: Duration = Duration::from_secs(4);

/// One member, or one of several.
pub(crate) struct Etcd {
    pub(crate) server: Server,
    port: u16,
    data: PathBuf,
    _folder: tempfile::TempDir,
}

impl Etcd {
    /// A cluster of one that syncs nothing: for what is not about durability.
    fn quick() -> Etcd {
        Etcd::with(&["--unsafe-no-fsync"])
    }

    pub(crate) fn with(flags: &[&str]) -> Etcd {
        Etcd::cluster(1, flags).remove(0)
    }

    /// A cluster of so many members, all of them ready.
    fn cluster(members: usize, flags: &[&str]) -> Vec<Etcd> {
        let ports: Vec<(u16, u16)> = (0..members).map(|_| (free_port(), free_port())).collect();
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let peers: Vec<String> = (0..members).map(|n| format!("n{n}={}", url(ports[n].1))).collect();
        let flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        let start = |n: usize| {
            let (client, peer) = ports[n];
            let folder = tempfile::tempdir().unwrap();
            let (data, peers, flags) = (folder.path().join("data"), peers.join(","), flags.clone());
            let make = {
                let data = data.clone();
                move || {
                    let mut command = Command::new(program("HAQLITE_TEST_ETCD"));
                    command.arg("--data-dir").arg(&data).args(["--name", &format!("n{n}")]).args(&flags);
                    command.args([
                        "--listen-client-urls",
                        &url(client),
                        "--advertise-client-urls",
                        &url(client),
                    ]);
                    command.args(["--listen-peer-urls", &url(peer)]);
                    command.args(["--initial-advertise-peer-urls", &url(peer), "--initial-cluster", &peers]);
                    command
                }
            };
            let alone = members == 1;
            let server = Server::start(make, move || !alone || is_healthy(client));
            Etcd { server, port: client, data, _folder: folder }
        };
        let started: Vec<Etcd> = (0..members).map(start).collect();
        let begun = Instant::now();
        while !started.iter().all(|member| is_healthy(member.port)) {
            assert!(begun.elapsed() < Duration::from_secs(60), "the cluster is not ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        started
    }

    fn url(&self) -> String {
        format!("etcd://127.0.0.1:{}", self.port)
    }

    pub(crate) fn store(&self) -> EtcdLeaseStore {
        EtcdLeaseStore::from_url(&self.url()).unwrap()
    }

    /// Another program's request.
    fn ask(&self, path: &str, body: &str) -> String {
        let answer = post(self.port, path, body).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(answer.starts_with("HTTP/1.0 200"), "{path} {body}: {answer}");
        answer
    }
}

fn post(port: u16, path: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.0\r\nHost: etcd\r\nContent-Length: {length}\r\n\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A read by consensus works.
fn is_healthy(port: u16) -> bool {
    let answer = post(port, "/v3/kv/range", r#"{"key":"aGVhbHRo"}"#);
    // A cluster that asks for a password is there, too.
    answer.is_ok_and(|answer| answer.starts_with("HTTP/1.0 200") || answer.contains("user name is empty"))
}

async fn create(store: &EtcdLeaseStore, key: &str, body: &[u8]) -> LeaseVersion {
    match store.create(key, body).await {
        Ok(Swap::Done(version)) => version,
        other => panic!("{key}: {other:?}"),
    }
}

async fn replace(store: &EtcdLeaseStore, key: &str, body: &[u8], version: &LeaseVersion) -> LeaseVersion {
    match store.replace(key, body, version).await {
        Ok(Swap::Done(version)) => version,
        other => panic!("{key}: {other:?}"),
    }
}

async fn body(store: &EtcdLeaseStore, key: &str) -> Option<Vec<u8>> {
    store.read(key).await.unwrap().map(|register| register.body)
}

/// Asks until there is an answer: a server that comes back is asked again soon.
async fn until_it_answers(store: &EtcdLeaseStore, key: &str) -> Vec<u8> {
    let begun = Instant::now();
    loop {
        match timeout(Duration::from_secs(1), store.read(key)).await {
            Ok(Ok(found)) => return found.expect("it is there").body,
            other => assert!(begun.elapsed() < Duration::from_secs(20), "{other:?}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn hears(store: &EtcdLeaseStore, key: &str, version: &LeaseVersion, what: &str) {
    assert!(timeout(SOON, store.changed(key, Some(version))).await.is_ok(), "{what}");
}

async fn hears_nothing(store: &EtcdLeaseStore, key: &str, version: &LeaseVersion, what: &str) {
    let quiet = Duration::from_millis(300);
    assert!(timeout(quiet, store.changed(key, Some(version))).await.is_err(), "{what}");
}

#[test]
fn etcd_keeps_the_laws_of_leases_and_of_manifests() {
    let etcd = Etcd::quick();
    run(async {
        lease_store_laws(&etcd.store(), "laws/").await;
        lease_store_watch_laws(&etcd.store(), "watch/").await;
        let manifests = RegisterManifestStore::new(etcd.store());
        manifest_store_laws(&manifests, "manifests/").await;
        manifest_store_watch_laws(&manifests, "watched-manifests/").await;
    });
}

#[test]
fn a_watcher_of_etcd_misses_nothing_that_a_read_would_show() {
    let etcd = Etcd::quick();
    run(async {
        let (writer, watcher) = (etcd.store(), etcd.store());
        let mut newest = create(&writer, "k", b"0").await;
        for round in 0..150_u64 {
            // Bursts of one to five, at any moment around the one at which the watcher arms itself again.
            let known = watcher.read("k").await.unwrap().unwrap().version;
            assert_eq!(known, newest, "round {round}");
            let burst = async {
                sleep(Duration::from_micros(round * 37 % 3000)).await;
                for n in 0..=round % 5 {
                    newest = replace(&writer, "k", format!("{round}.{n}").as_bytes(), &newest).await;
                }
            };
            let watching = async {
                // As somebody does who waits for other things as well.
                for n in 0..round % 7 {
                    let short = Duration::from_micros(round * 91 % 900 + n);
                    if timeout(short, watcher.changed("k", Some(&known))).await.is_ok() {
                        break;
                    }
                }
                hears(&watcher, "k", &known, "a burst").await;
            };
            tokio::join!(burst, watching);
            hears(&watcher, "k", &known, "a burst that is over").await;
            if round % 10 == 0 {
                hears_nothing(&watcher, "k", &newest, "there is nothing after the burst").await;
            }
        }
    });
}

#[test]
fn a_killed_etcd_comes_back_with_all_that_it_acknowledged() {
    let mut etcd = Etcd::with(&[]);
    run(async {
        let store = etcd.store();
        let mut version = create(&store, "k", b"0").await;
        for n in 0..20 {
            version = replace(&store, "k", format!("{n}").as_bytes(), &version).await;
        }
        let watcher = etcd.store();
        let watching = async {
            hears_nothing(&watcher, "k", &version, "nothing has happened").await;
            timeout(Duration::from_secs(30), watcher.changed("k", Some(&version))).await
        };
        let outage = async {
            sleep(Duration::from_millis(400)).await;
            etcd.server.kill();
            let error = store.read("k").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error:?}");
            let error = store.replace("k", b"x", &version).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error:?}");
            assert_eq!(error.outcome(), Outcome::NotCommitted, "nobody was there to take it: {error:?}");
            etcd.server.restart();
            assert_eq!(until_it_answers(&store, "k").await, b"19");
            let next = replace(&store, "k", b"after", &version).await;
            assert_eq!(store.replace("k", b"stale", &version).await.unwrap(), Swap::Lost);
            next
        };
        let (heard, next) = tokio::join!(watching, outage);
        assert!(heard.is_ok(), "a watcher goes on after the outage");
        assert_eq!(store.read("k").await.unwrap().unwrap().version, next);
    });
}

#[test]
fn an_etcd_that_hangs_is_an_error_in_time_and_works_again_when_it_goes_on() {
    let etcd = Etcd::quick();
    run(async {
        let store = etcd.store();
        let version = create(&store, "k", b"before").await;
        etcd.server.pause(true);
        let begun = Instant::now();
        let (read, write) = tokio::join!(store.read("k"), store.replace("k", b"in doubt", &version));
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        assert_eq!(read.unwrap_err().kind(), ErrorKind::StoreUnavailable);
        let error = write.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::StoreUnavailable, Outcome::Unknown),
            "{error:?}"
        );
        etcd.server.pause(false);
        let found = until_it_answers(&store, "k").await;
        assert!(found == b"before" || found == b"in doubt", "{found:?}");
        let register = store.read("k").await.unwrap().unwrap();
        replace(&store, "k", b"after", &register.version).await;
    });
}

#[test]
fn three_members_of_etcd_serve_while_one_is_dead_or_hangs() {
    let mut members = Etcd::cluster(3, &["--unsafe-no-fsync"]);
    let hosts: Vec<String> = members.iter().map(|member| format!("127.0.0.1:{}", member.port)).collect();
    run(async {
        let url = format!("etcd://{}", hosts.join(","));
        let (store, watcher) =
            (EtcdLeaseStore::from_url(&url).unwrap(), EtcdLeaseStore::from_url(&url).unwrap());
        let mut version = create(&store, "k", b"0").await;
        for (number, member) in members.iter().enumerate() {
            member.server.pause(true);
            // A caller with a limit of its own, as the lease has.
            let begun = Instant::now();
            let mut tries = 0;
            while !matches!(timeout(Duration::from_secs(1), store.read("k")).await, Ok(Ok(Some(_)))) {
                tries += 1;
                assert!(begun.elapsed() < Duration::from_secs(20), "member {number} hangs: {tries} tries");
            }
            member.server.pause(false);
        }

        // The first one is asked first, and gone.
        members[0].server.kill();
        assert_eq!(until_it_answers(&store, "k").await, b"0");
        version = replace(&store, "k", b"1", &version).await;
        let dead_first = EtcdLeaseStore::from_url(&url).unwrap();
        version = replace(&dead_first, "k", b"2", &version).await;
        members[0].server.restart();
        while !members.iter().all(|member| is_healthy(member.port)) {
            sleep(Duration::from_millis(50)).await;
        }

        // The watcher's member is stopped while nothing happens, so that nothing tells it.
        hears_nothing(&watcher, "k", &version, "nothing has happened").await;
        let watching = timeout(Duration::from_secs(30), watcher.changed("k", Some(&version)));
        let others = async {
            sleep(Duration::from_millis(500)).await;
            members[0].server.pause(true);
            let others = EtcdLeaseStore::from_url(&format!("etcd://{},{}", hosts[1], hosts[2])).unwrap();
            assert_eq!(until_it_answers(&others, "k").await, b"2");
            replace(&others, "k", b"3", &version).await;
        };
        let (heard, ()) = tokio::join!(watching, others);
        assert!(heard.is_ok(), "the watcher of a member that hangs hears it from another");
        members[0].server.pause(false);
    });
}

fn enable_users(etcd: &Etcd) {
    let text = |text: &str| STANDARD.encode(text);
    for (path, body) in [
        ("user/add", r#"{"name":"root","password":"root-secret"}"#.to_owned()),
        ("role/add", r#"{"name":"root"}"#.to_owned()),
        ("user/grant", r#"{"user":"root","role":"root"}"#.to_owned()),
        ("user/add", r#"{"name":"app","password":"p@ss:w/rd"}"#.to_owned()),
        ("role/add", r#"{"name":"app"}"#.to_owned()),
        (
            "role/grant",
            format!(
                r#"{{"name":"app","perm":{{"permType":"READWRITE","key":"{}","range_end":"{}"}}}}"#,
                text("haqlite/"),
                text("haqlite0")
            ),
        ),
        ("user/grant", r#"{"user":"app","role":"app"}"#.to_owned()),
        ("enable", "{}".to_owned()),
    ] {
        etcd.ask(&format!("/v3/auth/{path}"), &body);
    }
}

#[test]
fn who_may_not_is_unauthorized_and_who_may_goes_on_with_a_new_token() {
    let mut etcd = Etcd::quick();
    run(async {
        let host = etcd.url().replace("etcd://", "");
        let open = |login: &str, query: &str| {
            EtcdLeaseStore::from_url(&format!("etcd://{login}{host}{query}")).unwrap()
        };
        let app = open("app:p%40ss%3Aw%2Frd@", "");
        // Users that a cluster without authentication does not ask for do no harm.
        let version = create(&app, "k", b"0").await;
        enable_users(&etcd);
        let version = replace(&app, "k", b"1", &version).await;
        lease_store_watch_laws(&app, "watch/").await;

        for (store, why) in [
            (open("app:hunter2@", ""), "another password"),
            (open("nobody:hunter2@", ""), "nobody's name"),
            (open("", ""), "no name"),
            (open("app:p%40ss%3Aw%2Frd@", "?prefix=hunter2/"), "keys of others"),
        ] {
            let secret_free = |error: &Error| {
                let text = format!("{error:?} {error} {} {store:?}", store.describe());
                assert!(!text.contains("p@ss") && !text.contains("p%40ss"), "{why}: {text}");
                assert!(!text.contains("hunter2@") && !text.contains("hunter2\""), "{why}: {text}");
            };
            let error = store.read("k").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthorized, "{why}: {error:?}");
            secret_free(&error);
            let error = store.replace("k", b"x", &version).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.outcome()),
                (ErrorKind::Unauthorized, Outcome::NotCommitted),
                "{why}: {error:?}"
            );
            secret_free(&error);
        }

        // The tokens of this kind are in a server's memory: all of them are void now, also the watcher's.
        hears_nothing(&app, "k", &version, "nothing has happened").await;
        etcd.server.kill();
        etcd.server.restart();
        assert_eq!(until_it_answers(&app, "k").await, b"1");
        let version = replace(&app, "k", b"2", &version).await;
        let other = open("app:p%40ss%3Aw%2Frd@", "");
        let (heard, _) = tokio::join!(timeout(SOON, app.changed("k", Some(&version))), async {
            sleep(Duration::from_millis(200)).await;
            replace(&other, "k", b"3", &version).await
        });
        assert!(heard.is_ok(), "a watcher with a new token");
    });
}

#[test]
fn what_is_too_large_for_etcd_is_refused_and_nothing_is_changed() {
    let etcd = Etcd::with(&["--unsafe-no-fsync", "--max-request-bytes=65536"]);
    run(async {
        let store = etcd.store();
        let version = create(&store, "k", b"small").await;
        // Refused by etcd, by its gRPC, and here.
        for size in [100_000, 800_000, 1_500_001] {
            let large = vec![7; size];
            for answer in [store.replace("k", &large, &version).await, store.create("new", &large).await] {
                let error = answer.unwrap_err();
                assert_eq!(
                    (error.kind(), error.outcome()),
                    (ErrorKind::LimitExceeded, Outcome::NotCommitted),
                    "{size}: {error:?}"
                );
            }
        }
        let found = store.read("k").await.unwrap().unwrap();
        assert_eq!((found.body, found.version), (b"small".to_vec(), version));
        assert_eq!(store.read("new").await.unwrap(), None);
    });
    let etcd = Etcd::quick();
    run(async {
        let (store, large) = (etcd.store(), vec![7; 1_500_000]);
        create(&store, "k", &large).await;
        assert_eq!(body(&store, "k").await, Some(large), "the largest that is taken here, etcd takes");
    });
}

#[test]
fn a_compaction_while_nobody_watches_hides_no_change_and_invents_none() {
    let etcd = Etcd::quick();
    run(async {
        let (store, other) = (etcd.store(), etcd.store());
        let first = create(&store, "k", b"1").await;
        let quiet = create(&store, "quiet", b"1").await;
        let mut newest = first.clone();
        for n in 0..10 {
            newest = replace(&store, "k", format!("{n}").as_bytes(), &newest).await;
        }
        let revision = newest.0.split('-').next().unwrap().to_owned();
        etcd.ask("/v3/kv/compaction", &format!(r#"{{"revision":"{revision}","physical":true}}"#));

        hears(&other, "k", &first, "what changed before the compaction").await;
        hears_nothing(&other, "k", &newest, "nothing changed after it").await;
        hears_nothing(&other, "quiet", &quiet, "nothing changed at this key").await;
        let (heard, _) = tokio::join!(timeout(SOON, other.changed("quiet", Some(&quiet))), async {
            sleep(Duration::from_millis(500)).await;
            replace(&store, "quiet", b"2", &quiet).await
        });
        assert!(heard.is_ok(), "a watcher whose beginning was compacted hears the next change");
    });
}

#[test]
fn a_store_outlives_the_runtime_that_it_was_used_on() {
    let etcd = Etcd::quick();
    let store = etcd.store();
    let version = run(async {
        let version = create(&store, "k", b"1").await;
        hears_nothing(&store, "k", &version, "nothing has happened").await;
        version
    });
    run(async {
        assert_eq!(until_it_answers(&store, "k").await, b"1");
        let (heard, _) = tokio::join!(timeout(SOON, store.changed("k", Some(&version))), async {
            sleep(Duration::from_millis(200)).await;
            replace(&etcd.store(), "k", b"2", &version).await
        });
        assert!(heard.is_ok(), "a watcher that began on another runtime");
    });
}

#[test]
fn a_version_from_before_a_key_or_a_cluster_was_lost_is_nobodys() {
    let mut etcd = Etcd::quick();
    run(async {
        let store = etcd.store();
        let first = create(&store, "k", b"1").await;
        let key = STANDARD.encode("haqlite/k");
        etcd.ask("/v3/kv/deleterange", &format!(r#"{{"key":"{key}"}}"#));
        hears(&store, "k", &first, "the key is gone").await;
        assert_eq!(store.replace("k", b"x", &first).await.unwrap(), Swap::Lost);
        let second = create(&store, "k", b"1").await;
        assert_ne!(first, second);
        assert_eq!(store.replace("k", b"x", &first).await.unwrap(), Swap::Lost);

        // Another cluster in the same place, with the same number for another write.
        etcd.server.kill();
        std::fs::remove_dir_all(&etcd.data).unwrap();
        etcd.server.restart();
        let third = create(&store, "k", b"other").await;
        let number = |version: &LeaseVersion| version.0.split('-').next().unwrap().to_owned();
        assert_eq!(number(&first), number(&third), "or the test tests nothing");
        assert_eq!(store.replace("k", b"x", &first).await.unwrap(), Swap::Lost);
        assert_eq!(body(&store, "k").await.unwrap(), b"other");
        replace(&store, "k", b"2", &third).await;
    });
}

#[test]
fn what_another_program_put_there_is_reported_and_left_alone() {
    let etcd = Etcd::quick();
    run(async {
        let store = etcd.store();
        let (key, value) = (STANDARD.encode("haqlite/k"), STANDARD.encode("{}"));
        etcd.ask("/v3/kv/put", &format!(r#"{{"key":"{key}","value":"{value}"}}"#));
        let error = store.read("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert!(error.message().contains("haqlite/k"), "{error}");
        assert_eq!(store.create("k", b"x").await.unwrap(), Swap::Lost);
        let version = create(&store, "other", b"1").await;
        assert_eq!(store.replace("k", b"x", &version).await.unwrap(), Swap::Lost);
        assert!(etcd.ask("/v3/kv/range", &format!(r#"{{"key":"{key}"}}"#)).contains(&value));
    });
}
