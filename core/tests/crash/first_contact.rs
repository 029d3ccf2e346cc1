use std::path::{Path, PathBuf};

use haqlite::{ErrorKind, HaQLite};
use rusqlite::Connection;

use crate::support::{
    PATIENCE, SCHEMA, Site, beside, builder, filler, insert, insert_all, integrity, is_whole, leads, marker,
    rows, rows_of,
};

/// An application's database, made by plain SQLite and left as the settings say.
fn application(path: &Path, settings: &str) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(settings).unwrap();
    connection.execute_batch(SCHEMA).unwrap();
    connection.execute_batch("CREATE INDEX by_marker ON w (marker)").unwrap();
    for n in 0..60 {
        connection
            .execute(
                crate::support::INSERT,
                (n, marker(n), filler(n, if n % 20 == 3 { 150_000 } else { 200 })),
            )
            .unwrap();
    }
    connection.execute_batch("DELETE FROM w WHERE n % 20 = 3").unwrap();
}

fn files(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = ["", "-wal", "-shm", "-journal"].map(|suffix| beside(path, suffix));
    paths.into_iter().filter_map(|path| Some((path.clone(), std::fs::read(path).ok()?))).collect()
}

#[test]
fn an_unrelated_database_at_the_path_is_refused_and_stays_as_it_is_byte_by_byte() {
    for settings in ["PRAGMA journal_mode=DELETE", "PRAGMA journal_mode=WAL"] {
        let site = Site::new();
        let first = site.open("a");
        insert(&first, 1, 100).unwrap();
        application(&site.database("b"), settings);
        let before = files(&site.database("b"));
        let error = site.try_open("b").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ForeignDatabase, "{error}");
        assert!(error.message().contains("b.db") && error.message().contains("adopt"), "{error}");
        assert!(files(&site.database("b")) == before, "the database was touched ({settings})");
        first.close_blocking().unwrap();
    }
}

#[test]
fn the_database_of_another_log_is_refused_and_stays_as_it_is_byte_by_byte() {
    let (site, other) = (Site::new(), Site::new());
    for site in [&site, &other] {
        let db = site.open("a");
        insert(&db, 1, 100).unwrap();
        db.close_blocking().unwrap();
    }
    let before = files(&site.database("a"));
    let error = builder(&other.bucket(), "a", crate::support::SHIP, crate::support::TTL)
        .open_blocking(site.database("a"), SCHEMA)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ForeignDatabase, "{error}");
    assert!(files(&site.database("a")) == before, "the database was touched");
}

#[test]
fn an_applications_database_becomes_the_base_when_the_bucket_is_empty() {
    let modes = ["DELETE", "WAL", "TRUNCATE", "PERSIST"];
    let settings = [(512, "NONE"), (4096, "FULL"), (65536, "NONE"), (4096, "INCREMENTAL"), (1024, "FULL")];
    for (i, (page_size, vacuum)) in settings.into_iter().enumerate() {
        let mode = modes[i % modes.len()];
        let site = Site::new();
        let settings =
            format!("PRAGMA page_size={page_size}; PRAGMA auto_vacuum={vacuum}; PRAGMA journal_mode={mode};");
        application(&site.database("a"), &settings);
        let content = rows(&site.database("a"));
        let db = site.try_open("a").unwrap_or_else(|error| panic!("{settings} {error}"));
        is_whole(&db);
        assert_eq!(rows_of(&db), content, "{settings}");
        db.execute("DELETE FROM w WHERE n % 3 = 0", &[]).unwrap();
        db.execute("PRAGMA incremental_vacuum(4)", &[]).ok();
        db.execute("VACUUM", &[]).unwrap();
        let last = insert(&db, 1000, 100_000).unwrap();
        let other = site.open("b");
        other.wait_for_blocking(&last, PATIENCE).unwrap();
        is_whole(&other);
        assert_eq!(rows_of(&other), rows_of(&db), "{settings}");
        other.close_blocking().unwrap();
        db.close_blocking().unwrap();
        drop((db, other));
        let size: i64 = Connection::open(site.restored())
            .unwrap()
            .query_row("PRAGMA page_size", [], |r| r.get(0))
            .unwrap();
        assert_eq!(size, page_size);
        site.is_the_log("a");
    }
}

