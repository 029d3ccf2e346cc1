use std::time::Duration;

/// How the leader keeps the log short: levels of compacted files, and snapshots. Constructible with
/// `..Default::default()`.
///
/// Nothing is written for a log to which nothing was added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compaction {
    /// The intervals of levels 1, 2, ..., at most eight, each longer than the one before it: a file of level
    /// n covers what was added to the level below within one interval, aligned to the wall clock. Empty: no
    /// compaction, and the log's slots are kept until a snapshot covers them.
    pub levels: Vec<Duration>,
    /// How often a snapshot of the whole database is made (level 9); `None` for never, and then nothing is
    /// ever deleted.
    pub snapshots: Option<Duration>,
}

impl Default for Compaction {
    fn default() -> Compaction {
        Compaction {
            levels: vec![Duration::from_secs(30), Duration::from_secs(300), Duration::from_secs(3600)],
            snapshots: Some(Duration::from_secs(24 * 3600)),
        }
    }
}

/// How long the log's past is kept. Constructible with `..Default::default()`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Whether anything is deleted at all.
    pub enabled: bool,
    /// For how long a slot is kept after a compacted file or a snapshot covers it. Until then every txid can
    /// be restored; afterwards the ends of the compacted files can.
    pub slots: Duration,
    /// For how long the past can be restored: the newest snapshot that is older than this, and every
    /// compacted file since, are kept.
    pub window: Duration,
    /// So many snapshots are kept, however old they are; at least one.
    pub snapshots: u32,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention {
            enabled: true,
            slots: Duration::from_secs(300),
            window: Duration::from_secs(24 * 3600),
            snapshots: 1,
        }
    }
}
