use std::time::Duration;

use haqlite::Role;

use crate::support::{bucket, count, eventually, insert, leads, node, open};

#[test]
fn a_single_node_leads_ships_and_comes_back() {
    let (bucket, folder) = (bucket(), tempfile::tempdir().unwrap());
    let db = open(node(&bucket, "a"), folder.path(), "app");
    assert_eq!(db.role(), Role::Leader);
    for i in 0..10 {
        insert(&db, &i.to_string());
    }
    let last = insert(&db, "last").bookmark;
    db.wait_durable_blocking(&last, Duration::from_secs(5)).unwrap();
    db.close_blocking().unwrap();
    drop(db);

    let db = open(node(&bucket, "a"), folder.path(), "app");
    assert_eq!(count(&db), 11);
    insert(&db, "again");
    db.close_blocking().unwrap();
}

#[test]
fn a_follower_has_what_the_leader_wrote_and_forwards_its_writes() {
    let (bucket, folder) = (bucket(), tempfile::tempdir().unwrap());
    let a = open(node(&bucket, "a"), folder.path(), "a");
    insert(&a, "one");
    let b = open(node(&bucket, "b"), folder.path(), "b");
    assert_eq!(b.role(), Role::Follower);
    let two = insert(&b, "two").bookmark;
    b.wait_for_blocking(&two, Duration::from_secs(5)).unwrap();
    assert_eq!((count(&a), count(&b)), (2, 2));
    b.close_blocking().unwrap();
    a.close_blocking().unwrap();
}

#[test]
fn a_follower_leads_when_the_leader_closes_and_when_it_hands_over() {
    let (bucket, folder) = (bucket(), tempfile::tempdir().unwrap());
    let a = open(node(&bucket, "a"), folder.path(), "a");
    let b = open(node(&bucket, "b"), folder.path(), "b");
    insert(&a, "by a");
    eventually("b has reported", || a.handoff_blocking(None).is_ok());
    eventually("b leads", || leads(&b));
    insert(&a, "through a to b");
    insert(&b, "by b");
    assert_eq!(count(&b), 3);
    b.close_blocking().unwrap();
    eventually("a leads again", || leads(&a));
    assert_eq!(count(&a), 3);
    a.close_blocking().unwrap();
}

#[test]
fn a_restore_needs_nothing_but_the_bucket() {
    let (bucket, folder) = (bucket(), tempfile::tempdir().unwrap());
    let a = open(node(&bucket, "a"), folder.path(), "a");
    let first = insert(&a, "one").bookmark;
    a.wait_durable_blocking(&first, Duration::from_secs(5)).unwrap();
    let second = insert(&a, "two").bookmark;
    a.wait_durable_blocking(&second, Duration::from_secs(5)).unwrap();
    let restore = || haqlite::Restore::new(&bucket).db_name("app");

    let latest = folder.path().join("latest.db");
    let restored = restore().run(&latest).unwrap();
    assert_eq!(restored.position, a.position());
    let copy = haqlite::HaQLite::local(&latest, "").unwrap();
    assert_eq!(count(&copy), 2);
    drop(copy);
    assert_eq!(restore().run(&latest).unwrap_err().kind(), haqlite::ErrorKind::InUse);

    let earlier = folder.path().join("earlier.db");
    restore().txid(first.txid.get()).run(&earlier).unwrap();
    assert_eq!(count(&haqlite::HaQLite::local(&earlier, "").unwrap()), 1);
    let beyond = restore().txid(1000).run(folder.path().join("beyond.db")).unwrap_err();
    assert_eq!(beyond.kind(), haqlite::ErrorKind::InvalidArgument);
    a.close_blocking().unwrap();
}

#[test]
fn a_write_that_changes_nothing_has_a_bookmark_that_is_reached() {
    let (bucket, folder) = (bucket(), tempfile::tempdir().unwrap());
    let a = open(node(&bucket, "a"), folder.path(), "a");
    let b = open(node(&bucket, "b"), folder.path(), "b");
    let one = insert(&a, "one").bookmark;
    a.wait_durable_blocking(&one, Duration::from_secs(5)).unwrap();
    for db in [&a, &b] {
        let nothing = db.execute("UPDATE t SET v = 'x' WHERE id = 77", &[]).unwrap().bookmark;
        for db in [&a, &b] {
            db.wait_durable_blocking(&nothing, Duration::from_secs(5)).unwrap();
            db.wait_for_blocking(&nothing, Duration::from_secs(5)).unwrap();
        }
    }
    b.close_blocking().unwrap();
    a.close_blocking().unwrap();
}
