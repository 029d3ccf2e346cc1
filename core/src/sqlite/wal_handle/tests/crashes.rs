//! A follower that is killed again and again while it injects and resets.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rusqlite::Connection;

use super::support::*;
use crate::sqlite::Checkpointer;
use crate::sqlite::wal_handle::WalHandle;
use crate::types::PageNumber;
use crate::wal::{Salts, WalPoint};

const NAME: &str =
    "sqlite::wal_handle::tests::crashes::a_killed_follower_is_at_the_boundary_that_its_wal_proves";
const FOLDER: &str = "HAQLITE_TEST_KILLED_FOLLOWER";
const STATES: usize = 24;
const ROUNDS: u64 = 30;
/// So few that resets are as frequent as injections.
const CAP: u32 = 60;

/// The states that the follower goes through in a circle, each as the group that leads to it from the one
/// before. The group of state 0 has every page.
fn make_groups() -> (Pair, Vec<Group>) {
    let mut pair = Pair::new("PRAGMA page_size=1024");
    pair.write(&format!("CREATE TABLE s(n INTEGER); INSERT INTO s VALUES (0); {}", insert(1, 30, 700)));
    pair.ship();
    let mut all = Group { pages: Vec::new(), db_size: pair.leader.db_size };
    crate::sqlite::Snapshot::open(&pair.leader.path)
        .unwrap()
        .for_each_page(|number, bytes| {
            all.pages.push((number, bytes.to_vec()));
            Ok(())
        })
        .unwrap();
    let mut groups = vec![all];
    for state in 1..STATES as u32 {
        let change = match state % 5 {
            0 => "DELETE FROM t WHERE id > 20".to_owned(),
            1 => insert(state * 100, 10, 900),
            _ => format!("UPDATE t SET v = hex(randomblob(300)) WHERE id % 5 = {}", state % 5),
        };
        pair.write(&format!("BEGIN; UPDATE s SET n = {state}; {change}; COMMIT;"));
        if state % 10 == 0 {
            pair.write("VACUUM");
        }
        groups.push(pair.leader.capture().unwrap());
    }
    (pair, groups)
}

/// A group as a file: size, then number and bytes of each page.
fn save(groups: &[Group], folder: &Path) {
    for (state, group) in groups.iter().enumerate() {
        let mut bytes = group.db_size.to_be_bytes().to_vec();
        for (number, page) in &group.pages {
            bytes.extend_from_slice(&number.get().to_be_bytes());
            bytes.extend_from_slice(page);
        }
        std::fs::write(folder.join(format!("group-{state}")), bytes).unwrap();
    }
}

fn load(folder: &Path) -> Vec<Group> {
    let word = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
    (0..STATES)
        .map(|state| {
            let bytes = std::fs::read(folder.join(format!("group-{state}"))).unwrap();
            let pages = bytes[4..]
                .chunks_exact(1028)
                .map(|page| (PageNumber::new(word(page)).unwrap(), page[4..].to_vec()));
            Group { db_size: word(&bytes), pages: pages.collect() }
        })
        .collect()
}

/// A boundary record: the point and the state of the database there.
fn record(file: &mut File, point: &WalPoint, state: usize) {
    let salts = u64::from_be_bytes(point.salts.0);
    let line = format!("{salts} {} {} {} {state} end\n", point.frame, point.checksum.0, point.checksum.1);
    file.write_all(line.as_bytes()).unwrap();
}

fn records(folder: &Path) -> (Vec<WalPoint>, Vec<usize>) {
    let text = std::fs::read_to_string(folder.join("records")).unwrap_or_default();
    // The last line may be torn.
    text.lines()
        .filter_map(|line| line.strip_suffix(" end"))
        .map(|line| {
            let n: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
            let checksum = (n[2] as u32, n[3] as u32);
            (WalPoint { salts: Salts(n[0].to_be_bytes()), frame: n[1] as u32, checksum }, n[4] as usize)
        })
        .unzip()
}

