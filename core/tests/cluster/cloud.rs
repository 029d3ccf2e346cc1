//! Durability::Cloud: what is acknowledged is in the log, and writers share its slots.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use haqlite::bucket::{Body, Bucket, Fault, PutMode, PutOptions};
use haqlite::ltx::{Encoder, Header, Origin};
use haqlite::types::{PageNumber, SessionId, Txid};
use haqlite::{
    Bookmark, Builder, Durability, ErrorKind, HaQLite, LocalReads, Outcome, ReadOptions, Statement, TxMode,
};

use crate::support::{SCHEMA, count, eventually, insert, leads};
use crate::world::{Road, Way, World, puts_slot, slot_key};

const PUT: Duration = Duration::from_millis(50);

fn cloud(world: &World, name: &str, road: &Road) -> Builder {
    world.exposed(name, road, &world.leases.way()).durability(Durability::Cloud)
}

/// A node whose every slot takes 50 ms.
fn slow(world: &World, name: &str) -> (HaQLite, Road) {
    let road = world.road();
    let db = cloud(world, name, &road).open_blocking(world.path(name), SCHEMA).unwrap();
    road.weather(|call| if puts_slot(call) { Fault::Delay(PUT) } else { Fault::None });
    (db, road)
}

#[test]
fn writers_at_one_time_share_slots_and_each_hears_of_its_own() {
    const WRITERS: usize = 64;
    const EACH: usize = 6;
    let world = World::new();
    let (db, _road) = slow(&world, "a");
    let before = db.position().txid.get();
    let together = Barrier::new(WRITERS);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (db, together) = (&db, &together);
            scope.spawn(move || {
                together.wait();
                for n in 0..EACH {
                    let done = insert(db, &format!("{writer}-{n}"));
                    assert!(db.position().txid >= done.bookmark.txid, "acknowledged and not confirmed");
                }
            });
        }
    });
    let slots = db.position().txid.get() - before;
    let commits = (WRITERS * EACH) as u64;
    assert!(slots * 20 <= commits, "{commits} commits took {slots} slots");
    assert_eq!(world.restored_texts().len() as u64, commits);
    world.end([db]);
}

/// Fails unless the log held it when the caller heard of it.
#[track_caller]
fn confirmed(db: &HaQLite, bookmark: Bookmark) {
    assert!(db.position().txid >= bookmark.txid, "{bookmark} was given and is not confirmed");
}

#[test]
fn whatever_commits_is_in_the_log_when_it_returns() {
    let world = World::new();
    let (db, _road) = slow(&world, "a");
    confirmed(&db, insert(&db, "execute").bookmark);
    let (result, rows) =
        db.execute_returning("INSERT INTO t (v) VALUES ('returning') RETURNING id", &[]).unwrap();
    confirmed(&db, result.bookmark);
    assert_eq!(rows.len(), 1);
    let batch = [
        Statement::from("INSERT INTO t (v) VALUES ('batch 1')"),
        Statement::from("DELETE FROM t WHERE id < 0"),
    ];
    confirmed(&db, db.batch(&batch).unwrap().bookmark);
    let before = db.position().txid;
    db.transaction(|tx| tx.execute("INSERT INTO t (v) VALUES ('transaction')", &[])).unwrap();
    assert!(db.position().txid > before);
    let mut transaction = db.begin(TxMode::Immediate).unwrap();
    let inside = transaction.execute("INSERT INTO t (v) VALUES ('begun')", &[]).unwrap();
    assert!(db.position().txid < inside.bookmark.txid, "a commit is to come");
    confirmed(&db, transaction.commit().unwrap());
    let session = db.connect().unwrap();
    confirmed(&db, session.execute("INSERT INTO t (v) VALUES ('session')", &[]).unwrap().bookmark);
    session.execute("BEGIN IMMEDIATE", &[]).unwrap();
    session.execute("INSERT INTO t (v) VALUES ('session, begun')", &[]).unwrap();
    confirmed(&db, session.execute("COMMIT", &[]).unwrap().bookmark);
    confirmed(&db, db.execute("UPDATE t SET v = v WHERE id < 0", &[]).unwrap().bookmark);
    assert_eq!(world.restored_texts().len(), 7);
    drop(session);
    world.end([db]);
}

#[test]
fn a_write_that_changes_nothing_waits_for_what_it_has_seen() {
    let world = World::new();
    let (db, road) = slow(&world, "a");
    road.weather(|call| if puts_slot(call) { Fault::Delay(Duration::from_millis(400)) } else { Fault::None });
    thread::scope(|scope| {
        let writer = scope.spawn(|| insert(&db, "seen"));
        eventually("the row is committed", || count(&db) == 1);
        // It changes no row because of one that is not in the log yet.
        let sql = "INSERT INTO t (v) SELECT 'again' WHERE NOT EXISTS (SELECT 1 FROM t WHERE v = 'seen')";
        let done = db.execute(sql, &[]).unwrap();
        assert_eq!(done.rows_affected, 0);
        assert!(db.position().txid >= writer.join().unwrap().bookmark.txid);
        confirmed(&db, done.bookmark);
    });
    world.end([db]);
}

