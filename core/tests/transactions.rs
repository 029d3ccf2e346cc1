//! Transactions, sessions, cursors and threads on a local handle.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use haqlite::{Consistency, Error, ErrorKind, HaQLite, Outcome, ReadOptions, SqlValue, Statement, TxMode};
use tempfile::TempDir;

const ACCOUNTS: &str = "CREATE TABLE IF NOT EXISTS accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0));";

fn open(schema: &str) -> (TempDir, HaQLite) {
    let folder = tempfile::tempdir().unwrap();
    let db = HaQLite::local(folder.path().join("my.db"), schema).unwrap();
    (folder, db)
}

fn kind<T: std::fmt::Debug>(result: haqlite::Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

fn count(db: &HaQLite, sql: &str) -> i64 {
    db.query_row_local(sql, &[], |row| row.get(0)).unwrap()
}

#[test]
fn a_transaction_commits_on_ok_and_rolls_back_on_an_error() {
    let (_folder, db) = open(ACCOUNTS);
    let rowid = db
        .transaction(|tx| {
            tx.execute("INSERT INTO accounts VALUES (1, 5)", &[])?;
            assert_eq!(tx.query_row("SELECT last_insert_rowid(), changes()", &[])?.get::<i64>(0)?, 1);
            tx.execute("SAVEPOINT s", &[])?;
            tx.execute("INSERT INTO accounts VALUES (2, 5)", &[])?;
            tx.execute("ROLLBACK TO s", &[])?;
            assert_eq!(db.query("SELECT * FROM accounts", &[])?.len(), 0, "others see the state before it");
            let (_, rows) = tx.execute_returning("UPDATE accounts SET balance = 6 RETURNING id", &[])?;
            rows.rows[0].get::<i64>("id")
        })
        .unwrap();
    assert_eq!((rowid, count(&db, "SELECT balance FROM accounts")), (1, 6));

    let stopped: haqlite::Result<()> = db.transaction(|tx| {
        tx.execute("DELETE FROM accounts", &[])?;
        Err(Error::new(ErrorKind::InvalidArgument, "on purpose"))
    });
    assert_eq!(stopped.unwrap_err().message(), "on purpose");
    assert_eq!(count(&db, "SELECT count(*) FROM accounts"), 1);
}

#[test]
fn a_panic_inside_of_a_transaction_rolls_back() {
    let (_folder, db) = open(ACCOUNTS);
    let other = db.clone();
    let panicked = thread::spawn(move || {
        other.transaction(|tx| -> haqlite::Result<()> {
            tx.execute("INSERT INTO accounts VALUES (1, 5)", &[])?;
            panic!("on purpose")
        })
    });
    assert!(panicked.join().is_err());
    let panicked = thread::spawn({
        let db = db.clone();
        move || {
            db.query_row_local("SELECT ?", &["x".into()], |_| -> haqlite::Result<i64> {
                panic!("on purpose")
            })
        }
    });
    assert!(panicked.join().is_err());
    db.execute("INSERT INTO accounts VALUES (1, 6)", &[]).unwrap();
    assert_eq!(count(&db, "SELECT balance FROM accounts"), 6);
}

#[test]
fn a_writer_waits_for_a_transaction_in_another_thread() {
    let (_folder, db) = open(ACCOUNTS);
    let mut tx = db.begin(TxMode::Immediate).unwrap();
    tx.execute("INSERT INTO accounts VALUES (1, 5)", &[]).unwrap();
    let (told, hears) = mpsc::channel();
    let writer = thread::spawn({
        let db = db.clone();
        move || {
            let result = db.execute("UPDATE accounts SET balance = balance + 1", &[]).unwrap();
            told.send(()).unwrap();
            result.rows_affected
        }
    });
    assert!(hears.recv_timeout(Duration::from_millis(100)).is_err(), "it waits");
    assert_eq!(count(&db, "SELECT count(*) FROM accounts"), 0, "and readers do not");
    // A transaction may end on another thread than it began.
    thread::spawn(move || tx.commit().unwrap()).join().unwrap();
    assert_eq!(writer.join().unwrap(), 1);
    assert_eq!(count(&db, "SELECT balance FROM accounts"), 6);
}

#[test]
fn a_transaction_that_sqlite_ends_says_so() {
    let (_folder, db) = open("CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1);");
    let mut tx = db.begin(TxMode::Deferred).unwrap();
    tx.execute("INSERT INTO t VALUES (2)", &[]).unwrap();
    assert_eq!(kind(tx.execute("INSERT INTO t VALUES (1)", &[])), ErrorKind::Constraint);
    tx.execute("INSERT INTO t VALUES (3)", &[]).unwrap();
    assert_eq!(kind(tx.execute("INSERT OR ROLLBACK INTO t VALUES (1)", &[])), ErrorKind::Constraint);
    let error = tx.execute("INSERT INTO t VALUES (4)", &[]).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::TransactionAborted, Outcome::NotCommitted));
    assert!(error.message().contains("UNIQUE"), "{error}");
    assert_eq!(kind(tx.commit()), ErrorKind::TransactionAborted);
    assert_eq!(count(&db, "SELECT count(*) FROM t"), 1);
}

