use std::time::Duration;

use super::compaction::{Bounds, SNAPSHOTS, level_end, newest_snapshot, plan_compaction, plan_snapshot};
use super::retention::{millis, next_retention};
use super::{Barred, Floor, LogFile, plan_as_far};
use crate::types::{Compaction, Retention, Txid};

/// What a leader knows of its log's files. It is what it listed once, and what it did since.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Known {
    /// The files above the floor; of the slots those that were listed.
    pub(crate) files: Vec<LogFile>,
    /// The floor.
    pub(crate) floor: Floor,
    /// The slots of which no files can be made.
    pub(crate) barred: Barred,
    /// The newest slot that is confirmed.
    pub(crate) confirmed: Txid,
    /// When it was noticed that there are confirmed slots which are not listed, by the store's clock.
    pub(crate) unlisted_since_ms: Option<i64>,
    /// A snapshot of the node's own database failed just now: what else is due comes first.
    pub(crate) own_comes_last: bool,
}

impl Known {
    /// Slots up to this one are confirmed, as is noticed now.
    pub(crate) fn confirm(&mut self, confirmed: Txid, now_ms: i64) {
        self.confirmed = self.confirmed.max(confirmed);
        if self.listed() < self.confirmed {
            self.unlisted_since_ms.get_or_insert(now_ms);
        }
    }

    /// Up to where the slots are listed, or covered.
    pub(crate) fn listed(&self) -> Txid {
        self.files.iter().map(|f| f.max).max().unwrap_or_default().max(self.floor.0)
    }

    /// The first slot that a restore would miss before the end, as far as it is listed.
    pub(crate) fn hole(&self) -> Option<Txid> {
        let end = plan_as_far(&self.files, Txid::ZERO).end;
        (end < self.listed()).then_some(end.next())
    }

    /// What a listing shows of a log with this floor.
    pub(crate) fn of(files: Vec<LogFile>, floor: Floor) -> Known {
        let (slots, files): (Vec<LogFile>, Vec<LogFile>) = files.into_iter().partition(|f| f.level == 0);
        let mut known = Known { files, floor, ..Known::default() };
        let covered = known.listed();
        let (below, beyond): (Vec<LogFile>, Vec<LogFile>) = slots.into_iter().partition(|f| f.max <= covered);
        known.files.extend(below);
        known.take_slots(beyond);
        known
    }

    /// Adds slots up to the first hole. A listing that lags, or that was made while slots came, may show one and
    /// not the one before it: it would be missing for ever if what is behind it counted as listed.
    fn take_slots(&mut self, mut slots: Vec<LogFile>) {
        slots.sort_by_key(|f| f.min);
        let mut next = self.listed().next();
        for slot in slots {
            if slot.min > next {
                return;
            }
            next = next.max(slot.max.next());
            self.files.push(slot);
        }
    }

    /// The slots after that were listed. A listing may lag: then it is made again at the next boundary.
    pub(crate) fn listed_slots(&mut self, slots: Vec<LogFile>, now_ms: i64) {
        self.take_slots(slots);
        self.unlisted_since_ms = (self.listed() < self.confirmed).then_some(now_ms);
    }

    /// A file was made: slots that level 1 has now are no input any more.
    pub(crate) fn add(&mut self, file: LogFile) {
        if file.level == 1 {
            // The first slot is the base of the first snapshot, and the newest tells how far the list goes.
            self.files.retain(|f| f.level > 0 || f.max.get() == 1 || f.max >= file.max);
        }
        self.files.push(file);
    }
}

/// A piece of work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Chore {
    /// List the slots that are not listed yet.
    Look,
    /// Make one file of this level out of these.
    Compact(u8, Vec<LogFile>),
    /// Make a snapshot out of these.
    Snapshot(Vec<LogFile>),
    /// Make a snapshot out of this node's own database: it covers what cannot be read.
    OwnSnapshot,
    /// List everything, and delete what may go.
    Retain,
}

/// What a leader does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// This, now.
    Now(Chore),
    /// Nothing before this time by the store's clock, unless a slot is confirmed.
    At(i64),
    /// Nothing, until a slot is confirmed.
    Idle,
}

