use crate::types::{Error, ErrorKind, Result, Txid};

/// A file of the log, as a listing names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LogFile {
    /// 0 for slots, 9 for snapshots.
    pub(crate) level: u8,
    /// The first slot that it covers.
    pub(crate) min: Txid,
    /// The last slot that it covers.
    pub(crate) max: Txid,
    /// Bytes.
    pub(crate) size: u64,
    /// When it was written, by the store's clock, in milliseconds since 1970.
    pub(crate) modified_ms: i64,
}

/// The files to merge, oldest first, and the slot that they reach.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Plan {
    /// Each begins at or before the slot after the end of the one before it, and ends later.
    pub(crate) files: Vec<LogFile>,
    /// The last slot covered; `ZERO` for an empty plan.
    pub(crate) end: Txid,
}

/// The files that bring a database from `from` (ZERO: from nothing) to `target`, or as far as the
/// listing goes without one.
///
/// The rules are those of Litestream's restore: from nothing, begin with the newest snapshot; then
/// always the file that reaches farthest among those that continue without a gap. `Corrupt` if files
/// beyond a gap exist, so that a hole is never taken for the end; `InvalidArgument` if the target is
/// not reached exactly.
pub(crate) fn plan_restore(files: &[LogFile], from: Txid, target: Option<Txid>) -> Result<Plan> {
    let Some(target) = target else {
        let plan = plan_as_far(files, from);
        check_hole(files, plan.end)?;
        return Ok(plan);
    };
    let usable: Vec<LogFile> = files.iter().filter(|file| file.max <= target).copied().collect();
    let plan = plan_as_far(&usable, from);
    if plan.end == target {
        return Ok(plan);
    }
    // What a compacted file covers is no hole.
    if !covers(files, plan.end.next()) {
        check_hole(files, plan.end)?;
    }
    let after = files.iter().map(|file| file.max).filter(|max| *max > target).min().filter(|after| {
        let usable: Vec<LogFile> = files.iter().filter(|file| file.max <= *after).copied().collect();
        plan_as_far(&usable, from).end == *after
    });
    let near = match (plan.end > from, after) {
        (true, Some(after)) => format!("; {} can be restored, and then {after}", plan.end),
        (true, None) => format!("; {} can be restored", plan.end),
        (false, Some(after)) => format!("; the first that can be restored is {after}"),
        (false, None) => String::new(),
    };
    let message = format!("the log does not reach slot {target} exactly{near}");
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

/// The files that bring a database from nothing to the newest state that is not later than `until_ms`, in
/// milliseconds since 1970, where each file has the time that its header says.
///
/// As in Litestream's restore a file counts as a whole and by its own time; unlike there, a file of exactly
/// this time counts, and a hole is `Corrupt`. An empty plan if the log's first state is later.
pub(crate) fn plan_until(files: &[(LogFile, i64)], until_ms: i64) -> Result<Plan> {
    let all: Vec<LogFile> = files.iter().map(|(file, _)| *file).collect();
    let usable: Vec<LogFile> =
        files.iter().filter(|(_, timestamp)| *timestamp <= until_ms).map(|(file, _)| *file).collect();
    let plan = plan_as_far(&usable, Txid::ZERO);
    if !covers(&all, plan.end.next()) {
        check_hole(&all, plan.end)?;
    }
    Ok(plan)
}

/// The files that bring a database from `from` as far as there is no gap, whatever is behind it.
pub(crate) fn plan_as_far(files: &[LogFile], from: Txid) -> Plan {
    let usable = || files.iter().filter(|f| f.min <= f.max && f.min > Txid::ZERO);
    let mut plan = Plan { files: Vec::new(), end: from };
    if from == Txid::ZERO
        && let Some(snapshot) = usable().filter(|f| f.level == 9 && f.min.get() == 1).max_by_key(|f| f.max)
    {
        plan.files.push(*snapshot);
        plan.end = snapshot.max;
    }
    // By where they begin, so that each is looked at once.
    let mut waiting: Vec<&LogFile> = usable().filter(|f| f.level < 9).collect();
    waiting.sort_by_key(|f| f.min);
    let mut waiting = waiting.into_iter().peekable();
    let mut farthest: Option<&LogFile> = None;
    let rank = |f: &LogFile| (f.max, std::cmp::Reverse(f.min), f.level);
    loop {
        while let Some(file) = waiting.next_if(|file| file.min <= plan.end.next()) {
            if farthest.is_none_or(|best| rank(file) > rank(best)) {
                farthest = Some(file);
            }
        }
        match farthest {
            Some(next) if next.max > plan.end => {
                plan.files.push(*next);
                plan.end = next.max;
            }
            _ => return plan,
        }
    }
}

/// A file that reaches beyond the newest slot, which is always kept: what made it knew more than the log.
pub(crate) fn beyond_the_slots(files: &[LogFile]) -> Option<LogFile> {
    let newest = files.iter().filter(|file| file.level == 0).map(|file| file.max).max().unwrap_or_default();
    files.iter().filter(|file| file.max > newest).max_by_key(|file| file.max).copied()
}

/// Whether any of the files has the slot.
pub(crate) fn covers(files: &[LogFile], slot: Txid) -> bool {
    files.iter().any(|file| file.min <= slot && slot <= file.max)
}

/// `Corrupt` if there are files beyond the end of a plan that do not continue it.
fn check_hole(files: &[LogFile], end: Txid) -> Result<()> {
    let beyond =
        files.iter().filter(|file| file.level < 9 && file.min > end.next()).map(|file| file.min).min();
    let Some(beyond) = beyond else { return Ok(()) };
    let (first, last) = (end.next(), beyond.previous().unwrap_or_default());
    let missing =
        if first == last { format!("slot {first} is") } else { format!("slots {first} to {last} are") };
    Err(Error::corrupt(format!("the log has a hole after slot {end}: {missing} missing, files beyond exist")))
}
