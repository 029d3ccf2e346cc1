//! `list`, `info` and `explain`: looks that change nothing.

use serde_json::{Value, json};

use crate::support::{Site, node, write};

#[test]
fn list_shows_every_file_of_the_log() {
    let site = Site::with_log();
    let document = site.on_log("list", &["--json"]).document();
    let files = document["files"].as_array().unwrap();
    assert_eq!(files.len() as u64, site.slots());
    for (at, file) in (1..).zip(files) {
        assert_eq!((&file["level"], &file["min"], &file["max"]), (&json!(0), &json!(at), &json!(at)));
        assert_eq!(file["bytes"], json!(site.slot(at).metadata().unwrap().len()));
        assert!(file["modified"].as_str().unwrap().ends_with('Z'));
    }
    assert_eq!(site.on_log("list", &["--json", "--level", "9"]).document()["files"], json!([]));
    let people = site.on_log("list", &[]);
    assert_eq!(
        (people.code, people.stdout.lines().count() as u64),
        (Some(0), site.slots() + 1),
        "{people:?}"
    );
}

#[test]
fn info_tells_who_the_log_is_who_leads_and_what_can_be_restored() {
    let site = Site::with_log();
    let info = site.on_log("info", &["--json"]).document();
    let last = site.slots();
    assert_eq!(info["database"].as_str().unwrap().len(), 32);
    assert_eq!(
        (&info["page_size"], &info["floor"], &info["damage"]),
        (&json!(4096), &json!(0), &Value::Null)
    );
    assert_eq!((&info["oldest"]["txid"], &info["newest"]["txid"]), (&json!(1), &json!(last)));
    assert!(info["oldest"]["timestamp"].as_str() < info["newest"]["timestamp"].as_str());
    let epochs: Vec<u64> =
        info["epochs"].as_array().unwrap().iter().map(|e| e["epoch"].as_u64().unwrap()).collect();
    assert_eq!(epochs, [1, 2]);
    assert_eq!(info["epochs"][0]["first"], json!(1));
    let fence = info["epochs"][1]["first"].as_u64().unwrap();
    assert!(fence > 3 && fence <= last, "{info}");
    assert_eq!((&info["lease"]["holder"], &info["lease"]["released"]), (&json!("n1"), &json!(true)));
    let level = &info["levels"][0];
    assert_eq!((&level["level"], &level["files"], &level["max"]), (&json!(0), &json!(last), &json!(last)));
    assert_eq!((&info["bytes"], &info["snapshot"]), (&level["bytes"], &Value::Null));

    let leader = site.node();
    let info = site.on_log("info", &["--json"]).document();
    assert_eq!((&info["lease"]["released"], &info["lease"]["epoch"]), (&json!(false), &json!(3)));
    drop(leader);
    let people = site.on_log("info", &[]);
    assert!(people.code == Some(0) && people.stdout.contains("released by n1"), "{people:?}");
}

#[test]
fn the_epochs_of_a_log_with_many_leaders_are_all_found() {
    let site = Site::empty();
    let mut fences = Vec::new();
    for epoch in 1..=5 {
        let node = node(&site.bucket()).open_blocking(site.path("node.db"), crate::support::SCHEMA).unwrap();
        fences.push(node.position().txid.get());
        for row in 0..epoch {
            write(&node, &format!("{row}"));
        }
        node.close_blocking().unwrap();
    }
    let info = site.on_log("info", &["--json"]).document();
    let firsts: Vec<u64> =
        info["epochs"].as_array().unwrap().iter().map(|e| e["first"].as_u64().unwrap()).collect();
    assert_eq!(firsts, fences, "{info}");
}

#[test]
fn a_bare_url_is_the_logs_own_folder() {
    let site = Site::with_log();
    let folder = format!("{}/haqlite/my", site.bucket());
    let bare = site.run(&["info", &folder, "--bare", "--json"]).document();
    assert_eq!(bare["database"], site.on_log("info", &["--json"]).document()["database"]);
    let empty_name = site.run(&["info", &folder, "--prefix", "", "--name", "", "--json"]).document();
    assert_eq!(bare, empty_name);
}

#[test]
fn looks_leave_no_trace_in_the_bucket() {
    let site = Site::with_log();
    std::fs::remove_dir_all(site.path("bucket/.haqlite")).unwrap();
    let before = tree(&site.path("bucket"));
    for command in ["list", "info", "explain", "verify"] {
        assert_eq!(site.on_log(command, &[]).code, Some(0));
    }
    assert_eq!(site.on_log("restore", &["-o", "copy.db"]).code, Some(0));
    assert_eq!(site.on_log("follow", &["-o", "replica.db", "--once"]).code, Some(0));
    assert_eq!(tree(&site.path("bucket")), before);
}

