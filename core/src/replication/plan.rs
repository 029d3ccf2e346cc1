use crate::types::{Error, Result, Txid};

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
    let limit = target.unwrap_or(Txid::new(u64::MAX));
    let usable = || files.iter().filter(|f| f.max <= limit && f.min <= f.max && f.min > Txid::ZERO);
    let mut plan = Plan { files: Vec::new(), end: from };
    if from == Txid::ZERO
        && let Some(snapshot) = usable().filter(|f| f.level == 9 && f.min.get() == 1).max_by_key(|f| f.max)
    {
        plan.files.push(*snapshot);
        plan.end = snapshot.max;
    }
    while let Some(next) = usable()
        .filter(|f| f.level < 9 && f.min <= plan.end.next() && f.max > plan.end)
        .max_by_key(|f| (f.max, std::cmp::Reverse(f.min), f.level))
    {
        plan.files.push(*next);
        plan.end = next.max;
    }
    match target {
        Some(target) if plan.end != target => Err(Error::new(
            crate::types::ErrorKind::InvalidArgument,
            format!("the log does not reach slot {target} from {from}: its files end at {}", plan.end),
        )),
        None if usable().any(|f| f.level < 9 && f.min > plan.end.next()) => {
            Err(Error::corrupt(format!("the log has a hole after slot {}: files beyond it exist", plan.end)))
        }
        _ => Ok(plan),
    }
}
