//! The handle on a local database: what every verb promises.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use haqlite::{
    Bookmark, Consistency, ErrorKind, HaQLite, Outcome, Params, ReadOptions, Role, SqlValue, Statement,
    TxMode, ValueRef,
};
use tempfile::TempDir;

const USERS: &str = "CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT UNIQUE);";

fn open(schema: &str) -> (TempDir, HaQLite) {
    let folder = tempfile::tempdir().unwrap();
    let db = HaQLite::local(folder.path().join("my.db"), schema).unwrap();
    (folder, db)
}

fn kind<T: std::fmt::Debug>(result: haqlite::Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

fn text(value: &str) -> SqlValue {
    SqlValue::Text(value.into())
}

#[test]
fn the_samples_of_the_readme_work() {
    let (_folder, db) = open(USERS);
    #[allow(unused_mut)]
    let mut db = db;
    db.execute("INSERT INTO users (name) VALUES (?1)", &[SqlValue::Text("Alice".into())]).unwrap();
    let count: i64 = db.query_row_local("SELECT COUNT(*) FROM users", &[], |r| r.get(0)).unwrap();
    let row = db.query_row("SELECT COUNT(*) FROM users", &[]).unwrap();
    assert_eq!((count, row[0].as_integer()), (1, Some(1)));
    assert_eq!(db.role(), Role::Leader);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { db.close().await }).unwrap();
    assert_eq!(kind(db.query("SELECT 1", &[])), ErrorKind::Closed);
    assert_eq!(kind(db.execute("INSERT INTO users (name) VALUES ('x')", &[])), ErrorKind::Closed);
    assert_eq!(kind(db.begin(TxMode::Immediate)), ErrorKind::Closed);
    assert_eq!(kind(db.connect()), ErrorKind::Closed);
    db.close_blocking().unwrap();
}

#[test]
fn parameters_come_in_every_shape() {
    let (_folder, db) = open("CREATE TABLE t (a, b)");
    let values = vec![SqlValue::Integer(1), SqlValue::Null];
    db.execute("INSERT INTO t VALUES (?, ?)", &values).unwrap();
    db.execute("INSERT INTO t VALUES (?1, ?2)", values.as_slice()).unwrap();
    db.execute("INSERT INTO t VALUES (:a, @b)", &[2.into(), "x".into()]).unwrap();
    let named = [("a", SqlValue::Integer(3)), ("$b", SqlValue::Blob(vec![]))];
    db.execute("INSERT INTO t VALUES (:a, $b)", Params::named(&named)).unwrap();
    let rows = db.query_values_local("SELECT a, typeof(b) FROM t ORDER BY rowid", &[]).unwrap();
    let expected = [(1, "null"), (1, "null"), (2, "text"), (3, "blob")];
    assert_eq!(rows, expected.map(|(a, b)| vec![SqlValue::Integer(a), text(b)]));
}

#[test]
fn parameters_that_do_not_fit_are_refused_with_the_counts() {
    let (_folder, db) = open("");
    let one = [SqlValue::Integer(1)];
    let error = db.query("SELECT ?, ?", &one).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::InvalidArgument, Outcome::NotCommitted));
    assert_eq!(error.message(), "the statement has 2 parameters, 1 value was given");
    assert_eq!(kind(db.query("SELECT 1", &one)), ErrorKind::InvalidArgument);
    assert_eq!(kind(db.query("SELECT ?5", &one)), ErrorKind::InvalidArgument);
    let pairs = |names: &[&'static str]| -> Vec<(&'static str, SqlValue)> {
        names.iter().map(|name| (*name, SqlValue::Null)).collect()
    };
    for names in [&["a"][..], &["a", "c"], &["a", "b", "c"], &["a", ":a", "b"], &["@a", "b"]] {
        let pairs = pairs(names);
        assert_eq!(
            kind(db.query("SELECT :a, :b", Params::named(&pairs))),
            ErrorKind::InvalidArgument,
            "{names:?}"
        );
    }
    db.query("SELECT :a, :b, :a", Params::named(&pairs(&["b", ":a"]))).unwrap();
}

#[test]
fn exactly_one_statement_is_run() {
    let (_folder, db) = open("CREATE TABLE t (a)");
    db.execute(" ; -- first\n INSERT INTO t VALUES (1) ; /* last */ ;; -- end", &[]).unwrap();
    for sql in ["INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)", "", " -- nothing", ";", "SELECT 1\0"] {
        assert_eq!(kind(db.execute(sql, &[])), ErrorKind::InvalidArgument, "{sql:?}");
    }
    assert_eq!(kind(db.execute("SELEKT 1", &[])), ErrorKind::Sql);
    let count: i64 = db.query_row_local("SELECT count(*) FROM t", &[], |r| r.get(0)).unwrap();
    assert_eq!(count, 1);
}

