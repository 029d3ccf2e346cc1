use std::path::Path;
use std::process::Child;

use haqlite::bucket::{UrlOptions, open_url};
use haqlite::lease_store::{BucketLeaseStore, LeaseStore};
use haqlite::{Builder, HaQLite};
use serde::{Deserialize, Serialize};

use super::Outcome;

/// Where the lease is kept, and the log. What a process needs to open a node there.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Backend {
    pub(super) name: String,
    /// What the next write after a hand-over may take at most, in milliseconds.
    pub(super) bar_ms: Option<u64>,
    /// The URL of the log's bucket; the lease is there, too, unless it has a URL of its own.
    pub(super) bucket: String,
    pub(super) lease: Option<String>,
    /// Whether another process sees the same.
    pub(super) is_shared: bool,
}

/// A backend with the server that it needs, or why there is none.
pub(super) enum Place {
    Ready(Backend, Option<Running>),
    Missing(&'static str, String),
}

/// A server of the benchmark's own, killed when this value goes.
pub(super) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Backend {
    fn new(name: &str, bar_ms: Option<u64>, bucket: String) -> Backend {
        Backend { name: name.to_owned(), bar_ms, bucket, lease: None, is_shared: true }
    }

    /// A node here, with the defaults.
    pub(super) fn node(&self, database: &str, name: &str) -> Outcome<Builder> {
        let node = HaQLite::builder().bucket(&self.bucket).db_name(database).instance_id(name);
        Ok(node.forwarding_port(0))
    }

    /// The lease's store, and what stands before its keys.
    pub(super) async fn lease_store(&self) -> Outcome<(Box<dyn LeaseStore>, String)> {
        let opened = open_url(&self.bucket, &UrlOptions::default()).await?;
        Ok((Box::new(BucketLeaseStore::new(opened.bucket)), opened.root))
    }
}

/// Every backend whose name contains the filter.
pub(super) fn places(folder: &Path, filter: &str) -> Outcome<Vec<Place>> {
    type Start = fn(&Path) -> Outcome<Place>;
    let all: [(&str, Start); 3] = [("memory", memory), ("directory", directory), ("S3", s3)];
    let wanted = all.iter().filter(|(name, _)| name.to_lowercase().contains(&filter.to_lowercase()));
    wanted.map(|(_, start)| start(folder)).collect()
}

fn memory(_: &Path) -> Outcome<Place> {
    let backend = Backend::new("memory", None, "memory://failover".to_owned());
    Ok(Place::Ready(Backend { is_shared: false, ..backend }, None))
}

fn directory(folder: &Path) -> Outcome<Place> {
    Ok(Place::Ready(Backend::new("directory", None, log_folder(folder, "directory")?), None))
}

fn s3(_: &Path) -> Outcome<Place> {
    let variable = |name: &str| std::env::var(format!("HAQLITE_TEST_S3_{name}")).ok();
    let (Some(endpoint), Some(bucket), Some(key), Some(secret)) =
        (variable("SEAWEED"), variable("BUCKET"), variable("ACCESS_KEY_ID"), variable("SECRET_ACCESS_KEY"))
    else {
        let why = "SeaweedFS: HAQLITE_TEST_S3_SEAWEED is not set; `make bench` does";
        return Ok(Place::Missing("S3", why.to_owned()));
    };
    let prefix = format!("failover-{}", std::process::id());
    let url = format!(
        "s3://{bucket}/{prefix}/?endpoint={endpoint}&region=us-east-1&access_key_id={key}&secret_access_key={secret}"
    );
    Ok(Place::Ready(Backend::new("S3", Some(300), url), None))
}

/// A folder for a log whose lease is elsewhere.
fn log_folder(folder: &Path, name: &str) -> Outcome<String> {
    let folder = folder.join(format!("{name}-bucket"));
    std::fs::create_dir_all(&folder)?;
    Ok(format!("file://{}", folder.display()))
}
