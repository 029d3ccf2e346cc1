use std::sync::{Arc, Mutex};

use haqlite::bucket::{Layout, MemoryBucket};
use haqlite::types::Timestamp;
use haqlite::{Check, ErrorKind, Progress};

use crate::written::{START_MS, Written, file_key};

fn ms(seconds: i64, ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(START_MS + 1000 * seconds + ms)
}

#[test]
fn every_slot_can_be_restored_by_its_number_and_by_its_time() {
    for layout in [Layout::Directory, Layout::S3] {
        let mut written = Written::in_bucket(Arc::new(MemoryBucket::with_layout(layout)));
        written.live();
        for slot in 1..=written.end() {
            written.check(written.restore().txid(slot), slot);
            written.check(written.restore().timestamp(ms(slot as i64, 0)), slot);
            written.check(written.restore().timestamp(ms(slot as i64, 999)), slot);
        }
        let newest = written.check(written.restore().check(Check::Full), written.end());
        assert_eq!((newest.files, newest.damaged.len(), newest.left_out), (10, 0, None));
    }
}

#[test]
fn compactions_and_snapshots_are_used_and_say_which_states_are_left() {
    let written = Written::with_a_life();
    written.snapshot(3);
    written.compact(1, 4, 6);
    written.compact(1, 7, 8);
    written.compact(2, 4, 8);
    for slot in 1..=written.end() {
        written.check(written.restore().txid(slot), slot);
    }
    written.retire(8);
    let newest = written.check(written.restore(), 10);
    assert_eq!(newest.files, 4, "a snapshot, a compaction, two slots");
    for slot in [3, 6, 8, 9, 10] {
        written.check(written.restore().txid(slot), slot);
    }
    for (moment, slot) in [(ms(3, 0), 3), (ms(5, 999), 3), (ms(6, 0), 6), (ms(8, 500), 8), (ms(99, 0), 10)] {
        written.check(written.restore().timestamp(moment), slot);
    }
    let error = written.refused(written.restore().txid(5));
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("; 3 can be restored"), "{error}");
    let error = written.refused(written.restore().txid(11));
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let error = written.refused(written.restore().timestamp(ms(2, 999)));
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("the first that is kept is of"), "{error}");
}

#[test]
fn a_compaction_at_the_end_has_the_position_of_the_slot_there() {
    let written = Written::with_a_life();
    written.snapshot(10);
    written.check(written.restore(), 10);
    written.compact(1, 2, 10);
    written.delete(&file_key(9, 1, 10));
    written.check(written.restore(), 10);
}

#[test]
fn a_log_that_is_not_there_is_not_restored() {
    let written = Written::with_a_life();
    let error = written.refused(written.restore().db_name("other"));
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("holds no log"), "{error}");
}

#[test]
fn progress_reaches_its_end_and_never_goes_back() {
    let written = Written::with_a_life();
    written.snapshot(4);
    let heard = Arc::new(Mutex::new(Vec::<Progress>::new()));
    let ear = Arc::clone(&heard);
    let restored = written
        .check(written.restore().progress(move |progress| ear.lock().unwrap().push(progress)), written.end());
    let heard = heard.lock().unwrap();
    assert!(heard.windows(2).all(|pair| pair[0].bytes_done <= pair[1].bytes_done));
    let last = heard.last().unwrap();
    assert_eq!((last.files_done, last.bytes_done), (restored.files, restored.bytes));
    assert_eq!((last.files, last.bytes), (restored.files, restored.bytes));
}
