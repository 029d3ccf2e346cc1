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
