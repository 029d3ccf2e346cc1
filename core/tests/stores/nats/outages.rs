//! Servers that go away and come back.

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use haqlite::ErrorKind;
use haqlite::lease_store::{LeaseStore, Register, Swap};

use super::{Nats, done, kind, open, until_readable};
use crate::support::{free_port, run};

#[test]
fn a_killed_server_comes_back_with_its_registers_within_a_second() {
    let mut nats = Nats::start();
    let store = Arc::new(nats.store());
    run(async {
        let version = done(store.create("k", b"1").await);
        let version = done(store.replace("k", b"2", &version).await);
        let watch = {
            let (store, version) = (Arc::clone(&store), version.clone());
            tokio::spawn(async move { store.changed("k", Some(&version)).await })
        };
        tokio::time::sleep(Duration::from_millis(200)).await;
        nats.server.kill();
        for _ in 0..3 {
            let begun = Instant::now();
            assert_eq!(kind(store.read("k").await), ErrorKind::StoreUnavailable);
            assert_eq!(kind(store.replace("k", b"x", &version).await), ErrorKind::StoreUnavailable);
            assert!(begun.elapsed() < Duration::from_secs(1), "a server that is gone refuses at once");
        }
        nats.server.restart();
        let (found, took) = until_readable(&store, "k").await;
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(found, Some(Register { body: b"2".to_vec(), version: version.clone() }));
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(!watch.is_finished(), "a restart is no change");
        let third = done(store.replace("k", b"3", &version).await);
        assert!(tokio::time::timeout(Duration::from_secs(2), watch).await.is_ok(), "the watch survived");
        assert_ne!(third, version);
    });
}

#[test]
fn a_stopped_server_costs_the_callers_patience_and_nothing_more() {
    let nats = Nats::start();
    run(async {
        let store = nats.store();
        let version = done(store.create("k", b"1").await);
        nats.stop();
        let patience = Duration::from_millis(500);
        for _ in 0..2 {
            let write = store.replace("k", b"2", &version);
            assert!(tokio::time::timeout(patience, write).await.is_err(), "nobody answers");
        }
        let begun = Instant::now();
        assert_eq!(kind(store.read("k").await), ErrorKind::StoreUnavailable, "with a limit of its own");
        assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
        nats.server.pause(false);
        let (found, took) = until_readable(&store, "k").await;
        assert!(took < Duration::from_secs(1), "{took:?}");
        // The first write was on its way, the second never left.
        let found = found.unwrap();
        assert!(found.body == b"2" || found.version == version, "{found:?}");
        done(store.replace("k", b"3", &found.version).await);
    });
}

#[test]
fn what_waited_during_an_outage_is_not_sent_after_it() {
    let mut nats = Nats::start();
    run(async {
        let store = nats.store();
        let version = done(store.create("k", b"1").await);
        nats.server.kill();
        for n in 0..20 {
            let write = store.replace("k", format!("late {n}").as_bytes(), &version).await;
            assert_eq!(kind(write), ErrorKind::StoreUnavailable);
        }
        nats.server.restart();
        until_readable(&store, "k").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let found = store.read("k").await.unwrap();
        assert_eq!(found, Some(Register { body: b"1".to_vec(), version }));
    });
}

#[test]
fn of_two_servers_the_one_that_answers_is_used() {
    let nats = Nats::start();
    // This one takes connections and says nothing.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let (deaf, gone) = (deaf.local_addr().unwrap().port(), free_port());
    let url = format!("nats://127.0.0.1:{deaf},127.0.0.1:{gone},127.0.0.1:{}?bucket=leases", nats.port);
    run(async {
        let store = open(&url);
        // Whoever asks stops asking soon; the connection is made all the same.
        let begun = Instant::now();
        loop {
            match tokio::time::timeout(Duration::from_millis(700), store.create("k", b"1")).await {
                Ok(Ok(Swap::Done(_))) => break,
                Ok(Ok(Swap::Lost)) => panic!("nobody else is here"),
                Ok(Err(_)) | Err(_) => assert!(begun.elapsed() < Duration::from_secs(10), "no connection"),
            }
        }
        assert!(store.read("k").await.unwrap().is_some());
    });
}

#[test]
fn a_connection_that_is_cut_is_made_anew() {
    let nats = Nats::start();
    let proxy = Proxy::start(nats.port);
    run(async {
        let store = open(&format!("nats://127.0.0.1:{}?bucket=leases", proxy.port));
        let mut version = done(store.create("k", b"0").await);
        for n in 1..=5 {
            proxy.cut();
            let begun = Instant::now();
            version = loop {
                match store.replace("k", format!("{n}").as_bytes(), &version).await {
                    Ok(Swap::Done(version)) => break version,
                    Ok(Swap::Lost) => panic!("nobody else writes, and nothing was sent"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error:?}"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        }
    });
}

#[test]
fn a_store_outlives_the_runtime_that_it_was_used_on() {
    let nats = Nats::start();
    let store = Arc::new(nats.store());
    let mut version = run(async { done(store.create("k", b"0").await) });
    for n in 1..=3 {
        version = run(async {
            // A watch as well, so that a watcher of the old runtime is in the way.
            let watch = store.changed("k", Some(&version));
            assert!(tokio::time::timeout(Duration::from_millis(50), watch).await.is_err());
            done(store.replace("k", format!("{n}").as_bytes(), &version).await)
        });
    }
    // A runtime that goes while it connects leaves nothing behind that another one would stumble over.
    nats.stop();
    let other = nats.store();
    run(async { tokio::time::timeout(Duration::from_millis(100), other.read("k")).await.unwrap_err() });
    nats.server.pause(false);
    let found = run(async { other.read("k").await.unwrap() });
    assert_eq!(found.map(|found| found.body), Some(b"3".to_vec()));
}

/// A way to the server that can be cut.
struct Proxy {
    port: u16,
    open: Arc<std::sync::Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn start(to: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::new(std::sync::Mutex::new(Vec::new()));
        let kept = Arc::clone(&open);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(std::result::Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                for (from, into) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut into) = (from.try_clone().unwrap(), into.try_clone().unwrap());
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut into);
                        let _ = into.flush();
                        let _ = into.shutdown(Shutdown::Both);
                    });
                }
                kept.lock().unwrap().extend([client, server]);
            }
        });
        Proxy { port, open }
    }

    /// Ends every connection there is.
    fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