#[test]
fn a_commit_that_a_constraint_refuses_rolls_back() {
    let (_folder, db) = open(
        "CREATE TABLE p (id INTEGER PRIMARY KEY);
         CREATE TABLE c (p REFERENCES p DEFERRABLE INITIALLY DEFERRED);",
    );
    db.execute("PRAGMA foreign_keys = ON", &[]).unwrap();
    let mut tx = db.begin(TxMode::Immediate).unwrap();
    tx.execute("INSERT INTO c VALUES (7)", &[]).unwrap();
    let error = tx.commit().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Constraint, Outcome::NotCommitted));
    assert_eq!(count(&db, "SELECT count(*) FROM c"), 0);
    db.execute("INSERT INTO p VALUES (1)", &[]).unwrap();
}

#[test]
fn what_ends_a_transaction_is_refused_inside_of_one() {
    let (_folder, db) = open(ACCOUNTS);
    let mut tx = db.begin(TxMode::Exclusive).unwrap();
    for sql in ["COMMIT", "ROLLBACK", "BEGIN", "CREATE TEMP TABLE x (a)"] {
        assert_eq!(kind(tx.execute(sql, &[])), ErrorKind::InvalidArgument, "{sql}");
    }
    tx.execute("INSERT INTO accounts VALUES (1, 1)", &[]).unwrap();
    tx.rollback().unwrap();
    assert_eq!(count(&db, "SELECT count(*) FROM accounts"), 0);
}

#[test]
fn closing_takes_an_open_transaction_away() {
    let (_folder, db) = open(ACCOUNTS);
    let mut tx = db.begin(TxMode::Immediate).unwrap();
    tx.execute("INSERT INTO accounts VALUES (1, 1)", &[]).unwrap();
    let session = db.connect().unwrap();
    db.close_blocking().unwrap();
    let error = tx.execute("INSERT INTO accounts VALUES (2, 1)", &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TransactionAborted);
    assert!(error.message().contains("closed"), "{error}");
    assert_eq!(kind(session.execute("INSERT INTO accounts VALUES (3, 1)", &[])), ErrorKind::Closed);
    assert_eq!(kind(session.query("SELECT 1", &[])), ErrorKind::Closed);
}

#[test]
fn a_transaction_outlives_its_handle() {
    let (folder, db) = open(ACCOUNTS);
    let mut tx = db.begin(TxMode::Immediate).unwrap();
    drop(db);
    tx.execute("INSERT INTO accounts VALUES (1, 1)", &[]).unwrap();
    tx.commit().unwrap();
    let db = HaQLite::local(folder.path().join("my.db"), "").unwrap();
    assert_eq!(count(&db, "SELECT count(*) FROM accounts"), 1);
}

#[test]
fn a_session_has_a_connection_of_its_own() {
    let (folder, db) = open(ACCOUNTS);
    let session = db.connect().unwrap();
    session.execute("CREATE TEMP TABLE mine (a)", &[]).unwrap();
    session.execute("INSERT INTO mine VALUES (1)", &[]).unwrap();
    session.execute("INSERT INTO accounts VALUES (7, 1)", &[]).unwrap();
    session.execute("UPDATE accounts SET balance = 2", &[]).unwrap();
    assert_eq!(session.query_row("SELECT last_insert_rowid()", &[]).unwrap()[0], SqlValue::Integer(7));
    session.execute("INSERT INTO accounts VALUES (last_insert_rowid() + 1, 1)", &[]).unwrap();
    assert_eq!((session.last_insert_rowid().unwrap(), session.total_changes().unwrap()), (8, 4));
    session.execute("BEGIN", &[]).unwrap();
    assert!(session.in_transaction().unwrap());
    session.execute("DELETE FROM accounts", &[]).unwrap();
    assert_eq!(count(&db, "SELECT count(*) FROM accounts"), 2);
    session.execute("ROLLBACK", &[]).unwrap();
    assert!(!session.in_transaction().unwrap());
    session.execute("ATTACH ? AS other", &[folder.path().join("o.db").to_str().unwrap().into()]).unwrap();
    assert_eq!(kind(session.query("DELETE FROM accounts", &[])), ErrorKind::ReadOnly);
    session.close();
    assert_eq!(kind(session.query("SELECT 1", &[])), ErrorKind::Closed);
}

