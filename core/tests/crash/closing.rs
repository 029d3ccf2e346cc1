use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::support::{
    INSERT, PATIENCE, SCHEMA, Site, eventually, insert, insert_all, leads, now, row, rows_of,
};

#[test]
fn a_process_with_an_open_database_ends_without_delay() {
    for farewell in ["exit", "drop"] {
        let site = Site::new();
        let mut process = site.start("a");
        process.ask("write 0 10 100", "written");
        process.tell(farewell);
        let began = now();
        assert!(process.wait().success());
        // Two seconds are meant; the machine may be busy. What waits for something waits for ten.
        assert!(began.elapsed() < Duration::from_secs(6), "{farewell} took {:?}", began.elapsed());
        let db = site.open("a");
        assert_eq!(rows_of(&db).len(), 10, "{farewell}");
        db.close_blocking().unwrap();
    }
}

#[test]
fn the_last_drop_of_a_handle_ships_what_was_committed_and_gives_the_lease_back() {
    let site = Site::new();
    let first = crate::support::builder(&site.bucket(), "a", crate::support::NEVER, crate::support::TTL);
    let first = first.open_blocking(site.database("a"), SCHEMA).unwrap();
    insert_all(&first, 0..10, 100);
    let clone = first.clone();
    drop(first);
    insert(&clone, 10, 100).unwrap();
    drop(clone);
    site.is_the_log("a");
    let second = site.open("b");
    assert!(leads(&second));
    assert_eq!(rows_of(&second).len(), 11);
    second.close_blocking().unwrap();
}

fn runtimes() -> [Runtime; 2] {
    let multi = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    [multi, Builder::new_current_thread().enable_all().build().unwrap()]
}

#[test]
fn a_node_works_and_is_dropped_inside_another_runtime() {
    for runtime in runtimes() {
        let site = Site::new();
        let builder = site.builder("a");
        let path = site.database("a");
        runtime.block_on(async {
            let db = builder.open(&path, SCHEMA).await.unwrap();
            // The blocking verbs too: they must neither panic nor wait for this runtime.
            let last = insert(&db, 1, 100).unwrap();
            db.wait_durable_blocking(&last, PATIENCE).unwrap();
            db.execute_async(INSERT, row(2, 100).to_vec()).await.unwrap();
            assert_eq!(rows_of(&db).len(), 2);
            drop(db);
        });
        site.is_the_log("a");
    }
}

#[test]
fn a_node_that_is_opened_inside_a_runtime_works_outside_of_it_and_outlives_it() {
    for runtime in runtimes() {
        let site = Site::new();
        let opening = site.builder("a").open(site.database("a"), SCHEMA);
        let db = runtime.block_on(opening).unwrap();
        drop(runtime);
        let last = insert(&db, 1, 100).unwrap();
        db.wait_durable_blocking(&last, PATIENCE).unwrap();
        db.close_blocking().unwrap();
        site.is_the_log("a");
    }
}

#[test]
fn a_node_is_opened_and_closed_by_blocking_verbs_inside_a_runtime() {
    for runtime in runtimes() {
        let site = Site::new();
        runtime.block_on(async {
            let db = site.open("a");
            insert(&db, 1, 100).unwrap();
            db.close_blocking().unwrap();
        });
        site.is_the_log("a");
    }
}

#[test]
fn a_process_that_exits_while_others_follow_leaves_a_leader_behind() {
    let site = Site::new();
    let mut first = site.start("a");
    let second = site.open("b");
    first.ask("write 0 10 100", "written");
    first.tell("drop");
    assert!(first.wait().success());
    eventually("the other node leads", || leads(&second));
    assert_eq!(rows_of(&second).len(), 10);
    second.close_blocking().unwrap();
}
