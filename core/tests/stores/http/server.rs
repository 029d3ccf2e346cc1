//! Our server, in this process.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use haqlite::lease_store::{HttpLeaseStore, LeaseStore, Swap};
use haqlite::manifest_store::{HttpManifestStore, ManifestStore};
use haqlite::{ErrorKind, RunningStoreServer, StoreServer, testing};

use super::raw::ask;
use crate::support::run;

pub(crate) fn local(server: StoreServer) -> RunningStoreServer {
    server.listen(([127, 0, 0, 1], 0).into()).start().unwrap()
}

/// A certificate for 127.0.0.1 that nobody signed, and its key.
pub(crate) fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    openssl.args(["-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    let made = openssl.arg("-out").arg(&certificate).arg("-keyout").arg(&key).output();
    let made = made.expect("`openssl` is there");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (certificate, key)
}

/// Holds every law of both ports.
pub(crate) async fn keeps_the_laws(url: &str) {
    let leases = HttpLeaseStore::from_url(url).unwrap();
    testing::lease_store_laws(&leases, "laws/").await;
    testing::lease_store_watch_laws(&leases, "watch/").await;
    let manifests = HttpManifestStore::from_url(url).unwrap();
    testing::manifest_store_laws(&manifests, "laws/").await;
    testing::manifest_store_watch_laws(&manifests, "watch/").await;
}

#[test]
fn a_server_in_this_process_keeps_the_laws_in_memory_and_in_a_folder() {
    let memory = local(StoreServer::in_memory());
    run(keeps_the_laws(&memory.url()));
    let folder = tempfile::tempdir().unwrap();
    let kept = local(StoreServer::in_folder(folder.path()).token("a").token("b"));
    run(keeps_the_laws(&format!("{}/?token=b", kept.url())));
}

#[test]
fn tls_is_spoken_with_who_trusts_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(folder.path());
    let server = local(StoreServer::in_memory().tls(&certificate, &key).token("hush"));
    assert!(server.url().starts_with("https://"));
    run(keeps_the_laws(&format!("{}?token=hush&ca={}", server.url(), certificate.display())));
    let strangers = HttpLeaseStore::new(&server.url(), Some("hush")).unwrap();
    let error = run(strangers.read("k")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
    assert!(error.message().contains("certificate") && !format!("{error:?}").contains("hush"), "{error:?}");
    let plain = format!("http://{}", server.address());
    let plain = HttpLeaseStore::new(&plain, Some("hush")).unwrap();
    assert_eq!(run(plain.read("k")).unwrap_err().kind(), ErrorKind::StoreUnavailable);
}

#[test]
fn certificates_that_do_not_work_are_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate_1, key_1) = certificate(folder.path());
    let other = tempfile::tempdir().unwrap();
    let (_, key_2) = certificate(other.path());
    let nothing = folder.path().join("nothing");
    for (certificates, key) in
        [(&certificate_1, &key_2), (&nothing, &key_1), (&certificate_1, &nothing), (&key_1, &key_1)]
    {
        let server = StoreServer::in_memory().listen(([127, 0, 0, 1], 0).into()).tls(certificates, key);
        assert_eq!(server.start().err().unwrap().kind(), ErrorKind::InvalidConfig);
    }
}

