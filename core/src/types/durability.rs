use std::time::Duration;

/// What an acknowledged write has survived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Durability {
    /// A write is acknowledged after the local commit, and its slot is begun within `interval`. The loss of the
    /// machine loses at most what no slot holds yet. A crash of the process loses nothing if this node leads
    /// again before another does; otherwise what no slot holds is undone, kept in a file and reported. A power
    /// cut may also take commits that the disk had not written.
    Continuous {
        /// The longest time between two shipments while there is something to ship.
        interval: Duration,
    },
    /// As `Continuous`, but nothing is shipped before one of the three limits is reached: one slot per
    /// checkpoint, so that pages that change again and again are uploaded once. A crash can lose as much as
    /// the limits allow; a close ships the rest.
    Checkpoint {
        /// The longest time that a commit waits for its shipment.
        interval: Duration,
        /// So many commits are shipped without waiting for the interval.
        commits: u64,
        /// So many bytes of the WAL are shipped without waiting for the interval. The WAL's limit has to be at
        /// least twice this, and is four times this if it was left at its default: at twice, writers may wait
        /// while a checkpoint is uploaded.
        wal_bytes: u64,
    },
    /// A write is acknowledged when the slot that holds it is confirmed: whatever crashes, it stays. Writers
    /// at one time share slots. What a crash can lose are writes that nobody was told of; if the bucket does
    /// not answer, a write is a `Timeout` whose outcome is unknown.
    Cloud,
}

impl Durability {
    /// `Checkpoint` with its defaults: 15 s, 10,000 commits, 64 MiB.
    pub const CHECKPOINT: Durability =
        Durability::Checkpoint { interval: Duration::from_secs(15), commits: 10_000, wal_bytes: 64 << 20 };
}

impl Default for Durability {
    fn default() -> Durability {
        Durability::Continuous { interval: Duration::from_secs(1) }
    }
}
