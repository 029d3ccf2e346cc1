//! Three servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use haqlite::ErrorKind;
use haqlite::lease_store::{LeaseStore, LeaseVersion, NatsLeaseStore, Swap};

use super::{Nats, done, kind, open, until_readable};
use crate::support::{free_port, run};

/// Three servers of one cluster, and their URL.
fn cluster() -> (Vec<Nats>, String) {
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let routes = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect::<Vec<_>>().join(", ");
    let start = |(n, port): (usize, &u16)| {
        Nats::configured(&format!(
            "server_name: n{n}\ncluster {{ name: c, listen: \"127.0.0.1:{port}\", routes: [ {routes} ] }}"
        ))
    };
    let servers: Vec<Nats> = ports.iter().enumerate().map(start).collect();
    let hosts: Vec<String> = servers.iter().map(|nats| format!("127.0.0.1:{}", nats.port)).collect();
    let url = format!("nats://{}?bucket=leases", hosts.join(","));
    (servers, url)
}

/// Replaces until the answer is definite, as the lease task does; a write that ended with an error may have been done.
async fn replace(
    store: &NatsLeaseStore,
    body: &[u8],
    version: &LeaseVersion,
    mut failed: bool,
) -> LeaseVersion {
    let begun = Instant::now();
    loop {
        match store.replace("k", body, version).await {
            Ok(Swap::Done(version)) => return version,
            Ok(Swap::Lost) => {
                let found = until_readable(store, "k").await.0.unwrap();
                assert!(failed && found.body == body, "{found:?} after {failed}");
                return found.version;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error:?}"),
        }
        failed = true;
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not come back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn a_cluster_keeps_the_laws_and_survives_the_loss_of_its_leader() {
    let (mut servers, url) = cluster();
    run(async {
        let store = Arc::new(open(&url));
        // The servers have to find each other first.
        let begun = Instant::now();
        while let Err(error) = store.read("k").await {
            assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error:?}");
            assert!(begun.elapsed() < Duration::from_secs(60), "{error:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        haqlite::testing::lease_store_laws(&*store, "laws/").await;
        haqlite::testing::lease_store_watch_laws(&*store, "watch/").await;
        assert_eq!(store.warnings(), [], "three replicas on disk");

        let mut version = done(store.create("k", b"0").await);
        for n in 1..=2 {
            let info = servers[0].client().request("$JS.API.STREAM.INFO.KV_leases", &[], "").await;
            let info: serde_json::Value = serde_json::from_str(&info).unwrap();
            let leader: usize = info["cluster"]["leader"].as_str().unwrap()[1..].parse().unwrap();
            let watch = {
                let (store, version) = (Arc::clone(&store), version.clone());
                tokio::spawn(async move { store.changed("k", Some(&version)).await })
            };
            tokio::time::sleep(Duration::from_millis(300)).await;
            servers[leader].server.kill();
            version = replace(&store, format!("{n}").as_bytes(), &version, false).await;
            assert!(tokio::time::timeout(Duration::from_secs(15), watch).await.is_ok(), "the watch survived");
            servers[leader].server.restart();
        }

        // Without a majority nothing is acknowledged.
        servers[0].server.kill();
        servers[1].server.kill();
        assert_eq!(kind(store.replace("k", b"x", &version).await), ErrorKind::StoreUnavailable);
        servers[0].server.restart();
        servers[1].server.restart();
        replace(&store, b"x", &version, true).await;
        assert_eq!(until_readable(&store, "k").await.0.unwrap().body, b"x");
    });
}
