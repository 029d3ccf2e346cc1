//! Logs that `litestream` wrote to are gone on with when that is asked for, and only then.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use haqlite::{Builder, ErrorKind, HaQLite, Result, SqlValue};
use rusqlite::Connection;
use tempfile::TempDir;

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY, b TEXT)";
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with a bucket in it, and the log `app` in the bucket.
struct Site(TempDir);

impl Site {
    fn new() -> Site {
        Site(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn url(&self) -> String {
        format!("file://{}", self.path("bucket").display())
    }

    fn builder(&self) -> Builder {
        HaQLite::builder()
            .bucket(self.url())
            .prefix("")
            .db_name("app")
            .forwarding_port(0)
            .open_timeout(PATIENCE)
    }

    fn open(&self, name: &str) -> Result<HaQLite> {
        self.builder().open_blocking(self.path(name), SCHEMA)
    }

    fn adopt(&self, name: &str) -> Result<HaQLite> {
        self.builder().adopt(true).open_blocking(self.path(name), SCHEMA)
    }

    fn litestream(&self, arguments: &[&str], paths: &[&Path]) {
        let binary = std::env::var_os("HAQLITE_LITESTREAM").expect("HAQLITE_LITESTREAM leads to the binary");
        let log = format!("{}/app", self.url());
        let output = Command::new(binary).args(arguments).args(paths).arg(log).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Has litestream ship what the database has and the log has not.
    fn replicate(&self, name: &str) {
        self.litestream(&["replicate", "-once"], &[&self.path(name)]);
    }

    fn restore_with_litestream(&self, name: &str) -> Vec<i64> {
        self.litestream(&["restore", "-integrity-check", "full", "-o"], &[&self.path(name)]);
        rows_of_file(&self.path(name))
    }

    fn restore(&self, name: &str) -> Vec<i64> {
        haqlite::Restore::new(self.url()).prefix("").db_name("app").run(self.path(name)).unwrap();
        rows_of_file(&self.path(name))
    }
}

fn rows_of_file(path: &Path) -> Vec<i64> {
    let connection = Connection::open(path).unwrap();
    let mut rows = connection.prepare("SELECT a FROM t ORDER BY a").unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().map(|row| row.unwrap()).collect()
}

fn rows_of(db: &HaQLite) -> Vec<i64> {
    let rows = db.query_values_local("SELECT a FROM t ORDER BY a", &[]).unwrap();
    rows.iter().map(|row| row[0].as_integer().unwrap()).collect()
}

fn insert(db: &HaQLite, a: i64) {
    let done = db.execute("INSERT INTO t VALUES (?1, 'by us')", &[SqlValue::Integer(a)]).unwrap();
    db.wait_durable_blocking(&done.bookmark, PATIENCE).unwrap();
}

fn insert_into_file(path: &Path, a: i64) {
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    connection.execute("INSERT INTO t VALUES (?1, 'by hand')", [a]).unwrap();
}

/// A log of ours with rows 1 and 2, closed, and then two more rows by litestream.
fn a_log_that_litestream_went_on_with(site: &Site) {
    let db = site.open("a.db").unwrap();
    insert(&db, 1);
    insert(&db, 2);
    let other = site.open("closed.db").unwrap();
    other.close_blocking().unwrap();
    db.close_blocking().unwrap();
    drop((db, other));
    assert_eq!(site.restore_with_litestream("theirs.db"), [1, 2]);
    for a in [3, 4] {
        insert_into_file(&site.path("theirs.db"), a);
        site.replicate("theirs.db");
    }
}

fn is_foreign(opened: Result<HaQLite>) {
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::ForeignDatabase);
}

#[test]
fn a_log_that_litestream_went_on_with_is_opened_again_only_by_adopt() {
    let site = Site::new();
    a_log_that_litestream_went_on_with(&site);
    is_foreign(site.open("a.db"));
    is_foreign(site.open("new.db"));

    let db = site.adopt("a.db").unwrap();
    assert_eq!(rows_of(&db), [1, 2, 3, 4]);
    insert(&db, 5);
    // Who comes later needs no permission: the log is ours again.
    let second = site.open("second.db").unwrap();
    let third = site.open("closed.db").unwrap();
    assert_eq!(rows_of(&third), [1, 2, 3, 4, 5]);
    third.close_blocking().unwrap();
    assert_eq!(rows_of(&second), [1, 2, 3, 4, 5]);
    insert(&second, 6);
    second.close_blocking().unwrap();
    db.close_blocking().unwrap();
    drop((db, second));
    assert_eq!(site.restore("ours.db"), [1, 2, 3, 4, 5, 6]);
    assert_eq!(site.restore_with_litestream("again.db"), [1, 2, 3, 4, 5, 6]);
    assert_eq!(rows_of(&site.open("a.db").unwrap()), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_log_that_only_litestream_wrote_is_adopted_with_and_without_its_database() {
    for with_database in [true, false] {
        let site = Site::new();
        let theirs = site.path("theirs.db");
        Connection::open(&theirs).unwrap().execute_batch(SCHEMA).unwrap();
        for a in [1, 2, 3] {
            insert_into_file(&theirs, a);
            site.replicate("theirs.db");
        }
        let name = if with_database { "theirs.db" } else { "fresh.db" };
        is_foreign(site.open(name));
        let db = site.adopt(name).unwrap();
        assert_eq!(rows_of(&db), [1, 2, 3]);
        insert(&db, 4);
        db.close_blocking().unwrap();
        drop(db);
        assert_eq!(rows_of(&site.open(name).unwrap()), [1, 2, 3, 4]);
        assert_eq!(site.restore("ours.db"), [1, 2, 3, 4]);
        assert_eq!(site.restore_with_litestream("again.db"), [1, 2, 3, 4]);
    }
}

#[test]
fn what_a_node_has_beyond_an_adopted_log_is_saved() {
    let site = Site::new();
    a_log_that_litestream_went_on_with(&site);
    // Written to the closed file: the adopted log does not have it.
    insert_into_file(&site.path("a.db"), 99);
    let db = site.adopt("a.db").unwrap();
    assert_eq!(rows_of(&db), [1, 2, 3, 4]);
    assert_eq!(db.status().lost_tails.len(), 1);
    db.close_blocking().unwrap();
}
