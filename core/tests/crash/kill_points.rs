//! kill -9 right before the Nth system call of a kind, over the whole life of a commit: the WAL's frames, the
//! journal's records and intents, the slot's file and its name, the checkpoint, the WAL's new generation.

use std::path::PathBuf;

use crate::process::{KillAt, Process, was_killed};
use crate::support::{
    PATIENCE, Site, beside, has_all, insert, is_whole, no_duplicates, rows_in_tail, rows_of,
};

/// One row of the list: calls, on which path, and before which of them to kill.
struct Series {
    calls: &'static str,
    path: fn(&Site, &str) -> Option<PathBuf>,
    when: &'static [u32],
}

const LEADER: &[Series] = &[
    // The WAL's header and frames, by commits and by the VACUUM.
    Series { calls: "pwrite64", path: wal, when: &[1, 2, 3, 8, 21, 120, 333, 610, 1200, 2500] },
    // The checkpoint writes the main file, the sync before it is the WAL's.
    Series { calls: "pwrite64", path: main, when: &[1, 4, 90, 700] },
    Series { calls: "fdatasync,fsync", path: wal, when: &[1, 2, 3] },
    Series { calls: "fdatasync,fsync", path: main, when: &[1, 2] },
    Series { calls: "ftruncate", path: everywhere, when: &[1, 2, 3] },
    // Boundaries and intents, and their syncs.
    Series { calls: "write", path: journal, when: &[1, 2, 3, 4, 9, 16, 23] },
    Series { calls: "fdatasync", path: journal, when: &[1, 2, 3, 7, 11] },
    // What is in the bucket: the file, its sync, its name.
    Series { calls: "fsync", path: everywhere, when: &[1, 2, 3, 5, 8] },
    Series { calls: "link,linkat", path: everywhere, when: &[1, 2, 3] },
    Series { calls: "rename,renameat,renameat2", path: everywhere, when: &[1, 2, 3, 4, 5] },
    Series { calls: "unlink,unlinkat", path: everywhere, when: &[1, 3, 6] },
];

const FOLLOWER: &[Series] = &[
    Series { calls: "pwrite64", path: wal, when: &[1, 2, 3, 40, 200] },
    Series { calls: "pwrite64", path: main, when: &[1, 60] },
    Series { calls: "fdatasync,fsync", path: wal, when: &[1] },
    Series { calls: "write", path: journal, when: &[1, 2, 4, 6] },
    Series { calls: "fdatasync", path: journal, when: &[1, 2, 3] },
    Series { calls: "rename,renameat,renameat2", path: everywhere, when: &[1, 2, 3] },
];

fn everywhere(_: &Site, _: &str) -> Option<PathBuf> {
    None
}

fn main(site: &Site, node: &str) -> Option<PathBuf> {
    Some(site.database(node))
}

fn wal(site: &Site, node: &str) -> Option<PathBuf> {
    Some(beside(&site.database(node), "-wal"))
}

fn journal(site: &Site, node: &str) -> Option<PathBuf> {
    Some(beside(&site.database(node), "-haqlite").join("journal"))
}

#[test]
fn a_leader_killed_at_any_step_loses_nothing_that_it_acknowledged() {
    let mut killed = 0;
    let mut points = 0;
    for series in LEADER {
        // One file for all kills of a series: each begins in what the one before has left.
        let site = Site::new();
        let mut acked = Vec::new();
        for when in series.when {
            let path = (series.path)(&site, "a");
            let at = KillAt { calls: series.calls, path: path.as_deref(), when: *when };
            let from = points * 1000;
            points += 1;
            let mut leader = Process::start(&site.settings("a"), Some(at));
            leader.tell(&format!("workload {from}"));
            leader.tell("drop");
            let status = leader.wait();
            killed += i64::from(was_killed(status));
            assert!(
                was_killed(status) || leader.said().last().is_some_and(|line| line == "finished"),
                "{at:?}"
            );
            acked.extend(leader.numbers("acked"));
            check_leader(&site, &acked, &leader.numbers("confirmed"), &at);
        }
    }
    assert!(killed * 10 >= points * 8, "only {killed} of {points} points were reached");
}

/// A node that was alone has had nobody to lose its tail to.
fn check_leader(site: &Site, acked: &[i64], confirmed: &[i64], at: &KillAt<'_>) {
    let db = site.try_open("a").unwrap_or_else(|error| panic!("{at:?}: {error}"));
    is_whole(&db);
    let rows = rows_of(&db);
    has_all(&rows, confirmed, &format!("{at:?}: confirmed"));
    has_all(&rows, acked, &format!("{at:?}: acknowledged"));
    no_duplicates(&rows);
    assert_eq!(db.status().lost_tails, [] as [PathBuf; 0], "{at:?}");
    db.close_blocking().unwrap();
    drop(db);
    site.is_the_log("a");
}

#[test]
fn a_follower_killed_at_any_step_comes_back_to_what_the_log_is() {
    let (mut killed, mut points) = (0, 0);
    for series in FOLLOWER {
        let site = Site::new();
        let leader = site.open("a");
        let mut n = 0;
        for when in series.when {
            let path = (series.path)(&site, "b");
            let at = KillAt { calls: series.calls, path: path.as_deref(), when: *when };
            points += 1;
            let settings = crate::child::Settings { follower: true, ..site.settings("b") };
            let mut follower = Process::start(&settings, Some(at));
            for i in 0..24 {
                let bookmark = insert(&leader, n, if i % 8 == 7 { 900_000 } else { 3_000 }).unwrap();
                n += 1;
                if i % 4 == 3 {
                    leader.wait_durable_blocking(&bookmark, PATIENCE).unwrap();
                    std::thread::sleep(std::time::Duration::from_millis(60));
                }
            }
            follower.tell("drop");
            let status = follower.wait();
            killed += i64::from(was_killed(status));
            let follower = site.builder("b").role(haqlite::Role::Follower);
            let follower =
                follower.open_blocking(site.database("b"), "").unwrap_or_else(|e| panic!("{at:?}: {e}"));
            let last = insert(&leader, n, 100).unwrap();
            n += 1;
            follower.wait_for_blocking(&last, PATIENCE).unwrap();
            is_whole(&follower);
            assert_eq!(rows_of(&follower), rows_of(&leader), "{at:?}");
            assert_eq!(follower.status().lost_tails, [] as [PathBuf; 0], "{at:?}");
            follower.close_blocking().unwrap();
        }
        leader.close_blocking().unwrap();
        drop(leader);
        site.is_the_log("a");
        let follower = site.open("b");
        follower.close_blocking().unwrap();
        drop(follower);
        site.is_the_log("b");
    }
    assert!(killed * 10 >= points * 7, "only {killed} of {points} points were reached");
}

#[test]
fn a_tail_that_is_saved_names_its_rows() {
    // What the other tests rely on when they look for lost rows.
    let site = Site::new();
    let db = site.open("a");
    let bookmark = insert(&db, 7, 100).unwrap();
    db.wait_durable_blocking(&bookmark, PATIENCE).unwrap();
    db.close_blocking().unwrap();
    let last = site.slots().into_iter().max().unwrap();
    let slot = site.path(&format!("bucket/haqlite/app/ltx/0/{last:016x}-{last:016x}.ltx"));
    assert_eq!(rows_in_tail(&slot), [7]);
}
