use std::process::Command;

use crate::support::{
    NEVER, PATIENCE, Site, beside, has_all, insert, insert_all, is_whole, no_duplicates, rows_in_tail,
    rows_of,
};

/// What another SQLite makes of the file: it is the last to close it, so the WAL goes into the main file and
/// is deleted.
fn sqlite3(site: &Site, node: &str, sql: &str) -> String {
    let out = Command::new("sqlite3").arg(site.database(node)).arg(sql).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_foreign_sqlite_that_swallows_the_wal_of_a_killed_leader_loses_no_acknowledged_row() {
    let site = Site::new();
    let mut settings = site.settings("a");
    settings.ship_ms = u64::try_from(NEVER.as_millis()).unwrap();
    let db = site.open("a");
    let confirmed: Vec<i64> = (0..20).collect();
    let last = insert_all(&db, 0..20, 2000);
    db.wait_durable_blocking(&last, PATIENCE).unwrap();
    db.close_blocking().unwrap();
    drop(db);
    let mut leader = crate::process::Process::start(&settings, None);
    leader.wait_for("open");
    leader.ask("write 100 140 2000", "written");
    leader.kill();

    assert_eq!(sqlite3(&site, "a", "SELECT count(*) FROM w"), "60");
    assert!(!beside(&site.database("a"), "-wal").exists(), "the WAL was to be deleted");
    let db = site.open("a");
    is_whole(&db);
    let rows = rows_of(&db);
    has_all(&rows, &confirmed, "confirmed");
    no_duplicates(&rows);
    let tails = db.status().lost_tails;
    let saved: Vec<i64> = tails.iter().flat_map(|tail| rows_in_tail(tail)).collect();
    for n in leader.numbers("acked") {
        assert!(rows.contains_key(&n) || saved.contains(&n), "row {n} is neither here nor saved");
    }
    insert(&db, 999, 100).unwrap();
    db.close_blocking().unwrap();
    drop(db);
    site.is_the_log("a");
}

#[test]
fn a_foreign_sqlite_that_reads_a_living_leader_disturbs_nothing() {
    let site = Site::new();
    let db = site.open("a");
    let reader = |n: i64| {
        insert(&db, n, 2000).unwrap();
        sqlite3(&site, "a", "SELECT count(*) FROM w")
    };
    let counts: Vec<String> = (0..10).map(reader).collect();
    assert_eq!(counts, (1..=10).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(beside(&site.database("a"), "-wal").exists());
    db.close_blocking().unwrap();
    drop(db);
    site.is_the_log("a");
}

#[test]
fn rows_that_a_foreign_sqlite_wrote_into_a_closed_database_are_saved_and_undone_or_shipped() {
    let site = Site::new();
    let db = site.open("a");
    insert_all(&db, 0..10, 100);
    db.close_blocking().unwrap();
    drop(db);
    sqlite3(&site, "a", "INSERT INTO w VALUES (77, '<row 000000000077>', x'')");
    let db = site.open("a");
    is_whole(&db);
    let rows = rows_of(&db);
    has_all(&rows, &(0..10).collect::<Vec<i64>>(), "confirmed");
    let saved: Vec<i64> = db.status().lost_tails.iter().flat_map(|tail| rows_in_tail(tail)).collect();
    assert!(rows.contains_key(&77) != saved.contains(&77), "here: {rows:?}, saved: {saved:?}");
    db.close_blocking().unwrap();
    drop(db);
    site.is_the_log("a");
}
