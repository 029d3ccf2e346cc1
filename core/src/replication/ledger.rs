use std::collections::{BTreeMap, BTreeSet};

use super::floor::Floor;
use super::genesis::Genesis;
use super::plan::LogFile;
use super::walk::WholeFile;
use crate::types::{Chain, Epoch, PageSize, Txid};

/// What all files of a log together say of its chain. Each one says what comes before its first slot and after
/// its last; they must agree, whatever level they are of and in whatever order they are read.
///
/// Of slots it remembers the newest and those at which another file begins or ends.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    chains: BTreeMap<Txid, Chain>,
    kept: BTreeSet<Txid>,
    newest_slot: Option<(Txid, Epoch)>,
    page_size: Option<PageSize>,
}

impl Ledger {
    /// For a log with this genesis, if it has one.
    pub(crate) fn new(genesis: Option<&Genesis>) -> Ledger {
        let mut ledger = Ledger::default();
        if let Some(genesis) = genesis {
            ledger.page_size = Some(genesis.page_size);
            ledger.chains.insert(Txid::ZERO, genesis.chain());
        }
        ledger.kept.insert(Txid::ZERO);
        ledger
    }

    /// Remembers where these files begin and end. To be told before their slots are added.
    pub(crate) fn expect(&mut self, files: &[LogFile]) {
        for file in files.iter().filter(|file| file.level > 0 || file.min != file.max) {
            self.kept.insert(file.min.previous().unwrap_or_default());
            self.kept.insert(file.max);
        }
    }

    /// Adds a file, slots in their order; what contradicts what is known.
    pub(crate) fn add(&mut self, file: &WholeFile) -> Vec<String> {
        let mut wrong = Vec::new();
        let header = &file.header;
        let page_size = *self.page_size.get_or_insert(header.page_size);
        if page_size != header.page_size {
            wrong.push(format!("it has pages of {} bytes, the log of {page_size}", header.page_size));
        }
        let before = header.min.previous().unwrap_or_default();
        if let Some(origin) = header.origin {
            wrong.extend(self.hold(before, origin.previous));
        }
        if let Some(after) = file.after() {
            wrong.extend(self.hold(header.max, after));
        }
        match &file.facts {
            Some(facts) => {
                // Slots that no epoch of ours owns have epoch zero there.
                let owned: Vec<Epoch> = facts
                    .epochs
                    .iter()
                    .map(|(epoch, _)| *epoch)
                    .filter(|epoch| *epoch > Epoch::ZERO)
                    .collect();
                let ascending = owned.is_sorted_by(|one, next| one < next)
                    && facts.epochs.is_sorted_by(|one, next| one.1 < next.1);
                let last = facts.epochs.last().map(|(epoch, _)| *epoch);
                if !ascending || header.origin.is_some_and(|origin| last != Some(origin.epoch)) {
                    wrong.push("its epochs do not ascend to the one in its header".to_owned());
                }
            }
            None if file.file.level > 0 && header.origin.is_some() => {
                wrong.push("nothing is kept beside it".to_owned());
            }
            None => {}
        }
        if file.file.level == 0 {
            wrong.extend(self.add_slot(file));
        }
        wrong
    }

    /// The chain value after a slot, if it is remembered.
    pub(crate) fn chain(&self, txid: Txid) -> Option<Chain> {
        self.chains.get(&txid).copied()
    }

    /// The newest slot that was added, and its epoch.
    pub(crate) fn newest_slot(&self) -> Option<(Txid, Epoch)> {
        self.newest_slot
    }

    fn add_slot(&mut self, file: &WholeFile) -> Option<String> {
        let mut wrong = None;
        let (last, last_epoch) = self.newest_slot.unwrap_or_default();
        let epoch = file.header.origin.map_or(last_epoch, |origin| origin.epoch);
        if file.header.max > last {
            if epoch < last_epoch {
                wrong = Some(format!("the epoch goes down from {last_epoch} to {epoch}"));
            }
            if !self.kept.contains(&last) {
                self.chains.remove(&last);
            }
            let before = file.header.min.previous().unwrap_or_default();
            if !self.kept.contains(&before) {
                self.chains.remove(&before);
            }
            self.newest_slot = Some((file.header.max, epoch.max(last_epoch)));
        }
        wrong
    }

