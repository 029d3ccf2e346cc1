//! What nodes say to each other, and its JSON; nothing else in the crate knows these bytes.
//!
//! Fields that a node does not know are ignored, so that nodes of two versions understand each other.

mod error;
mod message;
mod nodes;
mod position;
mod relay;
mod simple;
mod status;
mod value;

#[cfg(test)]
mod wire_tests;

pub(crate) use error::{decode_error, encode_error};
pub(crate) use message::{
    CampaignRequest, FollowRequest, FollowResponse, QueryRequest, WriteRequest, WriteResponse, decode_rows,
    encode_rows,
};
pub(crate) use nodes::{decode_nodes, encode_nodes};
pub(crate) use relay::{LookUpRequest, LookUpResponse, ProveRequest, RelayRequest, RelayResponse, Relayed};
pub(crate) use simple::{SimpleExecute, SimpleQuery, encode_simple_result, encode_simple_rows};
pub(crate) use status::{encode_health, encode_status};

use serde::{Deserialize, Serialize};

use crate::types::{Error, ErrorKind, Result};

/// The most characters that a request id may have.
pub(crate) const MAX_REQUEST_ID_LENGTH: usize = 128;

/// The content type of messages.
pub(crate) const JSON: &str = "application/json";

/// The content type of a log file.
pub(crate) const FILE: &str = "application/octet-stream";

/// The paths of the endpoints.
pub(crate) mod path {
    pub(crate) const WRITE: &str = "/haqlite/forward/write";
    pub(crate) const READ: &str = "/haqlite/forward/query";
    pub(crate) const FOLLOW: &str = "/haqlite/follow";
    pub(crate) const NODES: &str = "/haqlite/nodes";
    pub(crate) const CAMPAIGN: &str = "/haqlite/campaign";
    pub(crate) const PROVE: &str = "/haqlite/relay/prove";
    pub(crate) const RELAY: &str = "/haqlite/relay/slot";
    pub(crate) const LOOK_UP: &str = "/haqlite/relay/look-up";
    pub(crate) const EXECUTE: &str = "/haqlite/execute";
    pub(crate) const QUERY: &str = "/haqlite/query";
    pub(crate) const STATUS: &str = "/haqlite/status";
    pub(crate) const HEALTH: &str = "/haqlite/health";
}

fn to_json(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("BUG: a message has only strings for keys and cannot fail to encode")
}

fn from_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| invalid(format!("the message is not what this node understands: {error}")))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}
