use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Site, eventually, finish, send, texts, write};

/// A `follow` that runs, and the lines that it has said.
struct Following {
    child: Child,
    said: Arc<Mutex<Vec<Value>>>,
}

impl Following {
    fn start(site: &Site, output: &str) -> Following {
        let bucket = site.bucket();
        let args = ["follow", &bucket, "--name", "my", "-o", output, "--interval", "20", "--json"];
        let mut command = site.command(&args);
        command.stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said: Arc<Mutex<Vec<Value>>> = Arc::default();
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Following { child, said }
    }

    fn said(&self) -> Vec<Value> {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it says that it is current at this slot.
    #[track_caller]
    fn wait_for(&self, txid: u64) {
        eventually("the copy is current", || {
            let said = self.said();
            said.iter().any(|line| {
                line["event"] == "position"
                    && line["is_current"] == true
                    && line["txid"].as_u64() >= Some(txid)
            })
        });
    }

    /// Ends it by a signal; its exit code.
    #[track_caller]
    fn end(mut self, signal: Signal) -> (Option<i32>, Vec<Value>) {
        send(&self.child, signal);
        let code = self.child.wait().unwrap().code();
        if code.is_some() {
            eventually("all is read", || self.said().last().is_some_and(|line| line["event"] == "ended"));
        }
        (code, self.said())
    }
}

#[test]
fn once_makes_the_copy_current_and_ends() {
    let site = Site::with_log();
    let said = site.on_log("follow", &["-o", "copy.db", "--once", "--json"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    let lines = said.lines();
    assert_eq!((&lines[0]["event"], &lines[0]["path"]), (&json!("following"), &json!("copy.db")));
    let last = json!({ "event": "ended", "txid": site.slots(), "epoch": 2, "is_current": true });
    assert_eq!(lines.last(), Some(&last));
    assert_eq!(texts(&site.path("copy.db")).len(), 6);

    let node = site.node();
    write(&node, "later");
    let people = site.on_log("replicate", &["-o", "copy.db", "--once"]);
    assert!(people.code == Some(0) && people.stdout.contains("current at slot"), "{people:?}");
    assert_eq!(texts(&site.path("copy.db")).last().unwrap(), "later");
}

#[test]
fn others_read_the_copy_while_it_is_kept_current_and_nobody_writes_to_it() {
    let site = Site::with_log();
    let node = site.node();
    let following = Following::start(&site, "copy.db");
    following.wait_for(site.slots());
    let copy = site.path("copy.db");
    for number in 0..5 {
        let txid = write(&node, &format!("live {number}"));
        following.wait_for(txid);
        assert_eq!(*texts(&copy).last().unwrap(), format!("live {number}"));
    }
    let writer = rusqlite::Connection::open(&copy).unwrap();
    writer.busy_timeout(std::time::Duration::from_millis(50)).unwrap();
    let refused = writer.execute("INSERT INTO t (v) VALUES ('mine')", []).unwrap_err();
    assert_eq!(refused.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy));
    drop(writer);
    let (code, said) = following.end(Signal::INT);
    assert_eq!(code, Some(0));
    assert_eq!(said.last().unwrap()["is_current"], true);
    assert_eq!(texts(&copy), texts(&site.path("node.db")));
    node.close_blocking().unwrap();
}

#[test]
fn it_ends_cleanly_on_sigterm_and_goes_on_where_it_was() {
    let site = Site::with_log();
    let following = Following::start(&site, "copy.db");
    following.wait_for(site.slots());
    assert_eq!(following.end(Signal::TERM).0, Some(0));
    // It need not restore: the slots before its position are no longer asked for.
    let (node, first) = (site.node(), site.path("gone.ltx"));
    let txid = write(&node, "while it was away");
    std::fs::rename(site.slot(1), &first).unwrap();
    let following = Following::start(&site, "copy.db");
    following.wait_for(txid);
    assert_eq!(following.end(Signal::INT).0, Some(0));
    assert_eq!(texts(&site.path("copy.db")).last().unwrap(), "while it was away");
    assert!(!lost_anything(&site.path("")));
}

#[test]
fn killed_again_and_again_it_is_always_the_log_at_some_slot() {
    let site = Site::with_log();
    let node = site.node();
    let copy = site.path("copy.db");
    for round in 0..6 {
        let following = Following::start(&site, "copy.db");
        let mut txid = 0;
        for row in 0..=round {
            txid = write(&node, &format!("round {round}, row {row}"));
        }
        if round % 2 == 0 {
            following.wait_for(txid);
        } else {
            eventually("it has begun", || !following.said().is_empty());
        }
        assert_eq!(following.end(Signal::KILL).0, None);
        if copy.exists() {
            let (here, there) = (texts(&copy), texts(&site.path("node.db")));
            assert!(there.starts_with(&here), "{here:?} is no state of {there:?}");
        }
    }
    let said = site.on_log("follow", &["-o", "copy.db", "--once"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(texts(&copy), texts(&site.path("node.db")));
    assert!(!lost_anything(&site.path("")));
    node.close_blocking().unwrap();
}

#[test]
fn a_foreign_database_is_refused_and_left_alone() {
    let site = Site::with_log();
    rusqlite::Connection::open(site.path("other.db")).unwrap().execute("CREATE TABLE mine (a)", []).unwrap();
    let before = std::fs::read(site.path("other.db")).unwrap();
    site.on_log("follow", &["-o", "other.db", "--json"]).failed(7, "ForeignDatabase");
    assert_eq!(std::fs::read(site.path("other.db")).unwrap(), before);

    // A replica of another log, too.
    let other = Site::with_log();
    assert_eq!(site.on_log("follow", &["-o", "copy.db", "--once"]).code, Some(0));
    let copy = site.path("copy.db");
    let said = other.on_log("follow", &["-o", copy.to_str().unwrap(), "--once", "--json"]);
    said.failed(7, "ForeignDatabase");
}

#[test]
fn a_restored_copy_is_followed_once_it_is_adopted() {
    let site = Site::with_log();
    assert_eq!(site.on_log("restore", &["-o", "copy.db", "--txid", "2"]).code, Some(0));
    site.on_log("follow", &["-o", "copy.db", "--once", "--json"]).failed(7, "ForeignDatabase");
    let said = site.on_log("follow", &["-o", "copy.db", "--once", "--adopt"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(texts(&site.path("copy.db")).len(), 6);
}

#[test]
fn a_second_one_on_the_same_copy_is_refused() {
    let site = Site::with_log();
    let following = Following::start(&site, "copy.db");
    following.wait_for(site.slots());
    site.on_log("follow", &["-o", "copy.db", "--json"]).failed(7, "InUse");
    assert_eq!(following.end(Signal::INT).0, Some(0));
}

#[test]
fn a_reader_that_goes_away_ends_it() {
    let site = Site::with_log();
    let bucket = site.bucket();
    let args = ["follow", &bucket, "--name", "my", "-o", "copy.db", "--interval", "20", "--json"];
    let mut child = site.command(&args).spawn().unwrap();
    drop(child.stdout.take());
    let said = finish(child);
    assert_eq!(said.code, Some(1), "{said:?}");
}

/// Whether anything was saved as lost below the folder.
fn lost_anything(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).any(|name| name.to_string_lossy().contains(".lost-"))
}
