//! Registers and manifests in NATS JetStream, on a server that is killed, stopped and told to refuse.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "tests spawn, and wait in real time")]

mod buckets;
mod cluster;
mod laws;
mod logins;
mod outages;

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use haqlite::lease_store::{LeaseStore, LeaseVersion, NatsLeaseStore, Register, Swap};
use haqlite::{ErrorKind, Result};

use crate::support::{Server, free_port, program};

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

    /// Stops it where it is; its threads take a moment.
    fn stop(&self) {
        self.server.pause(true);
        std::thread::sleep(Duration::from_millis(100));
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