#[test]
fn a_query_only_reads() {
    let (_folder, db) = open("CREATE TABLE t (a)");
    for sql in
        ["INSERT INTO t VALUES (1)", "WITH x(a) AS (SELECT 1) INSERT INTO t SELECT a FROM x RETURNING a"]
    {
        let error = db.query(sql, &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnly);
        assert!(error.message().contains("execute()"), "{error}");
    }
    assert_eq!(kind(db.query("PRAGMA query_only = OFF", &[])), ErrorKind::InvalidArgument);
    assert_eq!(db.query_row("PRAGMA journal_mode", &[]).unwrap()[0], text("wal"));
    assert_eq!(db.query_row("PRAGMA cache_size", &[]).unwrap()[0], SqlValue::Integer(-65536));
    assert_eq!(db.query("PRAGMA table_info(t)", &[]).unwrap().len(), 1);
}

#[test]
fn a_result_counts_the_rows_of_its_own_statement_only() {
    let (_folder, db) = open(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n UNIQUE); CREATE TABLE log (n);
         CREATE TABLE w (k PRIMARY KEY) WITHOUT ROWID;
         CREATE TRIGGER after_t AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.n), (new.n); END;",
    );
    let run = |sql: &str| {
        let result = db.execute(sql, &[]).unwrap();
        (result.rows_affected, result.last_insert_rowid)
    };
    assert_eq!(run("INSERT INTO t (n) VALUES (1), (2)"), (2, Some(2)));
    assert_eq!(run("CREATE TABLE u (id INTEGER PRIMARY KEY)"), (0, None));
    assert_eq!(run("INSERT INTO u VALUES (2)"), (1, Some(2)));
    assert_eq!(run("UPDATE t SET n = n + 10"), (2, None));
    assert_eq!(run("INSERT OR IGNORE INTO t (n) VALUES (11)"), (0, None));
    assert_eq!(run("INSERT INTO t (n) VALUES (11) ON CONFLICT DO UPDATE SET n = 99"), (1, None));
    assert_eq!(run("INSERT INTO w VALUES (1)"), (1, None));
    assert_eq!(run("INSERT INTO t VALUES (0, 5)"), (1, Some(0)));
    assert_eq!(run("SELECT 1"), (0, None));
    assert_eq!(run("DELETE FROM t"), (3, None));
    assert_eq!(run("DROP TABLE u"), (0, None));
    let (result, rows) = db.execute_returning("INSERT INTO t VALUES (7, 7) RETURNING id, n", &[]).unwrap();
    assert_eq!((result.last_insert_rowid, rows.columns.join(",")), (Some(7), "id,n".to_owned()));
    assert_eq!(rows.rows[0].get::<i64>("ID").unwrap(), 7);
}

#[test]
fn values_survive_the_round_trip() {
    let (_folder, db) = open("");
    let values = [
        SqlValue::Null,
        SqlValue::Integer(i64::MIN),
        SqlValue::Integer(i64::MAX),
        SqlValue::Real(-0.0),
        SqlValue::Real(f64::INFINITY),
        text("a\0b"),
        text(""),
        SqlValue::Blob(vec![]),
        SqlValue::Blob(vec![0, 255]),
    ];
    for value in values {
        let back = db.query_row("SELECT ?", std::slice::from_ref(&value)).unwrap().into_values().remove(0);
        assert_eq!((format!("{back:?}"), back.type_name()), (format!("{value:?}"), value.type_name()));
    }
    assert_eq!(db.query_row("SELECT ?", &[f64::NAN.into()]).unwrap()[0], SqlValue::Null);
}

#[test]
fn a_local_row_lends_what_it_holds() {
    let (_folder, db) = open("");
    let sql = "SELECT 1 AS a, 'text' AS b, x'00ff' AS c, NULL AS d, 1.5 AS e";
    let seen = db.query_row_local(sql, &[], |row| {
        assert_eq!((row.get::<&str>("b")?, row.get::<&[u8]>(2)?), ("text", &[0, 255][..]));
        assert_eq!(
            (row.get::<Option<i64>>("d")?, row.get::<f64>(4)?, row.get::<bool>(0)?),
            (None, 1.5, true)
        );
        assert_eq!(row.value(0)?, ValueRef::Integer(1));
        assert_eq!(row.columns().join(""), "abcde");
        assert_eq!(kind(row.get::<i64>("b")), ErrorKind::InvalidArgument);
        assert_eq!(kind(row.get::<i64>(5)), ErrorKind::InvalidArgument);
        row.get::<String>(1)
    });
    assert_eq!(seen.unwrap(), "text");
    assert_eq!(
        kind(db.query_row_local("SELECT 1 WHERE 0", &[], |r| r.get::<i64>(0))),
        ErrorKind::InvalidArgument
    );
    assert_eq!(kind(db.query_row("SELECT 1 WHERE 0", &[])), ErrorKind::InvalidArgument);
    assert_eq!(kind(db.query("SELECT CAST(x'ff' AS TEXT)", &[])), ErrorKind::Sql);
}

