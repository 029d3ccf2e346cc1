//! Every way to fail has its code, one line for people, and an object for scripts.

use crate::support::Site;
#[cfg(feature = "s3")]
use crate::support::finish;

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let site = Site::with_log();
    let bucket = site.bucket();
    for args in [
        &["restore", &bucket, "--name", "my", "--json"][..],
        &["restore", &bucket, "--bare", "--name", "x", "-o", "copy.db", "--json"],
        &["list", &bucket, "--json"],
        &["list", "--name", "my", "--json"],
        &["explain", "--json"],
        &["list", &bucket, "--name", "my", "--level", "10", "--json"],
        &["frobnicate", "--json"],
        &["follow", &bucket, "-o", "..", "--json"],
        &["follow", &bucket, "-o", "copy.db", "--interval", "0", "--json"],
        &["--json"],
    ] {
        site.run(args).failed(2, "Usage");
    }
    for url in ["nonsense", "gopher://x/y", "file://host/x", "s3://", "s3://b?colour=blue"] {
        site.run(&["info", url, "--name", "my", "--json"]).failed(2, "InvalidConfig");
    }
}

#[test]
fn what_is_not_there_is_not_found_and_not_made() {
    let site = Site::empty();
    let nowhere = format!("file://{}", site.path("nowhere").display());
    for command in ["list", "info"] {
        site.on_log(command, &["--json"]).failed(4, "InvalidArgument");
        site.run(&[command, &nowhere, "--name", "my", "--json"]).failed(4, "InvalidArgument");
    }
    for command in ["restore", "follow"] {
        site.on_log(command, &["-o", "copy.db", "--json"]).failed(4, "InvalidArgument");
        site.run(&[command, &nowhere, "--name", "my", "-o", "copy.db", "--json"])
            .failed(4, "InvalidArgument");
    }
    let left: Vec<_> = std::fs::read_dir(site.path("")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["bucket"]);
    assert_eq!(std::fs::read_dir(site.path("bucket")).unwrap().count(), 0);
}

#[test]
fn a_damaged_log_is_told_from_a_missing_one() {
    let site = Site::with_log();
    let mut bytes = std::fs::read(site.slot(3)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(site.slot(3), bytes).unwrap();
    site.on_log("restore", &["-o", "copy.db", "--json"]).failed(3, "Corrupt");
    assert!(!site.path("copy.db").exists());
    std::fs::write(site.path("bucket/haqlite/my/_genesis"), b"{}").unwrap();
    site.on_log("info", &["--json"]).failed(3, "Corrupt");
    site.on_log("follow", &["-o", "copy.db", "--once", "--json"]).failed(3, "Corrupt");
}

#[test]
fn what_is_at_the_path_is_never_replaced_unasked() {
    let site = Site::with_log();
    std::fs::write(site.path("copy.db"), b"dear").unwrap();
    site.on_log("restore", &["-o", "copy.db", "--json"]).failed(7, "InUse");
    assert_eq!(std::fs::read(site.path("copy.db")).unwrap(), b"dear");
    let node = site.node();
    let path = site.path("node.db");
    site.on_log("follow", &["-o", path.to_str().unwrap(), "--json"]).failed(7, "InUse");
    drop(node);
}

#[cfg(feature = "s3")]
#[test]
fn a_server_that_is_away_is_told_from_a_key_that_is_missing() {
    let site = Site::empty();
    // Nothing listens on port 9, and the machine is not asked for a role.
    let url = "s3://bucket?endpoint=http://127.0.0.1:9";
    let run = |key: bool| {
        let mut command = site.command(&["info", url, "--name", "my", "--json"]);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        if key {
            command.env("AWS_ACCESS_KEY_ID", "id-hush").env("AWS_SECRET_ACCESS_KEY", "key-hush");
        }
        finish(command.spawn().unwrap())
    };
    let away = run(true);
    away.failed(5, "StoreUnavailable");
    assert!(!format!("{away:?}").contains("hush"), "{away:?}");
    let without = run(false);
    without.failed(6, "Unauthorized");
    assert!(without.stderr.contains("AWS_ACCESS_KEY_ID"), "{without:?}");
}

#[cfg(not(feature = "s3"))]
#[test]
fn a_build_without_s3_says_so() {
    let reason = Site::empty().run(&["info", "s3://b", "--name", "my", "--json"]).failed(2, "InvalidConfig");
    assert!(reason.contains("no S3"), "{reason}");
}

#[test]
fn errors_repeat_no_secret() {
    let site = Site::empty();
    let url = "s3://me:hush@b/p?access_key_id=hush&secret_access_key=hush&nonsense=hush";
    for args in [
        &["info", url, "--name", "my", "--json"][..],
        &["info", "s3://b", url, "--json"],
        &["restore", "-o", "x.db", &format!("--endpoint={url}"), "s3://b", "--json"],
        &[url, "--json"],
        &["list", &format!("--{url}"), "--json"],
    ] {
        let said = site.run(args);
        assert!(said.code != Some(0) && !format!("{said:?}").contains("hush"), "{said:?}");
    }
}

#[test]
fn without_a_command_it_asks_which() {
    let said = Site::empty().run(&[]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{said:?}");
    assert!(
        said.stderr.starts_with("error: no command is given; ") && said.stderr.lines().count() == 1,
        "{said:?}"
    );
}

#[test]
fn without_json_an_error_leaves_the_standard_output_empty() {
    let said = Site::empty().on_log("info", &[]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(4), ""), "{said:?}");
    assert!(said.stderr.starts_with("error: ") && said.stderr.contains("haqlite explain"), "{said:?}");
}
