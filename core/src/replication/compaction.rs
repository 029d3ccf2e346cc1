use std::cmp::Reverse;

use super::{Floor, LogFile, beyond_the_slots};
use crate::types::{Error, Result, Txid};

/// The level of snapshots.
pub(crate) const SNAPSHOTS: u8 = 9;
/// So many files are made into one at most: what more there is becomes another file.
pub(crate) const MOST_INPUTS: usize = 512;
/// And no more, once they have so many bytes together.
const MOST_BYTES: u64 = 1 << 30;

/// Which files may go into a compaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Bounds {
    /// Nothing beyond this slot: the newest that is known to be confirmed.
    pub(crate) until: Option<Txid>,
    /// Only what was written before, by the store's clock in milliseconds: the start of the current interval.
    pub(crate) written_before_ms: Option<i64>,
    /// Nothing up to this slot: it cannot be read, and a snapshot covers it.
    pub(crate) behind: Txid,
}

impl Bounds {
    fn allow(&self, file: &LogFile) -> bool {
        self.until.is_none_or(|until| file.max <= until)
            && self.written_before_ms.is_none_or(|before| file.modified_ms < before)
    }
}

/// The files of the level below that one new file of `level` (1 to 8) is to be made of: an unbroken run that
/// begins where the level ends. Empty if there is nothing to do.
///
/// Nothing is made of what the oldest snapshot covers, or what retention has deleted would be made once more.
/// Level 1 begins with slot 2: slot 1 is the base image, and snapshots cover it. There its run begins exactly
/// behind its end, for a listing of slots that lags must not leave a hole. A level above goes on with what the
/// level below still has: what is missing there a snapshot covers.
pub(crate) fn plan_compaction(files: &[LogFile], floor: Floor, level: u8, bounds: Bounds) -> Vec<LogFile> {
    let end = level_end(files, floor, level).max(bounds.behind);
    let mut below: Vec<&LogFile> =
        files.iter().filter(|f| f.level + 1 == level && f.min >= end.next()).collect();
    // Of those that begin at one place the farthest comes first, so that each is looked at once.
    below.sort_by_key(|f| (f.min, Reverse(f.max)));
    let Some(start) = below.first().map(|f| f.min) else { return Vec::new() };
    if level == 1 && start != end.next() {
        return Vec::new();
    }
    let mut inputs = Vec::new();
    let (mut next, mut bytes) = (start, 0);
    for file in below {
        if file.min < next {
            continue;
        }
        bytes += file.size;
        let full = inputs.len() == MOST_INPUTS || (bytes > MOST_BYTES && !inputs.is_empty());
        if file.min > next || full || !bounds.allow(file) {
            break;
        }
        inputs.push(*file);
        next = file.max.next();
    }
    inputs
}

/// The slot behind which a level goes on.
pub(super) fn level_end(files: &[LogFile], floor: Floor, level: u8) -> Txid {
    let end = files.iter().filter(|f| f.level == level).map(|f| f.max).max().unwrap_or_default();
    // What the oldest snapshot covers no restore needs from a lower level.
    let end = end.max(files.iter().filter(|f| is_snapshot(f)).map(|f| f.max).min().unwrap_or_default());
    if level == 1 { end.max(Txid::new(1)).max(floor.0) } else { end }
}

/// The files that a new snapshot is to be made of: the newest snapshot, or slot 1, and what follows it. Empty
/// if nothing follows the newest snapshot.
///
/// It ends where a compacted file ends, so that the next snapshot goes on with whole files; with `slots`, at
/// the newest slot.
pub(crate) fn plan_snapshot(files: &[LogFile], until: Option<Txid>, slots: bool) -> Vec<LogFile> {
    let bounds = Bounds { until, ..Bounds::default() };
    let usable: Vec<LogFile> = files.iter().filter(|f| bounds.allow(f)).copied().collect();
    let newest = newest_snapshot(&usable);
    let Some(base) = newest.or_else(|| usable.iter().find(|f| is_base(f)).copied()) else {
        return Vec::new();
    };
    let lowest = if slots { 0 } else { 1 };
    let parts: Vec<LogFile> = usable.into_iter().filter(|f| f.level >= lowest).collect();
    let inputs = run(&parts, base);
    // Slot 1 alone is the whole database as well.
    if newest.is_some() && inputs.len() == 1 { Vec::new() } else { inputs }
}

/// The files of lower levels that the damaged file `lost` can be made of again; `None` if some are gone.
pub(crate) fn plan_repair(files: &[LogFile], lost: &LogFile) -> Option<Vec<LogFile>> {
    let usable: Vec<LogFile> = files
        .iter()
        .filter(|f| f.max <= lost.max && f.min >= lost.min)
        .filter(
            // A snapshot ends where a compacted file ends: that one is what it was made of, and not the lost one.
            |f| {
                if lost.level == SNAPSHOTS {
                    f.max < lost.max || f.level < SNAPSHOTS
                } else {
                    f.level < lost.level
                }
            },
        )
        .copied()
        .collect();
    let base = match lost.level {
        SNAPSHOTS => newest_snapshot(&usable).or_else(|| usable.iter().find(|f| is_base(f)).copied()),
        _ => usable.iter().filter(|f| f.min == lost.min).max_by_key(|f| f.max).copied(),
    };
    let inputs = run(&usable, base?);
    inputs.last().is_some_and(|last| last.max == lost.max).then_some(inputs)
}

/// `Corrupt` if the files reach beyond the newest slot, which is never deleted: the listing of the slots was
/// made last, so nothing can explain it.
pub(crate) fn check_newest(files: &[LogFile]) -> Result<()> {
    match beyond_the_slots(files) {
        Some(file) => Err(Error::corrupt(format!(
            "log file {}-{} of level {} reaches beyond the newest slot",
            file.min, file.max, file.level
        ))),
        None => Ok(()),
    }
}

/// The newest snapshot that holds the whole database.
pub(crate) fn newest_snapshot(files: &[LogFile]) -> Option<LogFile> {
    files.iter().filter(|f| is_snapshot(f)).max_by_key(|f| f.max).copied()
}

pub(super) fn is_snapshot(file: &LogFile) -> bool {
    file.level == SNAPSHOTS && file.min.get() == 1
}

fn is_base(file: &LogFile) -> bool {
    file.level == 0 && file.min.get() == 1 && file.max.get() == 1
}

/// From the first file on always the one that reaches farthest: of those that begin right behind the end, so
/// that the link can be held, or else of those that overlap it.
fn run(files: &[LogFile], first: LogFile) -> Vec<LogFile> {
    // By where they begin, so that each is looked at once.
    let mut waiting: Vec<&LogFile> =
        files.iter().filter(|f| f.level < SNAPSHOTS && f.max > first.max).collect();
    waiting.sort_by_key(|f| f.min);
    let mut waiting = waiting.into_iter().peekable();
    let rank = |f: &LogFile| (f.max, Reverse(f.min), f.level);
    let farther = |f: &LogFile, best: Option<LogFile>| best.is_none_or(|best| rank(f) >= rank(&best));
    let (mut inputs, mut end, mut overlapping) = (vec![first], first.max, None);
    loop {
        let mut exact = None;
        while let Some(file) = waiting.next_if(|f| f.min <= end.next()) {
            if file.min == end.next() && farther(file, exact) {
                exact = Some(*file);
            }
            if farther(file, overlapping) {
                overlapping = Some(*file);
            }
        }
        match exact.or(overlapping) {
            Some(next) if next.max > end => {
                inputs.push(next);
                end = next.max;
            }
            _ => return inputs,
        }
    }
}
