use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use haqlite::{ErrorKind, HaQLite};
use rusqlite::Connection;

use crate::written::{Written, leftovers};

fn with_suffix(path: &std::path::Path, suffix: &str) -> PathBuf {
    let mut path = path.to_path_buf().into_os_string();
    path.push(suffix);
    path.into()
}

/// A database with one row, in WAL mode, whose WAL was left by a crash.
fn old_database(path: &std::path::Path) {
    let scratch = with_suffix(path, ".scratch");
    let connection = Connection::open(&scratch).unwrap();
    connection.query_row("PRAGMA journal_mode = wal", [], |_| Ok(())).unwrap();
    connection.execute_batch("CREATE TABLE old (a); INSERT INTO old VALUES (1)").unwrap();
    for suffix in ["", "-wal"] {
        fs::copy(with_suffix(&scratch, suffix), with_suffix(path, suffix)).unwrap();
    }
    drop(connection);
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(with_suffix(&scratch, suffix));
    }
}

#[test]
fn what_is_at_the_target_is_replaced_only_on_request_and_its_wal_goes_with_it() {
    let written = Written::with_a_life();
    let target = written.path("target.db");
    old_database(&target);
    let error = written.restore().run(&target).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
    written.restore().replace(true).run(&target).unwrap();
    assert!(fs::read(&target).unwrap() == written.images[10]);
    assert!(!with_suffix(&target, "-wal").exists() && !with_suffix(&target, "-shm").exists());
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    let rows: i64 =
        Connection::open(&target).unwrap().query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
    assert!(rows > 0);
    // Again, over its own work, and over something that is no database.
    written.restore().replace(true).txid(3).run(&target).unwrap();
    assert!(fs::read(&target).unwrap() == written.images[3]);
    fs::write(&target, b"garbage").unwrap();
    written.restore().replace(true).run(&target).unwrap();
    assert!(fs::read(&target).unwrap() == written.images[10]);
}

#[test]
fn a_stale_wal_beside_a_free_path_is_in_the_way_unless_it_may_go() {
    let written = Written::with_a_life();
    for suffix in ["-wal", "-shm", "-journal"] {
        let target = written.path(&format!("free{suffix}.db"));
        fs::write(with_suffix(&target, suffix), b"stale").unwrap();
        assert_eq!(written.restore().run(&target).unwrap_err().kind(), ErrorKind::InUse);
        assert!(!target.exists());
        written.restore().replace(true).run(&target).unwrap();
        assert!(!with_suffix(&target, suffix).exists());
        assert!(fs::read(&target).unwrap() == written.images[10]);
    }
}

#[test]
fn a_database_that_is_open_is_never_replaced() {
    let written = Written::with_a_life();
    let target = written.path("open.db");
    old_database(&target);
    let reader = Connection::open(&target).unwrap();
    let one: i64 = reader.query_row("SELECT a FROM old", [], |row| row.get(0)).unwrap();
    assert_eq!(written.restore().replace(true).run(&target).unwrap_err().kind(), ErrorKind::InUse);
    assert_eq!(reader.query_row("SELECT a FROM old", [], |row| row.get::<_, i64>(0)).unwrap(), one);
    drop(reader);

    let bucket = written.path("bucket");
    let node = HaQLite::builder()
        .bucket(format!("file://{}", bucket.display()))
        .forwarding_port(0)
        .open_timeout(Duration::from_secs(20))
        .open_blocking(written.path("node.db"), "CREATE TABLE IF NOT EXISTS t (a)")
        .unwrap();
    let error = written.restore().replace(true).run(written.path("node.db")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    node.close_blocking().unwrap();
    written.restore().replace(true).run(written.path("node.db")).unwrap();
    assert!(fs::read(written.path("node.db")).unwrap() == written.images[10]);
}

#[test]
fn a_restore_that_fails_leaves_the_old_database_as_it_was() {
    let written = Written::with_a_life();
    let target = written.path("kept.db");
    old_database(&target);
    let before = (fs::read(&target).unwrap(), fs::read(with_suffix(&target, "-wal")).unwrap());
    written.flip(&crate::written::slot_key(5), 150);
    assert_eq!(written.restore().replace(true).run(&target).unwrap_err().kind(), ErrorKind::Corrupt);
    let after = (fs::read(&target).unwrap(), fs::read(with_suffix(&target, "-wal")).unwrap());
    assert!(before == after);
    assert_eq!(leftovers(written.folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn what_a_killed_restore_left_is_in_nobodys_way() {
    let written = Written::with_a_life();
    let target = written.path("again.db");
    fs::write(with_suffix(&target, ".restoring"), vec![1; 1 << 20]).unwrap();
    written.restore().run(&target).unwrap();
    assert!(fs::read(&target).unwrap() == written.images[10]);
    assert_eq!(leftovers(written.folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn two_restores_to_one_path_do_not_meet() {
    let written = Written::with_a_life();
    let target = written.path("one.db");
    let (started, seen) = std::sync::mpsc::channel();
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let first = written.restore().progress(move |progress| {
        if progress.files_done == 1 {
            started.send(()).unwrap();
            wait.lock().unwrap().recv().unwrap();
        }
    });
    let path = target.clone();
    let running = std::thread::spawn(move || first.run(path));
    seen.recv().unwrap();
    assert_eq!(written.restore().run(&target).unwrap_err().kind(), ErrorKind::InUse);
    go_on.send(()).unwrap();
    running.join().unwrap().unwrap();
    assert!(fs::read(&target).unwrap() == written.images[10]);
}