fn tree(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        match path.is_dir() {
            true => {
                found.push((path.display().to_string(), Vec::new()));
                found.extend(tree(&path));
            }
            false => found.push((path.display().to_string(), std::fs::read(&path).unwrap())),
        }
    }
    found
}

#[test]
fn info_tells_of_a_hole_and_of_a_header_that_is_damaged() {
    let site = Site::with_log();
    let last = site.slots();
    std::fs::write(site.slot(last), b"LTX1 and nothing else").unwrap();
    let said = site.on_log("info", &["--json"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.only_line()["damage"].as_str().unwrap().contains(&format!("slots {last} to {last}")));
    std::fs::remove_file(site.slot(3)).unwrap();
    let said = site.on_log("info", &["--json"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.only_line()["damage"].as_str().unwrap().contains("hole"), "{said:?}");
    assert!(site.on_log("info", &[]).stdout.contains("DAMAGE"));
}

#[test]
fn explain_says_where_each_value_came_from() {
    let site = Site::empty();
    let mut command = site.command(&["explain", "--name", "a", "--region", "eu-1", "--json"]);
    command.env("HAQLITE_STORAGE_URL", "s3://b/p?endpoint=http://e:1").env("AWS_ACCESS_KEY_ID", "id-hush");
    command.env("AWS_SECRET_ACCESS_KEY", "key-hush").env("AWS_REGION", "eu-2");
    let said = crate::support::finish(command.spawn().unwrap());
    assert!(!said.stdout.contains("hush"), "{said:?}");
    let document = said.document();
    let told = |value: &str, from: &str| json!({ "value": value, "from": from });
    assert_eq!(document["url"], told("s3://b/p", "HAQLITE_STORAGE_URL"));
    assert_eq!(document["name"], told("a", "--name"));
    assert_eq!(document["prefix"], told("haqlite/", "default"));
    assert_eq!(document["endpoint"], told("http://e:1", "the URL"));
    assert_eq!(document["region"], told("eu-1", "--region"));
    let from = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
    assert_eq!(document["credentials"], json!({ "present": true, "from": from }));
    assert_eq!(document["first_slot"], "p/haqlite/a/0000/0000000000000001-0000000000000001.ltx");

    let document = site.run(&["explain", "s3://b?access_key_id=hush&secret_access_key=hush", "--json"]);
    assert!(!document.stdout.contains("hush"), "{document:?}");
    let document = document.document();
    assert_eq!(document["url"], told("s3://b", "argument"));
    assert_eq!(document["credentials"], json!({ "present": true, "from": "the URL" }));
    assert_eq!((&document["root"], &document["name"]["value"]), (&Value::Null, &Value::Null));

    let document = site.run(&["explain", &site.bucket(), "--bare", "--json"]).document();
    assert_eq!((&document["layout"], &document["root"]), (&json!("directory"), &json!("")));
    assert_eq!(document["credentials"], json!({ "present": false, "from": "not used" }));
    let mut command = site.command(&["explain", "s3://b/p", "--name", "a", "--manifest", "s3", "--json"]);
    command.env("HAQLITE_LEASE_URL", "s3://hush:hush@leases/q?secret_access_key=hush&region=r");
    let refused = crate::support::finish(command.spawn().unwrap());
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(!format!("{refused:?}").contains("hush"), "{refused:?}");
    command.env("HAQLITE_LEASE_URL", "s3://leases/q?access_key_id=hush&secret_access_key=hush&region=r");
    let said = crate::support::finish(command.spawn().unwrap());
    assert!(!format!("{said:?}").contains("hush"), "{said:?}");
    let document = said.document();
    let value = "s3://leases/q?region=r";
    let lease = json!({ "value": value, "from": "HAQLITE_LEASE_URL", "key": "q/haqlite/a/_lease" });
    assert_eq!(document["lease"], lease);
    let manifest = json!({ "value": "s3", "from": "--manifest", "key": "p/haqlite/a/_manifest" });
    assert_eq!(document["manifest"], manifest);
    let nowhere = site.run(&["explain", "s3://b", "--name", "a", "--json"]).document();
    assert_eq!(nowhere["manifest"], json!({ "value": null, "from": "not given", "key": null }));

    let people = site.run(&["explain", "s3://b", "--name", "a"]);
    assert!(people.stdout.contains("unknown  [the machine or container"), "{people:?}");
}
