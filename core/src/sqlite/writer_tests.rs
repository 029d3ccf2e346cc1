use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::connection::{Connection, ConnectionOptions, Place};
use super::gate::{Clock, Gate, Shut};
use super::hooks::Hooks;
use super::once::{Once, Request};
use super::policy::Caller;
use super::pool::{PoolOptions, ReadPool};
use super::ticket::TransactionLimits;
use super::writer::{Writer, WriterOptions};
use crate::types::{
    BatchResult, Bookmark, Epoch, Error, ErrorKind, Monotonic, Outcome, Params, ReadOptions, Result,
    SqlValue, Statement, TxMode, Txid,
};

const T: &str = "CREATE TABLE IF NOT EXISTS t (a)";

/// A writer of a replicated database whose clock only moves when the test moves it.
struct Fixture {
    folder: TempDir,
    now_ms: Arc<AtomicU64>,
    gate: Arc<Gate>,
    writer: Arc<Writer>,
    commits: Arc<AtomicUsize>,
}

impl Fixture {
    fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let now_ms = Arc::new(AtomicU64::new(10_000));
        let gate = Arc::new(Gate::shut_for(Shut::NotLeader { leader: Some("b:1".into()) }, clock(&now_ms)));
        gate.open_until(1, at_ms(u64::MAX / 2_000_000));
        let commits = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&commits);
        let on_commit = Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let hooks = Hooks { on_commit, acknowledge: None };
        let options =
            WriterOptions { connection: options(&folder), transactions: TransactionLimits::default() };
        let writer = Writer::open(options, Arc::clone(&gate), ticking(&now_ms), hooks).unwrap();
        writer.script(T).unwrap();
        commits.store(0, Ordering::SeqCst);
        Fixture { folder, now_ms, gate, writer, commits }
    }

    fn insert(&self, value: i64) -> Result<Bookmark> {
        self.writer.execute("INSERT INTO t VALUES (?)", &(&[value.into()]).into()).map(|done| done.bookmark)
    }

    fn values(&self) -> Vec<i64> {
        let mut reader = Connection::open_reader(&options(&self.folder)).unwrap();
        let rows = reader.query("SELECT a FROM t ORDER BY rowid", &Params::none(), Caller::Handle).unwrap();
        rows.iter().map(|row| row.get(0).unwrap()).collect()
    }
}

fn options(folder: &TempDir) -> ConnectionOptions {
    let mut options = ConnectionOptions::new(Place::File(folder.path().join("my.db")), true);
    options.busy_timeout = Duration::from_millis(20);
    options
}

fn at_ms(ms: u64) -> Monotonic {
    Monotonic::from_boot(Duration::from_millis(ms))
}

fn clock(now_ms: &Arc<AtomicU64>) -> Clock {
    let now_ms = Arc::clone(now_ms);
    Arc::new(move || at_ms(now_ms.load(Ordering::SeqCst)))
}

/// A clock that goes on by a millisecond each time that it is read: whoever waits comes to an end.
fn ticking(now_ms: &Arc<AtomicU64>) -> Clock {
    let now_ms = Arc::clone(now_ms);
    Arc::new(move || at_ms(now_ms.fetch_add(1, Ordering::SeqCst)))
}

fn kind<V: std::fmt::Debug>(result: Result<V>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn a_shut_gate_refuses_before_anything_is_written() {
    let db = Fixture::new();
    db.insert(1).unwrap();
    db.gate.shut(Shut::NotLeader { leader: Some("b:1".into()) });
    let error = db.insert(2).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::NotLeader, Outcome::NotCommitted));
    assert_eq!(error.leader(), Some("b:1"));
    assert_eq!(kind(db.writer.batch(&["INSERT INTO t VALUES (3)".into()])), ErrorKind::NotLeader);
    assert_eq!(kind(db.writer.begin(TxMode::Immediate).map(drop)), ErrorKind::NotLeader);
    assert_eq!((db.values(), db.commits.load(Ordering::SeqCst)), (vec![1], 1));
}