/// Opens, finds out where it is, and goes on round and round until it is killed.
fn follow(folder: &Path) -> ! {
    let groups = load(folder);
    let path = folder.join("follower.db");
    let mut handle = WalHandle::open(&path).unwrap();
    let mut checkpointer = Checkpointer::open(&path).unwrap();
    handle.hold_writes(TIMEOUT).unwrap();
    let (points, states) = records(folder);
    let mut state = handle.prove(&points).unwrap().map_or(0, |index| states[index]);
    let mut file = File::options().append(true).create(true).open(folder.join("records")).unwrap();
    let parent = std::os::unix::process::parent_id();
    // An orphan ends by itself.
    while std::os::unix::process::parent_id() == parent {
        let at = handle.published().unwrap().point;
        if at.frame == 0 || at.frame > CAP {
            checkpointer.passive().unwrap();
            let record_both = &mut |points: &[WalPoint; 2]| {
                points.iter().for_each(|point| record(&mut file, point, state));
                Ok(())
            };
            handle.reset(&at, record_both).unwrap();
            if at.frame == 0 {
                continue;
            }
        }
        let next = (state + 1) % STATES;
        let record_next = &mut |point: &WalPoint| {
            record(&mut file, point, next);
            Ok(())
        };
        handle.inject(&mut groups[next].source(), groups[next].db_size, record_next).unwrap();
        state = next;
    }
    std::process::exit(1)
}

/// A process that dies with its owner.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn start(folder: &Path) -> Killed {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Killed(child)
}

/// Waits until the follower has come further, and then a little, another time in every round.
fn let_it_work(child: &mut Child, folder: &Path, round: u64) {
    let records = folder.join("records");
    let length = || std::fs::metadata(&records).map_or(0, |meta| meta.len());
    let before = length();
    for _ in 0..20_000 {
        if length() > before + 300 {
            std::thread::sleep(Duration::from_micros(round * 3779 % 23_000));
            return;
        }
        assert_eq!(child.try_wait().unwrap(), None, "the follower gave up");
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the follower does not come further");
}

/// The pages of every state.
fn model(groups: &[Group]) -> Vec<Vec<Vec<u8>>> {
    let mut pages: Vec<Vec<u8>> = Vec::new();
    groups
        .iter()
        .map(|group| {
            pages.resize(group.db_size as usize, vec![0; 1024]);
            for (number, bytes) in &group.pages {
                pages[number.get() as usize - 1].clone_from(bytes);
            }
            pages.clone()
        })
        .collect()
}

fn check(folder: &Path, path: &Path, model: &[Vec<Vec<u8>>]) {
    let mut handle = WalHandle::open(path).unwrap();
    let (points, states) = records(folder);
    let proven = handle.prove(&points).unwrap().expect("some boundary is proven");
    let published = handle.published().unwrap().point;
    // Every boundary was recorded before it could be seen, so nothing stands behind the proven one.
    assert_eq!((points[proven].salts, points[proven].frame), (published.salts, published.frame));
    let mut snapshot = crate::sqlite::Snapshot::open(path).unwrap();
    let mut pages = Vec::new();
    snapshot
        .for_each_page(|_, bytes| {
            pages.push(bytes.to_vec());
            Ok(())
        })
        .unwrap();
    assert!(pages == model[states[proven]], "the database is not state {}", states[proven]);
    drop((snapshot, handle));
    assert_eq!(integrity(path), "ok");
    assert_eq!(number(&connect(path), "SELECT n FROM s"), states[proven] as i64);
}

fn observe(path: &Path) -> (Connection, i64) {
    let conn = connect(path);
    conn.execute_batch("BEGIN").unwrap();
    let seen = number(&conn, "SELECT n * 1000000000 + (SELECT sum(length(v)) FROM t) FROM s");
    (conn, seen)
}

#[test]
fn a_killed_follower_is_at_the_boundary_that_its_wal_proves() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        follow(Path::new(&folder));
    }
    let (Pair { dir, follower, leader, writer }, groups) = make_groups();
    let path = follower.path.clone();
    drop((follower, leader, writer));
    save(&groups, dir.path());
    let model = model(&groups);
    let mut start_record = File::create(dir.path().join("records")).unwrap();
    let mut handle = WalHandle::open(&path).unwrap();
    record(&mut start_record, &handle.published().unwrap().point, 0);
    drop(handle);
    for round in 0..ROUNDS {
        // With nobody connected, the next to open recovers; else the shared memory is believed.
        let observer = (round % 3 != 0).then(|| connect(&path));
        let mut child = start(dir.path());
        let_it_work(&mut child.0, dir.path(), round);
        let pinned = (round % 3 == 2).then(|| observe(&path));
        if pinned.is_some() {
            std::thread::sleep(Duration::from_millis(3));
        }
        drop(child);
        check(dir.path(), &path, &model);
        if let Some((conn, seen)) = pinned {
            assert_eq!(
                number(&conn, "SELECT n * 1000000000 + (SELECT sum(length(v)) FROM t) FROM s"),
                seen,
                "an open snapshot never moves"
            );
        }
        drop(observer);
    }
}