#[test]
fn a_bucket_that_is_away_is_a_timeout_and_what_was_written_comes_once_when_it_is_back() {
    for fault in [Fault::Refuse, Fault::LoseAnswer, Fault::Hold] {
        let world = World::new();
        let road = world.road();
        let db = cloud(&world, "a", &road)
            .confirm_timeout(Duration::from_millis(200))
            .open_blocking(world.path("a"), SCHEMA)
            .unwrap();
        insert(&db, "before");
        road.weather(move |call| if puts_slot(call) { fault } else { Fault::None });
        for n in 0..3 {
            let error =
                db.execute("INSERT INTO t (v) VALUES (?1)", &[format!("during {n}").into()]).unwrap_err();
            assert_eq!((error.kind(), error.outcome()), (ErrorKind::Timeout, Outcome::Unknown), "{error}");
        }
        assert_eq!(count(&db), 4, "readers of the leader see what is committed there");
        assert!(db.status().last_error.is_some() && db.status().lag >= Duration::from_millis(400));
        assert!(db.status().committed > db.status().confirmed.txid && db.status().lag_bytes > 0);
        // What needs no slot is not held up.
        let session = db.connect().unwrap();
        session.execute("BEGIN IMMEDIATE", &[]).unwrap();
        session.execute("INSERT INTO t (v) VALUES ('rolled back')", &[]).unwrap();
        session.execute("ROLLBACK", &[]).unwrap();
        drop(session);
        crate::world::wait(road.bucket.release());
        road.clear();
        eventually("the bucket is back", || {
            db.execute(
                "INSERT INTO t (v) SELECT 'after' WHERE NOT EXISTS (SELECT 1 FROM t WHERE v = 'after')",
                &[],
            )
            .is_ok()
        });
        assert_eq!(world.restored_texts(), ["after", "before", "during 0", "during 1", "during 2"]);
        eventually("nothing is open", || {
            db.status().lag == Duration::ZERO && db.status().last_error.is_none()
        });
        let status = db.status();
        assert_eq!((status.committed, status.lag_bytes), (status.confirmed.txid, 0));
        world.end([db]);
    }
}

#[test]
fn what_a_leader_was_waiting_for_when_it_lost_the_lease_is_unknown_and_there_at_most_once() {
    let world = World::new();
    let (road, way) = (world.road(), world.leases.way());
    let a = world
        .exposed("a", &road, &way)
        .durability(Durability::Cloud)
        .open_blocking(world.path("a"), SCHEMA)
        .unwrap();
    let (b, ..) = world.open_exposed("b");
    insert(&a, "before");
    road.weather(|call| if puts_slot(call) { Fault::Hold } else { Fault::None });
    way.set(Way::Cut);
    let error = a.execute("INSERT INTO t (v) VALUES ('during')", &[]).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    eventually("the other leads", || leads(&b));
    insert(&b, "after");
    crate::world::wait(road.bucket.release());
    road.clear();
    way.set(Way::Open);
    let last = insert(&a, "forwarded");
    a.wait_durable_blocking(&last.bookmark, Duration::from_secs(10)).unwrap();
    // The slot that was held came before the other's fence, or never.
    let texts = world.restored_texts();
    let unique: BTreeSet<&String> = texts.iter().collect();
    assert_eq!(unique.len(), texts.len());
    assert!(texts.iter().filter(|text| *text != "during").eq(["after", "before", "forwarded"]), "{texts:?}");
    world.end([a, b]);
}

/// Puts a fence of another session after the last slot, as of an hour from now.
fn fence_by_another_session(world: &World) {
    let (txid, bytes) = fence_of_another_session(world);
    let key = slot_key(txid);
    let put = world.bucket.put(&key, Body::Bytes(bytes.into()), PutOptions::new(PutMode::Create));
    crate::world::wait(put).unwrap();
}

/// Such a fence, and the slot that it is for.
pub fn fence_of_another_session(world: &World) -> (u64, Vec<u8>) {
    let slots = world.slots();
    let last = slots.last().unwrap();
    let connection = world.restored();
    let path: String =
        connection.query_row("SELECT file FROM pragma_database_list", [], |row| row.get(0)).unwrap();
    drop(connection);
    let first_page = &std::fs::read(path).unwrap()[..last.header.page_size.bytes()];
    let epoch = last.header.origin.unwrap().epoch.next().unwrap();
    let origin = Origin::new(epoch, last.chain, SessionId::from_bytes([7; 16]));
    let an_hour_on = last.header.timestamp_ms + 3_600_000;
    let txid = Txid::new(last.txid + 1);
    let header = Header::slot(txid, last.header.page_size, last.header.commit, an_hour_on, origin);
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, header).unwrap();
    encoder.page(PageNumber::FIRST, first_page).unwrap();
    encoder.finish().unwrap();
    (txid.get(), bytes)
}