#[test]
fn the_commit_hook_refuses_what_began_before_the_gate_was_shut() {
    let db = Fixture::new();
    let session = db.writer.connect().unwrap();
    let none = Params::none();
    session.execute("BEGIN IMMEDIATE", &none).unwrap();
    session.execute("INSERT INTO t VALUES (1)", &none).unwrap();
    db.gate.shut(Shut::Fenced { leader: None });
    let error = session.execute("COMMIT", &none).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Fenced, Outcome::NotCommitted));
    assert!(!session.in_transaction().unwrap());

    db.gate.open_until(1, at_ms(1_000_000_000));
    let mut tx = db.writer.begin(TxMode::Immediate).unwrap();
    tx.execute("INSERT INTO t VALUES (2)", &none).unwrap();
    db.gate.shut(Shut::Fenced { leader: None });
    assert_eq!(kind(tx.commit()), ErrorKind::Fenced);
    assert!(db.values().is_empty());
    db.gate.open_until(1, at_ms(1_000_000_000));
    db.insert(3).unwrap();
    assert_eq!(db.values(), [3]);
}

#[test]
fn a_deadline_that_passes_during_the_commit_means_unknown() {
    // The gate's clock is read before the statement, in the commit hook, and after the commit. It passes
    // the deadline at the last of these.
    let folder = tempfile::tempdir().unwrap();
    let reads = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&reads);
    let clock: Clock =
        Arc::new(move || at_ms(if counter.fetch_add(1, Ordering::SeqCst) < 2 { 1 } else { 100 }));
    let gate = Arc::new(Gate::open_forever(clock));
    let writer = Writer::open(
        WriterOptions { connection: options(&folder), transactions: TransactionLimits::default() },
        Arc::clone(&gate),
        Arc::new(|| at_ms(0)),
        Hooks::none(),
    )
    .unwrap();
    writer.script(T).unwrap();
    gate.open_until(1, at_ms(100));
    let error = writer.execute("INSERT INTO t VALUES (1)", &Params::none()).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::OutcomeUnknown, Outcome::Unknown));
    // It is committed: that is why nobody may hear "not committed".
    let mut reader = Connection::open_reader(&options(&folder)).unwrap();
    assert_eq!(reader.query("SELECT * FROM t", &Params::none(), Caller::Handle).unwrap().len(), 1);

    // VACUUM calls no commit hook; it is judged all the same. Read before and after: the second is too late.
    reads.store(1, Ordering::SeqCst);
    let error = writer.execute("VACUUM", &Params::none()).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown);
}

#[test]
fn bookmarks_move_with_the_cuts_and_each_write_is_told() {
    let db = Fixture::new();
    let at = |txid| Bookmark { epoch: Epoch::new(2).unwrap(), txid: Txid::new(txid) };
    db.writer.cut(|open| *open = at(7));
    assert_eq!(db.insert(1).unwrap(), at(7));
    let mut tx = db.writer.begin(TxMode::Immediate).unwrap();
    tx.execute("INSERT INTO t VALUES (2)", &Params::none()).unwrap();
    // A cut does not wait for a transaction, which belongs to the batch that is open when it commits.
    db.writer.cut(|open| *open = at(8));
    assert_eq!(tx.commit().unwrap(), at(8));
    assert_eq!(db.writer.batch(&["INSERT INTO t VALUES (3)".into()]).unwrap().bookmark, at(8));
    let session = db.writer.connect().unwrap();
    assert_eq!(session.execute("INSERT INTO t VALUES (4)", &Params::none()).unwrap().bookmark, at(8));
    assert_eq!(db.commits.load(Ordering::SeqCst), 4);
    db.writer.execute("SELECT 1", &Params::none()).unwrap();
    db.writer.begin(TxMode::Deferred).unwrap().commit().unwrap();
    assert_eq!(db.commits.load(Ordering::SeqCst), 4, "nothing was written");
}

