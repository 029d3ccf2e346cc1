use crate::support::{SCHEMA, Site, finish, node, texts, write};

/// What the server's launcher says; `make test` starts it.
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: `make test` starts the servers"))
}

#[test]
fn the_commands_work_on_s3_with_the_key_from_the_environment() {
    let site = Site::empty();
    let (bucket, server) = (variable("HAQLITE_TEST_S3_BUCKET"), variable("HAQLITE_TEST_S3_SEAWEED"));
    let (id, key) = ("HAQLITE_TEST_S3_ACCESS_KEY_ID", "HAQLITE_TEST_S3_SECRET_ACCESS_KEY");
    let credentials = haqlite::bucket::S3Credentials {
        access_key_id: variable(id),
        secret_access_key: variable(key),
        session_token: None,
    };
    let url = format!("s3://{bucket}/cli-{}", std::process::id());
    let leader = node(&format!("{url}?endpoint={server}&region=us-east-1"))
        .credentials(credentials)
        .open_blocking(site.path("node.db"), SCHEMA)
        .unwrap();
    let txid = write(&leader, "on a server");

    let run = |args: &[&str]| {
        let mut command =
            site.command(&[args, &["--name", "my", "--region", "us-east-1", "--json"]].concat());
        command.env("HAQLITE_STORAGE_URL", &url).env("AWS_ENDPOINT_URL", &server);
        command.env("AWS_ACCESS_KEY_ID", variable(id)).env("AWS_SECRET_ACCESS_KEY", variable(key));
        finish(command.spawn().unwrap())
    };
    let info = run(&["info"]).document();
    assert_eq!((&info["newest"]["txid"], &info["lease"]["holder"]), (&txid.into(), &"n1".into()));
    assert_eq!(run(&["list"]).document()["files"].as_array().unwrap().len() as u64, txid);
    assert_eq!(run(&["explain"]).document()["endpoint"]["from"], "AWS_ENDPOINT_URL");
    assert_eq!(run(&["restore", "-o", "copy.db"]).document()["txid"], txid);
    assert_eq!(texts(&site.path("copy.db")), ["on a server"]);
    let followed = run(&["follow", "-o", "replica.db", "--once"]);
    assert_eq!(followed.lines().last().unwrap()["txid"], txid, "{followed:?}");
    write(&leader, "and more");
    assert_eq!(run(&["follow", "-o", "replica.db", "--once"]).code, Some(0));
    assert_eq!(texts(&site.path("replica.db")), ["on a server", "and more"]);
    leader.close_blocking().unwrap();
}
