use std::path::PathBuf;
use std::time::Duration;

use super::{Epoch, ErrorKind, Position, Role, Txid};

/// What a node knows of itself at one moment.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Leader or follower.
    pub role: Role,
    /// The epoch of the leadership that this node knows.
    pub epoch: Epoch,
    /// The leader's address, if one is known.
    pub leader: Option<String>,
    /// The slot that the newest local commit is in or will be in. On a follower, as `applied`.
    pub committed: Txid,
    /// The newest slot that this node knows to be confirmed.
    pub confirmed: Position,
    /// The slot up to which the local database contains the log.
    pub applied: Txid,
    /// For how long there has been something that is not shipped (leader) or not applied (follower).
    pub lag: Duration,
    /// How many bytes of the WAL are not shipped yet (leader).
    pub lag_bytes: u64,
    /// How many bytes of batches wait on the local disk for the bucket (leader).
    pub spool_bytes: u64,
    /// The last thing that went wrong in the background.
    pub last_error: Option<(ErrorKind, String)>,
    /// Files with local commits that never reached the log.
    pub lost_tails: Vec<PathBuf>,
}

impl Status {
    /// The status of a database that has only just been opened.
    pub fn new(role: Role) -> Status {
        Status {
            role,
            epoch: Epoch::ZERO,
            leader: None,
            committed: Txid::ZERO,
            confirmed: Position::default(),
            applied: Txid::ZERO,
            lag: Duration::ZERO,
            lag_bytes: 0,
            spool_bytes: 0,
            last_error: None,
            lost_tails: Vec::new(),
        }
    }
}
