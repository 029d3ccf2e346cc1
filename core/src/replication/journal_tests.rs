use super::journal::{Journal, MainFile, RECORD_BYTES, Record, RecordKind};
use crate::types::{Chain, Epoch, Position, SessionId, Txid};
use crate::wal::{Salts, WalPoint};

fn record(kind: RecordKind, generation: u8, frame: u32, txid: u64) -> Record {
    Record {
        kind,
        point: WalPoint { salts: Salts([generation; 8]), frame, checksum: (frame, !frame) },
        position: Position {
            txid: Txid::new(txid),
            chain: Chain::of(&txid.to_le_bytes()),
            epoch: Epoch::new(3).unwrap(),
        },
    }
}

fn journal(records: &[Record]) -> Journal {
    let mut journal = Journal::default();
    records.iter().for_each(|r| journal.push(*r));
    journal
}

#[test]
fn every_kind_survives_its_bytes() {
    let kinds = [
        RecordKind::Boundary,
        RecordKind::Intent(SessionId::from_bytes([5; 16])),
        RecordKind::Following,
        RecordKind::Leading,
        RecordKind::Closed(MainFile { size: 1 << 40, inode: u64::MAX, modified_ns: -1 }),
        RecordKind::Spooled,
        RecordKind::Confirmed,
        RecordKind::SpooledClosed(MainFile { size: 1, inode: 2, modified_ns: 3 }),
    ];
    for kind in kinds {
        let record = record(kind, 9, u32::MAX, u64::MAX);
        assert_eq!(Record::decode(&record.encode()).unwrap(), record);
    }
}

#[test]
fn a_torn_end_is_ignored_and_a_flipped_bit_ends_the_journal() {
    let whole = journal(&[
        record(RecordKind::Boundary, 1, 1, 1),
        record(RecordKind::Boundary, 1, 2, 2),
        record(RecordKind::Boundary, 1, 3, 3),
    ]);
    let bytes = whole.encode();
    for cut in 0..bytes.len() {
        assert_eq!(Journal::decode(&bytes[..cut]).records().len(), cut / RECORD_BYTES);
    }
    for bit in 0..RECORD_BYTES * 8 {
        let mut flipped = bytes.clone();
        flipped[RECORD_BYTES + bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Journal::decode(&flipped).records().len(), 1, "bit {bit}");
    }
}

#[test]
fn intents_are_found_by_the_slot_that_they_were_for() {
    let session = RecordKind::Intent(SessionId::from_bytes([1; 16]));
    let journal = journal(&[
        record(RecordKind::Boundary, 1, 1, 4),
        record(session, 1, 5, 5),
        record(session, 1, 9, 5),
        record(session, 1, 20, 6),
    ]);
    let frames: Vec<u32> = journal.intents_after(Txid::new(4)).iter().map(|r| r.point.frame).collect();
    assert_eq!(frames, [9, 5]);
    assert_eq!(journal.newest_position().unwrap().txid, Txid::new(4));
}

#[test]
fn the_last_word_on_the_role_counts() {
    assert!(journal(&[]).was_leading(), "without a word, frames count as our own commits");
    let led = [record(RecordKind::Following, 1, 1, 1), record(RecordKind::Leading, 1, 1, 1)];
    assert!(journal(&led).was_leading());
    assert!(!journal(&[led[1], led[0]]).was_leading());
}

#[test]
fn compaction_keeps_two_generations_and_the_role() {
    let mut records = vec![record(RecordKind::Leading, 1, 1, 1)];
    for generation in 1..=5 {
        for frame in 1..=1000 {
            records.push(record(RecordKind::Boundary, generation, frame, u64::from(frame)));
        }
    }
    let full = journal(&records);
    let short = full.compacted();
    assert!(short.records().len() < 2000);
    assert_eq!(short.was_leading(), full.was_leading());
    assert_eq!(short.newest_position(), full.newest_position());
    let generations: Vec<Salts> = short.points().iter().map(|r| r.point.salts).collect();
    assert!(generations.contains(&Salts([4; 8])) && generations.contains(&Salts([5; 8])));
    assert!(!generations.contains(&Salts([3; 8])));
}

#[test]
fn what_is_spooled_is_never_taken_for_the_log() {
    let main = MainFile { size: 1, inode: 2, modified_ns: 3 };
    let records = [
        record(RecordKind::Boundary, 1, 5, 10),
        record(RecordKind::Spooled, 1, 9, 11),
        record(RecordKind::Spooled, 1, 20, 12),
        record(RecordKind::Confirmed, 1, 20, 11),
        record(RecordKind::SpooledClosed(main), 1, 20, 12),
    ];
    let journal = journal(&records);
    assert_eq!(journal.newest_position(), Some(records[3].position));
    assert!(journal.knows(&records[0].position) && journal.knows(&records[3].position));
    assert!(!journal.knows(&records[2].position));
    assert_eq!(journal.points().len(), 4, "all but the word on the log");
    assert_eq!(journal.closed(), Some(main));
    assert!(journal.spooled_beyond(&records[0]) && journal.spooled_beyond(&records[1]));
    assert!(!journal.spooled_beyond(&records[2]));
}

#[test]
fn compaction_keeps_the_generation_of_the_spools_end_and_where_the_log_is() {
    let mut records = vec![record(RecordKind::Leading, 1, 1, 10), record(RecordKind::Boundary, 1, 1, 10)];
    for generation in 1..=9 {
        let slots = u64::from(generation) * 100;
        records.extend((0..100).map(|i| record(RecordKind::Spooled, generation, i, slots + u64::from(i))));
    }
    let short = journal(&records).compacted();
    assert_eq!(short.newest_position(), Some(records[1].position));
    assert!(short.was_leading());
    assert_eq!(short.points().last(), records.last());
    assert!(short.records().len() <= 202, "{}", short.records().len());
    // The spool is shipped: each confirmation is of the generation that is there, whatever that of the slot.
    records.extend((100..150).map(|n| record(RecordKind::Confirmed, 9, 99, n)));
    let short = journal(&records).compacted();
    assert_eq!(short.newest_position().unwrap().txid, Txid::new(149));
    assert_eq!(short.points().last().unwrap().point.frame, 99);
}
