//! A leader that stock SQLite writes to, a follower that is injected into, and ways to compare them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;

use crate::sqlite::wal_handle::{Checkpointer, PageSource, Snapshot, WalHandle};
use crate::types::{Error, ErrorKind, PageNumber, Result};
use crate::wal::{Scan, WalPoint};

pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn page(number: u32) -> PageNumber {
    PageNumber::new(number).unwrap()
}

pub(super) fn connect(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.busy_timeout(TIMEOUT).unwrap();
    conn.execute_batch("PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=NORMAL").unwrap();
    conn.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    conn
}

/// One change of the database: all its pages and the size after it.
#[derive(Clone)]
pub(super) struct Group {
    pub(super) pages: Vec<(PageNumber, Vec<u8>)>,
    pub(super) db_size: u32,
}

impl Group {
    pub(super) fn source(&self) -> Source<'_> {
        Source { pages: &self.pages, fail_at: usize::MAX }
    }
}

/// The pages of a group, or an error in the place of one.
pub(super) struct Source<'a> {
    pub(super) pages: &'a [(PageNumber, Vec<u8>)],
    pub(super) fail_at: usize,
}

impl PageSource for Source<'_> {
    fn next(&mut self, buffer: &mut [u8]) -> Result<Option<PageNumber>> {
        if self.fail_at == 0 {
            return Err(Error::new(ErrorKind::StoreUnavailable, "the source broke off"));
        }
        self.fail_at -= 1;
        let Some(((number, bytes), rest)) = self.pages.split_first() else { return Ok(None) };
        buffer.copy_from_slice(bytes);
        self.pages = rest;
        Ok(Some(*number))
    }
}

/// A database with a handle whose generation has been begun.
pub(super) struct Node {
    pub(super) path: PathBuf,
    pub(super) handle: WalHandle,
    pub(super) at: WalPoint,
    pub(super) db_size: u32,
    pub(super) checkpointer: Checkpointer,
}

impl Node {
    pub(super) fn open(path: &Path) -> Node {
        let mut handle = WalHandle::open(path).unwrap();
        let mut checkpointer = Checkpointer::open(path).unwrap();
        checkpointer.passive().unwrap().unwrap();
        let published = handle.published().unwrap();
        let at = handle.reset(&published.point, &mut |_| Ok(())).unwrap().expect("nobody is in the way");
        Node { path: path.to_owned(), handle, at, db_size: published.db_size, checkpointer }
    }

    pub(super) fn inject(&mut self, group: &Group) {
        self.at = self.handle.inject(&mut group.source(), group.db_size, &mut |_| Ok(())).unwrap();
        self.db_size = group.db_size;
    }

    /// Copies the whole WAL into the database file and begins a new generation; false if a reader is in the way.
    pub(super) fn checkpoint_and_reset(&mut self) -> bool {
        self.checkpointer.passive().unwrap();
        match self.handle.reset(&self.at, &mut |_| Ok(())).unwrap() {
            Some(at) => {
                self.at = at;
                true
            }
            None => false,
        }
    }

    /// What was committed since the last capture, as a follower needs it.
    pub(super) fn capture(&mut self) -> Option<Group> {
        let scan = self.handle.scan(&self.at, None).unwrap();
        if scan.to == self.at {
            return None;
        }
        let group = read_group(&mut self.handle, &scan, self.db_size);
        (self.at, self.db_size) = (scan.to, scan.db_size);
        Some(group)
    }
}

pub(super) fn read_group(handle: &mut WalHandle, scan: &Scan, old_size: u32) -> Group {
    let size = handle.page_size();
    let mut pages = Vec::new();
    let grown_from = old_size.min(scan.smallest_db_size) + 1;
    let mut wanted: Vec<PageNumber> = scan.pages.keys().copied().collect();
    wanted.extend((grown_from..=scan.db_size).map(page).filter(|number| *number != size.lock_page()));
    wanted.sort_unstable();
    wanted.dedup();
    for number in wanted {
        let mut bytes = vec![0; size.bytes()];
        match scan.pages.get(&number) {
            Some(frame) => handle.read_frame(*frame, &mut bytes).unwrap(),
            None => handle.read_page_at(number, scan.to.frame, &mut bytes).unwrap(),
        }
        pages.push((number, bytes));
    }
    Group { pages, db_size: scan.db_size }
}

