use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use haqlite::bucket::{Call, Fault};
use haqlite::{CoordinatorConfig, HaQLite, ReadOptions, Role};
use rusqlite::Connection;

use crate::support::{SCHEMA, count, eventually, insert, leads};
use crate::world::{World, config};

const SOON: Duration = Duration::from_secs(10);

fn number(db: &HaQLite, sql: &str) -> i64 {
    db.query_row_local(sql, &[], |row| row.get(0)).unwrap()
}

/// Closes both at the same position, and compares their files page by page.
fn same_bytes(world: World, leader: HaQLite, follower: HaQLite) {
    let bookmark = leader.execute("INSERT INTO t (v) VALUES ('last')", &[]).unwrap().bookmark;
    follower.wait_for_blocking(&bookmark, SOON).unwrap();
    leader.wait_durable_blocking(&bookmark, SOON).unwrap();
    assert_eq!(leader.position(), follower.position());
    let (a, b) = (world.path("a"), world.path("b"));
    // The follower first, so that it does not take over.
    follower.close_blocking().unwrap();
    leader.close_blocking().unwrap();
    for path in [&a, &b] {
        let connection = Connection::open(path).unwrap();
        let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    }
    let (left, right) = (std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
    assert_eq!(left.len(), right.len());
    let differing: Vec<usize> = left
        .chunks(512)
        .zip(right.chunks(512))
        .enumerate()
        .filter(|(_, (l, r))| l != r)
        .map(|(i, _)| i)
        .collect();
    assert!(differing.is_empty(), "blocks of 512 bytes that differ: {differing:?}");
    world.end([]);
}

#[test]
fn readers_on_a_follower_see_whole_transactions_in_their_order() {
    const BANK: &str =
        "CREATE TABLE IF NOT EXISTS bank (id INTEGER PRIMARY KEY, money INTEGER, round INTEGER);
        CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v TEXT);";
    let world = World::new();
    let a = world.node("a").open_blocking(world.path("a"), BANK).unwrap();
    for id in 1..=200 {
        a.execute("INSERT INTO bank VALUES (?1, 100, 0)", &[id.into()]).unwrap();
    }
    let b = world.node("b").open_blocking(world.path("b"), BANK).unwrap();
    let start = a.execute("UPDATE bank SET round = 0", &[]).unwrap().bookmark;
    b.wait_for_blocking(&start, SOON).unwrap();
    let done = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut rounds = vec![0];
                    while !done.load(Ordering::Relaxed) {
                        let rows = b
                            .query("SELECT sum(money), min(round), max(round), count(*) FROM bank", &[])
                            .unwrap();
                        let row = &rows.rows[0];
                        assert_eq!(row.get::<i64>(0).unwrap(), 20_000, "the total");
                        let round: i64 = row.get(1).unwrap();
                        assert_eq!(round, row.get::<i64>(2).unwrap(), "half a transaction");
                        assert_eq!(row.get::<i64>(3).unwrap(), 200);
                        assert!(round >= *rounds.last().unwrap(), "time goes back");
                        rounds.push(round);
                    }
                    rounds.dedup();
                    rounds.len()
                })
            })
            .collect();
        let mut last = start;
        for round in 1..=120_i64 {
            last = a
                .transaction(|tx| {
                    tx.execute(
                        "UPDATE bank SET money = money - ?1 WHERE id = 1 + ?1 % 200",
                        &[round.into()],
                    )?;
                    tx.execute(
                        "UPDATE bank SET money = money + ?1 WHERE id = 1 + (?1 + 7) % 200",
                        &[round.into()],
                    )?;
                    tx.execute("UPDATE bank SET round = ?1", &[round.into()])
                })
                .unwrap()
                .bookmark;
            thread::sleep(Duration::from_millis(8));
        }
        b.wait_for_blocking(&last, SOON).unwrap();
        done.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).min().unwrap()
    });
    assert!(seen > 5, "the readers saw only {seen} states");
    same_bytes(world, a, b);
}

#[test]
fn a_follower_that_is_far_behind_catches_up_in_groups() {
    let world = World::new();
    let a = world.open("a");
    let (b, road, _) = world.open_exposed("b");
    road.weather(|call| if matches!(call, Call::Get { .. }) { Fault::Refuse } else { Fault::None });
    for i in 0..60 {
        let bookmark = insert(&a, &i.to_string()).bookmark;
        a.wait_durable_blocking(&bookmark, SOON).unwrap();
    }
    assert_eq!(count(&b), 0);
    assert!(world.slots().len() > 60);
    road.clear();
    eventually("b has caught up", || count(&b) == 60);
    same_bytes(world, a, b);
}

