use std::time::Duration;

/// What an acknowledged write has survived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Durability {
    /// A write is acknowledged after the local commit and shipped within `interval`. The loss of the
    /// machine loses at most what had not been shipped; a crash of the process loses nothing as long as
    /// the local disk stays.
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
