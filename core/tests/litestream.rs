//! The promise that users are not locked in, held against the `litestream` binary: it restores what we
//! write, it takes our log over, and we read what it writes.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod ltx_support;

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use haqlite::HaQLite;
use haqlite::ltx::{
    After, Base, Decoder, Encoder, Merge, Merged, PageIndex, Source, Tail, decode_frame, write_database,
};
use haqlite::types::{Chain, Txid};
use ltx_support::{Pages, decode, encode, page, slot};
use rusqlite::Connection;
use tempfile::TempDir;

fn litestream() -> Command {
    let named = std::env::var_os("HAQLITE_LITESTREAM").map(PathBuf::from);
    let in_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join("litestream")).find(|file| file.is_file())
    };
    let binary = named.or_else(in_path).filter(|file| file.is_file()).expect(
        "there is no litestream: `make tools` installs it, HAQLITE_LITESTREAM or PATH must lead to it",
    );
    Command::new(binary)
}

/// A folder with a database that grows, and the bucket that its slots go to.
struct Fixture {
    folder: TempDir,
    page_size: u32,
    connection: Connection,
    pages: Pages,
    txid: u64,
    chain: Chain,
    /// The folder of the log, below the fixture's.
    prefix: &'static str,
}

impl Fixture {
    fn new(page_size: u32) -> Fixture {
        let folder = TempDir::new().unwrap();
        let connection = Connection::open(folder.path().join("source.db")).unwrap();
        connection.pragma_update(None, "page_size", page_size).unwrap();
        fs::create_dir_all(folder.path().join("bucket/ltx/0")).unwrap();
        let chain = Chain::of(b"genesis");
        Fixture { folder, page_size, connection, pages: Pages::new(), txid: 0, chain, prefix: "bucket" }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bucket(&self) -> String {
        format!("file://{}", self.path(self.prefix).display())
    }

    /// Has litestream ship what there is.
    fn replicate_once(&self, database: &Path) {
        let output =
            litestream().args(["replicate", "-once"]).arg(database).arg(self.bucket()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs statements and ships the pages that they changed as the next slot.
    fn ship(&mut self, statements: &str) {
        self.connection.execute_batch(statements).unwrap();
        let file = fs::read(self.path("source.db")).unwrap();
        let now: Pages = (1..).zip(file.chunks(self.page_size as usize).map(<[u8]>::to_vec)).collect();
        let mut changed = now.clone();
        changed.retain(|number, data| self.pages.get(number) != Some(data));
        self.txid += 1;
        let header = slot(self.txid, self.page_size, now.len() as u32, self.chain);
        let (bytes, encoded) = encode(header, &changed).unwrap();
        fs::write(self.path(&format!("bucket/ltx/0/{0:016x}-{0:016x}.ltx", self.txid)), bytes).unwrap();
        self.pages = now;
        self.chain = encoded.chain;
    }

    /// A life of a database: it starts, grows, changes, shrinks, and grows again.
    fn ship_a_life(&mut self) {
        self.ship("CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)");
        self.ship(&insert(1, 40, 1000));
        self.ship("UPDATE t SET b = 'changed' WHERE a % 7 = 0");
        self.ship(&insert(41, 200, 2000));
        let grown = self.pages.len();
        self.ship("DELETE FROM t WHERE a > 30; VACUUM");
        assert!(self.pages.len() < grown);
        self.ship(&insert(201, 260, 500));
        self.ship("CREATE INDEX i ON t (b)");
    }

    /// What `litestream restore` makes of the bucket.
    fn restore(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.path(name);
        for file in [path.clone(), self.path(&format!("{name}-wal")), self.path(&format!("{name}-shm"))] {
            let _ = fs::remove_file(file);
        }
        let output = litestream()
            .args(["restore", "-integrity-check", "full", "-o"])
            .arg(&path)
            .arg(self.bucket())
            .output()
            .unwrap();
        if output.status.success() {
            Ok(path)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn files(&self, level: u8) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path(&format!("{}/ltx/{level}", self.prefix))) else {
            return Vec::new();
        };
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    /// What our own merge makes of the slots in the bucket.
    fn merge(&self) -> (Vec<u8>, Merged) {
        let files: Vec<Vec<u8>> = self.files(0).iter().map(|file| fs::read(file).unwrap()).collect();
        let sources = files
            .iter()
            .map(|file| Source { decoder: Decoder::new(file.as_slice()).unwrap(), after: After::OwnHash })
            .collect();
        let mut database = Cursor::new(Vec::new());
        let merged = write_database(Merge::new(Base::Empty, sources).unwrap(), &mut database).unwrap();
        (database.into_inner(), merged)
    }
}

fn insert(from: u32, to: u32, bytes: u32) -> String {
    format!(
        "WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to})
         INSERT INTO t SELECT i, CASE i % 2 WHEN 0 THEN randomblob({bytes}) ELSE hex(zeroblob({bytes})) END FROM n"
    )
}

fn rows(database: &Path) -> Vec<(i64, Vec<u8>)> {
    let connection = Connection::open(database).unwrap();
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let mut statement = connection.prepare("SELECT a, CAST(b AS BLOB) FROM t ORDER BY a").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn litestream_restores_exactly_what_we_shipped() {
    for page_size in [512, 4096, 65536] {
        let mut fixture = Fixture::new(page_size);
        fixture.ship_a_life();
        let expected = fs::read(fixture.path("source.db")).unwrap();
        let restored = fixture.restore("restored.db").unwrap();
        assert!(fs::read(restored).unwrap() == expected, "page size {page_size}");
        let (merged, position) = fixture.merge();
        assert!(merged == expected, "page size {page_size}");
        assert_eq!(position.position().unwrap().chain, fixture.chain);
    }
}

#[test]
fn litestream_restores_a_snapshot_and_a_compaction_of_ours() {
    let mut fixture = Fixture::new(1024);
    fixture.ship_a_life();
    let expected = fs::read(fixture.path("source.db")).unwrap();
    let files: Vec<Vec<u8>> = fixture.files(0).iter().map(|file| fs::read(file).unwrap()).collect();
    let compact = |level: u8, files: &[Vec<u8>]| {
        let source = |file: &Vec<u8>| Decoder::new(Cursor::new(file.clone())).unwrap();
        let sources =
            files.iter().map(|file| Source { decoder: source(file), after: After::OwnHash }).collect();
        let mut merge = Merge::new(Base::Anything, sources).unwrap();
        let header = merge.header();
        let name = format!("bucket/ltx/{level}/{:016x}-{:016x}.ltx", header.min.get(), header.max.get());
        let path = fixture.path(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut encoder = Encoder::new(fs::File::create(path).unwrap(), header).unwrap();
        let mut data = Vec::new();
        while let Some(page) = merge.next_page(&mut data).unwrap() {
            encoder.page(page, &data).unwrap();
        }
        encoder.finish().unwrap();
    };
    compact(9, &files[..3]);
    compact(1, &files[3..6]);
    for slot in 1..=6 {
        fs::remove_file(fixture.path(&format!("bucket/ltx/0/{slot:016x}-{slot:016x}.ltx"))).unwrap();
    }
    let restored = fixture.restore("restored.db").unwrap();
    assert!(fs::read(restored).unwrap() == expected);
}

/// Litestream keeps nothing that could tell a damaged page from a whole one but the file's checksum: if
/// ours were not what it expects, nothing would restore, and if it did not look, this would.
#[test]
fn litestream_refuses_what_our_decoder_refuses() {
    let mut fixture = Fixture::new(4096);
    fixture.ship_a_life();
    let path = fixture.files(0).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let checksum = bytes.len() - 1;
    bytes[checksum] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(decode(&bytes).is_err());
    let error = fixture.restore("restored.db").unwrap_err();
    assert!(error.contains("checksum mismatch"), "{error}");
}

/// A node whose bucket is the fixture's folder; `prefix` and name are empty, as Litestream has it.
fn node(fixture: &Fixture, name: &str) -> HaQLite {
    HaQLite::builder()
        .bucket(format!("file://{}", fixture.path("bucket").display()))
        .prefix("")
        .db_name("app")
        .forwarding_port(0)
        .durability(haqlite::Durability::Continuous { interval: Duration::from_millis(20) })
        .open_blocking(fixture.path(name), "CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY, b BLOB)")
        .unwrap()
}

/// Writes a life into a node, waits until it is in the bucket and closes it.
fn live(fixture: &Fixture, name: &str) -> Vec<(i64, Vec<u8>)> {
    let db = node(fixture, name);
    db.execute(&insert(1, 60, 1000), &[]).unwrap();
    db.execute("UPDATE t SET b = 'changed' WHERE a % 7 = 0", &[]).unwrap();
    let grown = db.execute(&insert(61, 300, 2000), &[]).unwrap().bookmark;
    db.wait_durable_blocking(&grown, Duration::from_secs(10)).unwrap();
    db.execute("DELETE FROM t WHERE a > 30", &[]).unwrap();
    db.execute("VACUUM", &[]).unwrap();
    let last = db.execute(&insert(301, 320, 500), &[]).unwrap().bookmark;
    db.wait_durable_blocking(&last, Duration::from_secs(10)).unwrap();
    db.close_blocking().unwrap();
    let written = rows(&fixture.path(name));
    assert_eq!(written.len(), 50);
    written
}

#[test]
fn litestream_restores_what_a_node_wrote() {
    let mut fixture = Fixture::new(4096);
    fixture.prefix = "bucket/app";
    let written = live(&fixture, "app.db");
    let restored = fixture.restore("restored.db").unwrap();
    assert_eq!(rows(&restored), written);
    let (ours, merged) = fixture.merge();
    assert!(!merged.foreign);
    let checkpointed = Connection::open(fixture.path("app.db")).unwrap();
    checkpointed.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(checkpointed);
    assert!(fs::read(fixture.path("app.db")).unwrap() == ours, "the node's file is what the log makes");
}

#[test]
fn litestream_takes_the_prefix_of_a_closed_node_over_and_we_restore_both() {
    let mut fixture = Fixture::new(4096);
    fixture.prefix = "bucket/app";
    let written = live(&fixture, "app.db");
    let database = fixture.restore("taken.db").unwrap();
    let writer = Connection::open(&database).unwrap();
    for (id, text) in [(1000, "after the take-over"), (1001, "and once more")] {
        writer.execute("INSERT INTO t VALUES (?1, ?2)", rusqlite::params![id, text]).unwrap();
        fixture.replicate_once(&database);
    }
    drop(writer);
    let both = rows(&fixture.restore("both.db").unwrap());
    assert_eq!(both[..50], written[..]);
    assert_eq!(both[50..].iter().map(|(a, _)| *a).collect::<Vec<_>>(), [1000, 1001]);

    let ours = fixture.path("ours.db");
    let url = format!("file://{}", fixture.path("bucket").display());
    let restored = haqlite::Restore::new(&url).prefix("").db_name("app").run(&ours).unwrap();
    assert!(restored.written_by_another_tool);
    assert_eq!(rows(&ours), both);

    // A node neither leads nor follows a log that another tool has gone on with.
    let refused = HaQLite::builder()
        .bucket(&url)
        .prefix("")
        .db_name("app")
        .forwarding_port(0)
        .open_timeout(Duration::from_secs(10))
        .open_blocking(fixture.path("new.db"), "");
    assert_eq!(refused.unwrap_err().kind(), haqlite::ErrorKind::ForeignDatabase);
}

#[test]
fn our_restore_reads_what_litestream_wrote_at_several_levels() {
    let fixture = Fixture::new(4096);
    let database = fixture.path("source.db");
    fixture
        .connection
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)")
        .unwrap();
    let config = fixture.path("litestream.yml");
    let text = format!(
        "levels:\n  - interval: 1s\n  - interval: 2s\nsnapshot:\n  interval: 3s\ndbs:\n  - path: {}\n    replicas:\n      - type: file\n        path: {}\n        sync-interval: 100ms\n",
        database.display(),
        fixture.path("bucket").display()
    );
    fs::write(&config, text).unwrap();
    let log = fs::File::create(fixture.path("replicate.log")).unwrap();
    let child = litestream()
        .args(["replicate", "-config"])
        .arg(&config)
        .stdout(log.try_clone().unwrap())
        .stderr(Stdio::from(log))
        .spawn()
        .unwrap();
    let replicating = Replicating(child);
    let mut next = 1;
    for _ in 0..300 {
        fixture.connection.execute_batch(&insert(next, next, 300)).unwrap();
        next += 1;
        if !fixture.files(1).is_empty() && !fixture.files(2).is_empty() && next > 40 {
            break;
        }
        sleep(Duration::from_millis(50));
    }
    let log = || fs::read_to_string(fixture.path("replicate.log")).unwrap();
    assert!(!fixture.files(1).is_empty() && !fixture.files(2).is_empty(), "{}", log());
    sleep(Duration::from_millis(500));
    drop(replicating);
    let theirs = rows(&fixture.restore("theirs.db").unwrap());
    let url = format!("file://{}", fixture.path("bucket").display());
    let ours = fixture.path("ours.db");
    let restored = haqlite::Restore::new(url).prefix("").db_name("").run(&ours).unwrap();
    assert!(restored.written_by_another_tool);
    assert!(theirs.len() > 20);
    assert_eq!(rows(&ours), theirs);
}

struct Replicating(Child);

impl Drop for Replicating {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn litestream_takes_our_log_over() {
    let mut fixture = Fixture::new(4096);
    fixture.ship_a_life();
    let database = fixture.restore("taken.db").unwrap();
    let old = rows(&database);
    assert_eq!(old.len(), 90);

    let log = fs::File::create(fixture.path("replicate.log")).unwrap();
    let child = litestream()
        .arg("replicate")
        .arg(&database)
        .arg(fixture.bucket())
        .stdout(log.try_clone().unwrap())
        .stderr(Stdio::from(log))
        .spawn()
        .unwrap();
    let replicating = Replicating(child);

    let shipped = |least: u64| {
        let newest = || {
            let name = fixture.files(0).pop().unwrap().file_stem().unwrap().to_str().unwrap().to_owned();
            u64::from_str_radix(&name[..16], 16).unwrap()
        };
        for _ in 0..300 {
            if newest() >= least {
                return newest();
            }
            sleep(Duration::from_millis(50));
        }
        let log = fs::read_to_string(fixture.path("replicate.log")).unwrap();
        panic!("litestream never shipped slot {least}:\n{log}");
    };
    // First its own full image behind our last slot, then what is written.
    let image = shipped(fixture.txid + 1);
    let writer = Connection::open(&database).unwrap();
    writer.busy_timeout(Duration::from_secs(5)).unwrap();
    writer.execute_batch("INSERT INTO t VALUES (1000, 'after the take-over')").unwrap();
    let first = shipped(image + 1);
    writer.execute_batch("INSERT INTO t VALUES (1001, 'and once more')").unwrap();
    shipped(first + 1);
    // A slot more need not be the one with the row: it ships changes of its own as well.
    let mut restored = Vec::new();
    for attempt in 0..100 {
        restored = rows(&fixture.restore(&format!("restored-{attempt}.db")).unwrap());
        if restored.len() == 92 {
            break;
        }
        sleep(Duration::from_millis(100));
    }
    drop(replicating);
    drop(writer);
    assert_eq!(restored[..90], old[..]);
    let new: Vec<i64> = restored[90..].iter().map(|(a, _)| *a).collect();
    assert_eq!(new, [1000, 1001]);

    // We still read the log, and say that the end of it is not ours.
    let (ours, merged) = fixture.merge();
    assert!(merged.foreign);
    fs::write(fixture.path("ours.db"), ours).unwrap();
    assert_eq!(rows(&fixture.path("ours.db")), restored);
}

#[test]
fn we_read_what_litestream_writes() {
    for page_size in [512, 4096, 65536] {
        let fixture = Fixture::new(page_size);
        let database = fixture.path("source.db");
        let sync = |statements: &str| {
            fixture.connection.execute_batch(statements).unwrap();
            fixture.replicate_once(&database);
        };
        sync("PRAGMA journal_mode = WAL; CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)");
        sync(&insert(1, 100, 1500));
        sync("DELETE FROM t WHERE a > 10; VACUUM");
        sync(&insert(101, 140, 300));
        let files = fixture.files(0);
        assert!(files.len() >= 4, "{files:?}");
        for file in files.iter().chain(&fixture.files(9)) {
            check_whole(&fs::read(file).unwrap());
        }

        let (ours, merged) = fixture.merge();
        assert!(merged.foreign);
        assert_eq!(merged.txid, Txid::new(files.len() as u64));
        let restored = fixture.restore("restored.db").unwrap();
        assert!(fs::read(&restored).unwrap() == ours, "page size {page_size}");
        let expected = rows(&database);
        assert_eq!(expected.len(), 50);
        assert_eq!(rows(&restored), expected);
    }
}

/// The file is whole by its checksum, its index leads to its pages, and what it holds survives our encoder.
fn check_whole(bytes: &[u8]) {
    let (header, pages, decoded) = decode(bytes).unwrap();
    assert!(header.is_foreign());
    assert_eq!((decoded.size, decoded.chain), (bytes.len() as u64, Chain::of(bytes)));
    let tail = &bytes[bytes.len().saturating_sub(32 * 1024)..];
    let Tail::Index(index) = PageIndex::from_tail(tail, decoded.size).unwrap() else {
        panic!("32 KiB hold the index of a small file");
    };
    assert!(index.entries().iter().map(|entry| entry.page.get()).eq(pages.keys().copied()));
    let mut data = Vec::new();
    for entry in index.entries() {
        let frame = &bytes[entry.offset as usize..][..entry.size as usize];
        assert_eq!(decode_frame(frame, header.page_size, &mut data).unwrap(), entry.page);
        assert!(data == pages[&entry.page.get()]);
    }
    let (again, _) = encode(header.clone(), &pages).unwrap();
    let (header_again, pages_again, _) = decode(&again).unwrap();
    assert!(header_again == header && pages_again == pages);
    assert_eq!(again[..100], bytes[..100]);
}

/// Litestream before 0.5.16 wrote pages as LZ4 frames.
#[test]
fn we_read_what_older_litestreams_wrote() {
    let files: [&[u8]; 2] =
        [include_bytes!("ltx_fixtures/frame_form_1.ltx"), include_bytes!("ltx_fixtures/frame_form_2.ltx")];
    files.into_iter().for_each(check_whole);
    let sources = files.map(|file| Source { decoder: Decoder::new(file).unwrap(), after: After::OwnHash });
    let mut database = Cursor::new(Vec::new());
    let merged = write_database(Merge::new(Base::Empty, sources.into()).unwrap(), &mut database).unwrap();
    assert_eq!(merged.commit, page(6));
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("old.db");
    fs::write(&path, database.into_inner()).unwrap();
    let rows = rows(&path);
    assert_eq!(rows.iter().map(|(a, b)| (*a, b.len())).collect::<Vec<_>>(), [(1, 3), (2, 900), (3, 500)]);
    assert_eq!(rows[2].1, "text ".repeat(100).into_bytes());
}
