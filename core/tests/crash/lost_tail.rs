use std::path::Path;

use haqlite::{Event, HaQLite};

use crate::process::Process;
use crate::support::{
    NEVER, PATIENCE, SHIP, Site, builder, eventually, has_all, insert, insert_all, is_whole, leads,
    no_duplicates, rows_in_tail, rows_of,
};

/// A leader that never ships, in another process, and a follower here.
fn cut_off() -> (Site, Process, HaQLite) {
    let site = Site::new();
    // The schema has to be in the log.
    let first = site.open("a");
    first.wait_durable_blocking(&insert(&first, 500, 100).unwrap(), PATIENCE).unwrap();
    first.close_blocking().unwrap();
    drop(first);
    let mut settings = site.settings("a");
    settings.ship_ms = u64::try_from(NEVER.as_millis()).unwrap();
    let first = Process::start(&settings, None);
    first.wait_for("open");
    let second = builder(&site.bucket(), "b", SHIP, crate::support::TTL)
        .open_blocking(site.database("b"), "")
        .unwrap();
    (site, first, second)
}

/// The other node takes over and writes.
fn take_over(second: &HaQLite) {
    eventually("the other node leads", || leads(second));
    let last = insert_all(second, 100..130, 500);
    second.wait_durable_blocking(&last, PATIENCE).unwrap();
}

#[test]
fn a_diverged_tail_is_saved_and_undone_and_the_node_is_the_log_again() {
    let (site, mut first, second) = cut_off();
    first.ask("write 0 40 500", "written");
    insert(&second, 50, 100).unwrap();
    first.kill();
    take_over(&second);
    let lost: Vec<i64> = first.numbers("acked").into_iter().chain([50]).collect();
    assert_eq!(lost.len(), 41);

    let first = site.open("a");
    // It was found lost while the database opened: the first who listens is told.
    let (tell, told) = std::sync::mpsc::channel();
    let _subscription = first.subscribe(move |event| tell.send(event).unwrap()).unwrap();
    let report = told.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(&report, Event::TailLost { request_ids, .. } if request_ids.len() == 1), "{report:?}");
    is_whole(&first);
    first.wait_for_blocking(&insert(&second, 131, 100).unwrap(), PATIENCE).unwrap();
    let rows = rows_of(&first);
    assert_eq!(rows, rows_of(&second));
    has_all(&rows, (100..130).chain([131, 500]).collect::<Vec<i64>>().iter(), "confirmed");
    no_duplicates(&rows);
    assert!(lost.iter().all(|n| !rows.contains_key(n)), "a mixture: {rows:?}");

    let status = first.status();
    assert_eq!(status.lost_tails.len(), 1, "{status:?}");
    let name = status.lost_tails[0].file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("a.db.lost-") && name.ends_with(".ltx"), "{name}");
    let saved = rows_in_tail(&status.lost_tails[0]);
    assert!(lost.iter().all(|n| saved.contains(n)), "saved are only {saved:?}");
    first.close_blocking().unwrap();
    second.close_blocking().unwrap();
    drop((first, second));
    site.is_the_log("b");
}

#[test]
fn the_report_of_a_lost_tail_names_the_file_the_slots_and_the_forwarded_requests() {
    let (site, mut first, second) = cut_off();
    let before = second.position().txid;
    insert(&second, 50, 100).unwrap();
    first.ask("write 0 5 500", "written");
    first.stop();
    take_over(&second);
    first.go_on();

    let report = first.wait_for("lost");
    let words: Vec<&str> = report.split(' ').collect();
    let [_, path, from, to, ids] = words[..] else { panic!("{report}") };
    let saved = rows_in_tail(Path::new(path));
    assert!((0..5).chain([50]).all(|n| saved.contains(&n)), "saved are only {saved:?}");
    assert_eq!(from, before.to_string());
    assert!(to.parse::<u64>().unwrap() > before.get(), "{report}");
    let pages = pages_of(Path::new(path));
    let ids: Vec<&str> = ids.split(',').collect();
    assert_eq!(ids.len(), 1, "one write was forwarded: {report}");
    assert!(ids[0].len() == 32 && pages.contains(ids[0]), "{report}");

    first.ask("write 200 201 100", "written");
    assert_eq!(first.numbers("acked").last(), Some(&200), "it forwards");
    first.tell("drop");
    first.wait();
    second.close_blocking().unwrap();
    drop(second);
    site.is_the_log("b");
}

fn pages_of(tail: &Path) -> String {
    let mut decoder = haqlite::ltx::Decoder::new(std::fs::File::open(tail).unwrap()).unwrap();
    let (mut text, mut data) = (String::new(), Vec::new());
    while decoder.next_page(&mut data).unwrap().is_some() {
        text.push_str(&String::from_utf8_lossy(&data));
    }
    text
}
