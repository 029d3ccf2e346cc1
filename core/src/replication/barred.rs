use std::borrow::Cow;
use std::collections::BTreeSet;

use super::compaction::is_snapshot;
use super::{Floor, LogFile};
use crate::types::Txid;

/// What a leader knows of slots that no file can be made of: another tool wrote them, or they are damaged or
/// missing in the bucket. Only a snapshot of a node that has them covers them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Barred {
    /// The newest slot of another tool; zero if there is none. All up to it counts as that tool's.
    foreign: Txid,
    /// Slots that were read and are not what the log has.
    damaged: BTreeSet<Txid>,
}

/// So many damaged slots are known at most; more are found again when these are covered.
const MOST_DAMAGED: usize = 1024;

impl Barred {
    /// Another tool wrote slots up to this one. Whether that is news.
    pub(crate) fn add_foreign(&mut self, until: Txid) -> bool {
        let news = until > self.foreign;
        self.foreign = self.foreign.max(until);
        news
    }

    /// The slot was read, and is damaged or missing. Whether that is news.
    pub(crate) fn add_damaged(&mut self, slot: Txid) -> bool {
        self.damaged.len() < MOST_DAMAGED && self.damaged.insert(slot)
    }

    /// Forgets slots that readers do not look for any more.
    pub(crate) fn forget(&mut self, floor: Floor) {
        self.damaged.retain(|slot| !floor.covers(*slot));
    }

    /// Whether the slot is known to be damaged.
    pub(crate) fn is_damaged(&self, slot: Txid) -> bool {
        self.damaged.contains(&slot)
    }

    /// Whether there are slots of another tool.
    pub(crate) fn has_foreign(&self) -> bool {
        self.foreign > Txid::ZERO
    }

    /// The files that others can be made of.
    pub(crate) fn usable<'a>(&self, files: &'a [LogFile]) -> Cow<'a, [LogFile]> {
        if !self.has_foreign() && self.damaged.is_empty() {
            return Cow::Borrowed(files);
        }
        let usable = |f: &&LogFile| f.max > self.foreign && (f.level > 0 || !self.damaged.contains(&f.max));
        files.iter().filter(usable).copied().collect()
    }

    /// Of these the files that can stand for slots that are deleted: they are held against the slots at their ends.
    pub(crate) fn provable(&self, files: &[LogFile]) -> Vec<LogFile> {
        let damaged = |slot| self.damaged.contains(&slot);
        self.usable(files).iter().filter(|f| !damaged(f.min) && !damaged(f.max)).copied().collect()
    }

    /// Where level 1 goes on that ends at `end`: behind the oldest snapshot that covers the slots after the end, as
    /// long as those are damaged.
    pub(crate) fn way_over(&self, files: &[LogFile], mut end: Txid) -> Txid {
        while self.damaged.contains(&end.next()) {
            let over = files.iter().filter(|f| is_snapshot(f) && f.max > end).map(|f| f.max).min();
            let Some(over) = over else { break };
            end = over;
        }
        end
    }

    /// The newest slot that no snapshot covers which a node made. Of those of another tool, if `foreign` is asked
    /// for, and of the damaged ones.
    pub(crate) fn uncovered(&self, files: &[LogFile], foreign: bool) -> Option<Txid> {
        let usable = self.usable(files);
        let covered = usable.iter().filter(|f| is_snapshot(f)).map(|f| f.max).max().unwrap_or_default();
        let damaged = self.damaged.last().copied();
        let foreign = Some(self.foreign).filter(|_| foreign && self.has_foreign());
        damaged.into_iter().chain(foreign).filter(|slot| *slot > covered).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(level: u8, min: u64, max: u64) -> LogFile {
        LogFile { level, min: Txid::new(min), max: Txid::new(max), size: 1, modified_ms: 0 }
    }

    #[test]
    fn nothing_of_another_tool_and_nothing_damaged_is_used() {
        let mut barred = Barred::default();
        let files =
            [file(9, 1, 3), file(1, 1, 4), file(0, 4, 4), file(0, 5, 5), file(0, 6, 6), file(9, 1, 6)];
        assert_eq!(barred.usable(&files).len(), 6);
        assert!(barred.add_foreign(Txid::new(4)) && !barred.add_foreign(Txid::new(2)));
        assert_eq!(*barred.usable(&files), files[3..]);
        assert!(barred.add_damaged(Txid::new(5)) && !barred.add_damaged(Txid::new(5)));
        assert_eq!(*barred.usable(&files), files[4..]);
        let compacted = [file(1, 5, 7), file(2, 5, 9), file(1, 6, 9), file(9, 1, 9)];
        assert_eq!(
            (barred.usable(&compacted).len(), barred.provable(&compacted)),
            (4, compacted[2..].to_vec())
        );
        barred.forget(Floor(Txid::new(5)));
        assert_eq!(*barred.usable(&files), files[3..]);
    }

    #[test]
    fn what_is_barred_asks_for_a_snapshot_until_one_covers_it() {
        let mut barred = Barred::default();
        assert_eq!(barred.uncovered(&[], true), None);
        barred.add_foreign(Txid::new(4));
        let theirs = file(9, 1, 4);
        assert_eq!(barred.uncovered(&[theirs], true), Some(Txid::new(4)), "theirs is none");
        assert_eq!(barred.uncovered(&[theirs], false), None);
        assert_eq!(barred.uncovered(&[theirs, file(9, 1, 6)], true), None);
        barred.add_damaged(Txid::new(8));
        assert_eq!(barred.uncovered(&[file(9, 1, 6)], true), Some(Txid::new(8)));
        assert_eq!(barred.uncovered(&[file(9, 1, 6)], false), Some(Txid::new(8)));
        assert_eq!(barred.uncovered(&[file(9, 1, 8)], true), None);
    }

    #[test]
    fn level_1_goes_on_behind_the_oldest_snapshot_that_covers_a_damaged_slot() {
        let mut barred = Barred::default();
        let files = [file(9, 1, 3), file(9, 1, 9), file(9, 1, 20)];
        let way = |barred: &Barred, end| barred.way_over(&files, Txid::new(end)).get();
        assert_eq!(way(&barred, 5), 5);
        barred.add_damaged(Txid::new(6));
        assert_eq!((way(&barred, 5), way(&barred, 4)), (9, 4));
        barred.add_damaged(Txid::new(10));
        assert_eq!(way(&barred, 5), 20);
        barred.add_damaged(Txid::new(21));
        assert_eq!(way(&barred, 5), 20, "nothing covers that one yet");
    }

    #[test]
    fn a_bucket_that_damages_everything_is_no_reason_to_remember_everything() {
        let mut barred = Barred::default();
        let added = (1..=5000).filter(|n| barred.add_damaged(Txid::new(*n))).count();
        assert_eq!(added, MOST_DAMAGED);
    }
}
