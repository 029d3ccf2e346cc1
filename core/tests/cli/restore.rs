use serde_json::json;

use crate::support::{Site, texts};

#[test]
fn restore_makes_the_database_and_tells_what_it_is() {
    let site = Site::with_log();
    let document = site.on_log("restore", &["-o", "copy.db", "--json"]).document();
    assert_eq!((&document["txid"], &document["path"]), (&json!(site.slots()), &json!("copy.db")));
    assert_eq!((&document["epoch"], &document["written_by_another_tool"]), (&json!(2), &json!(false)));
    assert_eq!(texts(&site.path("copy.db")), ["0.0", "0.1", "0.2", "1.0", "1.1", "1.2"]);
    // The stem is the name.
    let people = site.run(&["restore", &site.bucket(), "--output", "my.db"]);
    assert!(people.code == Some(0) && people.stdout.contains("my.db is the log at slot"), "{people:?}");
}

#[test]
fn restore_stops_at_the_slot_that_is_named() {
    let site = Site::with_log();
    let first = site.on_log("restore", &["-o", "then.db", "--txid", "2", "--json"]).document();
    assert_eq!(first["txid"], json!(2));
    assert!(texts(&site.path("then.db")).len() < 6);
    let said = site.on_log("restore", &["-o", "later.db", "--txid", "99", "--json"]);
    said.failed(4, "InvalidArgument");
    assert!(!site.path("later.db").exists());
}

#[test]
fn restore_stops_at_the_moment_that_is_named() {
    let site = Site::with_log();
    let info = site.on_log("info", &["--json"]).document();
    let (oldest, newest) = (&info["oldest"]["timestamp"], &info["newest"]["timestamp"]);
    let restore =
        |path: &str, moment: &str| site.on_log("restore", &["-o", path, "--json", "--timestamp", moment]);
    let first = restore("first.db", oldest.as_str().unwrap()).document();
    assert_eq!((&first["txid"], &first["timestamp"]), (&json!(1), oldest));
    let last = restore("last.db", "2099-01-01T00:00:00+01:00").document();
    assert_eq!((&last["txid"], &last["timestamp"]), (&json!(site.slots()), newest));
    restore("before.db", "1999-01-01T00:00:00Z").failed(4, "InvalidArgument");
    restore("before.db", "yesterday").failed(2, "Usage");
    assert!(!site.path("before.db").exists());
}

#[test]
fn restore_replaces_only_when_it_is_forced_to_and_nobody_has_the_file_open() {
    let site = Site::with_log();
    std::fs::write(site.path("copy.db"), b"").unwrap();
    site.on_log("restore", &["-o", "copy.db", "--json"]).failed(7, "InUse");
    site.on_log("restore", &["-o", "copy.db", "--force", "--check", "full", "--json"]).document();
    assert_eq!(texts(&site.path("copy.db")).len(), 6);
    let node = site.node();
    let path = site.path("node.db");
    site.on_log("restore", &["-o", path.to_str().unwrap(), "--force", "--json"]).failed(7, "InUse");
    node.close_blocking().unwrap();
}

#[test]
fn the_last_good_state_before_damage_is_restored_when_it_is_asked_for() {
    let site = Site::with_log();
    std::fs::write(site.slot(4), b"LTX1").unwrap();
    site.on_log("restore", &["-o", "copy.db", "--json"]).failed(3, "Corrupt");
    let said = site.on_log("restore", &["-o", "copy.db", "--last-good", "--json"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(3), ""), "{said:?}");
    let document = said.only_line();
    assert_eq!(document["txid"], json!(3));
    assert!(!document["left_out"].as_str().unwrap().is_empty());
    assert!(texts(&site.path("copy.db")).len() < 6);
    let people = site.on_log("restore", &["-o", "other.db", "--last-good"]);
    assert!(people.code == Some(3) && people.stdout.contains("left out"), "{people:?}");
}
