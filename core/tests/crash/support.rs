use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use haqlite::{
    Bookmark, Builder, Compaction, CoordinatorConfig, Durability, Error, HaQLite, LeaseConfig, Restore,
    Retention, Role, SqlValue,
};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

/// Numbered rows; nothing keeps a row from being there twice.
pub(crate) const SCHEMA: &str =
    "CREATE TABLE IF NOT EXISTS w (n INTEGER NOT NULL, marker TEXT NOT NULL, filler BLOB);";

/// What every liveness limit is: generous, because the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with a bucket and the databases of some nodes.
pub(crate) struct Site {
    folder: TempDir,
    ttl: Duration,
}

impl Site {
    pub(crate) fn new() -> Site {
        Site::with_ttl(TTL)
    }

    /// Where nobody takes over: a busy machine must not make a leader lose its lease.
    pub(crate) fn patient() -> Site {
        Site::with_ttl(Duration::from_secs(30))
    }

    pub(crate) fn with_ttl(ttl: Duration) -> Site {
        let site = Site { folder: tempfile::tempdir().unwrap(), ttl };
        std::fs::create_dir(site.path("bucket")).unwrap();
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn database(&self, node: &str) -> PathBuf {
        self.path(&format!("{node}.db"))
    }

    pub(crate) fn bucket(&self) -> String {
        format!("file://{}", self.path("bucket").display())
    }

    /// The node in this process, with the default interval.
    pub(crate) fn open(&self, node: &str) -> HaQLite {
        self.try_open(node).unwrap()
    }

    pub(crate) fn try_open(&self, node: &str) -> Result<HaQLite, Error> {
        self.builder(node).open_blocking(self.database(node), SCHEMA)
    }

    pub(crate) fn builder(&self, node: &str) -> Builder {
        builder(&self.bucket(), node, SHIP, self.ttl)
    }

    /// The lease's time to live, in milliseconds.
    pub(crate) fn ttl_ms(&self) -> u64 {
        self.ttl.as_millis() as u64
    }

    /// The slots in the bucket, in order; fails if there is a hole above the floor.
    #[track_caller]
    pub(crate) fn slots(&self) -> Vec<u64> {
        let folder = self.path("bucket/haqlite/app/ltx/0");
        let mut slots = Vec::new();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let Some(stem) = name.strip_suffix(".ltx") else { continue };
            let (min, max) = stem.split_once('-').unwrap();
            assert_eq!(min, max, "{name} is not a slot");
            slots.push(u64::from_str_radix(min, 16).unwrap());
        }
        slots.sort_unstable();
        let floor = floor(&self.path("bucket"));
        let above: Vec<u64> = slots.iter().copied().filter(|slot| *slot > floor).collect();
        let expected: Vec<u64> = (floor + 1..).take(above.len()).collect();
        assert!(above == expected && !above.is_empty(), "the log has a hole: {above:?} above {floor}");
        slots
    }

    /// The log's content, restored from the bucket alone.
    #[track_caller]
    pub(crate) fn restored(&self) -> PathBuf {
        let path = self.free("restored");
        Restore::new(self.bucket()).db_name("app").run(&path).unwrap();
        path
    }

    /// Fails unless the closed database of the node is the log, byte by byte, and whole.
    #[track_caller]
    pub(crate) fn is_the_log(&self, node: &str) {
        self.slots();
        let restored = self.restored();
        let copy = self.copy(&self.database(node));
        integrity(&copy);
        integrity(&restored);
        assert_eq!(rows(&copy), rows(&restored), "{node} has other rows than the log");
        checkpoint(&copy);
        let (copy, restored) = (std::fs::read(copy).unwrap(), std::fs::read(restored).unwrap());
        assert!(copy == restored, "{node} is not the log byte by byte");
    }

    /// As `is_the_log`, of a follower that closed before the leader's last word: its rows are the log's.
    #[track_caller]
    pub(crate) fn is_at_the_end(&self, node: &str) {
        let copy = self.copy(&self.database(node));
        integrity(&copy);
        assert_eq!(rows(&copy), rows(&self.restored()), "{node} has other rows than the log");
    }

