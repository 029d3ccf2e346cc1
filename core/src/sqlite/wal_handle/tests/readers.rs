//! Readers beside injections and resets: no torn page, no step back, no wait.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::support::*;

const ACCOUNTS: i64 = 400;
const TOTAL: i64 = ACCOUNTS * 1000;
/// Above so many frames a node stops until its WAL is reset.
const CAP: u32 = 600;

/// Reads until told to stop; gives how many transactions it read.
fn reader(path: PathBuf, stop: Arc<AtomicBool>, reads: Arc<AtomicU64>) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        conn.busy_timeout(Duration::ZERO).unwrap();
        let (mut newest, mut count) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            conn.execute_batch("BEGIN").unwrap();
            let step = number(&conn, "SELECT n FROM step");
            assert!(step >= newest, "went back from {newest} to {step}");
            newest = step;
            assert_eq!(number(&conn, "SELECT sum(balance) FROM account"), TOTAL);
            assert_eq!(number(&conn, "SELECT count(*) FROM history"), step % 50);
            if count % 64 == 0 {
                let check: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
                assert_eq!(check, "ok");
            }
            assert_eq!(number(&conn, "SELECT n FROM step"), step, "the snapshot moved");
            conn.execute_batch("COMMIT").unwrap();
            count += 1;
            reads.fetch_add(1, Ordering::Relaxed);
        }
        count
    })
}

/// The same in another process, with the SQLite that the system has.
fn foreign_reader(path: &Path) -> Child {
    let script =
        ".timeout 0\nBEGIN; SELECT sum(balance) FROM account; SELECT n FROM step; COMMIT;\n".repeat(400);
    let mut child = Command::new("sqlite3")
        .args(["-bail", "-readonly", path.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::spawn(move || std::io::Write::write_all(&mut stdin, script.as_bytes()));
    child
}

fn check_foreign(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let numbers: Vec<i64> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers.len(), 800);
    assert!(numbers.iter().step_by(2).all(|sum| *sum == TOTAL));
    assert!(numbers.iter().skip(1).step_by(2).is_sorted());
}

fn transfers(pair: &mut Pair, step: i64) {
    let (from, to) = (step * 7 % ACCOUNTS, step * 13 % ACCOUNTS);
    pair.write(&format!(
        "BEGIN; UPDATE account SET balance = balance - 3 WHERE id = {from};
         UPDATE account SET balance = balance + 3 WHERE id = {to};
         UPDATE step SET n = {step};
         INSERT INTO history VALUES ({step}, randomblob(300));
         DELETE FROM history WHERE {step} % 50 = 0; COMMIT;"
    ));
}

/// Keeps the WAL of a node below the cap as a node does: checkpoint, reset, wait.
fn bound(node: &mut Node, resets: &mut u32) {
    if node.at.frame < CAP {
        return;
    }
    for _ in 0..10_000 {
        if node.checkpoint_and_reset() {
            *resets += 1;
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the WAL of {} could not be reset for 10 s", node.path.display());
}

#[test]
fn readers_never_see_a_torn_state_and_never_wait_while_the_wal_stays_bounded() {
    let mut pair = Pair::new("PRAGMA page_size=1024");
    pair.write(&format!(
        "BEGIN; CREATE TABLE step(n INTEGER); INSERT INTO step VALUES (0);
         CREATE TABLE history(step INTEGER PRIMARY KEY, b);
         CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER, pad TEXT);
         WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i+1<{ACCOUNTS})
         INSERT INTO account SELECT i, 1000, hex(randomblob(40)) FROM n; COMMIT;"
    ));
    pair.ship();
    let stop = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicU64::new(0));
    let mut threads: Vec<_> = [&pair.follower.path, &pair.follower.path, &pair.leader.path]
        .map(|path| reader(path.clone(), stop.clone(), reads.clone()))
        .into_iter()
        .collect();
    let foreign = foreign_reader(&pair.follower.path);
    let (mut of_leader, mut of_follower, mut step) = (0, 0, 0);
    while step < 1500 || reads.load(Ordering::Relaxed) < 300 {
        for _ in 0..1 + step % 7 {
            step += 1;
            transfers(&mut pair, step);
        }
        if step % 500 < 7 {
            pair.write(&format!("CREATE INDEX IF NOT EXISTS i{} ON account(balance, pad)", step / 500));
        }
        pair.ship();
        bound(&mut pair.leader, &mut of_leader);
        bound(&mut pair.follower, &mut of_follower);
        assert!(threads.iter().all(|thread| !thread.is_finished()), "a reader gave up");
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads.drain(..) {
        assert!(thread.join().unwrap() > 0);
    }
    check_foreign(foreign);
    assert!(of_leader >= 3 && of_follower >= 3, "{of_leader} and {of_follower} resets");
    pair.ship_and_compare();
    pair.compare_files();
    let wal = std::fs::metadata(pair.dir.path().join("follower.db-wal")).unwrap().len();
    assert!(wal < u64::from(CAP) * 3 * (1024 + 24), "the WAL file has {wal} bytes");
}

#[test]
fn a_snapshot_stays_what_it_was_while_everything_goes_on() {
    let mut pair = Pair::new("PRAGMA page_size=1024");
    pair.write(&insert(1, 300, 700));
    pair.ship();
    let image = |snapshot: &mut crate::sqlite::Snapshot| {
        let mut bytes = Vec::new();
        snapshot
            .for_each_page(|_, page| {
                bytes.extend_from_slice(page);
                Ok(())
            })
            .unwrap();
        bytes
    };
    // One that reads from the WAL, one that reads from the database file alone.
    let mut of_wal = crate::sqlite::Snapshot::open(&pair.follower.path).unwrap();
    assert_eq!(of_wal.point(), pair.follower.at);
    let before = image(&mut of_wal);
    pair.follower.checkpointer.passive().unwrap().unwrap();
    assert!(!pair.follower.checkpoint_and_reset(), "the snapshot needs the WAL");
    assert_eq!(image(&mut of_wal), before);
    let mut of_file = crate::sqlite::Snapshot::open(&pair.follower.path).unwrap();
    assert_eq!(image(&mut of_file), before);
    drop(of_wal);
    for round in 1..4 {
        pair.write(&format!(
            "UPDATE t SET v = v || 'x' WHERE id % {} = 0; {}",
            round + 1,
            insert(round * 1000, 50, 700)
        ));
        pair.ship();
        pair.follower.checkpointer.passive().unwrap();
        pair.follower.checkpoint_and_reset();
        assert_eq!(image(&mut of_file), before);
    }
    drop(of_file);
    pair.ship_and_compare();
    pair.compare_files();
}
