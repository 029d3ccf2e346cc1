use super::plan::{LogFile, plan_restore};
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
