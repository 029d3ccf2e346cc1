//! Our server as a program, stopped, killed and started again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use haqlite::ErrorKind;
use haqlite::lease_store::{HttpLeaseStore, LeaseStore, LeaseVersion, Swap};
use haqlite::manifest_store::{HttpManifestStore, ManifestPut, ManifestStore};
use haqlite::types::Epoch;

use super::raw::ask;
use super::server::{certificate, keeps_the_laws};
use crate::support::{Server, free_port, run};

/// A program that serves, and where.
fn serve(arguments: &[&str], token: Option<&str>) -> (Server, std::net::SocketAddr) {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    let token = token.map(str::to_owned);
    let make = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haqlite"));
        command.arg("store-server").args(&arguments).arg("--listen").arg(address.to_string());
        command.env_remove("HAQLITE_STORE_TOKEN");
        if let Some(token) = &token {
            command.env("HAQLITE_STORE_TOKEN", token);
        }
        command
    };
    let is_ready = move || std::net::TcpStream::connect(address).is_ok();
    (Server::start(make, is_ready), address)
}

fn in_folder(folder: &Path) -> (Server, std::net::SocketAddr) {
    serve(&["--data", folder.to_str().unwrap()], None)
}

fn leases(address: std::net::SocketAddr) -> HttpLeaseStore {
    HttpLeaseStore::new(&format!("http://{address}"), None).unwrap()
}

/// Asks again until there is an answer.
async fn eventually<T, F: Future<Output = haqlite::Result<T>>>(mut ask: impl FnMut() -> F) -> T {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(60), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn done(swap: Swap) -> LeaseVersion {
    match swap {
        Swap::Done(version) => version,
        Swap::Lost => panic!("the write was lost"),
    }
}

#[test]
fn the_program_keeps_the_laws_in_a_folder_in_memory_and_with_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, address) = in_folder(&folder.path().join("data"));
    run(keeps_the_laws(&format!("http://{address}")));
    let (_server, address) = serve(&["--memory"], Some("one,two"));
    run(keeps_the_laws(&format!("http://{address}?token=two")));
    let (certificate, key) = certificate(folder.path());
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let tls = ["--memory", "--tls-cert", &text(&certificate), "--tls-key", &text(&key)];
    let (_server, address) = serve(&tls, Some("one"));
    run(keeps_the_laws(&format!("https://{address}?token=one&ca={}", text(&certificate))));
}

#[test]
fn an_outage_is_an_error_and_over_when_the_server_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, address) = in_folder(folder.path());
    let store = Arc::new(leases(address));
    run(async {
        let version = done(store.create("k", b"1").await.unwrap());
        let watcher = Arc::clone(&store);
        let known = version.clone();
        let watching = tokio::task::spawn(async move { watcher.changed("k", Some(&known)).await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.kill();
        assert_eq!(store.read("k").await.unwrap_err().kind(), ErrorKind::StoreUnavailable);
        let error = store.replace("k", b"2", &version).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
        server.restart();
        let found = eventually(|| store.read("k")).await.unwrap();
        assert_eq!((found.body.as_slice(), &found.version), (&b"1"[..], &version));
        let next = done(store.replace("k", b"2", &version).await.unwrap());
        tokio::time::timeout(Duration::from_secs(60), watching).await.unwrap().unwrap();

        // A server that hangs is an outage too, and so is a caller who waits less than we do.
        server.pause(true);
        let error = store.read("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
        assert!(error.message().contains("in time"), "{error}");
        let write = store.replace("k", b"3", &next);
        assert!(tokio::time::timeout(Duration::from_millis(300), write).await.is_err());
        server.pause(false);
        let found = eventually(|| store.read("k")).await.unwrap();
        // Its caller had gone when the server read it: either is right, but nothing else.
        assert!(matches!(found.body.as_slice(), b"2" | b"3"), "{found:?}");
    });
}

/// What a writer knows when it hears of no more answers.
#[derive(Default)]
struct Known {
    acknowledged: u64,
    tried: u64,
    version: u64,
}

const KILLS: usize = 30;

#[test]
fn a_server_killed_in_the_middle_of_writes_loses_nothing_that_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, address) = in_folder(folder.path());
    let store = leases(address);
    let over = Arc::new(AtomicBool::new(false));
    let writer = {
        let over = Arc::clone(&over);
        std::thread::spawn(move || run(write_until(&store, &over)))
    };
    for kill in 0..KILLS {
        // At another moment of a write each time.
        std::thread::sleep(Duration::from_millis(10 + (kill as u64 * 7) % 40));
        server.kill();
        server.restart();
    }
    over.store(true, Ordering::Relaxed);
    let (known, doubts) = writer.join().unwrap();
    assert!(known.acknowledged >= KILLS as u64, "only {} writes were heard of", known.acknowledged);
    assert!(doubts > 0, "no kill hit a write");
    server.kill();
    server.restart();
    let found = run(leases(address).read("k")).unwrap().unwrap();
    assert_eq!(number(&found.body), known.acknowledged);
    assert_eq!(found.version.0.parse::<u64>().unwrap(), known.version);
}