/// What is to be done at this time by the store's clock: what is due for longest, so that nothing starves, and
/// of two that are the lowest level first, since the others read it.
pub(crate) fn next_chore(known: &Known, compaction: &Compaction, retention: &Retention, now_ms: i64) -> Next {
    let mut due: Vec<(i64, Chore)> = Vec::new();
    due.extend(own_snapshot_due(known, compaction, now_ms));
    let lowest = compaction.levels.first().copied().or(compaction.snapshots);
    if let (Some(since), Some(interval)) = (known.unlisted_since_ms, lowest) {
        due.push((boundary_after(since, interval), Chore::Look));
    }
    for (level, interval) in (1..SNAPSHOTS).zip(&compaction.levels) {
        due.extend(compaction_due(known, level, *interval, now_ms));
    }
    if let Some(interval) = compaction.snapshots {
        let slots = compaction.levels.is_empty();
        due.extend(snapshot_due(known, interval, slots));
    }
    if retention.enabled {
        let at = next_retention(&known.files, &known.barred, known.floor, known.confirmed, retention);
        due.extend(at.map(|at| (at, Chore::Retain)));
    }
    // What waits for longest, or else the time of the next.
    match due.into_iter().min_by_key(|(at, _)| *at) {
        Some((at, chore)) if at <= now_ms => Next::Now(chore),
        next => next.map_or(Next::Idle, |(at, _)| Next::At(at)),
    }
}

/// A snapshot of the node's own database is due at once when nothing else covers what cannot be read, and this node
/// is beyond that. An application that wants no snapshots gets none.
fn own_snapshot_due(known: &Known, compaction: &Compaction, now_ms: i64) -> Option<(i64, Chore)> {
    compaction.snapshots?;
    let uncovered = known.barred.uncovered(&known.files, true)?;
    let at = if known.own_comes_last { now_ms } else { i64::MIN };
    (known.confirmed > uncovered).then_some((at, Chore::OwnSnapshot))
}

fn compaction_due(known: &Known, level: u8, interval: Duration, now_ms: i64) -> Option<(i64, Chore)> {
    let files = known.barred.usable(&known.files);
    let behind = match level {
        1 => known.barred.way_over(&files, level_end(&files, known.floor, level)),
        // A level above goes on with what the level below has.
        _ => Txid::ZERO,
    };
    let bounds = |before| Bounds { until: Some(known.confirmed), written_before_ms: before, behind };
    let all = plan_compaction(&files, known.floor, level, bounds(None));
    let at = boundary_after(all.first()?.modified_ms, interval);
    // Empty before its time.
    let before = bounds(Some(window_start(now_ms, interval)));
    let inputs = plan_compaction(&files, known.floor, level, before);
    Some((at, Chore::Compact(level, inputs)))
}

/// A snapshot is due at the first boundary after the newest one was written. The first one is due as soon as
/// as many bytes were added as the base image has: it is what lets slots be deleted.
fn snapshot_due(known: &Known, interval: Duration, slots: bool) -> Option<(i64, Chore)> {
    let files = known.barred.usable(&known.files);
    let inputs = plan_snapshot(&files, Some(known.confirmed), slots);
    let (first, rest) = inputs.split_first().filter(|(_, rest)| !rest.is_empty())?;
    let added: u64 = rest.iter().map(|f| f.size).sum();
    let at = match newest_snapshot(&files) {
        None if added >= first.size => i64::MIN,
        _ => boundary_after(first.modified_ms, interval),
    };
    Some((at, Chore::Snapshot(inputs)))
}

/// The start of the interval that a time lies in, intervals being counted from 1970.
fn window_start(ms: i64, interval: Duration) -> i64 {
    ms - ms.rem_euclid(millis(interval).max(1))
}

fn boundary_after(ms: i64, interval: Duration) -> i64 {
    window_start(ms, interval).saturating_add(millis(interval).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(level: u8, min: u64, max: u64) -> LogFile {
        LogFile { level, min: Txid::new(min), max: Txid::new(max), size: 1, modified_ms: 0 }
    }

    fn slots(numbers: &[u64]) -> Vec<LogFile> {
        numbers.iter().map(|n| file(0, *n, *n)).collect()
    }

    #[test]
    fn a_slot_that_a_listing_lacks_is_looked_for_again() {
        let mut known = Known::of(slots(&[1, 2, 4]), Floor::default());
        known.confirm(Txid::new(6), 1000);
        assert_eq!((known.listed().get(), known.unlisted_since_ms), (2, Some(1000)));
        known.listed_slots(slots(&[3, 4, 6]), 2000);
        assert_eq!((known.listed().get(), known.unlisted_since_ms), (4, Some(2000)));
        known.listed_slots(slots(&[5, 6]), 3000);
        assert_eq!((known.listed().get(), known.unlisted_since_ms), (6, None));
        let all = plan_compaction(&known.files, known.floor, 1, Bounds::default());
        assert_eq!(all.len(), 5, "nothing is there twice, and nothing is missing");
        assert_eq!(known.hole(), None);
        known.files.remove(0);
        assert_eq!(known.hole(), Some(Txid::new(1)));
        let above = [vec![file(9, 1, 3), file(1, 4, 9)], slots(&[6, 10, 11])].concat();
        assert_eq!(Known::of(above, Floor(Txid::new(5))).listed().get(), 11, "compactions cover holes");
    }
}
