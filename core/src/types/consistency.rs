use std::time::Duration;

use super::Bookmark;

/// How fresh a read must be.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
#[non_exhaustive]
pub enum Consistency {
    /// A snapshot of this node, at once.
    #[default]
    Local,
    /// A snapshot that contains the write with this bookmark. Not implemented.
    AtLeast(Bookmark),
    /// A snapshot that is at most so old. Not implemented.
    MaxLag(Duration),
    /// A snapshot that contains every write acknowledged before the read began. Not implemented.
    Leader,
}

/// What reads on the leader may see of writes that the log does not hold yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum LocalReads {
    /// What is committed locally: a write is seen a moment before the log holds it, and if the leader is lost
    /// in that moment, nobody sees it again.
    #[default]
    Latest,
    /// A read returns when the log holds everything that it may have seen: what was read once is never undone.
    /// It waits for the slot that is on its way, and for the statement that writes at the moment. Rows that are
    /// lent to a closure are lent before that. If the leadership ends meanwhile, it is `LeaderUnavailable`.
    Confirmed,
}

/// What a read asks for beside its SQL.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ReadOptions {
    /// How fresh the snapshot must be.
    pub consistency: Consistency,
    /// After how long the read is interrupted; no limit by default.
    pub timeout: Option<Duration>,
}
