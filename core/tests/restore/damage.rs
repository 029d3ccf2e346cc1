use haqlite::ErrorKind;
use haqlite::bucket::Key;
use haqlite::types::Timestamp;

use crate::written::{START_MS, Written, facts_key, file_key, slot_key};

/// Every kind of damage that one object can have.
fn damages(written: &Written, key: &Key, other: &Key) -> Vec<(&'static str, Vec<u8>)> {
    let whole = written.get(key);
    let flipped = |byte: usize| {
        let mut bytes = whole.clone();
        bytes[byte] ^= 4;
        bytes
    };
    vec![
        ("the magic", flipped(1)),
        ("the slot", flipped(31)),
        ("the time", flipped(37)),
        ("the chain", flipped(80)),
        ("a page number", flipped(103)),
        ("a page", flipped(whole.len() / 3)),
        ("the index", flipped(whole.len() - 40)),
        ("the checksum", flipped(whole.len() - 1)),
        ("cut in the header", whole[..50].to_vec()),
        ("cut in a page", whole[..whole.len() / 2].to_vec()),
        ("cut in the trailer", whole[..whole.len() - 3].to_vec()),
        ("empty", Vec::new()),
        ("more than there was", [whole.clone(), vec![0]].concat()),
        ("swapped", written.get(other)),
    ]
}

#[test]
fn damage_that_nothing_makes_good_is_an_error_that_names_the_object() {
    let written = Written::with_a_life();
    for slot in [1, 4, 10] {
        let key = slot_key(slot);
        let whole = written.get(&key);
        for (what, damaged) in damages(&written, &key, &slot_key(slot % 10 + 1)) {
            written.put(&key, damaged);
            let error = written.refused(written.restore());
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what} of slot {slot}: {error}");
            assert!(error.message().contains(&written.key(&key)), "{what} of slot {slot}: {error}");
        }
        written.put(&key, whole);
        written.check(written.restore(), 10);
    }
}

#[test]
fn the_last_good_state_is_what_is_before_the_damage_and_says_so() {
    let written = Written::with_a_life();
    for slot in [4, 10] {
        let key = slot_key(slot);
        let whole = written.get(&key);
        for (what, damaged) in damages(&written, &key, &slot_key(slot % 10 + 1)) {
            written.put(&key, damaged);
            let restored = written.check(written.restore().last_good(true), slot - 1);
            let why = restored.left_out.unwrap_or_else(|| panic!("{what} of slot {slot}"));
            assert!(why.contains(&written.key(&key)), "{what} of slot {slot}: {why}");
            assert_eq!(restored.damaged[0].key, written.key(&key), "{what} of slot {slot}");
            let before = written.check(written.restore().last_good(true).txid(slot - 1), slot - 1);
            assert_eq!(before.left_out, None, "{what}: what was asked for is there");
        }
        written.delete(&key);
        if slot < 10 {
            let restored = written.check(written.restore().last_good(true), slot - 1);
            assert!(restored.left_out.unwrap().contains("slot 4 is missing"));
        }
        written.put(&key, whole);
        assert_eq!(written.check(written.restore().last_good(true), 10).left_out, None);
    }
}

#[test]
fn a_damaged_slot_that_is_asked_for_is_damage_although_a_snapshot_reaches_beyond_it() {
    let written = Written::with_a_life();
    written.snapshot(10);
    written.flip(&slot_key(5), 200);
    let error = written.refused(written.restore().txid(5));
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.message().contains(&written.key(&slot_key(5))), "{error}");
    let restored = written.check(written.restore().txid(5).last_good(true), 4);
    assert!(restored.left_out.unwrap().contains(&written.key(&slot_key(5))));
    written.check(written.restore(), 10);
}

#[test]
fn a_hole_is_an_error_that_names_the_slots() {
    let written = Written::with_a_life();
    written.delete_slots(4..=6);
    let error = written.refused(written.restore());
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("slots 4 to 6 are missing"), "{error}");
    written.check(written.restore().txid(3), 3);
    // A compaction over it makes it good.
    written.compact(1, 3, 7);
    written.check(written.restore(), 10);
}

#[test]
fn slots_make_a_damaged_compaction_good_and_a_compaction_damaged_slots() {
    let written = Written::with_a_life();
    written.compact(1, 2, 8);
    let key = file_key(1, 2, 8);
    let whole = written.get(&key);
    for (what, damaged) in damages(&written, &key, &slot_key(5)) {
        written.put(&key, damaged);
        let restored = written.check(written.restore(), 10);
        assert_eq!(restored.damaged.len(), 1, "{what}");
        assert_eq!(restored.damaged[0].key, written.key(&key), "{what}");
        assert_eq!(restored.files, 10, "{what}");
    }
    written.put(&key, whole);
    for slot in [3, 5, 7] {
        written.flip(&slot_key(slot), 200);
    }
    let restored = written.check(written.restore(), 10);
    assert_eq!(restored.damaged, [], "nobody looked at them");
}

