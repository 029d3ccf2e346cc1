//! A leader whose process is stopped past its lease, and goes on as if nothing had been.

use std::time::Duration;

use haqlite::HaQLite;

use crate::process::{Process, numbers};
use crate::support::{
    PATIENCE, Site, eventually, has_all, insert, insert_all, is_whole, leads, no_duplicates, rows_in_tail,
    rows_of,
};

/// A leader in another process, and a follower here.
fn pair() -> (Site, Process, HaQLite) {
    let site = Site::new();
    let first = site.start("a");
    let second = site.open("b");
    (site, first, second)
}

/// Both are the log and have the same rows; gives these.
#[track_caller]
fn both_are_the_log(
    site: &Site,
    mut first: Process,
    second: HaQLite,
) -> std::collections::BTreeMap<i64, u32> {
    first.kill();
    let first = site.open("a");
    eventually("one of them leads", || leads(&first) || leads(&second));
    let last = insert(&second, -1, 100).unwrap();
    for node in [&first, &second] {
        node.wait_for_blocking(&last, PATIENCE).unwrap();
        is_whole(node);
    }
    let rows = rows_of(&second);
    assert_eq!(rows_of(&first), rows);
    no_duplicates(&rows);
    first.close_blocking().unwrap();
    second.close_blocking().unwrap();
    drop((first, second));
    site.is_the_log("b");
    rows
}

#[test]
fn a_leader_that_was_stopped_past_its_lease_acknowledges_only_what_the_new_leader_has() {
    let (site, mut first, second) = pair();
    first.tell("loop 0");
    first.wait_for("acked 20");
    first.stop();
    eventually("the other node leads", || leads(&second));
    let last = insert_all(&second, 100_000..100_020, 100);
    second.wait_durable_blocking(&last, PATIENCE).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let before = first.said().len();
    first.go_on();
    eventually("its writes are acknowledged again", || numbers(&first.said()[before..], "acked").len() > 20);
    assert_eq!(first.ask("role", "role"), "role Follower");

    let said = first.said();
    let (early, late) = (numbers(&said[..before], "acked"), numbers(&said[before..], "acked"));
    let confirmed = first.numbers("confirmed");
    first.kill();
    let tails: Vec<i64> = {
        let again = site.open("a");
        let tails = again.status().lost_tails;
        again.close_blocking().unwrap();
        tails.iter().flat_map(|tail| rows_in_tail(tail)).collect()
    };
    let rows = both_are_the_log(&site, first, second);
    has_all(&rows, &late, "acknowledged after the stop:");
    has_all(&rows, &confirmed, "confirmed");
    has_all(&rows, &(100_000..100_020).collect::<Vec<i64>>(), "the new leader's");
    let gone: Vec<&i64> = early.iter().filter(|n| !rows.contains_key(n) && !tails.contains(n)).collect();
    assert!(gone.is_empty(), "acknowledged, lost and not saved: {gone:?}");
    let refused = |line: &&String| line.starts_with("failed") && line.contains(" NotCommitted ");
    for line in said.iter().filter(refused) {
        let n: i64 = line.split(' ').nth(1).unwrap().parse().unwrap_or(-2);
        assert!(!rows.contains_key(&n), "{line}, and it is there");
    }
}

#[test]
fn a_vacuum_that_a_stopped_leader_finishes_after_its_lease_is_not_acknowledged() {
    let (site, mut first, second) = pair();
    first.ask("write 0 40 400000", "written");
    let confirmed = first.ask("write 40 41 100", "acked 40");
    let bookmark = confirmed.rsplit(' ').next().unwrap().parse().unwrap();
    second.wait_for_blocking(&bookmark, PATIENCE).unwrap();
    first.ask("sql DELETE FROM w WHERE n % 2 = 0", "done");
    // In the middle of it, or before it: both have to end in the same.
    first.tell("sql VACUUM");
    std::thread::sleep(Duration::from_millis(15));
    first.stop();
    std::thread::sleep(Duration::from_millis(50));
    let before = first.said().len();
    let in_time = first.said().iter().filter(|line| *line == "done").count() == 2;
    eventually("the other node leads", || leads(&second));
    let last = insert_all(&second, 100..120, 100);
    second.wait_durable_blocking(&last, PATIENCE).unwrap();
    first.go_on();
    if !in_time {
        let verdict = first.wait_after(before, "failed sql");
        assert!(!verdict.contains(" Committed "), "{verdict}");
    }
    eventually("it follows", || first.ask("role", "role") == "role Follower");
    let rows = both_are_the_log(&site, first, second);
    has_all(&rows, &(100..120).collect::<Vec<i64>>(), "the new leader's");
}

#[test]
fn a_vacuum_that_is_asked_of_a_leader_whose_lease_is_over_is_not_acknowledged() {
    let (site, mut first, second) = pair();
    first.ask("write 0 20 40000", "written");
    eventually("all is shipped", || rows_of(&second).len() == 20);
    first.stop();
    first.tell("sql VACUUM");
    eventually("the other node leads", || leads(&second));
    let last = insert_all(&second, 100..120, 100);
    second.wait_durable_blocking(&last, PATIENCE).unwrap();
    let before = first.said().len();
    first.go_on();
    // It is the new leader's to run, and cannot run with its request's id in one transaction.
    let verdict = first.wait_after(before, "failed sql");
    assert!(!verdict.contains(" Committed "), "{verdict}");
    eventually("it follows", || first.ask("role", "role") == "role Follower");
    let rows = both_are_the_log(&site, first, second);
    has_all(&rows, (0..20).chain(100..120).collect::<Vec<i64>>().iter(), "confirmed");
}
