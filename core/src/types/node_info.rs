use std::time::Duration;

use super::{NodeId, Role, Txid};

/// A node of the cluster, as the leader knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Its name.
    pub id: NodeId,
    /// Leader or follower.
    pub role: Role,
    /// Where other nodes reach it; `None` for a database without a cluster.
    pub address: Option<String>,
    /// The slot up to which its database is the log, when it was last seen.
    pub position: Txid,
    /// For how long the leader has not heard of it. Zero for the leader itself.
    pub last_seen: Duration,
}

impl NodeInfo {
    /// What is known of a node at this moment.
    pub fn new(id: NodeId, role: Role, position: Txid) -> NodeInfo {
        NodeInfo { id, role, address: None, position, last_seen: Duration::ZERO }
    }
}