#[test]
fn whoever_waits_too_long_for_a_transaction_is_told_busy() {
    let db = Fixture::new();
    let tx = db.writer.begin(TxMode::Immediate).unwrap();
    let error = db.insert(1).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Busy, Outcome::NotCommitted));
    assert_eq!(kind(db.writer.begin(TxMode::Immediate).map(drop)), ErrorKind::Busy);
    let session = db.writer.connect().unwrap();
    assert_eq!(kind(session.execute("INSERT INTO t VALUES (1)", &Params::none())), ErrorKind::Busy);
    session.query("SELECT * FROM t", &Params::none()).unwrap();
    drop(tx);
    db.insert(1).unwrap();
}

#[test]
fn a_stalled_writer_is_told_backpressure_and_a_transaction_goes_on() {
    let db = Fixture::new();
    let mut tx = db.writer.begin(TxMode::Immediate).unwrap();
    assert!(db.writer.stall(true, Duration::from_secs(1)));
    tx.execute("INSERT INTO t VALUES (1)", &Params::none()).unwrap();
    tx.commit().unwrap();
    assert_eq!(kind(db.insert(2)), ErrorKind::Backpressure);
    let waiting = thread::spawn({
        let writer = Arc::clone(&db.writer);
        move || {
            loop {
                match writer.execute("INSERT INTO t VALUES (3)", &Params::none()) {
                    Err(error) if error.kind() == ErrorKind::Backpressure => {}
                    done => return done.map(|_| ()),
                }
            }
        }
    });
    thread::sleep(Duration::from_millis(20));
    assert!(db.writer.stall(false, Duration::from_secs(1)));
    waiting.join().unwrap().unwrap();
    assert_eq!(db.values(), [1, 3]);
}

#[test]
fn a_transaction_that_is_idle_or_open_for_too_long_is_taken_away() {
    let db = Fixture::new();
    let mut idle = db.writer.begin(TxMode::Immediate).unwrap();
    idle.execute("INSERT INTO t VALUES (1)", &Params::none()).unwrap();
    db.now_ms.fetch_add(60_001, Ordering::SeqCst);
    // It is the next writer that does it.
    db.insert(2).unwrap();
    let error = idle.execute("INSERT INTO t VALUES (1)", &Params::none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TransactionAborted);
    assert!(error.message().contains("idle for longer than 60s"), "{error}");

    let session = db.writer.connect().unwrap();
    session.execute("BEGIN IMMEDIATE", &Params::none()).unwrap();
    session.execute("INSERT INTO t VALUES (3)", &Params::none()).unwrap();
    for _ in 0..11 {
        db.now_ms.fetch_add(59_000, Ordering::SeqCst);
        if session.execute("INSERT INTO t VALUES (3)", &Params::none()).is_err() {
            break;
        }
    }
    db.insert(4).unwrap();
    assert!(!session.in_transaction().unwrap());
    session.execute("INSERT INTO t VALUES (5)", &Params::none()).unwrap();
    assert_eq!(db.values(), [2, 4, 5]);
}

#[test]
fn abort_all_stops_statements_and_takes_transactions_away() {
    const ENDLESS: &str =
        "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    let db = Fixture::new();
    let mut tx = db.writer.begin(TxMode::Immediate).unwrap();
    tx.execute("INSERT INTO t VALUES (1)", &Params::none()).unwrap();
    db.writer.abort_all("the leader changed", Duration::from_secs(600)).unwrap();
    let error = tx.commit().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::TransactionAborted, Outcome::NotCommitted));
    assert!(error.message().contains("the leader changed"));

    for in_session in [false, true] {
        let running = thread::spawn({
            let writer = Arc::clone(&db.writer);
            move || -> Result<()> {
                if !in_session {
                    return writer.execute(ENDLESS, &Params::none()).map(|_| ());
                }
                let session = writer.connect()?;
                session.execute("BEGIN IMMEDIATE", &Params::none())?;
                session.execute(ENDLESS, &Params::none())?;
                Ok(())
            }
        });
        // It may not have begun yet, on a busy machine.
        while !running.is_finished() {
            thread::sleep(Duration::from_millis(50));
            db.writer.abort_all("the leader changed", Duration::from_secs(600)).unwrap();
        }
        let stopped = kind(running.join().unwrap());
        assert!(matches!(stopped, ErrorKind::Interrupted | ErrorKind::TransactionAborted), "{stopped:?}");
    }
    let session = db.writer.connect().unwrap();
    session.execute("BEGIN IMMEDIATE", &Params::none()).unwrap();
    session.execute("INSERT INTO t VALUES (1)", &Params::none()).unwrap();
    db.writer.abort_all("the leader changed", Duration::from_secs(600)).unwrap();
    assert_eq!(kind(session.execute("COMMIT", &Params::none())), ErrorKind::TransactionAborted);
    db.insert(9).unwrap();
    assert_eq!(db.values(), [9]);
}

