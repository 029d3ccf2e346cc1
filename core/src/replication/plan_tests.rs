use std::collections::BTreeSet;

use proptest::prelude::{ProptestConfig, prop, prop_assert, prop_assert_eq, proptest};

use super::plan::{LogFile, beyond_the_slots, covers, plan_as_far, plan_restore, plan_until};
use crate::types::Txid;

fn file(level: u8, min: u64, max: u64) -> LogFile {
    LogFile { level, min: Txid::new(min), max: Txid::new(max), size: 1, modified_ms: 0 }
}

fn ends(files: &[LogFile], from: u64, target: Option<u64>) -> Result<Vec<(u8, u64, u64)>, String> {
    plan_restore(files, Txid::new(from), target.map(Txid::new))
        .map(|plan| plan.files.iter().map(|f| (f.level, f.min.get(), f.max.get())).collect())
        .map_err(|e| e.to_string())
}

#[test]
fn slots_alone_are_taken_in_order() {
    let files = [file(0, 2, 2), file(0, 1, 1), file(0, 3, 3)];
    assert_eq!(ends(&files, 0, None).unwrap(), [(0, 1, 1), (0, 2, 2), (0, 3, 3)]);
    assert_eq!(ends(&files, 1, None).unwrap(), [(0, 2, 2), (0, 3, 3)]);
    assert_eq!(ends(&files, 0, Some(2)).unwrap(), [(0, 1, 1), (0, 2, 2)]);
}

#[test]
fn the_newest_snapshot_and_the_farthest_file_win() {
    let files =
        [file(9, 1, 4), file(9, 1, 8), file(1, 5, 12), file(0, 9, 9), file(0, 13, 13), file(2, 9, 12)];
    assert_eq!(ends(&files, 0, None).unwrap(), [(9, 1, 8), (1, 5, 12), (0, 13, 13)]);
    assert_eq!(ends(&files, 8, None).unwrap(), [(1, 5, 12), (0, 13, 13)]);
}

#[test]
fn a_hole_is_never_taken_for_the_end() {
    assert!(ends(&[file(0, 1, 1), file(0, 3, 3)], 0, None).unwrap_err().contains("hole after slot 1"));
    assert!(ends(&[file(0, 2, 2)], 0, None).unwrap_err().contains("hole after slot 0"));
}

#[test]
fn a_target_must_be_met_exactly() {
    assert!(ends(&[file(9, 1, 5)], 0, Some(4)).unwrap_err().contains("does not reach slot 4"));
    assert!(ends(&[], 0, Some(1)).is_err());
}

#[test]
fn nothing_new_is_an_empty_plan() {
    assert_eq!(ends(&[file(0, 1, 1)], 1, None).unwrap(), []);
    assert_eq!(ends(&[], 0, None).unwrap(), []);
}

#[test]
fn an_error_says_which_slots_are_missing_and_what_is_near_a_target() {
    let files = [file(0, 1, 1), file(0, 5, 5)];
    assert!(ends(&files, 0, None).unwrap_err().contains("slots 2 to 4 are missing"));
    assert!(ends(&files, 0, Some(3)).unwrap_err().contains("slots 2 to 4 are missing"));
    let compacted = [file(9, 1, 4), file(1, 5, 9), file(0, 10, 10)];
    assert!(ends(&compacted, 0, Some(7)).unwrap_err().contains("; 4 can be restored, and then 9"));
    assert!(ends(&compacted, 0, Some(2)).unwrap_err().ends_with("; the first that can be restored is 4"));
    assert!(ends(&compacted, 0, Some(11)).unwrap_err().ends_with("; 10 can be restored"));
}

