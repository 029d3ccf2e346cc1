use super::{Position, Problem};

/// What a verification of a log found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Slots that were read.
    pub slots: u64,
    /// Compacted files that were read.
    pub compactions: u64,
    /// Snapshots that were read.
    pub snapshots: u64,
    /// Bytes of all these.
    pub bytes: u64,
    /// The end of the log. The chain value is zero if nothing tells it.
    pub end: Position,
    /// What is wrong; at most a thousand.
    pub problems: Vec<Problem>,
    /// The keys of objects below the log's root that are no part of it, and of compactions that are not
    /// needed, in a log of another tool also of slots; at most a thousand. They do no harm.
    pub unexplained: Vec<String>,
    /// Whether the log was restored and passed SQLite's `integrity_check`.
    pub restored: bool,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_healthy(&self) -> bool {
        self.problems.is_empty()
    }
}