#[test]
fn a_write_whose_slot_another_session_has_is_not_committed_and_runs_once_on_the_next_leader() {
    let world = World::new();
    let road = world.road();
    let db = cloud(&world, "a", &road).open_blocking(world.path("a"), SCHEMA).unwrap();
    insert(&db, "before");
    fence_by_another_session(&world);
    let mut transaction = db.begin(TxMode::Immediate).unwrap();
    transaction.execute("INSERT INTO t (v) VALUES ('in a transaction')", &[]).unwrap();
    let error = transaction.commit().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Fenced, Outcome::NotCommitted), "{error}");
    eventually("it leads again, after the other", || leads(&db));
    insert(&db, "between");
    assert_eq!(world.restored_texts(), ["before", "between"]);
    assert_eq!(db.status().lost_tails.len(), 1, "what was undone is kept");

    fence_by_another_session(&world);
    // A single write is forwarded: to whoever leads next, which is this node again.
    insert(&db, "once");
    assert_eq!(world.restored_texts(), ["before", "between", "once"]);
    // `end` sees that no slot is from before the fences, which an hour fast clock stamped.
    world.end([db]);
}

#[test]
fn a_forwarded_write_is_in_the_log_when_it_returns() {
    let world = World::new();
    let (a, _road) = slow(&world, "a");
    let b = world.node("b").durability(Durability::Cloud).open_blocking(world.path("b"), SCHEMA).unwrap();
    for n in 0..5 {
        let done = insert(&b, &n.to_string());
        confirmed(&a, done.bookmark);
        assert_eq!(world.restored_texts().len(), n + 1);
    }
    world.end([b, a]);
}

#[test]
fn a_close_ships_what_writers_wait_for_and_they_hear_of_it() {
    let world = World::new();
    let (db, road) = slow(&world, "a");
    road.weather(|call| if puts_slot(call) { Fault::Delay(Duration::from_millis(300)) } else { Fault::None });
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|n| {
                let db = &db;
                scope.spawn(move || insert(db, &n.to_string()))
            })
            .collect();
        eventually("all are committed", || count(&db) == 4);
        db.close_blocking().unwrap();
        writers.into_iter().for_each(|writer| {
            writer.join().unwrap();
        });
    });
    assert_eq!(world.restored_texts().len(), 4);
    world.end([db]);
}

#[test]
fn readers_see_what_is_committed_here_or_only_what_the_log_holds() {
    for reads in [LocalReads::Latest, LocalReads::Confirmed] {
        let world = World::new();
        let road = world.road();
        let db = cloud(&world, "a", &road).local_reads(reads).open_blocking(world.path("a"), SCHEMA).unwrap();
        road.weather(
            |call| if puts_slot(call) { Fault::Delay(Duration::from_millis(400)) } else { Fault::None },
        );
        let before = db.position().txid;
        let reader = db.connect().unwrap();
        let look = |number: usize| -> i64 {
            let sql = "SELECT count(*) FROM t";
            match number % 4 {
                0 => count(&db),
                1 => db.query(sql, &[]).unwrap().rows[0].get(0).unwrap(),
                2 => reader.query(sql, &[]).unwrap().rows[0].get(0).unwrap(),
                _ => {
                    let mut cursor = db.query_iter(sql, &[], ReadOptions::default()).unwrap();
                    cursor.next_page(10).unwrap()[0].get(0).unwrap()
                }
            }
        };
        for number in 0..4 {
            thread::scope(|scope| {
                let writer = scope.spawn(|| insert(&db, "row"));
                eventually("the row is seen", || look(number) == number as i64 + 1);
                let confirmed = db.position().txid.get() > before.get() + number as u64;
                assert_eq!(confirmed, reads == LocalReads::Confirmed, "look {number}");
                writer.join().unwrap();
            });
        }
        drop(reader);
        world.end([db]);
    }
}

#[test]
fn a_confirmed_read_of_a_follower_waits_for_nothing() {
    let world = World::new();
    let (a, _road) = slow(&world, "a");
    let open = |name: &str| world.node(name).local_reads(LocalReads::Confirmed);
    let b = open("b").open_blocking(world.path("b"), SCHEMA).unwrap();
    let done = insert(&a, "row");
    b.wait_for_blocking(&done.bookmark, Duration::from_secs(10)).unwrap();
    assert_eq!(count(&b), 1);
    world.end([b, a]);
}