#[test]
fn a_reader_that_stays_keeps_its_snapshot_and_the_wal_becomes_small_after_it() {
    let world = World::new();
    let a = world.open("a");
    let small = CoordinatorConfig { wal_cap_bytes: 2 << 20, ..config("b") };
    let b = world.node("b").coordinator_config(small).open_blocking(world.path("b"), SCHEMA).unwrap();
    insert(&a, "first");
    let first = insert(&a, "second").bookmark;
    b.wait_for_blocking(&first, SOON).unwrap();
    let mut cursor = b.query_iter("SELECT v FROM t ORDER BY id", &[], ReadOptions::default()).unwrap();
    assert_eq!(cursor.next_page(1).unwrap().len(), 1);
    let text = "x".repeat(100_000);
    let mut last = first;
    for _ in 0..30 {
        last = a.execute("INSERT INTO t (v) VALUES (?1)", &[text.as_str().into()]).unwrap().bookmark;
        a.wait_durable_blocking(&last, SOON).unwrap();
    }
    assert!(b.wait_for_blocking(&last, Duration::from_millis(1500)).is_err(), "the WAL has a limit");
    let rows = cursor.next_page(100).unwrap();
    assert_eq!(rows.len(), 1, "the reader's own moment");
    drop(cursor);
    b.wait_for_blocking(&last, SOON).unwrap();
    assert_eq!(count(&b), 32);
    same_bytes(world, a, b);
}

#[test]
fn schema_changes_and_a_vacuum_reach_followers() {
    let world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    let text = "y".repeat(3000);
    a.batch(&vec![haqlite::Statement::new("INSERT INTO t (v) VALUES (?1)", &[text.as_str().into()]); 200])
        .unwrap();
    a.execute("CREATE TABLE extra (k TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID", &[]).unwrap();
    a.execute("CREATE INDEX by_v ON t (v)", &[]).unwrap();
    let made = a.execute("INSERT INTO extra VALUES ('k', 1)", &[]).unwrap().bookmark;
    b.wait_for_blocking(&made, SOON).unwrap();
    assert_eq!(number(&b, "SELECT n FROM extra"), 1);
    let before = number(&b, "PRAGMA page_count");
    a.execute("DELETE FROM t WHERE id > 3", &[]).unwrap();
    a.execute("ALTER TABLE extra ADD COLUMN more TEXT DEFAULT 'm'", &[]).unwrap();
    let vacuumed = a.execute("VACUUM", &[]).unwrap().bookmark;
    b.wait_for_blocking(&vacuumed, SOON).unwrap();
    assert!(number(&b, "PRAGMA page_count") < before / 10);
    assert_eq!(number(&b, "SELECT count(*) FROM extra WHERE more = 'm'"), 1);
    a.batch(&vec![haqlite::Statement::new("INSERT INTO t (v) VALUES (?1)", &[text.as_str().into()]); 100])
        .unwrap();
    same_bytes(world, a, b);
}

#[test]
fn every_page_size_and_auto_vacuum_are_followed() {
    for (page_size, auto_vacuum) in [(512, 0), (65536, 0), (1024, 1), (4096, 2)] {
        let world = World::new();
        let base = Connection::open(world.path("a")).unwrap();
        base.pragma_update(None, "page_size", page_size).unwrap();
        base.pragma_update(None, "auto_vacuum", auto_vacuum).unwrap();
        base.execute_batch(SCHEMA).unwrap();
        base.execute_batch("INSERT INTO t (v) VALUES ('from the application')").unwrap();
        drop(base);
        let (a, b) = (world.open("a"), world.open("b"));
        assert_eq!(number(&b, "PRAGMA page_size"), i64::from(page_size));
        assert_eq!(number(&b, "PRAGMA auto_vacuum"), i64::from(auto_vacuum));
        for i in 0..20 {
            let text = i.to_string().repeat(3000);
            a.execute("INSERT INTO t (v) VALUES (?1)", &[text.as_str().into()]).unwrap();
        }
        let shrunk = a.execute("DELETE FROM t WHERE id BETWEEN 3 AND 18", &[]).unwrap().bookmark;
        b.wait_for_blocking(&shrunk, SOON).unwrap();
        if auto_vacuum == 2 {
            a.execute("PRAGMA incremental_vacuum", &[]).unwrap();
        }
        insert(&a, "more");
        same_bytes(world, a, b);
    }
}

#[test]
fn a_late_joiner_restores_and_a_node_that_was_away_catches_up() {
    let world = World::new();
    let (a, b) = (world.open("a"), world.open("b"));
    let one = insert(&a, "one").bookmark;
    b.wait_for_blocking(&one, SOON).unwrap();
    b.close_blocking().unwrap();
    drop(b);
    for i in 0..10 {
        insert(&a, &i.to_string());
    }
    let last = insert(&a, "last").bookmark;
    a.wait_durable_blocking(&last, SOON).unwrap();
    let (b, c) = (world.open("b"), world.open("c"));
    assert_eq!((b.role(), count(&b)), (Role::Follower, 12));
    assert_eq!((c.role(), count(&c)), (Role::Follower, 12));
    assert!(b.status().lost_tails.is_empty() && c.status().lost_tails.is_empty());
    a.close_blocking().unwrap();
    eventually("one of them leads", || leads(&b) || leads(&c));
    insert(&c, "through c");
    c.close_blocking().unwrap();
    eventually("b has it", || leads(&b) && count(&b) == 13);
    world.end([b]);
}