#[test]
fn a_session_that_writes_keeps_other_writers_waiting_until_it_ends() {
    let (_folder, db) = open(ACCOUNTS);
    let session = db.connect().unwrap();
    session.execute("BEGIN IMMEDIATE", &[]).unwrap();
    session.execute("INSERT INTO accounts VALUES (1, 5)", &[]).unwrap();
    let writer = thread::spawn({
        let db = db.clone();
        move || db.execute("UPDATE accounts SET balance = balance + 1", &[]).unwrap().rows_affected
    });
    thread::sleep(Duration::from_millis(50));
    assert!(!writer.is_finished());
    session.execute("COMMIT", &[]).unwrap();
    assert_eq!(writer.join().unwrap(), 1);

    session.execute("BEGIN IMMEDIATE", &[]).unwrap();
    session.execute("DELETE FROM accounts", &[]).unwrap();
    drop(session);
    db.execute("UPDATE accounts SET balance = balance + 1", &[]).unwrap();
    assert_eq!(count(&db, "SELECT balance FROM accounts"), 7);
}

#[test]
fn threads_that_write_and_read_lose_and_invent_nothing() {
    let (_folder, db) = open(ACCOUNTS);
    for id in 0..10 {
        db.execute("INSERT INTO accounts VALUES (?, 100)", &[id.into()]).unwrap();
    }
    let transfers = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..6_i64 {
            let (db, transfers) = (&db, &transfers);
            scope.spawn(move || {
                let session = (thread == 5).then(|| db.connect().unwrap());
                for round in 0..60_i64 {
                    let (from, to) = ((thread + round) % 10, (thread * 3 + round * 7) % 10);
                    let take = "UPDATE accounts SET balance = balance - 1 WHERE id = ?";
                    let give = "UPDATE accounts SET balance = balance + 1 WHERE id = ?";
                    match (thread, &session) {
                        (5, Some(session)) => {
                            session.execute("BEGIN IMMEDIATE", &[]).unwrap();
                            session.execute(take, &[from.into()]).unwrap();
                            session.execute(give, &[to.into()]).unwrap();
                            session.execute("COMMIT", &[]).unwrap();
                        }
                        (0 | 1, _) => db
                            .transaction(|tx| {
                                tx.execute(take, &[from.into()])?;
                                tx.execute(give, &[to.into()]).map(|_| ())
                            })
                            .unwrap(),
                        _ => drop(
                            db.batch(&[
                                Statement::new(take, &[from.into()]),
                                Statement::new(give, &[to.into()]),
                            ])
                            .unwrap(),
                        ),
                    }
                    transfers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // More readers than the pool has connections.
        for _ in 0..12 {
            scope.spawn(|| {
                while transfers.load(Ordering::Relaxed) < 360 {
                    assert_eq!(count(&db, "SELECT sum(balance) FROM accounts"), 1000);
                    thread::yield_now();
                }
            });
        }
    });
    assert_eq!(count(&db, "SELECT sum(balance) FROM accounts"), 1000);
}

#[test]
fn a_cursor_gives_pages_of_one_snapshot() {
    let (_folder, db) = open(ACCOUNTS);
    let insert = |id: i64| db.execute("INSERT INTO accounts VALUES (?, 0)", &[id.into()]).unwrap();
    for id in 0..25 {
        insert(id);
    }
    let sql = "SELECT id FROM accounts WHERE id >= ? ORDER BY id";
    let mut cursor = db.query_iter(sql, &[5.into()], ReadOptions::default()).unwrap();
    assert_eq!(cursor.columns(), ["id"]);
    let first = cursor.next_page(8).unwrap();
    insert(100);
    let rest = thread::spawn(move || {
        let mut rows = Vec::new();
        loop {
            let page = cursor.next_page(8).unwrap();
            if page.is_empty() {
                return rows;
            }
            rows.extend(page);
        }
    });
    let ids: Vec<i64> = first.iter().chain(&rest.join().unwrap()).map(|row| row.get("id").unwrap()).collect();
    assert_eq!(ids, (5..25).collect::<Vec<_>>());
    assert_eq!(
        kind(db.query_iter("DELETE FROM accounts", &[], ReadOptions::default()).map(drop)),
        ErrorKind::ReadOnly
    );
}

#[test]
fn cursors_are_bounded_and_come_back_when_they_are_dropped() {
    let (_folder, db) = open(ACCOUNTS);
    for id in 0..3 {
        db.execute("INSERT INTO accounts VALUES (?, 0)", &[id.into()]).unwrap();
    }
    let start = || db.query_iter("SELECT id FROM accounts", &[], ReadOptions::default());
    for _ in 0..3 {
        let mut open: Vec<_> = (0..8).map(|_| start().unwrap()).collect();
        assert_eq!(kind(start().map(drop)), ErrorKind::LimitExceeded);
        for cursor in &mut open {
            assert_eq!(cursor.next_page(1).unwrap().len(), 1);
        }
        db.execute("UPDATE accounts SET balance = 1", &[]).unwrap();
    }
    let mut cursor = start().unwrap();
    db.close_blocking().unwrap();
    assert_eq!(kind(cursor.next_page(1)), ErrorKind::Closed);
}

const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";

#[test]
fn a_read_that_takes_too_long_is_a_timeout() {
    let (_folder, db) = open("");
    let options = ReadOptions { consistency: Consistency::Local, timeout: Some(Duration::from_millis(30)) };
    assert_eq!(kind(db.query_with(ENDLESS, &[], options)), ErrorKind::Timeout);
    db.query_with("SELECT 1", &[], options).unwrap();
    let mut cursor = db.query_iter(ENDLESS, &[], options).unwrap();
    assert_eq!(kind(cursor.next_page(1)), ErrorKind::Timeout);
    let memory = HaQLite::local(":memory:", "").unwrap();
    assert_eq!(kind(memory.query_with(ENDLESS, &[], options)), ErrorKind::Timeout);
}

#[test]
fn interrupt_stops_readers_and_writers() {
    let (_folder, db) = open("CREATE TABLE t (a)");
    let insert = format!("INSERT INTO t {ENDLESS}");
    thread::scope(|scope| {
        let reader = scope.spawn(|| db.query(ENDLESS, &[]));
        let writer = scope.spawn(|| db.execute(&insert, &[]));
        while !reader.is_finished() || !writer.is_finished() {
            thread::sleep(Duration::from_millis(20));
            db.interrupt();
        }
        assert_eq!(kind(reader.join().unwrap()), ErrorKind::Interrupted);
        let error = writer.join().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Interrupted, Outcome::NotCommitted));
    });
    db.execute("INSERT INTO t VALUES (1)", &[]).unwrap();
}