#[test]
fn errors_of_sqlite_keep_their_code_and_message() {
    let (_folder, db) = open(USERS);
    db.execute("INSERT INTO users VALUES (1, 'a')", &[]).unwrap();
    let error = db.execute("INSERT INTO users VALUES (2, 'a')", &[]).unwrap_err();
    assert_eq!((error.kind(), error.sqlite_code()), (ErrorKind::Constraint, Some(2067)));
    assert_eq!(error.message(), "UNIQUE constraint failed: users.name");
    let error = db.query("SELECT * FROM nowhere", &[]).unwrap_err();
    assert_eq!((error.kind(), error.sqlite_code()), (ErrorKind::Sql, Some(1)));
    assert_eq!(kind(db.query("SELECT zeroblob(2000000000)", &[])), ErrorKind::LimitExceeded);
}

#[test]
fn what_needs_a_connection_of_ones_own_is_refused_with_a_hint() {
    let (_folder, db) = open("CREATE TABLE t (a)");
    let refused = [
        ("BEGIN", "transaction()"),
        ("COMMIT", "transaction()"),
        ("ROLLBACK", "begin()"),
        ("SAVEPOINT s", "begin()"),
        ("CREATE TEMP TABLE x (a)", "connect()"),
        ("CREATE TABLE temp.x (a)", "connect()"),
        ("ATTACH ':memory:' AS other", "connect()"),
        ("INSERT INTO t VALUES (last_insert_rowid())", "connect()"),
        ("SELECT changes()", "transaction()"),
    ];
    for (sql, hint) in refused {
        // Twice: the second time the statement is in the cache.
        for _ in 0..2 {
            let error = db.execute(sql, &[]).expect_err(sql);
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{sql}");
            assert!(error.message().contains(hint), "{sql}: {error}");
        }
    }
    db.execute("ALTER TABLE t RENAME TO u", &[]).unwrap();
    db.execute("ALTER TABLE u RENAME TO t", &[]).unwrap();
    // What this library runs itself does not open a way around.
    db.batch(&["INSERT INTO t VALUES (1)".into()]).unwrap();
    assert_eq!(kind(db.execute("COMMIT", &[])), ErrorKind::InvalidArgument);
    assert_eq!(kind(db.execute("BEGIN IMMEDIATE", &[])), ErrorKind::InvalidArgument);
    let error = db.query("SELECT load_extension('x')", &[]).unwrap_err();
    assert!(error.message().contains("load_extension"), "{error}");
    assert_eq!(db.query_row("SELECT count(*) FROM t", &[]).unwrap()[0], SqlValue::Integer(1));
}

#[test]
fn a_local_database_leaves_checkpoints_and_vacuum_to_its_user() {
    let (folder, db) = open("CREATE TABLE t (a)");
    db.execute("INSERT INTO t VALUES (zeroblob(100000))", &[]).unwrap();
    let (_, rows) = db.execute_returning("PRAGMA wal_checkpoint(TRUNCATE)", &[]).unwrap();
    assert_eq!(rows.rows[0][0], SqlValue::Integer(0));
    assert_eq!(std::fs::metadata(folder.path().join("my.db-wal")).unwrap().len(), 0);
    db.execute("VACUUM", &[]).unwrap();
    assert_eq!(db.query_row("PRAGMA wal_autocheckpoint", &[]).unwrap()[0], SqlValue::Integer(1000));
}

#[test]
fn a_batch_is_all_or_nothing() {
    let (_folder, db) = open(USERS);
    let insert =
        |name: &str| Statement::new("INSERT INTO users (name) VALUES (?) RETURNING id", &[text(name)]);
    let done = db.batch(&[insert("a"), insert("b"), "SELECT count(*) FROM users".into()]).unwrap();
    assert_eq!(done.results.len(), 3);
    assert_eq!((done.results[1].0.last_insert_rowid, done.results[1].0.rows_affected), (Some(2), 1));
    assert_eq!(done.results[2].1.rows[0][0], SqlValue::Integer(2));
    let error = db.batch(&[insert("c"), insert("a")]).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Constraint, Outcome::NotCommitted));
    assert!(error.message().starts_with("statement 2 of the batch: "), "{error}");
    assert_eq!(kind(db.batch(&[insert("d"), "COMMIT".into()])), ErrorKind::InvalidArgument);
    assert_eq!(db.query_row("SELECT count(*) FROM users", &[]).unwrap()[0], SqlValue::Integer(2));
    assert_eq!(db.batch(&[]).unwrap().results.len(), 0);
}

