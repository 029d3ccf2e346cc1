//! The promise that nobody is locked in, on a log with a whole life behind it: after compactions, snapshots and
//! retention, the real `litestream` restores it, reads it through its VFS, and goes on with it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use haqlite::{Builder, Compaction, ErrorKind, HaQLite, Retention, SqlValue};
use rusqlite::Connection;
use tempfile::TempDir;

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY, b BLOB)";
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with a bucket in it, the log `app` in the bucket, and what the database was at each slot.
struct Life {
    folder: TempDir,
    history: BTreeMap<u64, Contents>,
}

/// The rows of the table, as far as they matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Contents {
    rows: i64,
    sum: i64,
}

/// A file of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct LogFile {
    level: u8,
    min: u64,
    max: u64,
}

impl Life {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
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
            .compaction(Compaction {
                levels: vec![Duration::from_secs(1), Duration::from_secs(2)],
                snapshots: Some(Duration::from_secs(4)),
            })
            .retention(Retention {
                slots: Duration::from_secs(2),
                window: Duration::from_secs(6),
                ..Retention::default()
            })
    }

    /// Writes until compactions and snapshots were made and slots, compactions and snapshots were deleted.
    fn live() -> Life {
        let mut life = Life { folder: TempDir::new().unwrap(), history: BTreeMap::new() };
        let db = life.builder().open_blocking(life.path("app.db"), SCHEMA).unwrap();
        let (began, mut next) = (now(), 1);
        while !life.is_complete() || next < 120 {
            assert!(began.elapsed() < 4 * PATIENCE, "{:?}", life.files());
            let bytes = if next % 10 == 0 { 60_000 } else { 700 };
            let row = [SqlValue::Integer(next), SqlValue::Blob(vec![next as u8; bytes])];
            let mut done = db.execute("INSERT INTO t VALUES (?1, ?2)", &row).unwrap();
            if next % 40 == 0 {
                db.execute("DELETE FROM t WHERE a % 3 = 1", &[]).unwrap();
                done = db.execute("VACUUM", &[]).unwrap();
            }
            db.wait_durable_blocking(&done.bookmark, PATIENCE).unwrap();
            life.history.insert(done.bookmark.txid.get(), contents_of(&db));
            next += 1;
            std::thread::sleep(Duration::from_millis(60));
        }
        db.close_blocking().unwrap();
        life
    }

    fn is_complete(&self) -> bool {
        let files = self.files();
        let has = |test: &dyn Fn(&LogFile) -> bool| files.iter().any(test);
        let snapshots = files.iter().filter(|file| file.level == 9);
        has(&|file| file.level == 1)
            && has(&|file| file.level == 2)
            // The first snapshot is gone, so are the first compactions, and slot 1.
            && snapshots.map(|file| file.max).min().is_some_and(|oldest| oldest > 40)
            && !has(&|file| file.level == 0 && file.min == 1)
            && !has(&|file| file.level == 1 && file.min == 2)
    }

    fn files(&self) -> Vec<LogFile> {
        let mut files = Vec::new();
        for level in 0..=9 {
            let folder = self.path(&format!("bucket/app/ltx/{level}"));
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let Some((min, max)) = name.strip_suffix(".ltx").and_then(|name| name.split_once('-')) else {
                    continue;
                };
                let number = |digits: &str| u64::from_str_radix(digits, 16).unwrap();
                files.push(LogFile { level, min: number(min), max: number(max) });
            }
        }
        files
    }

    fn litestream(&self, arguments: &[&str], paths: &[&Path]) -> Output {
        let binary = std::env::var_os("HAQLITE_LITESTREAM").expect("HAQLITE_LITESTREAM leads to the binary");
        let log = format!("{}/app", self.url());
        Command::new(binary).args(arguments).args(paths).arg(log).output().unwrap()
    }

    fn litestream_restore(&self, name: &str, options: &[&str]) -> Contents {
        let mut arguments = vec!["restore", "-integrity-check", "full"];
        arguments.extend(options);
        arguments.push("-o");
        let output = self.litestream(&arguments, &[&self.path(name)]);
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{options:?}: {why} of {:?}", self.files());
        contents_of_file(&self.path(name))
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has no other clock")]
fn now() -> Instant {
    Instant::now()
}

const CONTENTS: &str = "SELECT count(*), coalesce(sum(a * length(b)), 0) FROM t";

fn contents_of(db: &HaQLite) -> Contents {
    let row = db.query_row(CONTENTS, &[]).unwrap();
    Contents { rows: row.get(0).unwrap(), sum: row.get(1).unwrap() }
}

fn contents_of_file(path: &Path) -> Contents {
    let connection = Connection::open(path).unwrap();
    connection.query_row(CONTENTS, [], |row| Ok(Contents { rows: row.get(0)?, sum: row.get(1)? })).unwrap()
}

/// `text` of a program that ended well.
fn said(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_log_with_a_life_behind_it_is_litestreams_too() {
    let life = Life::live();
    let files = life.files();
    let newest = *life.history.last_key_value().unwrap().1;
    assert_eq!(life.litestream_restore("latest.db", &[]), newest);

    // Every txid that files lead to without a gap, from a snapshot on.
    let mut ends: BTreeSet<u64> = files.iter().filter(|f| f.level == 9).map(|f| f.max).collect();
    let mut before = 0;
    while ends.len() > before {
        before = ends.len();
        let goes_on = |f: &&LogFile| f.level < 9 && ends.iter().any(|e| f.min <= e + 1 && f.max > *e);
        let reached: Vec<u64> = files.iter().filter(goes_on).map(|f| f.max).collect();
        ends.extend(reached);
    }
    let known: Vec<u64> = life.history.keys().copied().filter(|txid| ends.contains(txid)).collect();
    assert!(known.len() >= 5, "{known:?} of {files:?}");
    for txid in known.iter().copied().step_by(known.len().div_ceil(10)) {
        let name = format!("at-{txid}.db");
        let theirs = life.litestream_restore(&name, &["-txid", &format!("{txid:016x}")]);
        assert_eq!(theirs, life.history[&txid], "at {txid}");
        let ours = life.path(&format!("ours-{txid}.db"));
        haqlite::Restore::new(life.url()).prefix("").db_name("app").txid(txid).run(&ours).unwrap();
        assert_eq!(contents_of_file(&ours), theirs, "at {txid}");
        assert!(std::fs::read(&ours).unwrap() == std::fs::read(life.path(&name)).unwrap(), "at {txid}");
    }
    litestream_vfs_reads_it(&life, newest);
    litestream_goes_on_with_it(&life, newest);
}

fn litestream_vfs_reads_it(life: &Life, newest: Contents) {
    let vfs = std::env::var("HAQLITE_LITESTREAM_VFS").expect("HAQLITE_LITESTREAM_VFS leads to the library");
    let mut sqlite = Command::new("sqlite3");
    sqlite.env("LITESTREAM_REPLICA_URL", format!("{}/app", life.url())).arg(":memory:");
    sqlite.args([&format!(".load {vfs}"), ".open 'file:app.db?vfs=litestream'", CONTENTS]);
    let answer = said(sqlite.arg("PRAGMA integrity_check").output().unwrap());
    assert_eq!(answer.trim(), format!("{}|{}\nok", newest.rows, newest.sum));
}

fn litestream_goes_on_with_it(life: &Life, newest: Contents) {
    let database = life.path("latest.db");
    let writer = Connection::open(&database).unwrap();
    writer.pragma_update(None, "journal_mode", "wal").unwrap();
    writer.execute("INSERT INTO t VALUES (1000000, x'00')", []).unwrap();
    drop(writer);
    let output = life.litestream(&["replicate", "-once"], &[&database]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let grown = Contents { rows: newest.rows + 1, sum: newest.sum + 1_000_000 };
    assert_eq!(life.litestream_restore("theirs.db", &[]), grown);
    let ours = life.path("ours.db");
    haqlite::Restore::new(life.url()).prefix("").db_name("app").run(&ours).unwrap();
    assert_eq!(contents_of_file(&ours), grown);

    let refused = life.builder().open_blocking(life.path("app.db"), SCHEMA);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ForeignDatabase);
    let adopted = life.builder().adopt(true).open_blocking(life.path("app.db"), SCHEMA).unwrap();
    assert_eq!(contents_of(&adopted), grown);
    adopted.close_blocking().unwrap();
}
