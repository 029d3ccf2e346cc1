//! `verify`, `snapshot` and `compact`.

use serde_json::{Value, json};

use crate::support::{Site, texts, write};

#[test]
fn a_log_that_is_whole_is_verified() {
    let site = Site::with_log();
    let report = site.on_log("verify", &["--restore-in", ".", "--json"]).document();
    let last = json!(site.slots());
    assert_eq!((&report["txid"], &report["slots"], &report["epoch"]), (&last, &last, &json!(2)));
    assert_eq!((&report["problems"], &report["restored"]), (&json!([]), &json!(true)));
    let people = site.on_log("verify", &[]);
    assert!(people.code == Some(0) && people.stdout.contains("the log is whole"), "{people:?}");
}

#[test]
fn verify_names_every_object_that_is_damaged() {
    let site = Site::with_log();
    for slot in [2, 5] {
        let mut bytes = std::fs::read(site.slot(slot)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(site.slot(slot), bytes).unwrap();
    }
    let said = site.on_log("verify", &["--json"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(3), ""), "{said:?}");
    let report = said.only_line();
    let keys: Vec<&str> =
        report["problems"].as_array().unwrap().iter().map(|p| p["key"].as_str().unwrap()).collect();
    for slot in [2, 5] {
        assert!(keys.iter().any(|key| key.ends_with(&format!("{slot:016x}.ltx"))), "{keys:?}");
    }
    let people = site.on_log("verify", &[]);
    assert!(people.code == Some(3) && people.stdout.contains("DAMAGE"), "{people:?}");
}

#[test]
fn what_is_not_there_is_not_verified_and_nothing_is_made_of_it() {
    let site = Site::empty();
    for command in ["verify", "snapshot", "compact"] {
        site.on_log(command, &["--json"]).failed(4, "InvalidArgument");
    }
    assert_eq!(std::fs::read_dir(site.path("bucket")).unwrap().count(), 0);
}

#[test]
fn a_snapshot_is_the_log_and_is_made_once() {
    let site = Site::with_log();
    let last = site.slots();
    let made = site.on_log("snapshot", &["--json"]).document();
    let file = &made["made"];
    assert_eq!((&file["level"], &file["min"], &file["max"]), (&json!(9), &json!(1), &json!(last)));
    let info = site.on_log("info", &["--json"]).document();
    assert_eq!(info["snapshot"], *file);
    // The epochs are those of what it was made of.
    assert_eq!(info["epochs"][1]["epoch"], json!(2));
    assert_eq!(site.on_log("snapshot", &["--json"]).document()["made"], Value::Null);
    assert_eq!(site.slots(), last, "nothing is deleted");

    let node = site.node();
    write(&node, "later");
    let made = site.on_log("snapshot", &["--json"]).document();
    assert_eq!(made["made"]["max"], json!(site.slots()));
    node.close_blocking().unwrap();
    let restored = site.on_log("restore", &["-o", "copy.db", "--json"]).document();
    assert_eq!((&restored["files"], &restored["txid"]), (&json!(1), &json!(site.slots())));
    assert_eq!(texts(&site.path("copy.db")).last().unwrap(), "later");
    assert_eq!(site.on_log("verify", &[]).code, Some(0));
}

#[test]
fn compactions_go_up_level_by_level() {
    let site = Site::with_log();
    let last = site.slots();
    let made = |level: &str| site.on_log("compact", &["--level", level, "--json"]).document()["made"].clone();
    let first = made("1");
    assert_eq!((&first["level"], &first["min"], &first["max"]), (&json!(1), &json!(2), &json!(last)));
    assert_eq!(made("1"), Value::Null);
    let second = made("2");
    assert_eq!((&second["level"], &second["min"], &second["max"]), (&json!(2), &json!(2), &json!(last)));
    let levels = site.on_log("info", &["--json"]).document()["levels"].clone();
    let levels: Vec<u64> = levels.as_array().unwrap().iter().map(|l| l["level"].as_u64().unwrap()).collect();
    assert_eq!(levels, [0, 1, 2]);
    assert_eq!(site.on_log("verify", &[]).code, Some(0));
    site.on_log("compact", &["--level", "9", "--json"]).failed(2, "Usage");
}

#[test]
fn nothing_is_made_of_a_damaged_log() {
    let site = Site::with_log();
    std::fs::write(site.slot(3), b"LTX1").unwrap();
    site.on_log("snapshot", &["--json"]).failed(3, "Corrupt");
    site.on_log("compact", &["--json"]).failed(3, "Corrupt");
    assert_eq!(site.on_log("list", &["--json", "--level", "9"]).document()["files"], json!([]));
}
