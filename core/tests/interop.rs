//! The promise that nobody is locked in, on a log with a whole life behind it: after compactions, snapshots and
//! retention, the real `litestream` restores it, reads it through its VFS, and goes on with it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant, SystemTime};

use haqlite::types::Timestamp;
use haqlite::{
    Bookmark, Builder, Compaction, Durability, ErrorKind, HaQLite, LogFileInfo, LogTools, Restore, Retention,
    SqlValue,
};
use rusqlite::Connection;
use tempfile::TempDir;

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY, b BLOB)";
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with a bucket in it, the log `app` in the bucket, and what the database was at each slot.
struct Life {
    folder: TempDir,
    history: BTreeMap<u64, State>,
}

/// What the database was, and a moment at which that was its newest state.
#[derive(Clone, Copy)]
struct State {
    contents: Contents,
    moment: Timestamp,
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
            .durability(Durability::Continuous { interval: Duration::from_millis(20) })
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
        let (began, mut next, mut peak) = (now(), 1, 0);
        while !life.is_complete() || next < 120 {
            assert!(began.elapsed() < 4 * PATIENCE, "{:?}", life.files());
            life.insert(&db, next, if next % 10 == 0 { 60_000 } else { 700 });
            peak = peak.max(pages_of(&db));
            if next % 40 == 0 {
                db.execute("DELETE FROM t WHERE a % 3 = 1", &[]).unwrap();
                let done = db.execute("VACUUM", &[]).unwrap();
                life.remember(&db, done.bookmark);
            }
            next += 1;
        }
        // Litestream's VFS takes the highest page of any file of its plan for the database's end: after a VACUUM it
        // finds pages that are never used, until the database has grown beyond what it was.
        life.insert(&db, next, peak * 4096);
        db.close_blocking().unwrap();
        drop(db);
        at_rest();
        life
    }

    fn insert(&mut self, db: &HaQLite, number: i64, bytes: usize) {
        let row = [SqlValue::Integer(number), SqlValue::Blob(vec![number as u8; bytes])];
        let done = db.execute("INSERT INTO t VALUES (?1, ?2)", &row).unwrap();
        self.remember(db, done.bookmark);
    }

    fn remember(&mut self, db: &HaQLite, bookmark: Bookmark) {
        db.wait_durable_blocking(&bookmark, PATIENCE).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        #[expect(clippy::disallowed_methods, reason = "the test asks for a moment")]
        let moment = Timestamp::from(SystemTime::now());
        self.history.insert(bookmark.txid.get(), State { contents: contents_of(db), moment });
        std::thread::sleep(Duration::from_millis(30));
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

    fn restore(&self) -> Restore {
        Restore::new(self.url()).prefix("").db_name("app")
    }

    /// Every slot to which files lead without a gap, from a snapshot on.
    fn ends(&self) -> BTreeSet<u64> {
        let files = LogTools::new(self.url()).prefix("").db_name("app").files().unwrap();
        let mut ends: BTreeSet<u64> = files.iter().filter(|f| f.level == 9).map(|f| f.max.get()).collect();
        let mut before = 0;
        while ends.len() > before {
            before = ends.len();
            let goes_on = |f: &&LogFileInfo| ends.iter().any(|e| f.min.get() <= e + 1 && f.max.get() > *e);
            let reached: Vec<u64> =
                files.iter().filter(|f| f.level < 9).filter(goes_on).map(|f| f.max.get()).collect();
            ends.extend(reached);
        }
        ends
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

/// Waits for the last threads of a node that was closed: deletions that it had begun go on a little longer.
fn at_rest() {
    let began = now();
    let busy = |entry: std::fs::DirEntry| {
        std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.starts_with("haqlite"))
    };
    while std::fs::read_dir("/proc/self/task").unwrap().any(|entry| busy(entry.unwrap())) {
        assert!(began.elapsed() < PATIENCE, "a closed node goes on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

const CONTENTS: &str = "SELECT count(*), coalesce(sum(a * length(b)), 0) FROM t";

fn contents_of(db: &HaQLite) -> Contents {
    let row = db.query_row(CONTENTS, &[]).unwrap();
    Contents { rows: row.get(0).unwrap(), sum: row.get(1).unwrap() }
}

fn pages_of(db: &HaQLite) -> usize {
    let pages: i64 = db.query_row("PRAGMA page_count", &[]).unwrap().get(0).unwrap();
    usize::try_from(pages).unwrap()
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
    let newest = life.history.last_key_value().unwrap().1.contents;
    assert_eq!(life.litestream_restore("latest.db", &[]), newest);

    let ends = life.ends();
    every_state_that_is_kept_is_the_same_for_both(&life, &ends);
    to_a_moment_both_restore_the_same(&life, &ends);
    litestream_vfs_reads_it(&life, newest);
    litestream_goes_on_with_it(&life, newest);
}

fn every_state_that_is_kept_is_the_same_for_both(life: &Life, ends: &BTreeSet<u64>) {
    let known: Vec<u64> = life.history.keys().copied().filter(|txid| ends.contains(txid)).collect();
    assert!(known.len() >= 5, "{known:?} of {:?}", life.files());
    for txid in known.iter().copied().step_by(known.len().div_ceil(10)) {
        let name = format!("at-{txid}.db");
        let theirs = life.litestream_restore(&name, &["-txid", &format!("{txid:016x}")]);
        assert_eq!(theirs, life.history[&txid].contents, "at {txid}");
        let ours = life.path(&format!("ours-{txid}.db"));
        life.restore().txid(txid).run(&ours).unwrap();
        assert!(std::fs::read(&ours).unwrap() == std::fs::read(life.path(&name)).unwrap(), "at {txid}");
    }
}

/// Of the time from which there are slots still, and of the time from which there are only compacted files.
fn to_a_moment_both_restore_the_same(life: &Life, ends: &BTreeSet<u64>) {
    let (first, newest) = (*ends.first().unwrap(), *life.history.last_key_value().unwrap().0);
    // Litestream refuses a moment after its newest file.
    let asked: Vec<u64> = life.history.range(first..newest).map(|(txid, _)| *txid).collect();
    let mut compacted = 0;
    for txid in asked.iter().copied().step_by(asked.len().div_ceil(12)) {
        let end = *ends.range(..=txid).next_back().unwrap();
        compacted += u32::from(end < txid);
        let moment = life.history[&txid].moment;
        let ours = life.path(&format!("ours-then-{txid}.db"));
        let restored = life.restore().timestamp(moment).run(&ours).unwrap();
        assert_eq!(restored.position.txid.get(), end, "at {moment}, when {txid} was the newest");
        let name = format!("then-{txid}.db");
        let theirs = life.litestream_restore(&name, &["-timestamp", &moment.to_string()]);
        assert_eq!(theirs, contents_of_file(&ours), "at {moment}: {:?}", life.files());
        assert!(std::fs::read(&ours).unwrap() == std::fs::read(life.path(&name)).unwrap(), "at {moment}");
    }
    assert!(asked.len() >= 12 && compacted >= 2, "{compacted} of {asked:?}, {ends:?}");
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
    life.restore().run(&ours).unwrap();
    assert_eq!(contents_of_file(&ours), grown);

    let refused = life.builder().open_blocking(life.path("app.db"), SCHEMA);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ForeignDatabase);
    let adopted = life.builder().adopt(true).open_blocking(life.path("app.db"), SCHEMA).unwrap();
    assert_eq!(contents_of(&adopted), grown);
    adopted.close_blocking().unwrap();
}
