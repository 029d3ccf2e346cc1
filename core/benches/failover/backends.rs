use std::path::{Path, PathBuf};

use haqlite::{Builder, HaQLite};
use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::place::{LeaseServer, Place, etcd, http, nats};
use crate::support::Server;

/// A log, and the lease in one kind of store. What another process needs to open a node there.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Backend {
    pub(super) name: String,
    /// What the next write after a hand-over may take at most, in milliseconds.
    pub(super) bar_ms: Option<u64>,
    pub(super) place: Place,
    /// Whether another process sees the same.
    pub(super) is_shared: bool,
}

/// A backend with the server that it needs, or why there is none.
pub(super) enum Found {
    Ready(Backend, Option<Server>),
    Missing(&'static str, String),
}

impl Backend {
    /// A node here, with the defaults.
    pub(super) async fn node(&self, database: &str, name: &str) -> Outcome<Builder> {
        let node = HaQLite::builder().db_name(database).instance_id(name).forwarding_port(0);
        Ok(match self.place.lease {
            None => node.bucket(&self.place.bucket),
            Some(_) => {
                let (store, _) = self.place.lease_store().await?;
                node.storage_url(&self.place.bucket).lease_store(store)
            }
        })
    }
}

/// Every backend whose name contains the filter, in the order of the table.
pub(super) fn names(filter: &str) -> Vec<&'static str> {
    let all = ["memory", "directory", "S3", "NATS", "etcd", "HTTP"];
    all.into_iter().filter(|name| name.to_lowercase().contains(&filter.to_lowercase())).collect()
}

/// Starts what the backend needs, below the folder.
pub(super) fn find(name: &'static str, folder: &Path) -> Found {
    let ready = |bar_ms, place, server| {
        Found::Ready(Backend { name: name.to_owned(), bar_ms, place, is_shared: name != "memory" }, server)
    };
    let served = |bar_ms, LeaseServer { server, url, .. }: LeaseServer| {
        ready(Some(bar_ms), Place::in_folder(folder, Some(url)), Some(server))
    };
    match name {
        "memory" => ready(None, Place { bucket: "memory://failover".to_owned(), lease: None }, None),
        "directory" => ready(None, Place::in_folder(folder, None), None),
        "S3" => match Place::on_s3() {
            Ok(place) => ready(Some(300), place, None),
            Err(why) => Found::Missing(name, format!("SeaweedFS: {why}; `make bench` does")),
        },
        "NATS" => match program("nats-server", "HAQLITE_TEST_NATS") {
            Ok(program) => served(100, nats(program, folder)),
            Err(why) => Found::Missing(name, why),
        },
        "etcd" => match program("etcd", "HAQLITE_TEST_ETCD") {
            Ok(program) => served(100, etcd(program, folder)),
            Err(why) => Found::Missing(name, why),
        },
        "HTTP" => served(150, http(folder)),
        _ => unreachable!("BUG: {name} is no backend"),
    }
}

fn program(name: &str, variable: &str) -> Result<PathBuf, String> {
    let path =
        std::env::var(variable).map_err(|_| format!("{name}: {variable} is not set; `make bench` does"))?;
    let path = PathBuf::from(path);
    if path.exists() { Ok(path) } else { Err(format!("{name}: there is no {}", path.display())) }
}
