//! kill -9 at the steps of the log's upkeep: the facts of a file, the file, the floor, and each deletion.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use haqlite::ltx::Decoder;
use haqlite::{HaQLite, Restore, Verify};

use crate::child::Settings;
use crate::kill_points::{Series, assert_reached, on_all};
use crate::process::{KillAt, Process, was_killed};
use crate::support::{
    PATIENCE, SCHEMA, Site, eventually, floor, has_all, hasty, insert, integrity, is_whole, no_duplicates,
    rows, rows_of,
};

/// Inside of a step: a folder is synced right after a name was made or deleted in it, and who is told a name is met
/// before that one goes.
const INSIDE: &[Series] = &[
    // A file's facts have their name, and the file has none.
    Series { calls: "fsync", path: |site, _| Some(at(site, "_facts/0001")), when: &[1, 2] },
    Series { calls: "fsync", path: |site, _| Some(at(site, "_facts/0009")), when: &[1] },
    // The file has its name, or another one is gone.
    Series { calls: "fsync", path: |site, _| Some(at(site, "ltx/1")), when: &[1, 2] },
    Series { calls: "fsync", path: |site, _| Some(at(site, "ltx/9")), when: &[1] },
    // The floor is raised, and so many slots are gone. The first slot of the leadership stays.
    Series { calls: "unlink", path: |site, _| Some(slot(site, 2)), when: &[1] },
    Series { calls: "unlink", path: |site, _| Some(slot(site, 9)), when: &[1] },
    // An old file is gone while its facts are still there.
    Series { calls: "unlink", path: |site, _| oldest(site, "_facts/0001"), when: &[1] },
    Series { calls: "unlink", path: |site, _| oldest(site, "_facts/0009"), when: &[1] },
];

/// Before so many steps of one leadership's upkeep: facts, files, floors and deletions. Each row is one log.
const STEPS: &[&[u32]] = &[&[1, 4, 7, 10, 22], &[2, 5, 8, 13, 29], &[3, 6, 9, 17, 38]];

fn at(site: &Site, name: &str) -> PathBuf {
    site.path("bucket/haqlite/app").join(name)
}

/// The file of the slot that comes so many after the newest.
fn slot(site: &Site, ahead: u64) -> PathBuf {
    let slot = site.slots().last().unwrap() + ahead;
    at(site, &format!("ltx/0/{slot:016x}-{slot:016x}.ltx"))
}

/// The objects of a folder of the bucket by their last slots, and where each is.
fn listed(site: &Site, folder: &str) -> BTreeMap<u64, PathBuf> {
    let entries = std::fs::read_dir(at(site, folder)).into_iter().flatten();
    let named = entries.map(|entry| entry.unwrap().path()).map(|path| {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        (u64::from_str_radix(stem.split_once('-').unwrap().1, 16).unwrap(), path)
    });
    named.collect()
}

fn oldest(site: &Site, folder: &str) -> Option<PathBuf> {
    Some(listed(site, folder).into_values().next().expect("there is none"))
}

fn open(site: &Site) -> HaQLite {
    hasty(site.builder("a")).open_blocking(site.database("a"), SCHEMA).unwrap()
}

/// Which rows there are, and in which slot each one that was confirmed is.
#[derive(Default)]
struct Written {
    acked: Vec<i64>,
    confirmed: BTreeMap<i64, u64>,
    next: i64,
}

impl Written {
    fn hear(&mut self, leader: &Process) {
        let confirmed: BTreeSet<i64> = leader.numbers("confirmed").into_iter().collect();
        for line in leader.said() {
            let Some((n, bookmark)) = line.strip_prefix("acked ").and_then(|rest| rest.split_once(' '))
            else {
                continue;
            };
            let (n, slot) = (n.parse().unwrap(), bookmark.rsplit('-').next().unwrap());
            self.acked.push(n);
            self.next = self.next.max(n + 1);
            if confirmed.contains(&n) {
                self.confirmed.insert(n, u64::from_str_radix(slot, 16).unwrap());
            }
        }
        // One more may have been written that nobody heard of.
        self.next += 1;
    }

    /// Writes a row in a slot of its own.
    fn write(&mut self, db: &HaQLite) -> u64 {
        let bookmark = insert(db, self.next, 500).unwrap();
        db.wait_durable_blocking(&bookmark, PATIENCE).unwrap();
        self.acked.push(self.next);
        self.confirmed.insert(self.next, bookmark.txid.get());
        self.next += 1;
        bookmark.txid.get()
    }
}

