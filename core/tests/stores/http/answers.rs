//! What the client makes of answers that are not our server's.

use std::time::Duration;

use haqlite::lease_store::{HttpLeaseStore, LeaseStore, LeaseVersion, Register, Swap};
use haqlite::manifest_store::{HttpManifestStore, ManifestStore};
use haqlite::types::Epoch;
use haqlite::{Error, ErrorKind};

use super::raw::Parrot;
use crate::support::run;

#[track_caller]
fn kind<T: std::fmt::Debug>(result: haqlite::Result<T>) -> ErrorKind {
    let error: Error = result.unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(!told.contains("hush") && !told.contains("token="), "{told}");
    error.kind()
}

fn lease(parrot: &Parrot) -> HttpLeaseStore {
    HttpLeaseStore::from_url(&parrot.url()).unwrap()
}

fn version() -> LeaseVersion {
    LeaseVersion("7".to_owned())
}

#[test]
fn a_server_that_knows_only_fence_and_holder_will_do() {
    let parrot = Parrot::start("200 OK", "", r#"{"fence":7,"holder":"Ym9keQ=="}"#);
    let store = lease(&parrot);
    run(async {
        let found = store.read("k").await.unwrap();
        assert_eq!(found, Some(Register { body: b"body".to_vec(), version: version() }));
        assert_eq!(store.replace("k", b"x", &LeaseVersion("6".into())).await.unwrap(), Swap::Done(version()));
    });
    for (status, swap) in [("409 Conflict", Swap::Lost), ("412 Precondition Failed", Swap::Lost)] {
        let store = lease(&Parrot::start(status, "", ""));
        assert_eq!(run(store.create("k", b"x")).unwrap(), swap);
        assert_eq!(run(store.replace("k", b"x", &version())).unwrap(), swap);
    }
    assert_eq!(run(lease(&Parrot::start("404 Not Found", "", "")).read("k")).unwrap(), None);
}

#[test]
fn a_server_that_does_not_wait_is_asked_once_a_second() {
    let parrot = Parrot::start("200 OK", "", r#"{"fence":7,"holder":""}"#);
    let store = lease(&parrot);
    let (present, other) = (version(), LeaseVersion("6".to_owned()));
    run(async {
        // As somebody does who polls as well: begins anew all the time.
        for _ in 0..25 {
            let change = store.changed("k", Some(&present));
            assert!(tokio::time::timeout(Duration::from_millis(100), change).await.is_err());
        }
        assert!((2..=4).contains(&parrot.asked()), "asked {} times in 2.5 s", parrot.asked());
        let change = store.changed("k", Some(&other));
        tokio::time::timeout(Duration::from_secs(20), change).await.unwrap();
    });
}

#[test]
fn a_watcher_of_a_server_that_fails_asks_gently_and_never_claims_a_change() {
    let parrot = Parrot::start("500 Internal Server Error", "", "");
    let store = lease(&parrot);
    let present = version();
    run(async {
        let change = store.changed("k", Some(&present));
        assert!(tokio::time::timeout(Duration::from_millis(2500), change).await.is_err());
    });
    assert!((1..=3).contains(&parrot.asked()), "asked {} times in 2.5 s", parrot.asked());
}

#[test]
fn nonsense_is_told_from_a_store_and_repeats_no_secret() {
    for (status, body, expected) in [
        ("200 OK", "<html>hush</html>", ErrorKind::StoreUnfit),
        ("200 OK", r#"{"fence":7}"#, ErrorKind::StoreUnfit),
        ("200 OK", r#"{"fence":7,"holder":"@hush"}"#, ErrorKind::StoreUnfit),
        ("302 Found", "", ErrorKind::StoreUnfit),
        ("400 Bad Request", "hush", ErrorKind::StoreUnfit),
        ("401 Unauthorized", "hush", ErrorKind::Unauthorized),
        ("403 Forbidden", "hush", ErrorKind::Unauthorized),
        ("413 Payload Too Large", "", ErrorKind::LimitExceeded),
        ("429 Too Many Requests", "", ErrorKind::StoreUnavailable),
        ("502 Bad Gateway", r#"{"error":{"kind":"Corrupt","message":"hush"}}"#, ErrorKind::StoreUnavailable),
    ] {
        let parrot = Parrot::start(status, "Location: http://hush/\r\n", body);
        assert_eq!(kind(run(lease(&parrot).read("k"))), expected, "{status} {body}");
    }
    for body in ["", "{}", r#"{"fence":"7"}"#] {
        let parrot = Parrot::start("201 Created", "", body);
        assert_eq!(kind(run(lease(&parrot).create("k", b"x"))), ErrorKind::StoreUnfit, "{body}");
    }
    let absent = Parrot::start("404 Not Found", "", "");
    assert_eq!(kind(run(lease(&absent).create("k", b"x"))), ErrorKind::StoreUnfit);
    let endless = Parrot::start("200 OK", "", &" ".repeat(2 << 20));
    assert_eq!(kind(run(lease(&endless).read("k"))), ErrorKind::StoreUnfit);
}

#[test]
fn a_manifest_is_believed_only_from_a_server_that_says_what_it_is() {
    let epoch = Epoch::FIRST;
    let of = |parrot: &Parrot| HttpManifestStore::from_url(&parrot.url()).unwrap();
    // Another program at the address knows nothing of a manifest: that is not the same as that there is none.
    for status in ["404 Not Found", "200 OK", "412 Precondition Failed", "409 Conflict"] {
        let store = of(&Parrot::start(status, "", r#"{"version":7,"epoch":1,"data":""}"#));
        assert_eq!(kind(run(store.read("k"))), ErrorKind::StoreUnfit, "{status}");
        assert_eq!(kind(run(store.put("k", epoch, b"", None))), ErrorKind::StoreUnfit, "{status}");
    }
    let ours = "X-Haqlite-Store: 1\r\n";
    for (status, body) in [
        ("200 OK", r#"{"version":7,"epoch":1,"data":"@"}"#),
        ("200 OK", r#"{"version":7,"epoch":281474976710656,"data":""}"#),
        ("409 Conflict", r#"{"error":{"kind":"Conflict","message":""}}"#),
        ("304 Not Modified", ""),
    ] {
        let store = of(&Parrot::start(status, ours, body));
        assert_eq!(kind(run(store.read("k"))), ErrorKind::StoreUnfit, "{status} {body}");
    }
    let store = of(&Parrot::start("409 Conflict", ours, r#"{"error":{"kind":"Conflict","message":""}}"#));
    assert_eq!(kind(run(store.put("k", epoch, b"", None))), ErrorKind::StoreUnfit);
}

#[test]
fn a_server_that_is_not_there_is_unavailable() {
    let gone = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let url = format!("http://{gone}/hidden?token=hush");
    let (leases, manifests) =
        (HttpLeaseStore::from_url(&url).unwrap(), HttpManifestStore::from_url(&url).unwrap());
    assert_eq!(kind(run(leases.read("k"))), ErrorKind::StoreUnavailable);
    assert_eq!(kind(run(leases.create("k", b"x"))), ErrorKind::StoreUnavailable);
    assert_eq!(kind(run(manifests.read("k"))), ErrorKind::StoreUnavailable);
    let told = format!("{leases:?} {manifests:?} {} {}", leases.describe(), manifests.describe());
    assert!(!told.contains("hush") && told.contains("/hidden"), "{told}");
    let no_such_host = HttpLeaseStore::from_url("http://nowhere.invalid?token=hush").unwrap();
    assert_eq!(kind(run(no_such_host.read("k"))), ErrorKind::StoreUnavailable);
}
