//! A server holds its limits, whoever is at the other end.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use haqlite::lease_store::{HttpLeaseStore, LeaseStore, LeaseVersion, Swap};
use haqlite::manifest_store::{HttpManifestStore, ManifestStore};
use haqlite::types::Epoch;
use haqlite::{ErrorKind, StoreServer, StoreServerLimits};

use super::raw::{ask, send};
use super::server::{certificate, local};
use crate::support::run;

fn hurried() -> StoreServerLimits {
    let soon = Duration::from_millis(500);
    StoreServerLimits { head: soon, body: soon, ..Default::default() }
}

#[test]
fn slow_and_half_open_clients_are_let_go() {
    let server = local(StoreServer::in_memory().limits(hurried()));
    let to = server.address();
    let begun = Instant::now();
    assert!(send(to, "").is_none(), "nothing was asked");
    // The beginning of a head, and no more.
    assert!(send(to, "GET /v1/lease?key=k HTTP/1.1\r\nHost").is_none_or(|answer| answer.status == 408));
    let half = "POST /v1/lease?key=k HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 20\r\nConnection: close\r\n\r\n{\"data\"";
    assert_eq!(send(to, half).unwrap().status, 408);
    assert!(begun.elapsed() < Duration::from_secs(50), "it took {:?}", begun.elapsed());
    assert_eq!(ask(to, "GET /v1/lease?key=k", &[], "").status, 404, "nothing was written");
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(folder.path());
    let secure = local(StoreServer::in_memory().limits(hurried()).tls(certificate, key));
    // No handshake at all.
    assert!(send(secure.address(), "").is_none());
}

#[test]
fn half_open_connections_keep_nobody_out_for_long() {
    let limits = StoreServerLimits { connections: 4, waits: 2, ..hurried() };
    let server = local(StoreServer::in_memory().limits(limits));
    let idle: Vec<TcpStream> = (0..12)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.write_all(b"GET /v1/lease").unwrap();
            stream
        })
        .collect();
    assert_eq!(ask(server.address(), "GET /v1/lease?key=k", &[], "").status, 404);
    drop(idle);
}

#[test]
fn one_watcher_too_many_is_told_so_and_the_others_go_on() {
    let server = local(StoreServer::in_memory().limits(StoreServerLimits { waits: 2, ..Default::default() }));
    let to = server.address();
    let wait = "GET /v1/lease?key=k&wait=20";
    let waiting: Vec<_> = (0..2).map(|_| std::thread::spawn(move || ask(to, wait, &[], ""))).collect();
    let begun = Instant::now();
    while ask(to, "GET /v1/lease?key=other&wait=0", &[], "").status != 404
        || ask(to, "GET /v1/lease?key=other&wait=1", &[], "").status != 503
    {
        assert!(begun.elapsed() < Duration::from_secs(15), "the two do not wait");
    }
    let fence = ask(to, "POST /v1/lease?key=k", &[], r#"{"data":""}"#).number("fence");
    for thread in waiting {
        assert_eq!(thread.join().unwrap().number("fence"), fence);
    }
    assert_eq!(ask(to, "GET /v1/lease?key=other&wait=1", &[], "").status, 404, "there is room again");
}

#[test]
fn what_is_too_large_or_too_many_is_refused_on_both_ends() {
    let limits = StoreServerLimits { keys: 3, ..Default::default() };
    let server = local(StoreServer::in_memory().limits(limits));
    let (to, url) = (server.address(), server.url());
    let (leases, manifests) =
        (HttpLeaseStore::new(&url, None).unwrap(), HttpManifestStore::new(&url, None).unwrap());
    run(async {
        let large = vec![b'x'; 64 << 10];
        let Swap::Done(version) = leases.create("k", &large).await.unwrap() else {
            panic!("it is the first")
        };
        assert_eq!(leases.read("k").await.unwrap().unwrap().body, large);
        let larger = vec![b'x'; (64 << 10) + 1];
        let error = leases.replace("k", &larger, &version).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        let error = manifests.put("k", Epoch::FIRST, &vec![0; (512 << 10) + 1], None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        for key in [String::new(), "k".repeat(513)] {
            assert_eq!(leases.read(&key).await.unwrap_err().kind(), ErrorKind::LimitExceeded);
        }
        for key in ["2", "3"] {
            assert!(matches!(leases.create(key, b"").await.unwrap(), Swap::Done(_)));
        }
        let error = leases.create("4", b"").await.unwrap_err();
        assert!(error.kind() == ErrorKind::LimitExceeded && error.message().contains("3 keys"), "{error}");
        let foreign = LeaseVersion("\"an-etag-of-another-store\"".into());
        assert_eq!(leases.replace("k", b"", &foreign).await.unwrap(), Swap::Lost);
    });
    let huge = "Content-Length: 10000000";
    let json = "Content-Type: application/json";
    assert_eq!(ask(to, "POST /v1/lease?key=x", &[json, huge], "").status, 413);
    let body = format!(r#"{{"data":"{}"}}"#, "eHh4".repeat(30_000));
    assert_eq!(ask(to, "POST /v1/lease?key=x", &[], &body).status, 413);
    for (status, first_line, lines, body) in [
        (400, "GET /v1/leases?key=k", &[][..], ""),
        (400, "GET /v1/lease?key=k&database_id=other", &[], ""),
        (400, "POST /v1/lease?key=x", &[], "{}"),
        (400, "POST /v1/lease?key=x", &[], r#"{"data":"@"}"#),
        (400, "PUT /v1/sync/manifest?key=x", &["If-None-Match: *"], r#"{"epoch":281474976710656,"data":""}"#),
        (415, "POST /v1/lease?key=x", &[], ""),
        (428, "PUT /v1/lease?key=x", &[], r#"{"data":""}"#),
    ] {
        let answer = ask(to, first_line, lines, body);
        assert!(answer.status == status && answer.body.contains(r#""message":"#), "{first_line}: {answer:?}");
    }
}
