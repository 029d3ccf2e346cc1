#![allow(dead_code, unused_imports, reason = "not every set of features uses all of it")]
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use haqlite::bucket::{Opened, UrlOptions, open_url};
use haqlite::lease_store::{BucketLeaseStore, LeaseStore};
use serde::{Deserialize, Serialize};

use crate::support::{Server, free_port};

/// Where a log is, and its lease: as URLs, so that other processes can be told.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub(crate) struct Place {
    /// The URL of the log's bucket.
    pub(crate) bucket: String,
    /// The URL of the lease's store. `None`: in the bucket.
    pub(crate) lease: Option<String>,
}

impl Place {
    /// A log in a folder, with the lease elsewhere or beside it.
    pub(crate) fn in_folder(folder: &Path, lease: Option<String>) -> Place {
        let folder = folder.join("bucket");
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        Place { bucket: format!("file://{}", folder.display()), lease }
    }

    /// A log and a lease on the S3 server of the tests, where nothing is yet. `Err` names the variable of the
    /// environment that is missing.
    pub(crate) fn on_s3() -> Result<Place, String> {
        let variable = |name: &str| {
            let name = format!("HAQLITE_TEST_S3_{name}");
            std::env::var(&name).map_err(|_| format!("{name} is not set"))
        };
        let (endpoint, bucket) = (variable("SEAWEED")?, variable("BUCKET")?);
        let (key, secret) = (variable("ACCESS_KEY_ID")?, variable("SECRET_ACCESS_KEY")?);
        let prefix = format!("failover-{}-{}", std::process::id(), free_port());
        let bucket = format!(
            "s3://{bucket}/{prefix}?endpoint={endpoint}&region=us-east-1&access_key_id={key}\
             &secret_access_key={secret}"
        );
        Ok(Place { bucket, lease: None })
    }

    /// A way of its own to the lease's store, and what comes before the lease's keys there.
    pub(crate) async fn lease_store(&self) -> haqlite::Result<(Arc<dyn LeaseStore>, String)> {
        if let Some(url) = &self.lease {
            return Ok((by_url(url)?, String::new()));
        }
        let Opened { bucket, root, watch_every } = open_url(&self.bucket, &UrlOptions::default()).await?;
        let store = BucketLeaseStore::new(bucket);
        Ok(match watch_every {
            Some(every) => (Arc::new(store.watching(every)), root),
            None => (Arc::new(store), root),
        })
    }
}

fn by_url(url: &str) -> haqlite::Result<Arc<dyn LeaseStore>> {
    Ok(match url.split(':').next() {
        #[cfg(feature = "nats")]
        Some("nats") => Arc::new(haqlite::lease_store::NatsLeaseStore::from_url(url)?),
        #[cfg(feature = "etcd")]
        Some("etcd") => Arc::new(haqlite::lease_store::EtcdLeaseStore::from_url(url)?),
        Some("http") => Arc::new(haqlite::lease_store::HttpLeaseStore::from_url(url)?),
        _ => panic!("no lease store has the URL {url}"),
    })
}

/// A server of a lease store, with its data in a folder, and the URL of the store.
pub(crate) struct LeaseServer {
    pub(crate) server: Server,
    pub(crate) data: PathBuf,
    pub(crate) url: String,
}

/// A NATS server whose every write is on the disk.
#[cfg(feature = "nats")]
pub(crate) fn nats(program: PathBuf, folder: &Path) -> LeaseServer {
    let (file, data, port) = (folder.join("nats.conf"), folder.join("nats"), free_port());
    let jetstream =
        format!("jetstream {{ store_dir: {:?}, sync_interval: always }}", data.display().to_string());
    std::fs::write(&file, format!("listen: \"127.0.0.1:{port}\"\n{jetstream}\n"))
        .expect("a file can be written");
    let make = move || {
        let mut command = Command::new(&program);
        command.arg("-c").arg(&file);
        command
    };
    let server = Server::start(make, move || TcpStream::connect(("127.0.0.1", port)).is_ok());
    LeaseServer { server, data, url: format!("nats://127.0.0.1:{port}?bucket=leases") }
}

/// An etcd of one member.
#[cfg(feature = "etcd")]
pub(crate) fn etcd(program: PathBuf, folder: &Path) -> LeaseServer {
    let (client, peer, data) = (free_port(), free_port(), folder.join("etcd"));
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let (here, there, folder) = (url(client), url(peer), data.clone());
    let make = move || {
        let mut command = Command::new(&program);
        command.arg("--data-dir").arg(&folder).args(["--name", "n", "--log-level", "error"]);
        command.args(["--listen-client-urls", &here, "--advertise-client-urls", &here]);
        command.args(["--listen-peer-urls", &there, "--initial-advertise-peer-urls", &there]);
        command.args(["--initial-cluster", &format!("n={there}")]);
        command
    };
    let server = Server::start(make, move || is_healthy(client));
    LeaseServer { server, data, url: format!("etcd://127.0.0.1:{client}") }
}

/// Our own server.
#[cfg(feature = "cli")]
pub(crate) fn http(folder: &Path) -> LeaseServer {
    let (data, port) = (folder.join("http"), free_port());
    let (kept, address) = (data.clone(), format!("127.0.0.1:{port}"));
    let make = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haqlite"));
        command.arg("store-server").arg("--data").arg(&kept).args(["--listen", &address]);
        command.env_remove("HAQLITE_STORE_TOKEN");
        command
    };
    let server = Server::start(make, move || TcpStream::connect(("127.0.0.1", port)).is_ok());
    LeaseServer { server, data, url: format!("http://127.0.0.1:{port}") }
}

#[cfg(feature = "etcd")]
fn is_healthy(port: u16) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let request = format!("GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    let _ = stream.set_read_timeout(Some(std::time::Duration::from_secs(1)));
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.contains("true")
}