#[test]
fn a_moment_takes_the_files_that_are_not_later() {
    let at = |files: &[(LogFile, i64)], ms| {
        plan_until(files, ms)
            .map(|plan| plan.files.iter().map(|f| (f.level, f.min.get(), f.max.get())).collect::<Vec<_>>())
            .map_err(|e| e.to_string())
    };
    let slots = [(file(0, 1, 1), 10), (file(0, 2, 2), 20), (file(0, 3, 3), 20), (file(0, 4, 4), 30)];
    assert_eq!(at(&slots, 9).unwrap(), []);
    assert_eq!(at(&slots, 20).unwrap(), [(0, 1, 1), (0, 2, 2), (0, 3, 3)]);
    assert_eq!(at(&slots, 31).unwrap().len(), 4);
    // A compacted file has the time of its last slot, and what is left decides how fine the grid is.
    let compacted = [(file(9, 1, 2), 20), (file(1, 3, 6), 60), (file(0, 7, 7), 70)];
    assert_eq!(at(&compacted, 59).unwrap(), [(9, 1, 2)]);
    assert_eq!(at(&compacted, 60).unwrap(), [(9, 1, 2), (1, 3, 6)]);
    // A clock that went back: the prefix ends at the first file that is later.
    let back = [(file(0, 1, 1), 10), (file(0, 2, 2), 50), (file(0, 3, 3), 20)];
    assert_eq!(at(&back, 30).unwrap(), [(0, 1, 1)]);
    let hole = [(file(0, 1, 1), 10), (file(0, 3, 3), 30)];
    assert!(at(&hole, 100).unwrap_err().contains("slot 2 is missing"));
    assert!(at(&hole, 15).unwrap_err().contains("slot 2 is missing"), "it may have been before");
}

#[test]
fn a_file_beyond_the_newest_slot_is_noticed() {
    assert_eq!(beyond_the_slots(&[file(1, 2, 4), file(0, 4, 4)]), None);
    assert_eq!(beyond_the_slots(&[file(1, 2, 5), file(0, 4, 4)]), Some(file(1, 2, 5)));
    assert_eq!(beyond_the_slots(&[]), None);
}

/// As the plan is defined, word by word.
fn by_definition(files: &[LogFile]) -> Vec<LogFile> {
    let mut plan: Vec<LogFile> = Vec::new();
    plan.extend(files.iter().filter(|f| f.level == 9 && f.min.get() == 1).max_by_key(|f| f.max));
    loop {
        let end = plan.last().map_or(Txid::ZERO, |file| file.max);
        let next = files
            .iter()
            .filter(|f| f.level < 9 && f.min <= end.next() && f.max > end)
            .max_by_key(|f| (f.max, std::cmp::Reverse(f.min), f.level));
        match next {
            Some(next) => plan.push(*next),
            None => return plan,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_is_what_its_definition_says_and_has_no_gap(
        spans in prop::collection::btree_set((0u8..=9, 1u64..12, 0u64..5), 0..14),
    ) {
        let files: Vec<LogFile> = spans
            .iter()
            .map(|&(level, min, more)| file(level, if level == 9 { 1 } else { min }, min + more))
            .collect();
        let plan = plan_as_far(&files, Txid::ZERO);
        let expected = by_definition(&files);
        let names = |files: &[LogFile]| files.iter().map(|f| (f.level, f.min, f.max)).collect::<Vec<_>>();
        prop_assert_eq!(names(&plan.files), names(&expected));
        for slot in 1..=plan.end.get() {
            prop_assert!(covers(&plan.files, Txid::new(slot)));
        }
    }

    /// However files overlap: the farthest one never leads past the way to a slot. Litestream relies on it as well.
    #[test]
    fn every_slot_that_files_lead_to_can_be_planned(
        spans in prop::collection::btree_set((0u8..=9, 1u64..12, 0u64..5), 0..14),
    ) {
        let files: Vec<LogFile> = spans
            .iter()
            .map(|&(level, min, more)| file(level, if level == 9 { 1 } else { min }, min + more))
            .collect();
        let mut reached = BTreeSet::from([Txid::ZERO]);
        // As often as a way can be long.
        for _ in &files {
            let go_on = files.iter().filter(|f| reached.iter().any(|end| f.min <= end.next() && f.max > *end));
            reached.extend(go_on.map(|f| f.max).collect::<Vec<_>>());
        }
        for slot in (1..20).map(Txid::new) {
            let planned = plan_restore(&files, Txid::ZERO, Some(slot)).map(|plan| plan.end).ok();
            prop_assert_eq!(planned, reached.contains(&slot).then_some(slot));
        }
    }
}
