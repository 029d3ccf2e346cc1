//! kill -9 of a leader that cannot reach its bucket and ships through a follower.

use std::time::Duration;

use crate::child::Settings;
use crate::process::Process;
use crate::support::{
    PATIENCE, Site, eventually, has_all, insert, is_whole, leads, no_duplicates, rows_in_tail, rows_of,
};

#[test]
fn a_leader_killed_while_it_hands_over_loses_nothing_that_it_does_not_report() {
    for after in [0, 10, 40, 150] {
        killed_so_long_after_the_first_slot(Duration::from_millis(after));
    }
}

fn killed_so_long_after_the_first_slot(after: Duration) {
    let site = Site::new();
    let cut = site.path("cut");
    let settings = Settings { cut: Some(cut.to_str().unwrap().to_owned()), ..site.settings("a") };
    let mut first = Process::start(&settings, None);
    first.wait_for("open");
    let second = site.open("b");
    first.tell("loop 0");
    first.wait_for("confirmed 20");
    std::fs::write(&cut, "").unwrap();
    // What was on its way when the bucket failed.
    std::thread::sleep(Duration::from_millis(500));
    let slots = site.slots().len();
    eventually("a slot goes through the follower", || site.slots().len() > slots);
    std::thread::sleep(after);
    first.kill();
    eventually("the follower leads", || leads(&second));
    insert(&second, -1, 100).unwrap();

    let again = site.open("a");
    let last = insert(&second, -2, 100).unwrap();
    again.wait_for_blocking(&last, PATIENCE).unwrap();
    let rows = rows_of(&second);
    assert_eq!(rows_of(&again), rows);
    no_duplicates(&rows);
    has_all(&rows, &first.numbers("confirmed"), "confirmed");
    let tails: Vec<i64> = again.status().lost_tails.iter().flat_map(|tail| rows_in_tail(tail)).collect();
    let acknowledged = first.numbers("acked");
    let gone: Vec<&i64> =
        acknowledged.iter().filter(|n| !rows.contains_key(n) && !tails.contains(n)).collect();
    assert!(gone.is_empty(), "acknowledged, lost and not saved: {gone:?}");
    for node in [&again, &second] {
        is_whole(node);
        node.close_blocking().unwrap();
    }
    drop((again, second));
    site.is_the_log("b");
}
