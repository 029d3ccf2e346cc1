use std::path::PathBuf;

use super::{Epoch, ErrorKind, Role, Txid};

/// Something that a node tells its application.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The role, the epoch or the leader changed.
    Role {
        /// What this node is now.
        role: Role,
        /// The epoch of the leadership.
        epoch: Epoch,
        /// The leader's address, if one is known.
        leader: Option<String>,
    },
    /// Local commits turned out never to have reached the log; they were saved and undone.
    TailLost {
        /// The LTX file that keeps their pages.
        path: PathBuf,
        /// The last slot that the commits had behind them.
        from: Txid,
        /// The slot at which the database is now.
        to: Txid,
        /// The ids of forwarded requests among them.
        request_ids: Vec<String>,
    },
    /// Something in the background fails and is being tried again.
    Degraded(ErrorKind),
    /// It works again.
    Recovered,
}