/// Counts up in the register and holds after every error that what is there is the newest that was acknowledged, or
/// the one that was being written.
async fn write_until(store: &HttpLeaseStore, over: &AtomicBool) -> (Known, usize) {
    let mut known = Known::default();
    let mut doubts = 0;
    while !over.load(Ordering::Relaxed) || known.tried != known.acknowledged {
        known.tried = known.acknowledged + 1;
        let body = known.tried.to_string();
        let version = LeaseVersion(known.version.to_string());
        let written = match known.version {
            0 => store.create("k", body.as_bytes()).await,
            _ => store.replace("k", body.as_bytes(), &version).await,
        };
        match written {
            Ok(swap) => {
                let version = done(swap).0.parse().unwrap();
                assert!(version > known.version, "{version} after {}", known.version);
                known = Known { acknowledged: known.tried, version, ..known };
            }
            Err(_) => {
                doubts += 1;
                let Some(found) = eventually(|| store.read("k")).await else {
                    assert_eq!(known.acknowledged, 0, "all is gone");
                    continue;
                };
                let (value, version) = (number(&found.body), found.version.0.parse().unwrap());
                if value == known.tried {
                    assert!(version > known.version, "{version} after {}", known.version);
                    known = Known { acknowledged: value, version, ..known };
                } else {
                    assert_eq!((value, version), (known.acknowledged, known.version), "something was lost");
                }
            }
        }
    }
    (known, doubts)
}

fn number(body: &[u8]) -> u64 {
    std::str::from_utf8(body).unwrap().parse().unwrap()
}

#[test]
fn a_value_is_on_the_disk_under_its_name_before_its_write_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "64", "-e", "trace=fsync,renameat,renameat2,write,writev,sendto,sendmsg"]);
    // Ends by itself, whatever becomes of us.
    strace.arg("-o").arg(&trace).args(["timeout", "60", env!("CARGO_BIN_EXE_haqlite"), "store-server"]);
    strace.arg("--data").arg(folder.path().join("data")).arg("--listen").arg(address.to_string());
    let mut strace = strace.stdout(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    ask(address, "POST /v1/lease?key=k", &[], r#"{"data":"YQ=="}"#).number("fence");
    let server = loop {
        let text = std::fs::read_to_string(&trace).unwrap();
        let said = text.lines().find(|line| line.contains("serving leases"));
        if let Some((pid, _)) = said.and_then(|line| line.split_once(' ')) {
            break pid.to_owned();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(Command::new("kill").arg(server).status().unwrap().success());
    strace.wait().unwrap();

    let text = std::fs::read_to_string(&trace).unwrap();
    let after = |from: usize, what: &[&str]| -> usize {
        let mut lines = text.lines().enumerate().skip(from);
        let found = lines.find(|(_, line)| what.iter().all(|part| line.contains(part)));
        found.unwrap_or_else(|| panic!("no {what:?} after line {from} of\n{text}")).0
    };
    let synced = after(0, &["fsync(", "/new-lease-"]);
    let renamed = after(synced, &["renameat", "\"lease-"]);
    let folder_synced = after(renamed, &["fsync(", "/data>"]);
    after(folder_synced, &["201 Created"]);
    assert_eq!(
        text.matches("201 Created").count(),
        1,
        "there is one answer, and it is after all that\n{text}"
    );
}

#[test]
fn fences_versions_and_epochs_survive_a_kill_and_a_delete() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, address) = in_folder(folder.path());
    let manifests = HttpManifestStore::new(&format!("http://{address}"), None).unwrap();
    let (epoch, lower) = (Epoch::new(5).unwrap(), Epoch::new(4).unwrap());
    let put = run(manifests.put("k", epoch, b"m", None)).unwrap();
    let ManifestPut::Done(version) = put else { panic!("{put:?}") };
    let first = ask(address, "POST /v1/lease?key=k", &[], r#"{"data":"YQ=="}"#).number("fence");
    assert_eq!(ask(address, "DELETE /v1/lease?key=k", &[], "").status, 204);
    server.kill();
    server.restart();
    assert_eq!(ask(address, "GET /v1/lease?key=k", &[], "").status, 404);
    let stale = format!("If-Match: {first}");
    assert_eq!(ask(address, "PUT /v1/lease?key=k", &[&stale], r#"{"data":"YQ=="}"#).status, 412);
    let second = ask(address, "POST /v1/lease?key=k", &[], r#"{"data":"YQ=="}"#).number("fence");
    assert!(second > first, "{second} after {first}");
    run(async {
        let outranked = eventually(|| manifests.put("k", lower, b"n", Some(&version))).await;
        assert_eq!(outranked, ManifestPut::Outranked { epoch });
        assert_eq!(manifests.confirm("k", &version).await.unwrap(), Some(version.clone()));
        assert!(matches!(manifests.put("k", epoch, b"n", Some(&version)).await, Ok(ManifestPut::Done(_))));
    });
}

#[test]
fn a_memory_that_was_lost_gives_no_fence_again() {
    let (mut server, address) = serve(&["--memory"], None);
    let first = ask(address, "POST /v1/lease?key=k", &[], r#"{"data":"YQ=="}"#).number("fence");
    server.kill();
    server.restart();
    assert_eq!(ask(address, "GET /v1/lease?key=k", &[], "").status, 404);
    let second = ask(address, "POST /v1/lease?key=k", &[], r#"{"data":"YQ=="}"#).number("fence");
    assert!(second > first, "{second} after {first}");
}

#[test]
fn a_signal_answers_who_waits_and_ends_the_program_well() {
    let folder = tempfile::tempdir().unwrap();
    for signal in ["-TERM", "-INT"] {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_haqlite"));
        command.arg("store-server").arg("--data").arg(folder.path());
        command.arg("--listen").arg(address.to_string()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let begun = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        let waiting = std::thread::spawn(move || ask(address, "GET /v1/lease?key=k&wait=25", &[], "").status);
        std::thread::sleep(Duration::from_millis(500));
        let begun = Instant::now();
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        assert_eq!(waiting.join().unwrap(), 404);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal}");
        assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
    }
}
