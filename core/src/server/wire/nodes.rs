//! Who is in the cluster.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{NodeId, NodeInfo, Result, Txid};

use super::position::{role_from_name, role_name};
use super::{from_json, to_json};

/// `{"nodes":[..]}`, the answer of a leader. The question is `{}`.
pub(crate) fn encode_nodes(nodes: &[NodeInfo]) -> Vec<u8> {
    let nodes = nodes.iter().map(|node| WireNode {
        node_id: node.id.to_string(),
        role: role_name(node.role).to_owned(),
        address: node.address.clone(),
        position: node.position.get(),
        last_seen_ms: node.last_seen.as_millis().try_into().unwrap_or(u64::MAX),
    });
    to_json(&WireNodes { nodes: nodes.collect() })
}

/// The nodes in an answer.
pub(crate) fn decode_nodes(bytes: &[u8]) -> Result<Vec<NodeInfo>> {
    let wire: WireNodes = from_json(bytes)?;
    let node = |node: WireNode| {
        let role = role_from_name(&node.role)?;
        let mut info = NodeInfo::new(NodeId::new(node.node_id), role, Txid::new(node.position));
        info.address = node.address;
        info.last_seen = Duration::from_millis(node.last_seen_ms);
        Ok(info)
    };
    wire.nodes.into_iter().map(node).collect()
}

#[derive(Serialize, Deserialize)]
struct WireNodes {
    nodes: Vec<WireNode>,
}

#[derive(Serialize, Deserialize)]
struct WireNode {
    node_id: String,
    role: String,
    address: Option<String>,
    position: u64,
    last_seen_ms: u64,
}