#[test]
fn a_replicated_connection_refuses_what_would_break_the_log_with_a_reason() {
    let db = Fixture::new();
    let session = db.writer.connect().unwrap();
    let none = Params::none();
    for (sql, reason) in [
        ("PRAGMA wal_checkpoint", "by itself"),
        ("PRAGMA main.wal_checkpoint(TRUNCATE)", "by itself"),
        ("PRAGMA wal_autocheckpoint = 7", "by itself"),
        ("PRAGMA locking_mode = EXCLUSIVE", "WAL"),
        ("PRAGMA journal_mode = DELETE", "shipped"),
        ("PRAGMA synchronous = OFF", "power cut"),
        ("ATTACH ':memory:' AS x", "its own file"),
        ("DETACH main", "its own file"),
    ] {
        let error = session.execute(sql, &none).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{sql}: {error}");
        assert!(error.message().contains(reason), "{sql}: {error}");
        assert_eq!(kind(db.writer.execute(sql, &none)), ErrorKind::InvalidArgument, "{sql}");
    }
    for sql in [
        "PRAGMA journal_mode",
        "PRAGMA journal_mode = WAL",
        "PRAGMA wal_autocheckpoint",
        "PRAGMA synchronous = FULL",
        "PRAGMA page_size = 8192",
        "VACUUM",
        "CREATE TEMP TABLE mine (a)",
    ] {
        session.execute(sql, &none).unwrap();
    }
    assert_eq!(session.query("PRAGMA wal_autocheckpoint", &none).unwrap().rows[0][0], SqlValue::Integer(0));
}

#[test]
fn a_replicated_database_keeps_its_wal_when_it_is_closed() {
    let db = Fixture::new();
    db.insert(1).unwrap();
    db.writer.close(Duration::from_secs(1)).unwrap();
    assert_eq!(kind(db.insert(2)), ErrorKind::Closed);
    assert!(std::fs::metadata(db.folder.path().join("my.db-wal")).unwrap().len() > 0);
}

fn request(id: &str, seen: u64, at_ms: i64) -> Request<'_> {
    Request { id, seen: Txid::new(seen), at_ms }
}

fn encode(result: &BatchResult) -> Vec<u8> {
    format!("{:?}", result.results[0].0.last_insert_rowid).into_bytes()
}

#[test]
fn a_request_with_an_id_runs_once() {
    let db = Fixture::new();
    db.writer.cut(|open| open.txid = Txid::new(5));
    let statements = [Statement::from("INSERT INTO t VALUES (1)"), "SELECT last_insert_rowid()".into()];
    let Once::Ran(result) = db.writer.batch_once(&request("a", 4, 0), &statements, encode).unwrap() else {
        panic!("it had not run before")
    };
    // Neither the id's row nor the table is seen in what the statements report.
    assert_eq!((result.results[0].0.rows_affected, result.results[0].0.last_insert_rowid), (1, Some(1)));
    assert_eq!(result.results[1].1.rows[0][0], SqlValue::Integer(1));
    db.writer.cut(|open| open.txid = Txid::new(9));
    let commits = db.commits.load(Ordering::SeqCst);
    let again = db.writer.batch_once(&request("a", 4, 0), &statements, encode).unwrap();
    assert!(matches!(again, Once::Recorded { result, .. } if result == b"Some(1)"));
    assert_eq!(db.values(), [1]);
    assert!(db.commits.load(Ordering::SeqCst) >= commits);
}

