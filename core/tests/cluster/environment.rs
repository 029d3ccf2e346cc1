use std::path::Path;
use std::process::Command;
use std::time::Duration;

use haqlite::{CoordinatorConfig, HaQLite, LeaseConfig};

use crate::support::{SCHEMA, eventually, insert};

/// Leads from the parent test to the same test in a process of its own, where the variables are set.
const CHILD: &str = "HAQLITE_TEST_ENVIRONMENT";

#[test]
fn the_environment_names_every_store() {
    match std::env::var_os(CHILD) {
        Some(folder) => in_the_child(Path::new(&folder)),
        None => in_the_parent(),
    }
}

fn in_the_child(folder: &Path) {
    let lease = LeaseConfig { ttl: Some(Duration::from_secs(5)), ..LeaseConfig::new("a", "") };
    let builder = HaQLite::builder()
        .forwarding_port(0)
        .instance_id("a")
        .coordinator_config(CoordinatorConfig { lease: Some(lease), ..Default::default() });
    let db = builder.open_blocking(folder.join("app.db"), SCHEMA).unwrap();
    insert(&db, "x");
    eventually("there is a manifest", || folder.join("manifests/haqlite/app/_manifest").exists());
    db.close_blocking().unwrap();
}

fn in_the_parent() {
    let folder = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("file://{}", folder.path().join(name).display());
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "environment::the_environment_names_every_store"])
        .env(CHILD, folder.path())
        .env("HAQLITE_STORAGE_URL", url("log"))
        .env("HAQLITE_LEASE_URL", url("leases"))
        .env("HAQLITE_MANIFEST_URL", url("manifests"))
        .status()
        .unwrap();
    assert!(status.success());
    let is_there = |name: &str| folder.path().join(name).exists();
    assert!(is_there("leases/haqlite/app/_lease") && is_there("log/haqlite/app/_genesis"));
    assert!(!is_there("log/haqlite/app/_lease") && !is_there("log/haqlite/app/_manifest"));
}
