//! Nodes whose lease is on our server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use haqlite::lease_store::{HttpLeaseStore, LeaseStore};
use haqlite::{HaQLite, Role, StoreServer};

use super::server::local;
use crate::support::run;

#[test]
fn a_follower_takes_over_by_a_lease_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let server = local(StoreServer::in_folder(folder.path().join("leases")).token("secret"));
    let open = |name: &str| -> HaQLite {
        let lease = HttpLeaseStore::new(&server.url(), Some("secret")).unwrap();
        HaQLite::builder()
            .storage_url(format!("file://{}", folder.path().join("bucket").display()))
            .lease_store(lease)
            .db_name("my")
            .instance_id(name)
            .forwarding_port(0)
            .open_blocking(folder.path().join(format!("{name}.db")), "CREATE TABLE IF NOT EXISTS t (v TEXT);")
            .unwrap()
    };
    let (first, second) = (open("n1"), open("n2"));
    assert_eq!((first.role(), second.role()), (Role::Leader, Role::Follower));
    first.execute("INSERT INTO t VALUES ('a')", &[]).unwrap();
    first.close_blocking().unwrap();
    let begun = Instant::now();
    while second.role() != Role::Leader {
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody leads");
        std::thread::sleep(Duration::from_millis(10));
    }
    second.execute("INSERT INTO t VALUES ('b')", &[]).unwrap();
    let rows = second.query_values_local("SELECT v FROM t ORDER BY v", &[]).unwrap();
    assert_eq!(rows, [["a".into()], ["b".into()]]);
    second.close_blocking().unwrap();
}

#[test]
fn a_store_goes_from_one_runtime_to_another() {
    let server = local(StoreServer::in_memory());
    let store = Arc::new(HttpLeaseStore::new(&server.url(), None).unwrap());
    for _ in 0..3 {
        // It is left waiting, and the runtime goes away with its timers.
        run(async {
            let change = store.changed("k", None);
            assert!(tokio::time::timeout(Duration::from_millis(100), change).await.is_err());
            assert_eq!(store.read("k").await.unwrap(), None);
        });
    }
    run(async {
        let change = store.changed("k", None);
        let write = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            store.create("k", b"x").await.unwrap()
        };
        let heard = tokio::time::timeout(Duration::from_secs(30), change);
        assert!(tokio::join!(heard, write).0.is_ok());
    });
}