#[test]
fn a_request_that_fails_leaves_no_record_and_may_run_again() {
    let db = Fixture::new();
    let bad = [Statement::from("INSERT INTO t VALUES (1)"), "INSERT INTO nowhere VALUES (1)".into()];
    let error: Error = db.writer.batch_once(&request("a", 0, 0), &bad, encode).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Sql, Outcome::NotCommitted));
    assert!(matches!(db.writer.batch_once(&request("a", 0, 0), &bad[..1], encode).unwrap(), Once::Ran(_)));
    assert_eq!(db.values(), [1]);
    for id in ["", &"x".repeat(201)] {
        assert_eq!(kind(db.writer.batch_once(&request(id, 0, 0), &bad, encode)), ErrorKind::InvalidArgument);
    }
}

#[test]
fn old_request_ids_are_forgotten_and_then_unknown() {
    let db = Fixture::new();
    let insert = [Statement::from("INSERT INTO t VALUES (1)")];
    // The record of twelve thousand requests of slots 1 to 12, made quickly.
    db.writer.batch_once(&request("first", 0, 0), &insert, encode).unwrap();
    let fill = "INSERT INTO _haqlite_requests WITH RECURSIVE n(i) AS
        (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000) SELECT 'r' || i, (i + 999) / 1000, x'', 0 FROM n";
    db.writer.execute(fill, &Params::none()).unwrap();
    db.writer.cut(|open| open.txid = Txid::new(13));
    // Reopened, so that the table is looked over at the next request.
    db.writer.state.lock().unpruned_requests = None;
    db.writer.batch_once(&request("young", 12, 30_000), &insert, encode).unwrap();
    assert_eq!(stored(&db), 12_002, "all of the last minute are kept");
    db.writer.state.lock().unpruned_requests = None;
    db.writer.batch_once(&request("next", 12, 100_000), &insert, encode).unwrap();
    assert_eq!(stored(&db), 10_002, "slots 1 and 2 are gone, and the first request");
    let error = db.writer.batch_once(&request("r1", 0, 100_000), &insert, encode).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert!(matches!(
        db.writer.batch_once(&request("r12000", 0, 100_000), &insert, encode).unwrap(),
        Once::Recorded { .. }
    ));
    assert!(matches!(
        db.writer.batch_once(&request("new", 2, 100_000), &insert, encode).unwrap(),
        Once::Ran(_)
    ));
}

