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
}

impl Default for Durability {
    fn default() -> Durability {
        Durability::Continuous { interval: Duration::from_secs(1) }
    }
}
