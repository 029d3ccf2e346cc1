use haqlite::ErrorKind;

use crate::process::Process;
use crate::support::{Site, eventually, insert, leads, rows_of};

#[test]
fn a_file_that_another_process_has_open_is_in_use_until_that_process_is_killed() {
    let site = Site::new();
    let mut first = site.start("a");
    first.ask("write 0 5 100", "written");
    assert_eq!(site.try_open("a").unwrap_err().kind(), ErrorKind::InUse);
    let mut second = Process::start(&site.settings("a"), None);
    assert_eq!(second.wait_for("refused"), "refused InUse");
    second.wait();
    // The refusal has disturbed nothing.
    first.ask("write 5 10 100", "written");
    assert_eq!(first.numbers("acked"), (0..10).collect::<Vec<i64>>());
    first.kill();
    let db = site.open("a");
    eventually("it leads", || leads(&db));
    assert_eq!(rows_of(&db).len(), 10);
    db.close_blocking().unwrap();
}

#[test]
fn a_file_that_another_handle_has_open_is_in_use_until_that_handle_is_closed() {
    let site = Site::new();
    let first = site.open("a");
    assert_eq!(site.try_open("a").unwrap_err().kind(), ErrorKind::InUse);
    insert(&first, 1, 100).unwrap();
    first.close_blocking().unwrap();
    drop(first);
    let second = site.open("a");
    assert_eq!(rows_of(&second).len(), 1);
    second.close_blocking().unwrap();
}

#[cfg(unix)]
#[test]
fn a_file_is_in_use_under_its_other_names_too() {
    let site = Site::new();
    let first = site.open("a");
    std::os::unix::fs::symlink(site.database("a"), site.database("b")).unwrap();
    assert_eq!(site.try_open("b").unwrap_err().kind(), ErrorKind::InUse);
    first.close_blocking().unwrap();
}
