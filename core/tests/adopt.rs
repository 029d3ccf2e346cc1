//! Logs that `litestream` wrote to are gone on with when that is asked for, and only then.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use haqlite::ltx::Decoder;
use haqlite::{
    Builder, Compaction, Durability, ErrorKind, HaQLite, Restore, Result, Retention, SqlValue, Verify,
};
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
        Restore::new(self.url()).prefix("").db_name("app").run(self.path(name)).unwrap();
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

/// A day in two seconds.
fn hasty(node: Builder, window: Duration) -> Builder {
    let ms = Duration::from_millis;
    node.durability(Durability::Continuous { interval: ms(10) })
        .compaction(Compaction { levels: vec![ms(150), ms(450)], snapshots: Some(ms(1500)) })
        .retention(Retention { enabled: true, slots: ms(200), window, snapshots: 1 })
}

impl Site {
    fn folder(&self, level: u8) -> PathBuf {
        self.path("bucket").join(format!("app/ltx/{level}"))
    }

    /// The files of a level: first and last slot, and whether another tool wrote it.
    fn files(&self, level: u8) -> Vec<(u64, u64, bool)> {
        let files = std::fs::read_dir(self.folder(level)).into_iter().flatten().filter_map(|entry| {
            // It may go in this moment.
            let decoder = Decoder::new(std::fs::File::open(entry.unwrap().path()).ok()?).unwrap();
            let header = decoder.header();
            Some((header.min.get(), header.max.get(), header.is_foreign()))
        });
        let mut files: Vec<_> = files.collect();
        files.sort_unstable();
        files
    }

    fn floor(&self) -> u64 {
        let Ok(bytes) = std::fs::read(self.path("bucket").join("app/_floor")) else { return 0 };
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()["floor"].as_u64().unwrap()
    }
}

/// A log that only litestream wrote, with a row in each of its slots and compacted files of its own.
fn a_log_of_litestream(site: &Site, rows: i64) {
    let theirs = site.path("theirs.db");
    Connection::open(&theirs).unwrap().execute_batch(SCHEMA).unwrap();
    for a in 1..=rows {
        insert_into_file(&theirs, a);
        site.replicate("theirs.db");
    }
}

/// Writes rows until something is so; how many rows there are then.
#[track_caller]
fn write_until(db: &HaQLite, next: &mut i64, what: &str, mut test: impl FnMut() -> bool) {
    for _ in 0..600 {
        insert(db, *next);
        *next += 1;
        if test() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what}: {:?}", db.status());
}

#[test]
fn an_adopted_log_is_compacted_and_what_litestream_wrote_goes_when_it_is_old() {
    for began_as_ours in [false, true] {
        let site = Site::new();
        let mut next = 5;
        if began_as_ours {
            a_log_that_litestream_went_on_with(&site);
        } else {
            a_log_of_litestream(&site, 4);
        }
        let first_of_theirs = site.files(0).iter().find(|file| file.2).unwrap().0;
        let name = if began_as_ours { "a.db" } else { "theirs.db" };
        let adopt = hasty(site.builder().adopt(true), Duration::from_millis(600));
        let db = adopt.open_blocking(site.path(name), SCHEMA).unwrap();
        write_until(&db, &mut next, "there is a snapshot of our own", || {
            site.files(9).iter().any(|file| !file.2 && file.1 > 4)
        });
        let fence = site.files(0).iter().filter(|file| file.2).map(|file| file.1).max().unwrap() + 1;
        let all = |next: i64| (1..next).collect::<Vec<_>>();
        write_until(&db, &mut next, "nothing of litestream's is left", || {
            let theirs = (0..=9).flat_map(|level| site.files(level)).filter(|file| file.2).count();
            // What it wrote first behind our slots keeps their place.
            theirs == usize::from(began_as_ours) && site.floor() > fence
        });
        if began_as_ours {
            assert!(site.files(0).contains(&(first_of_theirs, first_of_theirs, true)));
        }
        assert!(site.files(0).contains(&(fence, fence, false)), "{:?}", site.files(0));
        assert_eq!(db.status().last_error, None);
        let second = site.open("second.db").unwrap();
        assert_eq!(rows_of(&second), all(next));
        second.close_blocking().unwrap();
        db.close_blocking().unwrap();
        drop((db, second));
        assert_eq!(site.restore("ours.db"), all(next));
        assert_eq!(site.restore_with_litestream("again.db"), all(next));
        let report = Verify::new(site.url()).prefix("").db_name("app").run().unwrap();
        assert!(report.is_healthy(), "{:?}", report.problems);
        // Litestream takes it over once more, and a node after it.
        insert_into_file(&site.path("again.db"), next);
        site.replicate("again.db");
        assert_eq!(rows_of(&site.adopt(name).unwrap()), all(next + 1));
    }
}

#[test]
fn states_of_litestreams_are_restored_while_its_files_are_kept() {
    let site = Site::new();
    a_log_of_litestream(&site, 6);
    let theirs: Vec<u64> = site.files(0).iter().map(|file| file.1).collect();
    let state = |txid: u64, name: &str| {
        Restore::new(site.url()).prefix("").db_name("app").txid(txid).run(site.path(name)).unwrap();
        rows_of_file(&site.path(name))
    };
    let before: Vec<Vec<i64>> =
        theirs.iter().map(|slot| state(*slot, &format!("before-{slot}.db"))).collect();
    let hour = Duration::from_secs(3600);
    let slow = Retention { enabled: true, slots: hour, window: hour, snapshots: 1 };
    let adopt = hasty(site.builder().adopt(true), hour).retention(slow);
    let db = adopt.open_blocking(site.path("fresh.db"), SCHEMA).unwrap();
    let mut next = 7;
    write_until(&db, &mut next, "it is compacted behind a snapshot of our own", || {
        let own = site.files(9).iter().filter(|file| !file.2).map(|file| file.1).min();
        own.is_some_and(|own| site.files(1).iter().any(|file| !file.2 && file.0 > own))
    });
    assert_eq!(db.status().last_error, None);
    for (slot, rows) in theirs.iter().zip(before) {
        assert_eq!(state(*slot, &format!("after-{slot}.db")), rows, "slot {slot}");
    }
    let path = site.path("theirs-again.db");
    let txid = format!("{:016x}", theirs[2]);
    site.litestream(&["restore", "-txid", &txid, "-o"], &[&path]);
    assert_eq!(rows_of_file(&path), rows_of_file(&site.path(&format!("after-{}.db", theirs[2]))));
    db.close_blocking().unwrap();
}
