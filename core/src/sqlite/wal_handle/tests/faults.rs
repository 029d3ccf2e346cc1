//! Errors and deaths in the middle.

use std::path::Path;

use rusqlite::Connection;

use super::support::*;
use crate::sqlite::wal_handle::WalHandle;
use crate::sqlite::wal_handle::index::MARK_UNUSED;
use crate::sqlite::wal_handle::raw::lock;
use crate::types::{Error, ErrorKind};
use crate::wal::{Frame, FrameCursor, IndexHeader, WalPoint, frame_offset};

/// What a follower's readers see, as one string.
fn content(path: &Path) -> String {
    content_of(&connect(path))
}

fn content_of(conn: &Connection) -> String {
    conn.query_row("SELECT count(*) || ' ' || total(length(v)) FROM t", [], |row| row.get(0)).unwrap()
}

#[test]
fn an_error_in_the_middle_of_a_group_leaves_the_old_state() {
    let mut pair = Pair::new("PRAGMA page_size=1024");
    pair.write(&insert(1, 100, 700));
    pair.ship();
    pair.write("UPDATE t SET v = v || 'x'");
    let group = pair.leader.capture().unwrap();
    let (before, old) = (pair.follower.handle.published().unwrap(), content(&pair.follower.path));
    for fail_at in [0, 1, group.pages.len() / 2, group.pages.len() - 1, group.pages.len()] {
        let mut source = Source { pages: &group.pages, fail_at };
        let error = pair.follower.handle.inject(&mut source, group.db_size, &mut |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
        assert_eq!(pair.follower.handle.published().unwrap(), before);
        assert_eq!(content(&pair.follower.path), old);
    }
    let unrecorded = pair.follower.handle.inject(&mut group.source(), group.db_size, &mut |_| {
        Err(Error::new(ErrorKind::Io, "the boundary could not be recorded"))
    });
    assert_eq!(unrecorded.unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(content(&pair.follower.path), old);

    // Not even a recovery takes what was written for committed.
    let Pair { follower, leader, .. } = pair;
    let path = follower.path.clone();
    drop(follower);
    std::fs::remove_file(path.with_extension("db-shm")).unwrap();
    let mut handle = WalHandle::open(&path).unwrap();
    assert_eq!(handle.published().unwrap().point, before.point);
    assert_eq!(content(&path), old);
    handle.hold_writes(TIMEOUT).unwrap();
    handle.inject(&mut group.source(), group.db_size, &mut |_| Ok(())).unwrap();
    assert_same(&leader.path, &path);
}

/// How far an injector came before it died.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    BeforeTheCommitFrame,
    BeforeTheIndex,
    AmidTheIndex,
    AmidTheHeader,
}

/// Does by hand what an injection does up to its death.
fn die(node: &mut Node, group: &Group, death: Death) {
    let raw = &mut node.handle.raw;
    let size = node.handle.page_size;
    let before = raw.try_header().unwrap().unwrap();
    let mut cursor = FrameCursor::new(before.order, before.point());
    let last = group.pages.len() - 1;
    for (index, (number, data)) in group.pages.iter().enumerate() {
        if index == last && death == Death::BeforeTheCommitFrame {
            return;
        }
        let offset = frame_offset(cursor.point().frame + 1, size);
        let commit = if index == last { group.db_size } else { 0 };
        let header = cursor.seal(Frame { page: *number, commit }, data);
        raw.write_wal(&[&header[..], data].concat(), offset).unwrap();
    }
    if death == Death::BeforeTheIndex {
        return;
    }
    let count = if death == Death::AmidTheIndex { last / 2 } else { last + 1 };
    for (frame, (number, _)) in (before.last_frame + 1..).zip(&group.pages[..count]) {
        raw.append_to_index(frame, *number, before.last_frame).unwrap();
    }
    if death == Death::AmidTheHeader {
        let point = cursor.point();
        let header = IndexHeader {
            change: before.change + 1,
            last_frame: point.frame,
            checksum: point.checksum,
            db_size: group.db_size,
            ..before
        };
        raw.write_header_copy(1, &header);
    }
}

#[test]
fn a_dead_injector_leaves_the_state_before_or_after_its_group() {
    for death in
        [Death::BeforeTheCommitFrame, Death::BeforeTheIndex, Death::AmidTheIndex, Death::AmidTheHeader]
    {
        for somebody_is_connected in [true, false] {
            let mut pair = Pair::new("PRAGMA page_size=1024");
            pair.write(&insert(1, 300, 700));
            pair.ship();
            let (old, old_point) = (content(&pair.leader.path), pair.follower.at);
            pair.write("UPDATE t SET v = v || 'x' WHERE id % 2 = 0");
            let new = content(&pair.leader.path);
            let group = pair.leader.capture().unwrap();
            let reader = somebody_is_connected.then(|| connect(&pair.follower.path));
            if let Some(reader) = &reader {
                reader.execute_batch("BEGIN").unwrap();
                assert_eq!(content_of(reader), old);
            }
            die(&mut pair.follower, &group, death);

            let Pair { writer, mut leader, follower, dir } = pair;
            let path = follower.path.clone();
            drop(follower);
            match &reader {
                Some(reader) => assert_eq!(content_of(reader), old, "an open snapshot never moves"),
                // The last one gone, SQLite no longer believes the shared memory.
                None => std::fs::remove_file(path.with_extension("db-shm")).unwrap(),
            }

            let recovered = content(&path);
            let recovers = !somebody_is_connected || death == Death::AmidTheHeader;
            let complete = death != Death::BeforeTheCommitFrame;
            assert_eq!(recovered, if recovers && complete { new } else { old }, "{death:?}");
            let mut handle = WalHandle::open(&path).unwrap();
            assert_eq!(handle.prove(&[old_point]).unwrap(), Some(0));
            let residue = handle.scan(&old_point, None).unwrap();
            assert_eq!(residue.commits, u32::from(recovers && complete), "{death:?}");
            handle.hold_writes(TIMEOUT).unwrap();
            // Redo, and go on.
            handle.inject(&mut group.source(), group.db_size, &mut |_| Ok(())).unwrap();
            assert_same(&leader.path, &path);
            writer.execute_batch(&insert(1000, 50, 300)).unwrap();
            let group = leader.capture().unwrap();
            handle.inject(&mut group.source(), group.db_size, &mut |_| Ok(())).unwrap();
            assert_same(&leader.path, &path);
            assert_eq!(integrity(&path), "ok");
            drop((reader, writer, leader, handle, dir));
        }
    }
}

#[test]
fn a_damaged_index_header_is_repaired_before_writes_are_held() {
    let mut pair = Pair::new("");
    pair.write(&insert(1, 30, 300));
    pair.ship();
    let before = pair.follower.handle.published().unwrap();
    pair.follower.handle.release_writes();
    let header = pair.follower.handle.raw.try_header().unwrap().unwrap();
    pair.follower.handle.raw.write_header_copy(1, &IndexHeader { change: 99, ..header });
    pair.follower.handle.hold_writes(TIMEOUT).unwrap();
    assert_eq!(pair.follower.handle.published().unwrap().point, before.point);
    let raw = &pair.follower.handle.raw;
    assert_eq!(raw.read_mark(4).load(std::sync::atomic::Ordering::SeqCst), MARK_UNUSED);
    assert!(!raw.lock_exclusive(lock::read(4), 1).unwrap(), "the barrier still stands");
    pair.write("DELETE FROM t WHERE id < 10");
    pair.ship_and_compare();
}

#[test]
fn a_damaged_frame_is_a_gap_and_never_shipped() {
    let mut pair = Pair::new("PRAGMA page_size=1024");
    pair.write(&insert(1, 30, 300));
    let offset = frame_offset(pair.leader.at.frame + 2, pair.leader.handle.page_size()) + 40;
    let mut byte = [0];
    pair.leader.handle.raw.read_wal(&mut byte, offset).unwrap();
    pair.leader.handle.raw.write_wal(&[byte[0] ^ 4], offset).unwrap();
    assert_eq!(pair.leader.handle.scan(&pair.leader.at, None).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(pair.leader.handle.prove(&[pair.leader.at]).unwrap_err().kind(), ErrorKind::Corrupt);
}

/// A follower that is at a generation's start, which `half` makes, and the points that were recorded for it.
fn begun_by_half(half: impl FnOnce(&mut Node, &[WalPoint; 2], &IndexHeader)) {
    let mut pair = Pair::new("PRAGMA page_size=1024");
    pair.write(&insert(1, 100, 700));
    pair.ship();
    pair.follower.checkpointer.passive().unwrap().unwrap();
    let mut recorded = Vec::new();
    let record = &mut |points: &[WalPoint; 2]| {
        recorded.extend_from_slice(points);
        Ok(())
    };
    pair.follower.at = pair.follower.handle.reset(&pair.follower.at, record).unwrap().unwrap();
    let header = pair.follower.handle.raw.try_header().unwrap().unwrap();
    half(&mut pair.follower, &[recorded[0], recorded[1]], &header);
    assert_eq!(pair.follower.handle.prove(&recorded).unwrap(), Some(0));
    assert_eq!(pair.follower.handle.published().unwrap().point, recorded[0]);
    assert_same(&pair.leader.path, &pair.follower.path);
    pair.follower.at = recorded[0];
    if pair.follower.handle.wal_header().unwrap().is_none_or(|found| found.salts != recorded[0].salts) {
        pair.write("DELETE FROM t WHERE id < 20");
        let group = pair.leader.capture().unwrap();
        let refused = pair.follower.handle.inject(&mut group.source(), group.db_size, &mut |_| Ok(()));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Internal);
        assert!(pair.follower.checkpoint_and_reset());
        pair.follower.inject(&group);
    }
    pair.write("UPDATE t SET v = v || 'x' WHERE id % 2 = 0");
    pair.ship_and_compare();
    pair.compare_files();
}

#[test]
fn a_generation_with_a_header_and_no_frame_is_proven_and_continued() {
    begun_by_half(|node, _, header| {
        node.handle.raw.write_wal(&[0; 24], 32).unwrap();
        node.handle.raw.publish_restart(&IndexHeader { last_frame: 0, checksum: (0, 0), ..*header });
    });
}

#[test]
fn a_generation_that_only_the_wal_index_knows_is_proven_and_begun_again() {
    begun_by_half(|node, points, header| {
        node.handle.raw.write_wal(&[0; 32], 0).unwrap();
        let empty = IndexHeader { last_frame: 0, checksum: points[0].checksum, ..*header };
        node.handle.raw.publish_restart(&empty);
    });
}
