//! kill -9 right before the Nth system call of a kind, over the whole life of a commit: the WAL's frames, the
//! journal's records and intents, the slot's file and its name, the checkpoint, the WAL's new generation.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use haqlite::HaQLite;

use crate::process::{KillAt, Process, was_killed};
use crate::support::{
    PATIENCE, Site, beside, has_all, insert, is_whole, mend_slots, no_duplicates, rows_in_tail, rows_of,
};

/// One row of the list: calls, on which path, and before which of them to kill.
pub(crate) struct Series {
    pub(crate) calls: &'static str,
    pub(crate) path: fn(&Site, &str) -> Option<PathBuf>,
    pub(crate) when: &'static [u32],
}

const LEADER: &[Series] = &[
    // The WAL's header and frames, by commits and by the VACUUM.
    Series { calls: "pwrite64", path: wal, when: &[1, 2, 3, 8, 21, 120, 333, 610, 1200, 2500] },
    // The checkpoint writes the main file, the sync before it is the WAL's.
    Series { calls: "pwrite64", path: main, when: &[1, 4, 90, 700] },
    Series { calls: "fdatasync,fsync", path: wal, when: &[1, 2, 3] },
    Series { calls: "fdatasync,fsync", path: main, when: &[1, 2] },
    Series { calls: "ftruncate", path: everywhere, when: &[1, 2] },
    // Boundaries and intents, and their syncs.
    Series { calls: "write", path: journal, when: &[1, 2, 3, 4, 9, 16, 23] },
    Series { calls: "fdatasync", path: journal, when: &[1, 2, 3, 7, 11] },
    // What is in the bucket: the file, its sync, its name.
    Series { calls: "fsync", path: everywhere, when: &[1, 2, 3, 5, 8] },
    Series { calls: "link,linkat", path: everywhere, when: &[1, 2, 3] },
    Series { calls: "rename,renameat,renameat2", path: everywhere, when: &[1, 2, 3, 4] },
    Series { calls: "unlink,unlinkat", path: everywhere, when: &[1, 3, 6] },
];

const FOLLOWER: &[Series] = &[
    Series { calls: "pwrite64", path: wal, when: &[1, 2, 3, 17, 60] },
    Series { calls: "pwrite64", path: main, when: &[1, 60] },
    Series { calls: "fdatasync,fsync", path: wal, when: &[1] },
    Series { calls: "write", path: journal, when: &[1, 2, 4, 6] },
    Series { calls: "fdatasync", path: journal, when: &[1] },
];

/// The same in an outage of the bucket, and while what was spooled in it is shipped: most of a thread's calls are
/// the replicator's, which spools.
const OUTAGE: &[Series] = &[
    // The spool's files, their folder, and what is in the bucket.
    Series { calls: "fsync", path: everywhere, when: &[4, 7, 10, 12, 14, 16, 18, 21, 24] },
    Series { calls: "openat", path: spool, when: &[2, 3, 5, 8] },
    // Intents, spooled slots, new generations, confirmed slots.
    Series { calls: "write", path: journal, when: &[7, 9, 10, 11, 12, 13, 15, 18, 22, 26] },
    Series { calls: "fdatasync", path: journal, when: &[5, 6, 7, 9, 11, 13, 16] },
    Series { calls: "fdatasync,fsync", path: wal, when: &[2, 3, 4, 5, 6] },
    Series { calls: "pwrite64", path: wal, when: &[200, 310, 420] },
    Series { calls: "pwrite64", path: main, when: &[40, 200] },
    Series { calls: "unlink,unlinkat", path: everywhere, when: &[2, 3, 4, 5, 7] },
];

