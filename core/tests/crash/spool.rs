//! A leader that is killed while the bucket takes no slots, and what becomes of its spool.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::Process;
use crate::support::{
    PATIENCE, Site, beside, cut_slots, eventually, has_all, insert, is_whole, leads, mend_slots,
    no_duplicates, rows_in_tail, rows_of,
};

/// A leader that was killed in an outage with rows in its spool and some in its WAL only; what it had
/// acknowledged in the outage, from row 1 on. Row 0 is confirmed.
fn killed_in_an_outage(site: &Site) -> Vec<i64> {
    let settings = crate::child::Settings { wal_cap: Some(1 << 20), ..site.settings("a") };
    let mut leader = Process::start(&settings, None);
    leader.wait_for("open");
    let bookmark = leader.ask("write 0 1 3000", "acked 0");
    let slot = u64::from_str_radix(bookmark.rsplit('-').next().unwrap(), 16).unwrap();
    eventually("row 0 is in the log", || site.slots().contains(&slot));
    cut_slots(&site.path("bucket"));
    leader.ask("write 1 20 20000", "written");
    // However fast the rows came: they are in three slots at least, and some in none.
    for (count, numbers) in [(1, "20 40"), (2, "40 60"), (3, "60 62")] {
        eventually("a slot is spooled", || spooled(site).len() >= count);
        leader.ask(&format!("write {numbers} 20000"), "written");
    }
    leader.kill();
    assert!(spooled(site).len() > 2, "{:?}", spooled(site));
    mend_slots(&site.path("bucket"));
    let acked: Vec<i64> = leader.numbers("acked").into_iter().filter(|n| *n > 0).collect();
    assert_eq!(acked.len(), 61);
    acked
}

fn spooled(site: &Site) -> Vec<PathBuf> {
    let folder = beside(&site.database("a"), "-haqlite").join("spool");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn what_a_killed_leader_had_spooled_is_shipped_when_it_comes_back() {
    let site = Site::patient();
    let acked = killed_in_an_outage(&site);
    let again = site.open("a");
    is_whole(&again);
    has_all(&rows_of(&again), &acked, "acknowledged");
    assert_eq!(again.status().lost_tails, [] as [PathBuf; 0]);
    assert_eq!(spooled(&site), [] as [PathBuf; 0]);
    again.close_blocking().unwrap();
    drop(again);
    site.is_the_log("a");
}

#[test]
fn what_a_killed_leader_had_spooled_is_saved_when_another_has_led_meanwhile() {
    let site = Site::with_ttl(Duration::from_secs(8));
    let acked = killed_in_an_outage(&site);
    let second = site.open("b");
    eventually("the other node leads", || leads(&second));
    let of_second = insert(&second, 900, 100).unwrap();
    second.wait_durable_blocking(&of_second, PATIENCE).unwrap();
    let again = site.open("a");
    again.wait_for_blocking(&of_second, PATIENCE).unwrap();
    is_whole(&again);
    assert_eq!(rows_of(&again), rows_of(&second));
    let tails = again.status().lost_tails;
    assert_eq!(tails.len(), 1, "{tails:?}");
    let saved: BTreeSet<i64> = rows_in_tail(&tails[0]).into_iter().collect();
    assert!(acked.iter().all(|n| saved.contains(n)), "saved are only {saved:?}");
    assert_eq!(spooled(&site), [] as [PathBuf; 0]);
    again.close_blocking().unwrap();
    second.close_blocking().unwrap();
    drop((again, second));
    site.is_the_log("b");
    site.is_at_the_end("a");
}

/// What befalls the disk, and whether the frames of the WAL are among it: then what nothing else holds is gone.
type Damage = (&'static str, fn(&Site), bool);

const DAMAGES: [Damage; 7] = [
    ("a bit of a spooled slot is flipped", |site| flip(&spooled(site)[1]), false),
    ("a spooled slot is gone", |site| std::fs::remove_file(spooled(site).last().unwrap()).unwrap(), false),
    ("the first spooled slot is gone", |site| std::fs::remove_file(&spooled(site)[0]).unwrap(), false),
    (
        "the whole spool is gone",
        |site| spooled(site).iter().for_each(|f| std::fs::remove_file(f).unwrap()),
        false,
    ),
    ("the WAL is gone", |site| std::fs::remove_file(wal(site)).unwrap(), true),
    ("the WAL was cut after a few frames", |site| cut_to(&wal(site), 32 + 5 * 4120), true),
    ("the journal was cut", |site| cut_to(&journal(site), 96 * 3), true),
];

fn wal(site: &Site) -> PathBuf {
    beside(&site.database("a"), "-wal")
}

fn journal(site: &Site) -> PathBuf {
    beside(&site.database("a"), "-haqlite").join("journal")
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn cut_to(path: &Path, bytes: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    assert!(file.metadata().unwrap().len() > bytes);
    file.set_len(bytes).unwrap();
}

#[test]
fn whatever_is_damaged_of_a_spool_the_node_becomes_the_log_and_the_rest_is_saved() {
    for (what, damage, takes_frames) in DAMAGES {
        let site = Site::patient();
        let acked = killed_in_an_outage(&site);
        let in_files: BTreeSet<i64> = spooled(&site).iter().flat_map(|file| rows_in_tail(file)).collect();
        damage(&site);
        let again = site.try_open("a").unwrap_or_else(|error| panic!("{what}: {error}"));
        is_whole(&again);
        let rows = rows_of(&again);
        no_duplicates(&rows);
        assert!(rows.contains_key(&0), "{what}: a confirmed row is gone");
        let saved: BTreeSet<i64> =
            again.status().lost_tails.iter().flat_map(|tail| rows_in_tail_if_whole(tail)).collect();
        let expected = acked.iter().filter(|n| !takes_frames || in_files.contains(n));
        let gone: Vec<&i64> = expected.filter(|n| !rows.contains_key(n) && !saved.contains(n)).collect();
        assert!(gone.is_empty(), "{what}: acknowledged and nowhere: {gone:?}");
        let last = insert(&again, 999, 100).unwrap();
        again.wait_durable_blocking(&last, PATIENCE).unwrap();
        assert_eq!(spooled(&site), [] as [PathBuf; 0], "{what}");
        again.close_blocking().unwrap();
        drop(again);
        site.is_the_log("a");
    }
}

/// A damaged slot is kept as it is.
fn rows_in_tail_if_whole(tail: &Path) -> Vec<i64> {
    let whole = haqlite::ltx::Decoder::new(std::fs::File::open(tail).unwrap()).and_then(|d| d.finish());
    if whole.is_ok() { rows_in_tail(tail) } else { Vec::new() }
}
