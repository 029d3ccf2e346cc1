//! WALs that this machine's SQLite would not write itself.

use std::path::{Path, PathBuf};

use super::support::*;
use crate::sqlite::wal_handle::WalHandle;
use crate::types::{ErrorKind, PageSize};
use crate::wal::{ByteOrder, Frame, FrameCursor, Salts, WalHeader, WalPoint};

/// A database in WAL mode without a WAL, in a folder of its own, and its page size.
fn plain(dir: &Path, name: &str) -> (PathBuf, PageSize) {
    let path = dir.join(name);
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch(
        "PRAGMA page_size=1024; PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v);",
    )
    .unwrap();
    conn.execute_batch(&insert(1, 50, 700)).unwrap();
    (path, PageSize::new(1024).unwrap())
}

/// Writes a WAL of these frames (page, commit, bytes) beside a database that nobody has open. Gives the point
/// behind the first one.
fn write_wal(path: &Path, order: ByteOrder, size: PageSize, frames: &[(u32, u32, Vec<u8>)]) -> WalPoint {
    let header = WalHeader { order, page_size: size, sequence: 0, salts: Salts([3; 8]) };
    let mut bytes = header.encode().to_vec();
    let mut cursor = FrameCursor::new(order, header.point());
    let mut points = Vec::new();
    for (number, commit, data) in frames {
        bytes.extend_from_slice(&cursor.seal(Frame { page: page(*number), commit: *commit }, data));
        bytes.extend_from_slice(data);
        points.push(cursor.point());
    }
    std::fs::write(wal_path(path), bytes).unwrap();
    points[0]
}

fn wal_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

fn page_one(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()[..1024].to_vec()
}

#[test]
fn a_wal_with_big_endian_checksums_is_scanned_and_continued() {
    let dir = tempfile::tempdir().unwrap();
    let (path, size) = plain(dir.path(), "leader.db");
    let mut first = page_one(&path);
    let db_size = std::fs::metadata(&path).unwrap().len() / 1024;
    first[60..64].copy_from_slice(&9u32.to_be_bytes());
    write_wal(&path, ByteOrder::Big, size, &[(1, db_size as u32, first.clone())]);

    let mut handle = WalHandle::open(&path).unwrap();
    let published = handle.published().unwrap();
    assert_eq!(published.point.frame, 1);
    assert_eq!(handle.prove(&[published.point]).unwrap(), Some(0));
    handle.hold_writes(TIMEOUT).unwrap();
    first[60..64].copy_from_slice(&10u32.to_be_bytes());
    let group = Group { pages: vec![(page(1), first)], db_size: published.db_size };
    let point = handle.inject(&mut group.source(), group.db_size, &mut |_| Ok(())).unwrap();
    let scan = handle.scan(&published.point, None).unwrap();
    assert_eq!((scan.to, scan.commits, scan.pages[&page(1)]), (point, 1, 2));
    handle.release_writes();
    let conn = connect(&path);
    assert_eq!(number(&conn, "PRAGMA user_version"), 10);
    conn.execute_batch("INSERT INTO t(v) VALUES ('written by SQLite')").unwrap();
    assert_eq!(handle.scan(&point, None).unwrap().commits, 1);
    drop((conn, handle));
    // Without the shared memory, SQLite recovers what was appended, so it takes the checksums for right.
    std::fs::remove_file(dir.path().join("leader.db-shm")).unwrap();
    let mut handle = WalHandle::open(&path).unwrap();
    assert_eq!(handle.prove(&[published.point, point]).unwrap(), Some(1));
    assert!(handle.published().unwrap().point.frame > 2);
}