#[test]
fn a_leader_killed_before_any_step_of_its_upkeep_leaves_a_whole_log_and_goes_on_with_it() {
    let run = |steps: &[u32]| {
        let site = Site::patient();
        let mut written = Written::default();
        for step in steps {
            let settings = Settings { kill_at_chore: Some(*step), ..site.settings("a") };
            assert!(kill(&site, &mut written, settings, None), "step {step} was not reached");
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = STEPS.iter().map(|steps| scope.spawn(|| run(steps))).collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

#[test]
fn a_leader_killed_inside_of_a_step_of_its_upkeep_leaves_a_whole_log_and_goes_on_with_it() {
    let missed = on_all(INSIDE, |series| {
        let site = Site::patient();
        let mut written = Written::default();
        // There are files of each level that will go.
        keeps_up(&site, &mut written);
        let missed = |when: &u32| {
            let path = (series.path)(&site, "a");
            let at = KillAt { calls: series.calls, path: path.as_deref(), when: *when };
            let killed = kill(&site, &mut written, site.settings("a"), Some(at));
            (!killed).then(|| format!("{at:?}"))
        };
        series.when.iter().filter_map(missed).collect()
    });
    assert_reached(&missed, INSIDE);
}

/// Starts a leader that is to be killed, and holds what it leaves against what it said; whether it was killed.
#[track_caller]
fn kill(site: &Site, written: &mut Written, settings: Settings, at: Option<KillAt<'_>>) -> bool {
    let mut leader = Process::start(&Settings { hasty: true, ..settings }, at);
    leader.tell(&format!("upkeep {}", written.next));
    leader.tell("drop");
    let killed = was_killed(leader.wait());
    assert!(killed || leader.said().last().is_some_and(|line| line == "finished"), "{:?}", leader.said());
    written.hear(&leader);
    the_bucket_is_whole(site, written);
    keeps_up(site, written);
    the_bucket_is_whole(site, written);
    killed
}

/// The log alone has all that was confirmed, at its end and in every snapshot.
#[track_caller]
fn the_bucket_is_whole(site: &Site, written: &Written) {
    site.slots();
    let report = Verify::new(site.bucket()).db_name("app").run();
    let report = report.unwrap();
    assert!(report.is_healthy(), "{:?}", report.problems);
    has_all(&rows(&site.restored()), written.confirmed.keys(), "confirmed");
    for max in listed(site, "ltx/9").into_keys() {
        let path = site.path(&format!("snapshot-{max}.db"));
        Restore::new(site.bucket()).db_name("app").txid(max).replace(true).run(&path).unwrap();
        integrity(&path);
        let rows = rows(&path);
        for (n, slot) in &written.confirmed {
            assert_eq!(rows.contains_key(n), *slot <= max, "row {n} of slot {slot} in the snapshot at {max}");
        }
        no_duplicates(&rows);
    }
}

/// The node opens with all that it acknowledged, and its upkeep comes to an end: the floor passes all that there
/// is, and below it stays nothing that may go.
#[track_caller]
fn keeps_up(site: &Site, written: &mut Written) {
    let db = open(site);
    is_whole(&db);
    let rows = rows_of(&db);
    has_all(&rows, &written.acked, "acknowledged");
    no_duplicates(&rows);
    assert_eq!(db.status().lost_tails, [] as [PathBuf; 0]);
    let end = written.write(&db);
    eventually("upkeep goes on", || {
        written.write(&db);
        floor(&site.path("bucket")) >= end && listed(site, "ltx/9").len() > 1
    });
    eventually("upkeep comes to its end", || only_first_slots_are_below(site));
    db.close_blocking().unwrap();
    drop(db);
    site.is_the_log("a");
}

/// Whether no epoch has two slots below the floor.
fn only_first_slots_are_below(site: &Site) -> bool {
    let floor = floor(&site.path("bucket"));
    let epoch = |path: &Path| {
        // It may go in this moment.
        let file = std::fs::File::open(path).ok()?;
        Some(Decoder::new(file).unwrap().header().origin.unwrap().epoch)
    };
    let below = listed(site, "ltx/0").into_iter().filter(|(slot, _)| *slot <= floor);
    let epochs: Vec<_> = below.filter_map(|(_, path)| epoch(&path)).collect();
    epochs.iter().collect::<BTreeSet<_>>().len() == epochs.len()
}
