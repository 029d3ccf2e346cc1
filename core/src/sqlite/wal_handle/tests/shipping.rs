//! Whatever stock SQLite does on the leader, the follower shows the same bytes.

use std::os::unix::fs::FileExt;

use super::support::*;
use crate::sqlite::Snapshot;
use crate::types::{Error, ErrorKind};
use crate::wal::WalPoint;

fn workload(setup: &str) {
    let mut pair = Pair::new(setup);
    let steps = [
        insert(1, 300, 700),
        "UPDATE t SET v = upper(v) || 'x' WHERE id % 3 = 0".to_owned(),
        "CREATE INDEX ti ON t(v); CREATE TABLE u(a PRIMARY KEY, b) WITHOUT ROWID;".to_owned(),
        "ALTER TABLE t ADD COLUMN w DEFAULT 7; UPDATE t SET w = id WHERE id < 40;".to_owned(),
        "BEGIN; INSERT INTO u SELECT id, v FROM t; SAVEPOINT a; DELETE FROM t WHERE id < 100; ROLLBACK TO a; \
         DELETE FROM t WHERE id BETWEEN 100 AND 200; COMMIT;"
            .to_owned(),
        "BEGIN; DELETE FROM t; ROLLBACK; ALTER TABLE u RENAME COLUMN b TO c;".to_owned(),
        "DELETE FROM t WHERE id > 20; DROP INDEX ti;".to_owned(),
        "VACUUM".to_owned(),
        insert(1000, 200, 900).replace("INTO t ", "INTO t(id, v) "),
        "PRAGMA incremental_vacuum(5); DELETE FROM u WHERE rowid IS NOT NULL".replace("WHERE rowid IS NOT NULL", ""),
        "ALTER TABLE t DROP COLUMN w; DROP TABLE u; VACUUM;".to_owned(),
    ];
    for (index, step) in steps.iter().enumerate() {
        pair.write(step);
        pair.ship_and_compare();
        if index % 4 == 3 {
            assert!(pair.leader.checkpoint_and_reset());
            assert!(pair.follower.checkpoint_and_reset());
            assert_same(&pair.leader.path, &pair.follower.path);
        }
    }
    pair.compare_files();
}

#[test]
fn every_page_size_is_shipped_byte_for_byte() {
    for size in [512, 1024, 4096, 8192, 65536] {
        workload(&format!("PRAGMA page_size={size}"));
    }
}

#[test]
fn auto_vacuum_is_shipped_byte_for_byte() {
    workload("PRAGMA auto_vacuum=FULL");
    workload("PRAGMA auto_vacuum=INCREMENTAL");
}

#[test]
fn a_transaction_larger_than_the_cache_is_shipped_once_it_commits() {
    let mut pair = Pair::new("PRAGMA page_size=1024; PRAGMA cache_size=10");
    pair.write("BEGIN");
    pair.write(&insert(1, 2000, 500));
    pair.write("UPDATE t SET v = v || 'y' WHERE id % 5 = 0");
    assert!(pair.leader.capture().is_none(), "spilled frames are not committed");
    pair.write("SAVEPOINT a");
    pair.write(&insert(5000, 500, 500));
    pair.write("ROLLBACK TO a");
    pair.write("UPDATE t SET v = v || 'z' WHERE id % 7 = 0");
    pair.write("COMMIT");
    pair.ship_and_compare();
    pair.write("BEGIN");
    pair.write("UPDATE t SET v = v || 'w'");
    pair.write("ROLLBACK");
    assert!(pair.leader.capture().is_none());
    pair.write("UPDATE t SET v = 'short' WHERE id < 10");
    pair.ship_and_compare();
    pair.compare_files();
}

#[test]
fn a_shrink_and_a_growth_in_one_group_are_shipped_byte_for_byte() {
    let mut pair = Pair::new("PRAGMA page_size=1024");
    pair.write(&insert(1, 500, 800));
    pair.ship_and_compare();
    assert!(pair.leader.checkpoint_and_reset());
    pair.write("DELETE FROM t WHERE id > 10");
    pair.write("VACUUM");
    pair.write(&format!("BEGIN; {} DELETE FROM t WHERE id >= 1000; COMMIT;", insert(1000, 900, 800)));
    pair.ship_and_compare();
    pair.compare_files();
}

#[test]
fn a_wal_of_many_index_regions_is_shipped_and_read_at_any_frame() {
    let mut pair = Pair::new("PRAGMA page_size=512");
    pair.write(&insert(1, 6000, 400));
    pair.ship();
    let (middle, mut of_middle) = (pair.follower.at, Snapshot::open(&pair.follower.path).unwrap());
    pair.write("UPDATE t SET v = v || 'x' WHERE id % 2 = 0");
    let group = pair.leader.capture().unwrap();
    // What a group that broke off left in three regions is in nobody's way.
    let mut source = Source { pages: &group.pages, fail_at: group.pages.len() - 1 };
    assert!(pair.follower.handle.inject(&mut source, group.db_size, &mut |_| Ok(())).is_err());
    let unrecorded = &mut |_: &WalPoint| Err(Error::new(ErrorKind::Io, "no record"));
    assert!(pair.follower.handle.inject(&mut group.source(), group.db_size, unrecorded).is_err());
    pair.follower.inject(&group);
    assert!(middle.frame > 4062 && pair.follower.at.frame > 4062 + 4096, "{middle:?} {:?}", pair.follower.at);
    assert_same(&pair.leader.path, &pair.follower.path);
    assert_eq!(integrity(&pair.follower.path), "ok");
    let mut found = vec![0; 512];
    of_middle
        .for_each_page(|number, bytes| {
            pair.follower.handle.read_page_at(number, middle.frame, &mut found)?;
            assert!(found == bytes, "page {number}");
            Ok(())
        })
        .unwrap();
    drop(of_middle);
    pair.compare_files();
}

#[test]
fn the_lock_page_is_never_shipped_and_never_missed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("leader.db");
    let conn = connect(&path);
    conn.execute_batch("PRAGMA page_size=65536; CREATE TABLE t(id INTEGER PRIMARY KEY, v);").unwrap();
    drop(conn);
    // The database claims pages up to three before the lock page that no tree uses: a hole in the file.
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let claimed = 0x4000_0000 / 65536 - 2;
    file.write_all_at(&u32::to_be_bytes(claimed), 28).unwrap();
    file.set_len(u64::from(claimed) * 65536).unwrap();
    drop(file);
    let mut pair = Pair::of(dir, connect(&path));
    let lock_page = pair.leader.handle.page_size().lock_page().get();
    assert_eq!((pair.leader.db_size, lock_page), (16382, 16385));
    pair.write("INSERT INTO t VALUES (1, zeroblob(1000000)), (2, randomblob(200000))");
    let group = pair.leader.capture().unwrap();
    assert!(group.db_size > lock_page);
    assert!(group.pages.iter().all(|(number, _)| number.get() != lock_page));
    assert!(group.pages.iter().any(|(number, _)| number.get() > lock_page));
    pair.follower.inject(&group);
    assert_same(&pair.leader.path, &pair.follower.path);
    let blob =
        |path| connect(path).query_row("SELECT v FROM t WHERE id = 2", [], |row| row.get::<_, Vec<u8>>(0));
    assert_eq!(blob(&pair.leader.path).unwrap(), blob(&pair.follower.path).unwrap());
    let lock_page = Group { pages: vec![(page(lock_page), vec![0; 65536])], db_size: group.db_size };
    let refused = pair.follower.handle.inject(&mut lock_page.source(), lock_page.db_size, &mut |_| Ok(()));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
}
