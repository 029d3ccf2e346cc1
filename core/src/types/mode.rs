use super::{Durability, Error, ErrorKind, Result};

/// The topology of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum HaMode {
    /// One node holds the lease and takes all writes.
    #[default]
    SingleWriter,
    /// Every node writes. Not implemented.
    SharedWriter,
}

/// What a node does in the topology.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Role {
    /// Takes writes and ships them.
    Leader,
    /// Follows the log, serves reads, forwards writes.
    Follower,
    /// A read replica that never claims the lease. Not implemented.
    Client,
    /// The companion role of `SharedWriter`. Not implemented.
    LatentWriter,
}

/// Says whether a node may be opened with this mode and role; the one place that knows.
///
/// `InvalidConfig` for a pair that makes no sense, `NotImplemented` for one that is still to come; both
/// name what is wrong. No role means that the lease decides.
pub fn validate_mode_role(mode: HaMode, role: Option<Role>) -> Result<()> {
    let (kind, message) = match (mode, role) {
        (HaMode::SingleWriter, None | Some(Role::Leader | Role::Follower)) => return Ok(()),
        (HaMode::SingleWriter, Some(Role::Client)) => {
            (ErrorKind::NotImplemented, "Client mode not yet implemented in base haqlite")
        }
        (HaMode::SingleWriter, Some(Role::LatentWriter)) => (
            ErrorKind::InvalidConfig,
            "Role::LatentWriter belongs to HaMode::SharedWriter, not to SingleWriter",
        ),
        (HaMode::SharedWriter, Some(Role::Leader | Role::Follower)) => (
            ErrorKind::InvalidConfig,
            "HaMode::SharedWriter has neither Role::Leader nor Role::Follower: every node writes",
        ),
        (HaMode::SharedWriter, None | Some(Role::Client | Role::LatentWriter)) => {
            (ErrorKind::NotImplemented, "SharedWriter not implemented in base haqlite")
        }
    };
    Err(Error::new(kind, message))
}

/// Says whether a node may be opened with this mode and durability; the one place that knows.
///
/// `InvalidConfig` for a pair or a limit that makes no sense, `NotImplemented` for what is still to come; both
/// name what is wrong.
pub fn validate_mode_durability(mode: HaMode, durability: Durability) -> Result<()> {
    let (kind, message) = match (mode, durability) {
        (
            HaMode::SingleWriter,
            Durability::Continuous { interval } | Durability::Checkpoint { interval, .. },
        ) if interval.is_zero() => (
            ErrorKind::InvalidConfig,
            "the shipping interval is zero: the smallest useful one is a millisecond, and for a write that is \
             in the log when it is acknowledged there is Durability::Cloud",
        ),
        (HaMode::SingleWriter, Durability::Checkpoint { commits: 0, .. }) => {
            (ErrorKind::InvalidConfig, "Durability::Checkpoint after no commit: at least one has to be there")
        }
        (HaMode::SingleWriter, Durability::Checkpoint { wal_bytes: 0, .. }) => (
            ErrorKind::InvalidConfig,
            "Durability::Checkpoint after no byte of the WAL: at least one has to be there",
        ),
        (
            HaMode::SingleWriter,
            Durability::Continuous { .. } | Durability::Checkpoint { .. } | Durability::Cloud,
        ) => return Ok(()),
        (HaMode::SharedWriter, Durability::Continuous { .. } | Durability::Checkpoint { .. }) => (
            ErrorKind::InvalidConfig,
            "HaMode::SharedWriter goes with Durability::Cloud only: each write is a slot of the log",
        ),
        (HaMode::SharedWriter, Durability::Cloud) => {
            (ErrorKind::NotImplemented, "SharedWriter not implemented in base haqlite")
        }
    };
    Err(Error::new(kind, message))
}