#[test]
fn a_schema_that_fails_says_so_and_one_that_leaves_a_transaction_open_too() {
    let error = HaQLite::local(":memory:", "CREATE TABLE a (b); NONSENSE").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Sql);
    assert!(error.message().starts_with("running the schema: "), "{error}");
    assert_eq!(kind(HaQLite::local(":memory:", "BEGIN; CREATE TABLE a (b)")), ErrorKind::InvalidArgument);
    HaQLite::local(":memory:", "BEGIN; CREATE TABLE a (b); COMMIT; PRAGMA foreign_keys = ON;").unwrap();
    assert_eq!(kind(HaQLite::local("", "")), ErrorKind::InvalidArgument);
    assert_eq!(kind(HaQLite::local("/nowhere/at/all.db", "")), ErrorKind::Io);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no.db");
    std::fs::write(&path, "this is not a database, however long it may be").unwrap();
    assert_eq!(kind(HaQLite::local(&path, "")), ErrorKind::Corrupt);
}

#[test]
fn what_was_written_is_there_after_reopening_and_dropping_is_closing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my.db");
    for round in 0..3 {
        let db = HaQLite::local(&path, USERS).unwrap();
        let count: i64 = db.query_row_local("SELECT count(*) FROM users", &[], |r| r.get(0)).unwrap();
        assert_eq!(count, round);
        db.clone().execute("INSERT INTO users (name) VALUES (?)", &[round.into()]).unwrap();
    }
    assert!(!folder.path().join("my.db-wal").exists(), "SQLite checkpoints when the last connection closes");
}

#[test]
fn memory_is_one_database_per_handle() {
    let one = HaQLite::local(":memory:", USERS).unwrap();
    let other = HaQLite::local(":memory:", USERS).unwrap();
    one.execute("INSERT INTO users (name) VALUES ('a')", &[]).unwrap();
    let count = |db: &HaQLite| db.query_row("SELECT count(*) FROM users", &[]).unwrap()[0].clone();
    assert_eq!((count(&one), count(&other)), (SqlValue::Integer(1), SqlValue::Integer(0)));
    let session = one.connect().unwrap();
    session.execute("INSERT INTO users (name) VALUES ('b')", &[]).unwrap();
    assert_eq!(count(&one), SqlValue::Integer(2));
    let mut cursor = one.query_iter("SELECT name FROM users", &[], ReadOptions::default()).unwrap();
    assert_eq!(cursor.next_page(10).unwrap().len(), 2);
    let folder = tempfile::tempdir().unwrap();
    one.backup(folder.path().join("copy.db")).unwrap();
    let copy = HaQLite::local(folder.path().join("copy.db"), "").unwrap();
    assert_eq!(count(&copy), SqlValue::Integer(2));
}

#[test]
fn a_backup_is_a_whole_database_and_never_replaces_a_file() {
    let (folder, db) = open(USERS);
    db.execute("INSERT INTO users (name) VALUES ('a')", &[]).unwrap();
    let target = folder.path().join("copy.db");
    db.backup(&target).unwrap();
    assert_eq!(kind(db.backup(&target)), ErrorKind::InUse);
    assert!(!folder.path().join("copy.db.partial").exists());
    let copy = HaQLite::local(&target, "").unwrap();
    assert_eq!(copy.query_row("PRAGMA quick_check", &[]).unwrap()[0], text("ok"));
    assert_eq!(copy.query_row("SELECT name FROM users", &[]).unwrap()[0], text("a"));
}

#[test]
fn every_consistency_is_met_by_a_local_database_but_that_of_a_foreign_bookmark() {
    let (_folder, db) = open(USERS);
    let bookmark = db.execute("INSERT INTO users (name) VALUES ('a')", &[]).unwrap().bookmark;
    let read = |consistency| {
        db.query_with("SELECT * FROM users", &[], ReadOptions { consistency, timeout: None })
            .map(|rows| rows.len())
    };
    for consistency in [
        Consistency::Local,
        Consistency::Leader,
        Consistency::AtLeast(bookmark),
        Consistency::MaxLag(Default::default()),
    ] {
        assert_eq!(read(consistency).unwrap(), 1);
    }
    let foreign: Bookmark = "000000000001-0000000000000007".parse().unwrap();
    assert_eq!(kind(read(Consistency::AtLeast(foreign))), ErrorKind::BookmarkLost);
    db.wait_for_blocking(&bookmark, Default::default()).unwrap();
    db.wait_durable_blocking(&bookmark, Default::default()).unwrap();
    assert_eq!(kind(db.handoff_blocking(None)), ErrorKind::InvalidConfig);
}
