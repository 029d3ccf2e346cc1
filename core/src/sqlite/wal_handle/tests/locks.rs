//! What others can and cannot do while a handle lives.

use std::time::Duration;

use rusqlite::Connection;

use super::support::*;
use crate::sqlite::wal_handle::WalHandle;
use crate::types::ErrorKind;
use crate::wal::WalPoint;

fn impatient(path: &std::path::Path) -> Connection {
    let conn = connect(path);
    conn.busy_timeout(Duration::ZERO).unwrap();
    conn
}

/// What `PRAGMA wal_checkpoint(mode)` answers: busy, frames, backfilled.
fn checkpoint(conn: &Connection, mode: &str) -> (i64, i64, i64) {
    conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })
    .unwrap()
}

#[test]
fn nobody_else_restarts_the_wal_and_everybody_can_checkpoint_it() {
    let mut pair = Pair::new("");
    pair.write(&insert(1, 100, 500));
    let foreign = impatient(&pair.leader.path);
    let frames = pair.leader.handle.published().unwrap().point.frame;
    assert_eq!(checkpoint(&foreign, "FULL"), (0, frames.into(), frames.into()));
    for mode in ["RESTART", "TRUNCATE"] {
        assert_eq!(checkpoint(&foreign, mode).0, 1, "{mode}");
    }
    let before = pair.leader.handle.published().unwrap().point;
    pair.write(&insert(1000, 10, 500));
    let after = pair.leader.handle.published().unwrap().point;
    assert_eq!((before.salts, before.frame < after.frame), (after.salts, true), "the writer appends");
    assert!(foreign.execute_batch("PRAGMA journal_mode=DELETE").is_err());
    pair.ship_and_compare();

    let path = pair.leader.path.to_str().unwrap().to_owned();
    let cli = std::process::Command::new("sqlite3")
        .args([&path, "PRAGMA wal_checkpoint(TRUNCATE); SELECT count(*) FROM t;"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(cli.stdout).unwrap().lines().next_back(), Some("110"));
    assert_eq!(pair.leader.handle.published().unwrap().point, after);
}

#[test]
fn nobody_writes_while_writes_are_held_and_readers_and_checkpoints_go_on() {
    let mut pair = Pair::new("");
    pair.write(&insert(1, 100, 500));
    pair.ship();
    let foreign = impatient(&pair.follower.path);
    let refused = foreign.execute("INSERT INTO t(v) VALUES (1)", []).unwrap_err();
    assert_eq!(refused.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy));
    assert_eq!(number(&foreign, "SELECT count(*) FROM t"), 100);
    let frames = i64::from(pair.follower.at.frame);
    assert_eq!(checkpoint(&foreign, "PASSIVE"), (0, frames, frames));

    let mut second = pair.follower.handle.published().unwrap();
    pair.follower.handle.release_writes();
    assert!(!pair.follower.handle.holds_writes());
    foreign.execute("INSERT INTO t(v) VALUES (1)", []).unwrap();
    second.change += 1;
    assert_eq!(pair.follower.handle.published().unwrap().change, second.change);
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let busy = pair.follower.handle.hold_writes(Duration::from_millis(20)).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    foreign.execute_batch("ROLLBACK").unwrap();
    pair.follower.handle.hold_writes(TIMEOUT).unwrap();
}

#[test]
fn a_reset_waits_for_everything_to_be_backfilled_and_for_readers_of_the_wal() {
    let mut pair = Pair::new("");
    pair.write(&insert(1, 100, 500));
    pair.ship();
    let nothing = |_: &[WalPoint; 2]| panic!("nothing is to be recorded");
    for node in [&mut pair.leader, &mut pair.follower] {
        assert_eq!(node.handle.reset(&node.at, &mut { nothing }).unwrap(), None, "not backfilled");
        let reader = connect(&node.path);
        reader.execute_batch("BEGIN").unwrap();
        assert_eq!(number(&reader, "SELECT count(*) FROM t"), 100);
        node.checkpointer.passive().unwrap().unwrap();
        assert_eq!(node.handle.reset(&node.at, &mut { nothing }).unwrap(), None, "a reader is in the WAL");
        reader.execute_batch("COMMIT; BEGIN").unwrap();
        assert_eq!(number(&reader, "SELECT count(*) FROM t"), 100);
        let other = WalPoint { checksum: (0, 0), ..node.at };
        assert_eq!(node.handle.reset(&other, &mut { nothing }).unwrap(), None, "another boundary");
        let held = node.handle.holds_writes();
        assert!(node.checkpoint_and_reset(), "a reader of the database file is in nobody's way");
        assert_eq!(node.handle.holds_writes(), held);
        assert_eq!(node.at.frame, 1);
        assert_eq!(node.handle.scan(&node.at, None).unwrap().commits, 0);
        assert_eq!(number(&reader, "SELECT count(*) FROM t"), 100);
    }
    pair.write("DELETE FROM t WHERE id > 50");
    pair.ship_and_compare();
}