#[test]
fn what_an_application_left_in_its_wal_is_in_the_base() {
    let site = Site::new();
    let source = site.path("source.db");
    application(&source, "PRAGMA journal_mode=WAL");
    // As a killed application leaves it: a copy while the connection that wrote it is open.
    let connection = Connection::open(&source).unwrap();
    connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    connection.execute(crate::support::INSERT, (500, marker(500), filler(500, 10))).unwrap();
    assert!(std::fs::metadata(beside(&source, "-wal")).unwrap().len() > 0);
    std::fs::copy(&source, site.database("a")).unwrap();
    std::fs::copy(beside(&source, "-wal"), beside(&site.database("a"), "-wal")).unwrap();
    drop(connection);
    let db = site.open("a");
    assert_eq!(rows_of(&db), rows(&source));
    db.close_blocking().unwrap();
    drop(db);
    site.is_the_log("a");
}

#[test]
fn a_restored_copy_is_adopted_when_that_is_asked_for_and_refused_otherwise() {
    let site = Site::new();
    let first = site.open("a");
    insert_all(&first, 0..20, 1000);
    first.close_blocking().unwrap();
    drop(first);
    std::fs::rename(site.restored(), site.database("b")).unwrap();
    assert_eq!(site.try_open("b").unwrap_err().kind(), ErrorKind::ForeignDatabase);

    let adopted = site.builder("b").adopt(true).open_blocking(site.database("b"), SCHEMA).unwrap();
    assert_eq!(rows_of(&adopted).len(), 20);
    assert!(adopted.status().lost_tails.is_empty());
    insert(&adopted, 20, 1000).unwrap();
    adopted.close_blocking().unwrap();
    drop(adopted);
    site.is_the_log("b");
    // From now on it is the log's.
    let again = site.open("b");
    assert_eq!(rows_of(&again).len(), 21);
    again.close_blocking().unwrap();
}

#[test]
fn what_an_adopted_copy_has_beyond_the_log_is_saved() {
    let site = Site::new();
    let first = site.open("a");
    insert(&first, 1, 1000).unwrap();
    first.close_blocking().unwrap();
    drop(first);
    std::fs::rename(site.restored(), site.database("b")).unwrap();
    let foreign = Connection::open(site.database("b")).unwrap();
    foreign.execute(crate::support::INSERT, (77, marker(77), filler(77, 10))).unwrap();
    drop(foreign);
    let adopted = site.builder("b").adopt(true).open_blocking(site.database("b"), SCHEMA).unwrap();
    assert_eq!(rows_of(&adopted).into_keys().collect::<Vec<_>>(), [1]);
    let tails = adopted.status().lost_tails;
    assert!(tails.iter().any(|tail| crate::support::rows_in_tail(tail).contains(&77)), "{tails:?}");
    adopted.close_blocking().unwrap();
}

#[test]
fn a_database_may_have_any_name() {
    for name in [
        "with a space.db",
        "größe 数据 🙂.db",
        "noextension",
        "foo.sqlite",
        "a.b.c",
        "quote'd;--.db",
        "per%20cent?x=1#y.db",
    ] {
        let site = Site::new();
        let path = site.path(name);
        let open = || -> HaQLite {
            // The name in the bucket is the file's stem.
            let node = builder_without_name(&site);
            node.open_blocking(&path, SCHEMA).unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        let db = open();
        assert!(leads(&db));
        let last = insert(&db, 1, 100).unwrap();
        db.wait_durable_blocking(&last, PATIENCE).unwrap();
        db.close_blocking().unwrap();
        drop(db);
        let db = open();
        assert_eq!(rows_of(&db).len(), 1, "{name}");
        db.close_blocking().unwrap();
        drop(db);
        assert!(path.is_file() && beside(&path, "-wal").is_file(), "{name}: the files have other names");
        integrity(&path);
    }
}

fn builder_without_name(site: &Site) -> haqlite::Builder {
    HaQLite::builder().bucket(site.bucket()).instance_id("a").forwarding_port(0)
}
