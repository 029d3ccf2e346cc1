use std::collections::BTreeSet;
use std::time::Duration;

use super::compaction::{is_snapshot, newest_snapshot};
use super::{Barred, Facts, Floor, LogFile, plan_restore};
use crate::types::{Retention, Txid};

/// Most files by which the floor is raised in one step.
const MOST_COVERS: usize = 64;

/// Facts without a file are kept at least so long.
const LONE_FACTS_AGE: Duration = Duration::from_secs(24 * 3600);

/// A floor that may be raised.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Raise {
    /// The new floor.
    pub(crate) to: Floor,
    /// The files that cover every slot between the old floor and the new one: each has to be verified first.
    pub(crate) by: Vec<LogFile>,
}

/// Old files that may go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Discard {
    /// The snapshot that stands for them: it has to be verified first.
    pub(crate) base: LogFile,
    /// Compactions and snapshots that no restore inside of the window needs.
    pub(crate) files: Vec<LogFile>,
}

/// How far the floor may be raised, by files that were written at `written_by_ms` or before.
///
/// Every slot up to the new floor is in a snapshot or a compacted file, and a restore from the newest snapshot
/// on finds them all. The newest slot stays above the floor: a leader's next slot is then above it as well, so
/// that no confirmation ever fails by it, and `litestream` goes on from that slot. Slot 1, which no compacted
/// file has, needs the first snapshot.
pub(crate) fn plan_floor(files: &[LogFile], floor: Floor, newest: Txid, written_by_ms: i64) -> Option<Raise> {
    newest_snapshot(files)?;
    let above: Vec<LogFile> = files.iter().filter(|f| f.level > 0).copied().collect();
    let (mut end, mut by) = (floor.0, Vec::new());
    while by.len() < MOST_COVERS
        && let Some(cover) = above
            .iter()
            .filter(|f| f.modified_ms <= written_by_ms && f.min <= end.next() && f.max > end)
            .filter(|f| f.level < super::compaction::SNAPSHOTS || is_snapshot(f))
            // The lowest level, because it is the least to read.
            .min_by_key(|f| (f.level, std::cmp::Reverse(f.max)))
    {
        by.push(*cover);
        end = cover.max;
    }
    let to = end.min(newest.previous()?);
    by.retain(|f| f.min <= to);
    let reach = plan_restore(&above, Txid::ZERO, None).map(|plan| plan.end).unwrap_or_default();
    (to > floor.0 && reach >= to).then_some(Raise { to: Floor(to), by })
}

/// The slots of a listing that may be deleted: all up to the floor but the first one of each epoch.
///
/// Those stay for ever, so that the PUT of a leader that was replaced finds its successor's fence and not a
/// hole. Slot 1 may go: it is the whole base image and not a leader's batch, only the log's founder can ever
/// create it, on a log that it has seen without any slot, and what its PUT is answered counts only with a floor
/// that is still below it, which it never is again. `timeline` tells the epochs from slot 1 on; a slot that it
/// does not reach stays.
pub(crate) fn plan_slots(files: &[LogFile], floor: Floor, timeline: &Facts) -> Vec<LogFile> {
    let fences: BTreeSet<Txid> = timeline.epochs.iter().map(|(_, first)| *first).collect();
    let may_go = |file: &&LogFile| {
        let slot = file.max;
        file.level == 0
            && file.min == slot
            && floor.covers(slot)
            && timeline.min.get() == 1
            && slot <= timeline.max
            && (slot.get() == 1 || !fences.contains(&slot))
    };
    files.iter().filter(may_go).copied().collect()
}

/// The compactions and snapshots that may be deleted at a time.
///
/// Kept are the newest snapshots, as many as the settings say, those inside of the window, the newest before
/// it, and every compacted file that goes beyond the oldest of these.
///
/// Files of another tool go like others, and stand for nothing.
pub(crate) fn plan_discard(
    files: &[LogFile],
    barred: &Barred,
    now_ms: i64,
    retention: &Retention,
) -> Option<Discard> {
    let mut snapshots: Vec<LogFile> =
        barred.usable(files).iter().filter(|f| is_snapshot(f)).copied().collect();
    snapshots.sort_by_key(|f| std::cmp::Reverse(f.max));
    let window_start = now_ms.saturating_sub(millis(retention.window));
    let by_window = snapshots.iter().position(|f| f.modified_ms <= window_start)?;
    let by_count = (retention.snapshots.max(1) as usize).min(snapshots.len()) - 1;
    let base = snapshots[by_window.max(by_count)];
    let files: Vec<LogFile> = files.iter().filter(|f| is_replaced_by(f, &base)).copied().collect();
    (!files.is_empty()).then_some(Discard { base, files })
}

/// The facts that nobody needs any more: those that were left alone, by a crash between two steps, longer than a
/// day ago, among facts that are named by the files that they are about and have their own ages. `base` has been
/// verified.
///
/// There may be a session that wrote them, was held up since, and makes their file any time. So they are only
/// those of a file that retention would delete at once, for `base` stands for it: whether that file exists, is
/// relied upon, or loses what vouches for it does not matter any more, and the next deletions take it. The day
/// keeps that from happening to anybody who is only slow.
pub(crate) fn plan_sweep(facts: &[LogFile], files: &[LogFile], base: &LogFile, now_ms: i64) -> Vec<LogFile> {
    let written_by_ms = now_ms.saturating_sub(millis(LONE_FACTS_AGE));
    let lone = |facts: &&LogFile| {
        facts.modified_ms <= written_by_ms
            && is_replaced_by(facts, base)
            && !files.iter().any(|f| (f.level, f.min, f.max) == (facts.level, facts.min, facts.max))
    };
    facts.iter().filter(lone).copied().collect()
}

/// Whether no restore needs this compaction or snapshot, now that there is the snapshot `base`.
fn is_replaced_by(file: &LogFile, base: &LogFile) -> bool {
    match file.level {
        0 => false,
        super::compaction::SNAPSHOTS => file.max < base.max,
        _ => file.max <= base.max,
    }
}

/// When there will be something to delete, by the store's clock, if nothing is added; `None` for never. Slots
/// are kept half as long again as they must be, so that many go at once.
pub(crate) fn next_retention(
    files: &[LogFile],
    barred: &Barred,
    floor: Floor,
    newest: Txid,
    retention: &Retention,
) -> Option<i64> {
    let slots = millis(retention.slots);
    let (usable, provable) = (barred.usable(files), barred.provable(files));
    // The more files count, the farther they reach: the first time at which they reach beyond the floor.
    let mut times: Vec<i64> = provable.iter().filter(|f| f.level > 0).map(|f| f.modified_ms).collect();
    times.sort_unstable();
    let first = times.partition_point(|at| plan_floor(&provable, floor, newest, *at).is_none());
    let raise = times.get(first).map(|at| at.saturating_add(slots + slots / 2));
    let discard = usable
        .iter()
        .filter(|f| is_snapshot(f))
        .map(|f| f.modified_ms.saturating_add(millis(retention.window)))
        .filter(|at| plan_discard(files, barred, *at, retention).is_some())
        .min();
    raise.into_iter().chain(discard).min()
}

/// Milliseconds, as the store counts them.
pub(crate) fn millis(duration: Duration) -> i64 {
    // Far enough away, and far enough from an overflow.
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).min(i64::MAX / 4)
}