    fn hold(&mut self, txid: Txid, chain: Chain) -> Option<String> {
        match self.chains.get(&txid) {
            Some(known) if *known != chain => Some(format!(
                "it belongs to another history: {chain} is its chain value of slot {txid}, and {known} that of \
                 another file"
            )),
            Some(_) => None,
            None => {
                self.chains.insert(txid, chain);
                None
            }
        }
    }
}

/// The files that no plan can use: nothing leads to where they begin.
pub(crate) fn out_of_reach(files: &[LogFile]) -> Vec<LogFile> {
    let mut by_end: Vec<&LogFile> = files.iter().collect();
    by_end.sort_by_key(|file| (file.max, file.min));
    let mut ends = BTreeSet::new();
    let mut lost = Vec::new();
    for file in by_end {
        let first = file.min.previous().unwrap_or_default();
        if file.min.get() == 1 || ends.range(first..file.max).next().is_some() {
            ends.insert(file.max);
        } else if !ends.contains(&file.max) {
            lost.push(*file);
        }
    }
    lost
}

/// The slots that a listing lacks, each run with its first and its last: from the one after the floor on, every
/// slot is there up to the newest.
pub(crate) fn missing_slots(files: &[LogFile], floor: Floor) -> Vec<(Txid, Txid)> {
    let mut slots: Vec<&LogFile> = files.iter().filter(|f| f.level == 0 && !floor.covers(f.max)).collect();
    slots.sort_by_key(|file| file.min);
    let mut next = floor.0.next();
    let mut missing = Vec::new();
    for slot in slots {
        if slot.min > next {
            missing.push((next, slot.min.previous().unwrap_or_default()));
        }
        next = next.max(slot.max.next());
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(level: u8, min: u64, max: u64) -> LogFile {
        LogFile { level, min: Txid::new(min), max: Txid::new(max), size: 1, modified_ms: 0 }
    }

    fn lost(files: &[LogFile]) -> Vec<(u64, u64)> {
        out_of_reach(files).iter().map(|file| (file.min.get(), file.max.get())).collect()
    }

    #[test]
    fn slots_are_missing_from_the_floor_to_the_newest() {
        let missing = |slots: &[u64], floor: u64| {
            let mut files: Vec<LogFile> = slots.iter().map(|slot| file(0, *slot, *slot)).collect();
            files.push(file(9, 1, 9));
            let runs = missing_slots(&files, Floor(Txid::new(floor)));
            runs.iter().map(|(first, last)| (first.get(), last.get())).collect::<Vec<_>>()
        };
        assert_eq!(missing(&[3, 1, 2, 4], 0), []);
        assert_eq!(missing(&[2, 5, 6, 9], 0), [(1, 1), (3, 4), (7, 8)]);
        assert_eq!(missing(&[2, 5, 6], 4), [], "what is below the floor may be gone");
        assert_eq!(missing(&[2, 7, 8], 4), [(5, 6)]);
        assert_eq!(missing(&[], 4), [], "nothing tells how far the log goes");
    }

    #[test]
    fn what_no_plan_can_use_is_out_of_reach() {
        let healthy = [file(9, 1, 5), file(1, 4, 8), file(0, 8, 8), file(0, 9, 9), file(1, 2, 5)];
        assert_eq!(lost(&healthy), []);
        assert_eq!(lost(&[file(9, 1, 5), file(0, 7, 7), file(0, 8, 8)]), [(7, 7), (8, 8)]);
        assert_eq!(lost(&[file(0, 2, 2)]), [(2, 2)]);
        assert_eq!(lost(&[file(0, 3, 3), file(1, 2, 4), file(9, 1, 4)]), [(3, 3)], "older than the base");
    }
}
