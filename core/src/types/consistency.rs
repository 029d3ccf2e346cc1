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

/// What a read asks for beside its SQL.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ReadOptions {
    /// How fresh the snapshot must be.
    pub consistency: Consistency,
    /// After how long the read is interrupted; no limit by default.
    pub timeout: Option<Duration>,
}