#[test]
fn an_older_snapshot_makes_a_damaged_one_good() {
    let written = Written::with_a_life();
    written.snapshot(3);
    written.snapshot(7);
    written.compact(1, 2, 7);
    written.retire(7);
    written.flip(&file_key(9, 1, 7), 300);
    let restored = written.check(written.restore(), 10);
    assert_eq!(restored.damaged[0].key, written.key(&file_key(9, 1, 7)));
    written.flip(&file_key(9, 1, 3), 300);
    let error = written.refused(written.restore());
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains(&written.key(&file_key(9, 1, 3))), "{error}");
    let error = written.refused(written.restore().last_good(true));
    assert_eq!(error.kind(), ErrorKind::Corrupt, "without a beginning there is nothing");
}

#[test]
fn what_is_kept_beside_a_file_gives_a_swapped_one_away() {
    let written = Written::with_a_life();
    let mut other = Written::new();
    // Another history with the same slots: each file is valid, and none is this log's.
    other.live();
    written.compact(1, 2, 8);
    other.compact(1, 2, 8);
    written.put(&file_key(1, 2, 8), other.get(&file_key(1, 2, 8)));
    let restored = written.check(written.restore(), 10);
    assert!(restored.damaged[0].message.contains("its hash is"), "{:?}", restored.damaged);
    // With what was kept beside it, it is found by its links.
    written.put(&facts_key(1, 2, 8), other.get(&facts_key(1, 2, 8)));
    let restored = written.check(written.restore(), 10);
    assert!(restored.damaged[0].message.contains("another history"), "{:?}", restored.damaged);
    // A slot of the other history that follows neither.
    for slot in [6, 10] {
        let whole = written.get(&slot_key(slot));
        written.delete(&file_key(1, 2, 8));
        written.put(&slot_key(slot), other.get(&slot_key(slot)));
        let error = written.refused(written.restore());
        assert!(error.message().contains("another history"), "{error}");
        assert!(error.message().contains(&written.key(&slot_key(slot))), "{error}");
        written.put(&slot_key(slot), whole);
    }
}

#[test]
fn what_is_damaged_beside_a_file_is_damage_of_the_file() {
    let written = Written::with_a_life();
    written.compact(1, 2, 8);
    for garbage in [b"{}".to_vec(), Vec::new(), b"not json".to_vec()] {
        written.put(&facts_key(1, 2, 8), garbage);
        let restored = written.check(written.restore(), 10);
        assert_eq!(restored.damaged[0].key, written.key(&file_key(1, 2, 8)));
    }
}

#[test]
fn a_compaction_beyond_the_newest_slot_is_refused() {
    let written = Written::with_a_life();
    written.compact(1, 2, 10);
    written.delete(&slot_key(10));
    let error = written.refused(written.restore());
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains(&written.key(&file_key(1, 2, 10))), "{error}");
    let restored = written.check(written.restore().last_good(true), 10);
    assert!(restored.damaged[0].message.contains("beyond the newest slot"), "{:?}", restored.damaged);
}

#[test]
fn a_damaged_time_does_not_end_a_restore_to_a_moment() {
    let written = Written::with_a_life();
    let at = |slot: i64| Timestamp::from_unix_ms(START_MS + 1000 * slot);
    // The highest byte but one of the time: far in the future.
    written.flip(&slot_key(6), 33);
    let error = written.refused(written.restore().timestamp(at(8)));
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains(&written.key(&slot_key(6))), "{error}");
    let restored = written.check(written.restore().timestamp(at(8)).last_good(true), 5);
    assert!(restored.left_out.is_some());
    written.compact(1, 5, 7);
    let restored = written.check(written.restore().timestamp(at(8)), 8);
    assert_eq!(restored.damaged.len(), 0, "the compaction goes past it");
}

#[test]
fn a_genesis_of_another_log_is_noticed() {
    let written = Written::with_a_life();
    written.put(
        &Key::Genesis,
        String::from_utf8(written.get(&Key::Genesis)).unwrap().replace("abab", "baba").into_bytes(),
    );
    let error = written.refused(written.restore());
    assert!(error.message().contains("another history"), "{error}");
    written.put(&Key::Genesis, b"garbage".to_vec());
    let error = written.refused(written.restore());
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("_genesis"), "{error}");
    let restored = written.check(written.restore().last_good(true), 10);
    assert_eq!(restored.damaged[0].key, written.key(&Key::Genesis));
}