#[test]
fn request_ids_of_a_leader_whose_clock_was_far_ahead_are_forgotten_too() {
    let db = Fixture::new();
    let insert = [Statement::from("INSERT INTO t VALUES (1)")];
    db.writer.batch_once(&request("first", 0, 0), &insert, encode).unwrap();
    // A year ahead.
    let fill = "INSERT INTO _haqlite_requests WITH RECURSIVE n(i) AS
        (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
        SELECT 'r' || i, (i + 999) / 1000, x'', 31536000000 FROM n";
    db.writer.execute(fill, &Params::none()).unwrap();
    db.writer.cut(|open| open.txid = Txid::new(13));
    db.writer.state.lock().unpruned_requests = None;
    db.writer.batch_once(&request("next", 12, 100_000), &insert, encode).unwrap();
    assert_eq!(stored(&db), 10_001, "slots 1 and 2 are gone, and the first request");
}

fn stored(db: &Fixture) -> i64 {
    let sql = "SELECT count(*) FROM _haqlite_requests WHERE id <> ''";
    let rows = db.writer.query(sql, &Params::none(), &ReadOptions::default()).unwrap();
    rows.rows[0].get(0).unwrap()
}

#[test]
fn a_cursor_gives_its_snapshot_up_when_it_is_too_old() {
    let db = Fixture::new();
    for value in 0..3 {
        db.insert(value).unwrap();
    }
    let pool = ReadPool::new(PoolOptions::new(options(&db.folder)), clock(&db.now_ms));
    let start = || pool.query_iter("SELECT a FROM t", &Params::none(), &ReadOptions::default()).unwrap();
    let (mut read, mut expired) = (start(), start());
    assert_eq!((read.next_page(1).unwrap().len(), expired.next_page(1).unwrap().len()), (1, 1));
    db.now_ms.fetch_add(60_001, Ordering::SeqCst);
    assert_eq!(kind(read.next_page(1)), ErrorKind::Timeout);
    pool.expire_cursors();
    assert_eq!(kind(expired.next_page(1)), ErrorKind::Timeout);
    // Nobody reads any more: the WAL can be truncated.
    let mut plain = options(&db.folder);
    plain.replicated = false;
    let mut other = Connection::open(&plain, Arc::new(Gate::open_forever(clock(&db.now_ms)))).unwrap();
    let (_, rows) =
        other.execute_returning("PRAGMA wal_checkpoint(TRUNCATE)", &Params::none(), Caller::Session).unwrap();
    assert_eq!(rows.rows[0][0], SqlValue::Integer(0));
}

#[test]
fn statements_beyond_the_limit_of_the_cache_still_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(&folder);
    options.cached_statements = 4;
    let mut connection = Connection::open_reader(&options).unwrap();
    for round in 0..3 {
        for number in 0..9 {
            let sql = format!("SELECT {number} AS c{number}");
            let rows = connection.query(&sql, &Params::none(), Caller::Handle).unwrap();
            let seen: i64 = rows.rows[0].get(0).unwrap();
            assert_eq!((seen, rows.columns[0].clone()), (number, format!("c{number}")), "round {round}");
        }
    }
}

#[test]
fn a_statement_in_the_cache_follows_the_schema() {
    let db = Fixture::new();
    db.insert(1).unwrap();
    let columns = || {
        let rows = db.writer.query("SELECT * FROM t", &Params::none(), &ReadOptions::default()).unwrap();
        (rows.columns.join(","), rows.rows[0].len())
    };
    assert_eq!(columns(), ("a".to_owned(), 1));
    db.writer.execute("ALTER TABLE t ADD COLUMN b DEFAULT 7", &Params::none()).unwrap();
    assert_eq!(columns(), ("a,b".to_owned(), 2));
    db.writer.execute("ALTER TABLE t RENAME COLUMN b TO c", &Params::none()).unwrap();
    assert_eq!(columns(), ("a,c".to_owned(), 2));
}

#[test]
fn a_failure_after_the_commit_began_means_unknown_and_the_connection_is_replaced() {
    let db = Fixture::new();
    db.writer.execute("PRAGMA recursive_triggers = ON", &Params::none()).unwrap();
    let setting = || {
        let rows =
            db.writer.query("PRAGMA recursive_triggers", &Params::none(), &ReadOptions::default()).unwrap();
        rows.rows[0].get::<i64>(0).unwrap()
    };
    assert_eq!(setting(), 1);
    let mut state = db.writer.idle().unwrap();
    let outcome = db.writer.guarded(&mut state, |connection| {
        connection.execute("INSERT INTO t VALUES (1)", &Params::none(), Caller::Handle)?;
        Err::<(), _>(Error::new(ErrorKind::Io, "disk I/O error").with_sqlite_code(1034))
    });
    drop(state);
    let error = outcome.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome(), error.sqlite_code()),
        (ErrorKind::OutcomeUnknown, Outcome::Unknown, Some(1034))
    );
    assert_eq!(setting(), 0, "it is another connection");
    db.insert(2).unwrap();
    assert_eq!(db.values(), [1, 2]);
}

#[test]
fn a_failure_before_the_commit_means_not_committed() {
    let db = Fixture::new();
    let mut state = db.writer.idle().unwrap();
    let outcome =
        db.writer.guarded(&mut state, |_| Err::<(), _>(Error::new(ErrorKind::Io, "disk I/O error")));
    assert_eq!(outcome.unwrap_err().outcome(), Outcome::NotCommitted);
}