/// The opening of a node that has nothing yet: the restore, its installation, the first WAL.
const OPENING: &[Series] = &[
    Series { calls: "rename,renameat,renameat2", path: everywhere, when: &[1, 2] },
    Series { calls: "fsync", path: everywhere, when: &[1, 2, 3, 4, 5, 6] },
    Series { calls: "fdatasync", path: everywhere, when: &[1, 2, 3] },
    Series { calls: "pwrite64", path: everywhere, when: &[1, 2, 9, 150] },
    Series { calls: "write", path: journal, when: &[1, 2, 3, 4] },
    Series { calls: "ftruncate", path: everywhere, when: &[1, 3] },
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

fn spool(site: &Site, node: &str) -> Option<PathBuf> {
    Some(beside(&site.database(node), "-haqlite").join("spool"))
}

#[test]
fn a_leader_killed_at_any_step_of_an_outage_loses_nothing_that_it_acknowledged() {
    let missed = on_all(OUTAGE, |series| {
        let site = Site::patient();
        let mut acked = Vec::new();
        let kill = |(i, when): (usize, &u32)| {
            let path = (series.path)(&site, "a");
            let at = KillAt { calls: series.calls, path: path.as_deref(), when: *when };
            let settings = crate::child::Settings { wal_cap: Some(1 << 20), ..site.settings("a") };
            let mut leader = Process::start(&settings, Some(at));
            leader.tell(&format!("outage {}", i * 1000));
            leader.tell("drop");
            let killed = was_killed(leader.wait());
            mend_slots(&site.path("bucket"));
            assert!(killed || leader.said().last().is_some_and(|line| line == "finished"), "{at:?}");
            acked.extend(leader.numbers("acked"));
            check_leader(&site, &acked, &leader.numbers("confirmed"), &at);
            (!killed).then(|| format!("{at:?}"))
        };
        series.when.iter().enumerate().filter_map(kill).collect()
    });
    assert_reached(&missed, OUTAGE);
}

#[test]
fn a_leader_killed_at_any_step_loses_nothing_that_it_acknowledged() {
    let missed = on_all(LEADER, |series| {
        // One file for all kills of a series: each begins in what the one before has left.
        let site = Site::patient();
        let mut acked = Vec::new();
        let kill = |(i, when): (usize, &u32)| {
            let path = (series.path)(&site, "a");
            let at = KillAt { calls: series.calls, path: path.as_deref(), when: *when };
            let mut leader = Process::start(&site.settings("a"), Some(at));
            leader.tell(&format!("workload {}", i * 1000));
            leader.tell("drop");
            let killed = was_killed(leader.wait());
            assert!(killed || leader.said().last().is_some_and(|line| line == "finished"), "{at:?}");
            acked.extend(leader.numbers("acked"));
            check_leader(&site, &acked, &leader.numbers("confirmed"), &at);
            (!killed).then(|| format!("{at:?}"))
        };
        series.when.iter().enumerate().filter_map(kill).collect()
    });
    assert_reached(&missed, LEADER);
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
    let missed = on_all(FOLLOWER, |series| {
        let site = Site::patient();
        let leader = site.open("a");
        let mut numbers = 0..;
        let kill = |when: &u32| {
            let path = (series.path)(&site, "b");
            let at = KillAt { calls: series.calls, path: path.as_deref(), when: *when };
            let settings = crate::child::Settings { follower: true, ..site.settings("b") };
            let mut follower = Process::start(&settings, Some(at));
            follower.wait_until_open_or_ended();
            lead(&leader, &mut numbers);
            follower.tell("drop");
            let killed = was_killed(follower.wait());
            check_follower(&site, "b", &leader, &mut numbers, &at);
            (!killed).then(|| format!("{at:?}"))
        };
        let missed = series.when.iter().filter_map(kill).collect();
        leader.close_blocking().unwrap();
        drop(leader);
        site.is_the_log("a");
        let follower = site.open("b");
        follower.close_blocking().unwrap();
        drop(follower);
        site.is_the_log("b");
        missed
    });
    assert_reached(&missed, FOLLOWER);
}

#[test]
fn a_node_killed_at_any_step_of_its_first_opening_opens_the_next_time() {
    let site = Site::patient();
    let leader = site.open("a");
    let numbers = Mutex::new(0..);
    lead(&leader, &mut *numbers.lock().unwrap());
    let missed = on_all(OPENING, |series| {
        let kill = |when: &u32| {
            let mut n = numbers.lock().unwrap();
            let node = format!("b{}", n.start);
            let path = (series.path)(&site, &node);
            let at = KillAt { calls: series.calls, path: path.as_deref(), when: *when };
            let settings = crate::child::Settings { follower: true, ..site.settings(&node) };
            let mut follower = Process::start(&settings, Some(at));
            follower.tell("drop");
            let killed = was_killed(follower.wait());
            // What the log has meanwhile must not be taken for something that the node has lost.
            insert(&leader, n.next().unwrap(), 3_000).unwrap();
            check_follower(&site, &node, &leader, &mut *n, &at);
            (!killed).then(|| format!("{at:?}"))
        };
        series.when.iter().filter_map(kill).collect()
    });
    leader.close_blocking().unwrap();
    assert_reached(&missed, OPENING);
}

/// Writes enough that a follower checkpoints and begins its WAL anew.
fn lead(leader: &HaQLite, numbers: &mut impl Iterator<Item = i64>) {
    for (i, n) in numbers.take(24).enumerate() {
        let bookmark = insert(leader, n, if i % 8 == 7 { 1_500_000 } else { 3_000 }).unwrap();
        if i % 4 == 3 {
            leader.wait_durable_blocking(&bookmark, PATIENCE).unwrap();
            std::thread::sleep(Duration::from_millis(60));
        }
    }
}

fn check_follower(
    site: &Site,
    node: &str,
    leader: &HaQLite,
    numbers: &mut impl Iterator<Item = i64>,
    at: &KillAt<'_>,
) {
    let follower = site.builder(node).role(haqlite::Role::Follower);
    let follower =
        follower.open_blocking(site.database(node), "").unwrap_or_else(|error| panic!("{at:?}: {error}"));
    let last = insert(leader, numbers.next().unwrap(), 100).unwrap();
    follower.wait_for_blocking(&last, PATIENCE).unwrap();
    is_whole(&follower);
    assert_eq!(rows_of(&follower), rows_of(leader), "{at:?}");
    // It never had anything of its own.
    assert_eq!(follower.status().lost_tails, [] as [PathBuf; 0], "{at:?}");
    follower.close_blocking().unwrap();
}

/// Runs every series, some at a time, and gives the points at which nobody was killed.
pub(crate) fn on_all(list: &[Series], run: impl Fn(&Series) -> Vec<String> + Sync) -> Vec<String> {
    const AT_ONCE: usize = 3;
    let next = AtomicUsize::new(0);
    let work = || {
        let take = || list.get(next.fetch_add(1, Ordering::Relaxed));
        std::iter::from_fn(take).flat_map(&run).collect()
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| -> Vec<String> { worker.join().unwrap() }).collect()
    })
}

/// A list that names calls that never happen kills nobody and proves nothing.
#[track_caller]
pub(crate) fn assert_reached(missed: &[String], list: &[Series]) {
    let points: usize = list.iter().map(|series| series.when.len()).sum();
    assert!(missed.len() * 5 <= points, "of {points} points, these were not reached: {missed:#?}");
}

#[test]
fn a_tail_that_is_saved_names_its_rows() {
    // What the other tests rely on when they look for lost rows.
    let site = Site::patient();
    let db = site.open("a");
    let bookmark = insert(&db, 7, 100).unwrap();
    db.wait_durable_blocking(&bookmark, PATIENCE).unwrap();
    db.close_blocking().unwrap();
    let last = site.slots().into_iter().max().unwrap();
    let slot = site.path(&format!("bucket/haqlite/app/ltx/0/{last:016x}-{last:016x}.ltx"));
    assert_eq!(rows_in_tail(&slot), [7]);
}