    /// A copy of a closed database and its WAL.
    pub(crate) fn copy(&self, database: &Path) -> PathBuf {
        let copy = self.free("copy");
        std::fs::copy(database, &copy).unwrap();
        if beside(database, "-wal").exists() {
            std::fs::copy(beside(database, "-wal"), beside(&copy, "-wal")).unwrap();
        }
        copy
    }

    fn free(&self, what: &str) -> PathBuf {
        (0..).map(|i| self.path(&format!("{what}-{i}.db"))).find(|path| !path.exists()).unwrap()
    }
}

/// How often nodes ship, if a test says nothing else.
pub(crate) const SHIP: Duration = Duration::from_millis(20);
/// An interval that does not pass while a test runs.
pub(crate) const NEVER: Duration = Duration::from_secs(3600);
/// The lease's time to live.
pub(crate) const TTL: Duration = Duration::from_secs(1);

/// A node with a short lease.
pub(crate) fn builder(bucket: &str, node: &str, ship: Duration, ttl: Duration) -> Builder {
    unplaced(node, ship, ttl, CoordinatorConfig::default().wal_cap_bytes).bucket(bucket)
}

/// The same, which does not say yet where its log and its lease are.
pub(crate) fn unplaced(node: &str, ship: Duration, ttl: Duration, wal_cap: u64) -> Builder {
    HaQLite::builder()
        .db_name("app")
        .instance_id(node)
        .forwarding_port(0)
        .durability(Durability::Continuous { interval: ship })
        .coordinator_config(CoordinatorConfig {
            follower_pull_interval: Duration::from_millis(50),
            lease: Some(LeaseConfig { ttl: Some(ttl), ..LeaseConfig::new(node, "") }),
            wal_cap_bytes: wal_cap,
        })
}

/// A day of upkeep in a second.
pub(crate) fn hasty(node: Builder) -> Builder {
    let ms = Duration::from_millis;
    node.compaction(Compaction { levels: vec![ms(50), ms(150), ms(450)], snapshots: Some(ms(200)) })
        .retention(Retention { enabled: true, slots: ms(50), window: ms(200), snapshots: 1 })
}

/// The floor of the log in the bucket in this folder.
pub(crate) fn floor(bucket: &Path) -> u64 {
    std::fs::read(bucket.join("haqlite/app/_floor")).map_or(0, |bytes| {
        let floor: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        floor["floor"].as_u64().unwrap()
    })
}

/// From now on no slot can be created in the bucket in this folder, and none be read. The lease can.
pub(crate) fn cut_slots(bucket: &Path) {
    let slots = bucket.join("haqlite/app/ltx/0");
    std::fs::rename(&slots, slots.with_extension("away")).unwrap();
    std::fs::write(&slots, b"").unwrap();
}

/// They can again, if they could not.
pub(crate) fn mend_slots(bucket: &Path) {
    let slots = bucket.join("haqlite/app/ltx/0");
    if slots.with_extension("away").exists() {
        if slots.is_file() {
            std::fs::remove_file(&slots).unwrap();
        }
        std::fs::rename(slots.with_extension("away"), &slots).unwrap();
    }
}

pub(crate) const INSERT: &str = "INSERT INTO w (n, marker, filler) VALUES (?1, ?2, ?3)";

/// What row `n` holds.
pub(crate) fn row(n: i64, bytes: usize) -> [SqlValue; 3] {
    [SqlValue::from(n), SqlValue::Text(marker(n)), SqlValue::Blob(filler(n, bytes))]
}

/// A text that is in the page of row `n` and in no other.
pub(crate) fn marker(n: i64) -> String {
    format!("<row {n:012}>")
}

/// Bytes that neither compress nor repeat.
pub(crate) fn filler(n: i64, bytes: usize) -> Vec<u8> {
    let mut hash = blake3::Hasher::new();
    hash.update(&n.to_le_bytes());
    let mut filler = vec![0; bytes];
    hash.finalize_xof().fill(&mut filler);
    filler
}

