//! `haqlite store-server`: what it says, and how it fails. What it serves is tested with the stores.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command};

use haqlite::lease_store::{HttpLeaseStore, LeaseStore, Swap};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Site, finish, send};

/// A server that listens, and the first line that it said.
fn start(mut command: Command) -> (Child, BufReader<std::process::ChildStdout>, String) {
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    (child, stdout, line)
}

#[test]
fn it_tells_where_it_serves_and_that_it_ended() {
    let site = Site::empty();
    let mut command = site.command(&["store-server", "--data", "kept", "--listen", "127.0.0.1:0", "--json"]);
    command.env("HAQLITE_STORE_TOKEN", "hush-1,hush-2");
    let (child, mut stdout, line) = start(command);
    let serving: Value = serde_json::from_str(&line).unwrap();
    let url = serving["url"].as_str().unwrap();
    assert_eq!(serving, json!({"event": "serving", "url": url, "data": "kept", "tokens": 2, "tls": false}));
    let store = HttpLeaseStore::new(url, Some("hush-2")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert!(matches!(runtime.block_on(store.create("k", b"v")), Ok(Swap::Done(_))));

    let port = url.rsplit_once(':').unwrap().1;
    let same_address = format!("127.0.0.1:{port}");
    for args in [
        &["store-server", "--memory", "--listen", &same_address, "--json"][..],
        &["store-server", "--data", "kept", "--listen", "127.0.0.1:0", "--json"],
    ] {
        site.run(args).failed(7, "InUse");
    }
    send(&child, Signal::TERM);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "{\"event\":\"ended\"}\n");
    let said = finish(child);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
}

#[test]
fn for_people_it_says_the_same_in_a_line() {
    let site = Site::empty();
    let (child, mut stdout, line) =
        start(site.command(&["store-server", "--memory", "--listen", "127.0.0.1:0"]));
    assert!(line.starts_with("serving leases and manifests at http://127.0.0.1:"), "{line}");
    assert!(line.ends_with("from memory, which keeps nothing (no token, loopback only)\n"), "{line}");
    send(&child, Signal::INT);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!((finish(child).code, rest.as_str()), (Some(0), "ended\n"));
}

#[test]
fn what_makes_no_sense_is_told_and_no_token_with_it() {
    let site = Site::empty();
    for args in [
        &["store-server", "--json"][..],
        &["store-server", "--memory", "--data", "x", "--json"],
        &["store-server", "--memory", "--listen", "8080", "--json"],
        &["store-server", "--memory", "--tls-cert", "x.pem", "--json"],
        &["store-server", "--memory", "--max-connections", "3", "--json"],
    ] {
        site.run(args).failed(2, "Usage");
    }
    for (args, reason) in [
        (&["--listen", "0.0.0.0:0"][..], "without a token"),
        (&["--listen", "127.0.0.1:0", "--token", ""], "1 to 512"),
        (&["--listen", "127.0.0.1:0", "--token", "hush hush"], "1 to 512"),
        (&["--tls-cert", "none.pem", "--tls-key", "none.pem"], "none.pem"),
    ] {
        let said = site.run(&[&["store-server", "--memory", "--json"], args].concat());
        assert!(said.failed(2, "InvalidConfig").contains(reason), "{said:?}");
        assert!(!format!("{said:?}").contains("hush"), "{said:?}");
    }
}