#[test]
fn without_the_token_nothing_is_answered_and_any_of_several_will_do() {
    let server = local(StoreServer::in_memory().token("old").token("new"));
    let with = |token| HttpLeaseStore::new(&server.url(), token).unwrap();
    for token in [None, Some("wrong"), Some("ol"), Some("oldnew"), Some("OLD")] {
        let (read, write) = run(async { (with(token).read("k").await, with(token).create("k", b"x").await) });
        let errors = [read.unwrap_err(), write.unwrap_err()];
        assert!(errors.iter().all(|error| error.kind() == ErrorKind::Unauthorized), "{errors:?}");
        assert!(!format!("{errors:?}").contains("oldnew"), "{errors:?}");
    }
    let manifests = HttpManifestStore::new(&server.url(), Some("wrong")).unwrap();
    assert_eq!(run(manifests.read("k")).unwrap_err().kind(), ErrorKind::Unauthorized);
    let version = haqlite::manifest_store::ManifestVersion("1".into());
    assert_eq!(run(manifests.confirm("k", &version)).unwrap_err().kind(), ErrorKind::Unauthorized);
    assert!(matches!(run(with(Some("old")).create("k", b"x")), Ok(Swap::Done(_))));
    assert!(run(with(Some("new")).read("k")).unwrap().is_some());
    let health = ask(server.address(), "GET /v1/health", &[], "");
    assert_eq!((health.status, health.body.as_str()), (200, r#"{"status":"ok"}"#));
}

#[test]
fn an_open_server_is_for_this_machine_and_not_for_web_pages() {
    let open = StoreServer::in_memory().listen(([0, 0, 0, 0], 0).into());
    assert_eq!(open.clone().start().err().unwrap().kind(), ErrorKind::InvalidConfig);
    drop(open.token("t").start().unwrap());
    let nonsense = StoreServer::in_memory().listen(([127, 0, 0, 1], 0).into()).token("");
    assert_eq!(nonsense.start().err().unwrap().kind(), ErrorKind::InvalidConfig);
    let server = local(StoreServer::in_memory());
    let page = ask(server.address(), "GET /v1/lease?key=k", &["Origin: http://evil"], "");
    assert_eq!(page.status, 401);
    let taken = StoreServer::in_memory().listen(server.address()).start();
    assert_eq!(taken.err().unwrap().kind(), ErrorKind::InUse);
}

#[test]
fn a_lease_travels_as_the_format_says_and_its_fence_survives_a_delete() {
    let server = local(StoreServer::in_memory());
    let to = server.address();
    let uri = "/v1/lease?key=db%2Fwriter";
    assert_eq!(ask(to, &format!("GET {uri}"), &[], "").status, 404);
    assert_eq!(ask(to, &format!("DELETE {uri}"), &[], "").status, 204);
    let created = ask(to, &format!("POST {uri}"), &[], r#"{"data":"YQ=="}"#);
    let first = created.number("fence");
    assert!(created.status == 201 && created.has(&format!("etag: \"{first}\"")), "{created:?}");
    assert_eq!(ask(to, &format!("POST {uri}"), &[], r#"{"data":"YQ=="}"#).status, 409);
    let read = ask(to, &format!("GET {uri}"), &[], "");
    assert_eq!(read.body, format!(r#"{{"fence":{first},"holder":"YQ==","data":"YQ=="}}"#));
    assert!(read.has("x-haqlite-store: 1") && read.has("cache-control: no-store"), "{read:?}");
    let with = |fence: u64| format!("If-Match: {fence}");
    let renewed = ask(to, &format!("PUT {uri}"), &[&with(first)], r#"{"data":"Yg=="}"#);
    let second = renewed.number("fence");
    assert!(renewed.status == 200 && second > first, "{renewed:?}");
    assert_eq!(ask(to, &format!("PUT {uri}"), &[&with(first)], r#"{"data":"Yw=="}"#).status, 412);
    let known = format!("If-None-Match: \"{second}\"");
    assert_eq!(ask(to, &format!("GET {uri}"), &[&known], "").status, 304);
    assert_eq!(ask(to, &format!("DELETE {uri}"), &[&with(first)], "").status, 412);
    assert_eq!(ask(to, &format!("DELETE {uri}"), &[], "").status, 204);
    assert_eq!(ask(to, &format!("GET {uri}"), &[], "").status, 404);
    assert_eq!(ask(to, &format!("PUT {uri}"), &[&with(second)], r#"{"data":"Yw=="}"#).status, 412);
    let again = ask(to, &format!("POST {uri}"), &[], r#"{"data":"YQ=="}"#);
    assert!(again.status == 201 && again.number("fence") > second, "{again:?}");
}

#[test]
fn a_manifest_travels_as_the_format_says() {
    let server = local(StoreServer::in_memory());
    let to = server.address();
    let uri = "/v1/sync/manifest?key=db";
    let put = |condition: &str, epoch: u64| {
        ask(to, &format!("PUT {uri}"), &[condition], &format!(r#"{{"epoch":{epoch},"data":"YQ=="}}"#))
    };
    assert_eq!(ask(to, &format!("HEAD {uri}"), &[], "").status, 404);
    let created = put("If-None-Match: *", 3);
    let version = created.number("version");
    assert_eq!(created.status, 201);
    assert_eq!(put("If-None-Match: *", 3).status, 412);
    let head = ask(to, &format!("HEAD {uri}"), &[], "");
    assert!(head.has(&format!("etag: \"{version}\"")) && head.has("x-haqlite-epoch: 3"), "{head:?}");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let read = ask(to, &format!("GET {uri}"), &[], "");
    assert_eq!(read.body, format!(r#"{{"version":{version},"epoch":3,"data":"YQ=="}}"#));
    let outranked = put(&format!("If-Match: \"{version}\""), 2);
    assert_eq!((outranked.status, outranked.number("epoch")), (409, 3));
    assert!(outranked.body.contains(r#""kind":"Outranked""#), "{outranked:?}");
    assert_eq!(put(&format!("If-Match: \"{}\"", version + 1), 3).status, 412);
    let replaced = put(&format!("If-Match: \"{version}\""), 4);
    assert!(replaced.status == 200 && replaced.number("version") > version, "{replaced:?}");
    assert_eq!(ask(to, &format!("DELETE {uri}"), &[], "").status, 405);
}

#[test]
fn a_watch_ends_at_the_change_and_with_the_wait() {
    let server = local(StoreServer::in_memory());
    let to = server.address();
    let begun = Instant::now();
    assert_eq!(ask(to, "GET /v1/lease?key=k&wait=1", &[], "").status, 404);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let waiting = std::thread::spawn(move || ask(to, "GET /v1/lease?key=k&wait=20", &[], ""));
    std::thread::sleep(Duration::from_millis(100));
    let fence = ask(to, "POST /v1/lease?key=k", &[], r#"{"data":"YQ=="}"#).number("fence");
    assert_eq!(waiting.join().unwrap().number("fence"), fence);
    let known = format!("If-None-Match: \"{fence}\"");
    let begun = Instant::now();
    assert_eq!(ask(to, "GET /v1/lease?key=k&wait=1", &[&known], "").status, 304);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let other = ask(to, "GET /v1/lease?key=k&wait=20", &["If-None-Match: \"1\""], "");
    assert_eq!((other.status, other.number("fence")), (200, fence));
    let waiting = std::thread::spawn(move || ask(to, "GET /v1/lease?key=k&wait=20", &[&known], ""));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(ask(to, "DELETE /v1/lease?key=k", &[], "").status, 204);
    assert_eq!(waiting.join().unwrap().status, 404);
}

#[test]
fn a_stop_answers_who_waits_and_gives_the_folder_and_the_port_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = local(StoreServer::in_folder(folder.path()));
    let (to, begun) = (server.address(), Instant::now());
    let fence = ask(to, "POST /v1/lease?key=k", &[], r#"{"data":"YQ=="}"#).number("fence");
    let waiting = std::thread::spawn(move || {
        ask(to, "GET /v1/lease?key=k&wait=25", &[&format!("If-None-Match: \"{fence}\"")], "").status
    });
    std::thread::sleep(Duration::from_millis(200));
    server.stop();
    assert_eq!(waiting.join().unwrap(), 304);
    assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
    assert!(TcpStream::connect(to).is_err());
    let again = local(StoreServer::in_folder(folder.path()));
    assert_eq!(ask(again.address(), "GET /v1/lease?key=k", &[], "").number("fence"), fence);
}

#[test]
fn no_key_leads_out_of_the_folder() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("data");
    let server = local(StoreServer::in_folder(&folder));
    let store = HttpLeaseStore::new(&server.url(), None).unwrap();
    let keys = ["../outside", "/etc/haqlite-test", "a/../../b", "lock", "new-x", ".", "a b+c%2F&d=e?#", "ü"];
    for key in keys {
        assert!(matches!(run(store.create(key, key.as_bytes())), Ok(Swap::Done(_))), "{key}");
    }
    for key in keys {
        assert_eq!(run(store.read(key)).unwrap().unwrap().body, key.as_bytes(), "{key}");
    }
    let names = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names(outer.path()), ["data"]);
    let files = names(&folder);
    assert_eq!(files.len(), keys.len() + 1);
    assert!(files.iter().all(|name| name == "lock" || name.starts_with("lease-")), "{files:?}");
}