pub(crate) fn insert(db: &HaQLite, n: i64, bytes: usize) -> Result<Bookmark, Error> {
    db.execute(INSERT, &row(n, bytes)).map(|done| done.bookmark)
}

/// Inserts all, and gives the last one's bookmark.
#[track_caller]
pub(crate) fn insert_all(db: &HaQLite, numbers: std::ops::Range<i64>, bytes: usize) -> Bookmark {
    numbers.fold(Bookmark::default(), |_, n| insert(db, n, bytes).unwrap())
}

/// The rows by number: how often each is there. Every one of them has to be intact.
#[track_caller]
pub(crate) fn rows_of(db: &HaQLite) -> BTreeMap<i64, u32> {
    let values = db.query_values_local("SELECT n, marker, filler FROM w", &[]).unwrap();
    count(values.into_iter().map(|row| match &row[..] {
        [SqlValue::Integer(n), SqlValue::Text(marker), SqlValue::Blob(filler)] => {
            (*n, marker.clone(), filler.clone())
        }
        other => panic!("a row of other types: {other:?}"),
    }))
}

/// As `rows_of`, of a database that no node has open.
#[track_caller]
pub(crate) fn rows(path: &Path) -> BTreeMap<i64, u32> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection.prepare("SELECT n, marker, filler FROM w").unwrap();
    let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).unwrap();
    count(rows.map(Result::unwrap))
}

#[track_caller]
fn count(rows: impl Iterator<Item = (i64, String, Vec<u8>)>) -> BTreeMap<i64, u32> {
    let mut counts = BTreeMap::new();
    for (n, text, blob) in rows {
        assert!(text == marker(n) && blob == filler(n, blob.len()), "row {n} is damaged");
        *counts.entry(n).or_insert(0) += 1;
    }
    counts
}

/// Fails if one of the rows is missing.
#[track_caller]
pub(crate) fn has_all<'a>(rows: &BTreeMap<i64, u32>, wanted: impl IntoIterator<Item = &'a i64>, what: &str) {
    let missing: Vec<i64> = wanted.into_iter().copied().filter(|n| !rows.contains_key(n)).collect();
    assert!(missing.is_empty(), "{what} rows are missing: {missing:?}");
}

/// Fails if a row is there more than once.
#[track_caller]
pub(crate) fn no_duplicates(rows: &BTreeMap<i64, u32>) {
    let twice: Vec<_> = rows.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "rows are there more than once: {twice:?}");
}

#[track_caller]
pub(crate) fn integrity(path: &Path) {
    let connection = Connection::open(path).unwrap();
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    assert_eq!(verdict, "ok", "{}", path.display());
}

/// `integrity_check` of a node that is open.
#[track_caller]
pub(crate) fn is_whole(db: &HaQLite) {
    let verdict: String = db.query_row_local("PRAGMA integrity_check", &[], |r| r.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

/// Moves everything of a copy into its main file.
fn checkpoint(path: &Path) {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0)).unwrap();
    assert_eq!(busy, 0);
}

/// The numbers of the rows whose pages are in a file of lost commits.
#[track_caller]
pub(crate) fn rows_in_tail(tail: &Path) -> Vec<i64> {
    let mut decoder = haqlite::ltx::Decoder::new(std::fs::File::open(tail).unwrap()).unwrap();
    let (mut found, mut data) = (Vec::new(), Vec::new());
    while decoder.next_page(&mut data).unwrap().is_some() {
        let text = String::from_utf8_lossy(&data);
        for (at, _) in text.match_indices("<row ") {
            found.extend(text.get(at + 5..at + 17).and_then(|digits| digits.parse::<i64>().ok()));
        }
    }
    decoder.finish().unwrap();
    found
}

pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.to_path_buf().into_os_string();
    path.push(suffix);
    PathBuf::from(path)
}

#[expect(clippy::disallowed_methods, reason = "a test waits in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until it is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut test: impl FnMut() -> bool) {
    let start = now();
    while !test() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn leads(db: &HaQLite) -> bool {
    db.role() == Role::Leader
}