/// A leader, its follower that starts as a copy, and a writer on the leader.
pub(super) struct Pair {
    pub(super) writer: Connection,
    pub(super) leader: Node,
    pub(super) follower: Node,
    // Dropped last.
    pub(super) dir: TempDir,
}

impl Pair {
    /// `setup` runs before anything is in the database.
    pub(super) fn new(setup: &str) -> Pair {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leader.db");
        let writer = connect(&path);
        writer.execute_batch(setup).unwrap();
        writer.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v);").unwrap();
        Pair::of(dir, writer)
    }

    /// A pair whose leader is the `leader.db` of this folder.
    pub(super) fn of(dir: TempDir, writer: Connection) -> Pair {
        let path = dir.path().join("leader.db");
        let leader = Node::open(&path);
        let follower = dir.path().join("follower.db");
        copy(&path, &follower);
        let mut follower = Node::open(&follower);
        follower.handle.hold_writes(TIMEOUT).unwrap();
        Pair { writer, leader, follower, dir }
    }

    pub(super) fn write(&mut self, sql: &str) {
        self.writer.execute_batch(sql).unwrap();
    }

    /// Brings the follower to the leader's state as one group.
    pub(super) fn ship(&mut self) {
        if let Some(group) = self.leader.capture() {
            self.follower.inject(&group);
        }
    }

    /// Ships, and compares every page of both as readers see them.
    pub(super) fn ship_and_compare(&mut self) {
        self.ship();
        assert_same(&self.leader.path, &self.follower.path);
    }

    /// Compares the database files after everything is in them.
    pub(super) fn compare_files(&mut self) {
        for node in [&mut self.leader, &mut self.follower] {
            let progress = node.checkpointer.passive().unwrap().unwrap();
            assert_eq!(progress.frames, progress.backfilled);
        }
        let size = self.leader.handle.page_size();
        let files = [&self.leader, &self.follower].map(|node| {
            let bytes = node.handle.main_file().unwrap().bytes;
            assert_eq!(bytes % u64::from(size.get()), 0);
            bytes
        });
        assert_eq!(files[0], files[1]);
        assert_eq!(files[0] / u64::from(size.get()), u64::from(self.leader.db_size));
        assert_same(&self.leader.path, &self.follower.path);
        assert_eq!(integrity(&self.follower.path), "ok");
    }
}

/// Writes the database of `from` as a file at `to`, through a snapshot.
pub(super) fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create_new(to).unwrap();
    let mut snapshot = Snapshot::open(from).unwrap();
    let size = snapshot.page_size();
    let zeros = vec![0; size.bytes()];
    snapshot
        .for_each_page(|number, bytes| {
            if bytes != zeros {
                file.write_all_at(bytes, number.offset(size)).unwrap();
            }
            Ok(())
        })
        .unwrap();
    file.set_len(u64::from(snapshot.db_size()) * u64::from(size.get())).unwrap();
}

pub(super) fn assert_same(left: &Path, right: &Path) {
    assert_eq!(differing_pages(left, right), Vec::<u32>::new());
}

/// The pages in which two databases differ, as readers see them.
pub(super) fn differing_pages(left: &Path, right: &Path) -> Vec<u32> {
    let (mut left, mut right) = (Snapshot::open(left).unwrap(), Snapshot::open(right).unwrap());
    assert_eq!(left.db_size(), right.db_size());
    let mut other = vec![0; right.page_size().bytes()];
    let mut differing = Vec::new();
    left.for_each_page(|number, bytes| {
        right.read_page(number, &mut other)?;
        if bytes != other {
            differing.push(number.get());
        }
        Ok(())
    })
    .unwrap();
    differing
}

pub(super) fn integrity(path: &Path) -> String {
    connect(path).query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
}

pub(super) fn number(conn: &Connection, sql: &str) -> i64 {
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// `count` rows of about `bytes` bytes each, from id `from` on.
pub(super) fn insert(from: u32, count: u32, bytes: u32) -> String {
    format!(
        "WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i+1 FROM n WHERE i+1<{from}+{count}) \
         INSERT INTO t SELECT i, hex(randomblob({}/2)) FROM n;",
        bytes
    )
}