#[test]
fn pages_that_no_frame_has_are_filled_when_the_database_grows() {
    let dir = tempfile::tempdir().unwrap();
    let (path, size) = plain(dir.path(), "leader.db");
    let first = page_one(&path);
    let db_size = (std::fs::metadata(&path).unwrap().len() / 1024) as u32;
    let mut grown = first.clone();
    grown[28..32].copy_from_slice(&(db_size + 7).to_be_bytes());
    let frames = [(1, db_size, first), (1, db_size + 7, grown)];
    let from = write_wal(&path, ByteOrder::Little, size, &frames);
    let mut leader = WalHandle::open(&path).unwrap();
    assert_eq!(leader.published().unwrap().db_size, db_size + 7);
    let scan = leader.scan(&from, None).unwrap();
    assert_eq!((scan.pages.len(), scan.commits), (1, 1));
    let group = read_group(&mut leader, &scan, db_size);
    let numbers: Vec<u32> = group.pages.iter().map(|(number, _)| number.get()).collect();
    assert_eq!(numbers, [vec![1], (db_size + 1..=db_size + 7).collect()].concat());
    assert!(group.pages[1..].iter().all(|(_, bytes)| bytes.iter().all(|byte| *byte == 0)));

    let (copy, _) = plain(dir.path(), "follower.db");
    let mut follower = Node::open(&copy);
    follower.handle.hold_writes(TIMEOUT).unwrap();
    let incomplete = Group { pages: group.pages[..3].to_vec(), db_size: group.db_size };
    let refused = follower.handle.inject(&mut incomplete.source(), group.db_size, &mut |_| Ok(()));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
    follower.inject(&group);
    assert_eq!(number(&connect(&copy), "PRAGMA page_count"), i64::from(db_size + 7));
}

#[test]
fn a_first_page_that_is_no_wal_database_of_this_page_size_is_refused() {
    let mut pair = Pair::new("PRAGMA page_size=1024");
    pair.write("PRAGMA user_version=5");
    let group = pair.leader.capture().unwrap();
    assert_eq!(group.pages[0].0, page(1));
    for (at, value) in [(0, b's'), (17, 9), (16, 8), (18, 1), (19, 1)] {
        let mut damaged = group.clone();
        damaged.pages[0].1[at] = value;
        let refused = pair.follower.handle.inject(&mut damaged.source(), group.db_size, &mut |_| Ok(()));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt, "byte {at}");
    }
    pair.follower.inject(&group);
    assert_same(&pair.leader.path, &pair.follower.path);
}

#[test]
fn groups_that_make_no_sense_are_refused() {
    let mut pair = Pair::new("PRAGMA page_size=1024");
    pair.write(&insert(1, 20, 500));
    let group = pair.leader.capture().unwrap();
    let mut twice = group.clone();
    twice.pages.push(group.pages[2].clone());
    let mut beyond = group.clone();
    beyond.db_size -= 1;
    let empty = Group { pages: Vec::new(), db_size: group.db_size };
    for wrong in [twice, beyond, empty] {
        let refused = pair.follower.handle.inject(&mut wrong.source(), wrong.db_size, &mut |_| Ok(()));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
    }
    pair.follower.handle.release_writes();
    let unlocked = pair.follower.handle.inject(&mut group.source(), group.db_size, &mut |_| Ok(()));
    assert_eq!(unlocked.unwrap_err().kind(), ErrorKind::Internal);
    pair.follower.handle.hold_writes(TIMEOUT).unwrap();
    pair.follower.inject(&group);
    assert_same(&pair.leader.path, &pair.follower.path);
}

#[test]
fn an_old_sqlite_is_refused() {
    use crate::sqlite::wal_handle::refuse_old_sqlite;
    assert_eq!(refuse_old_sqlite(3_051_002).unwrap_err().kind(), ErrorKind::InvalidConfig);
    assert!(refuse_old_sqlite(3_051_003).is_ok());
    assert!(refuse_old_sqlite(rusqlite::version_number()).is_ok());
}

#[test]
fn the_self_test_passes_on_this_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    crate::sqlite::wal_self_test(&dir.path().join("test.db")).unwrap();
}

#[test]
fn a_database_that_cannot_be_wal_or_is_not_there_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(WalHandle::open(&dir.path().join("none.db")).err().unwrap().kind(), ErrorKind::Io);
    std::fs::write(dir.path().join("text.db"), "no database, but longer than a header ".repeat(90)).unwrap();
    assert_eq!(WalHandle::open(&dir.path().join("text.db")).err().unwrap().kind(), ErrorKind::Corrupt);
}

#[test]
fn an_empty_file_becomes_a_wal_database_with_a_header_page() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("empty.db");
    std::fs::write(&path, "").unwrap();
    let node = Node::open(&path);
    assert_eq!((node.at.frame, node.db_size), (1, 1));
    assert_eq!(node.handle.main_file().unwrap().bytes, 4096);
}