#[test]
fn readers_do_not_wait_while_a_reset_is_being_recorded() {
    let mut pair = Pair::new("");
    pair.write(&insert(1, 100, 500));
    pair.leader.checkpointer.passive().unwrap().unwrap();
    let at = pair.leader.handle.published().unwrap().point;
    let old = impatient(&pair.leader.path);
    assert_eq!(number(&old, "SELECT count(*) FROM t"), 100);
    let mut recorded = Vec::new();
    let began = pair.leader.handle.reset(&at, &mut |points| {
        recorded.extend_from_slice(points);
        for reader in [&old, &impatient(&pair.leader.path)] {
            assert_eq!(number(reader, "SELECT count(*) FROM t"), 100);
        }
        let write = old.execute("DELETE FROM t", []).unwrap_err();
        assert_eq!(write.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy));
        Ok(())
    });
    let first = began.unwrap().unwrap();
    assert_eq!(recorded[1], first);
    assert_eq!((recorded[0].salts, recorded[0].frame, first.frame), (first.salts, 0, 1));
    assert_ne!(first.salts, at.salts);
    assert_eq!(pair.leader.handle.prove(&recorded).unwrap(), Some(1));
    assert_eq!(pair.leader.handle.prove(&recorded[..1]).unwrap(), Some(0));
}

#[test]
fn a_writer_in_a_transaction_stops_a_reset() {
    let mut pair = Pair::new("");
    pair.write(&insert(1, 10, 500));
    pair.ship();
    pair.leader.checkpointer.passive().unwrap().unwrap();
    pair.write("BEGIN IMMEDIATE");
    assert!(!pair.leader.checkpoint_and_reset());
    pair.write("COMMIT");
    assert!(pair.leader.checkpoint_and_reset());
}

#[test]
fn a_reset_that_cannot_be_recorded_changes_nothing() {
    let mut pair = Pair::new("");
    pair.write(&insert(1, 10, 500));
    pair.ship();
    for node in [&mut pair.leader, &mut pair.follower] {
        node.checkpointer.passive().unwrap().unwrap();
        let before = node.handle.published().unwrap();
        let fail = &mut |_: &[WalPoint; 2]| Err(crate::types::Error::new(ErrorKind::Io, "no record"));
        assert_eq!(node.handle.reset(&node.at, fail).unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(node.handle.published().unwrap(), before);
        assert!(node.checkpoint_and_reset());
    }
    pair.write("DELETE FROM t");
    pair.ship_and_compare();
}

#[test]
fn a_second_handle_of_a_database_is_refused() {
    let pair = Pair::new("");
    assert_eq!(WalHandle::open(&pair.leader.path).err().unwrap().kind(), ErrorKind::Busy);
    let path = pair.leader.path.clone();
    drop(pair.leader);
    assert!(WalHandle::open(&path).is_ok());
}

#[test]
fn a_generation_that_somebody_else_began_is_a_gap() {
    let mut pair = Pair::new("");
    pair.write(&insert(1, 10, 500));
    let at = pair.leader.handle.published().unwrap().point;
    let path = pair.leader.path.clone();
    drop(pair.leader);
    pair.writer.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
    pair.writer.execute_batch("INSERT INTO t(v) VALUES ('unseen')").unwrap();
    let mut handle = WalHandle::open(&path).unwrap();
    assert_eq!(handle.scan(&at, None).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(handle.prove(&[at]).unwrap(), None);
    let wrong = WalPoint { checksum: (1, 2), ..handle.published().unwrap().point };
    assert_eq!(handle.scan(&wrong, None).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(handle.prove(&[wrong]).unwrap(), None);
}

#[test]
fn the_newest_boundary_that_the_wal_proves_is_found() {
    let mut pair = Pair::new("");
    let mut points = vec![pair.leader.at];
    for round in 0..5 {
        pair.write(&insert(round * 100 + 1, 20, 500));
        pair.ship();
        points.push(pair.leader.at);
    }
    assert_eq!(pair.leader.handle.prove(&points).unwrap(), Some(5));
    points.push(WalPoint { frame: points[5].frame + 1, ..points[5] });
    assert_eq!(pair.leader.handle.prove(&points).unwrap(), Some(5));
    assert_eq!(pair.leader.handle.prove(&points[..3]).unwrap(), Some(2));
    assert_eq!(pair.leader.handle.prove(&[]).unwrap(), None);
    let part = pair.leader.handle.scan(&points[1], Some(&points[3])).unwrap();
    assert_eq!((part.to, part.commits), (points[3], 2));
    assert!(pair.leader.checkpoint_and_reset());
    assert_eq!(pair.leader.handle.prove(&points).unwrap(), None);
}