#[test]
fn closing_stops_what_runs() {
    let (_folder, db) = open("CREATE TABLE t (a)");
    thread::scope(|scope| {
        let reader = scope.spawn(|| db.query(ENDLESS, &[]));
        thread::sleep(Duration::from_millis(50));
        db.close_blocking().unwrap();
        let stopped = kind(reader.join().unwrap());
        assert!(matches!(stopped, ErrorKind::Interrupted | ErrorKind::Closed), "{stopped:?}");
    });
}

#[test]
fn the_async_verbs_do_what_their_twins_do() {
    let (folder, db) = open(ACCOUNTS);
    let work = async move {
        db.execute_async("INSERT INTO accounts VALUES (?, ?)", vec![1.into(), 2.into()]).await?;
        let (_, rows) =
            db.execute_returning_async("INSERT INTO accounts VALUES (2, 2) RETURNING id", &[]).await?;
        assert_eq!(rows.len(), 1);
        db.batch_async(vec!["INSERT INTO accounts VALUES (3, 3)".into()]).await?;
        db.transaction_async(|tx| tx.execute("INSERT INTO accounts VALUES (4, 4)", &[])).await?;
        let mut tx = db.begin_async(TxMode::Immediate).await?;
        tx.execute("INSERT INTO accounts VALUES (5, 5)", &[])?;
        tx.commit()?;
        let session = db.connect_async().await?;
        session.execute_async("INSERT INTO accounts VALUES (6, 6)", &[]).await?;
        assert_eq!(session.query_async("SELECT * FROM accounts", &[]).await?.len(), 6);
        let row = db.query_row_async("SELECT count(*) FROM accounts", &[]).await?;
        assert_eq!(row.get::<i64>(0)?, 6);
        assert_eq!(db.query_async("SELECT * FROM accounts", &[]).await?.len(), 6);
        assert_eq!(db.query_values_local_async("SELECT 1", &[]).await?, [[SqlValue::Integer(1)]]);
        db.backup_async(folder.path().join("copy.db")).await?;
        db.close().await
    };
    // The future is Send and owns what it needs.
    fn sendable<F: Future<Output = T> + Send + 'static, T>(future: F) -> F {
        future
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(sendable(work)).unwrap();
}
