//! What a leader asks of a follower when it cannot reach the bucket itself.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::replication::{Floor, SlotFacts};
use crate::types::{Chain, Epoch, NodeId, Result, Txid};

use super::super::MAX_REQUEST_BYTES;
use super::position::epoch;
use super::{from_json, invalid, to_json};

const CHAIN_BYTES: usize = 16;

/// The leader asks whether the node can write to the bucket: it creates an object, now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ProveRequest {
    /// The leader's epoch.
    pub(crate) epoch: Epoch,
    /// The leader's name.
    pub(crate) from: NodeId,
}

/// A slot that the node shall create with exactly these bytes. On the wire it is the chain value, 16 bytes,
/// and then the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RelayRequest {
    /// What the file must hash to when it arrives: a byte that changes on the way must not become the log.
    pub(crate) chain: Chain,
    /// The file.
    pub(crate) file: Bytes,
}

/// What the bucket said to a [`RelayRequest`]. An answer that the bucket did not give is an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RelayResponse {
    /// The bucket's word.
    pub(crate) answer: Relayed,
}

/// The two definite answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Relayed {
    /// The object was created by this request.
    Stored,
    /// There is an object at the key, or the node has a slot of this number already.
    Refused,
}

/// The leader asks what the bucket has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LookUpRequest {
    /// The slot in question.
    pub(crate) txid: Txid,
}

/// What the bucket has. The slot was read first, the floor after it, both after the request came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LookUpResponse {
    /// The slot, if there is one.
    pub(crate) slot: Option<SlotFacts>,
    /// The floor.
    pub(crate) floor: Floor,
}

impl ProveRequest {
    pub(crate) fn to_json(&self) -> Vec<u8> {
        to_json(&WireProve { epoch: self.epoch.get(), from: self.from.to_string() })
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<ProveRequest> {
        let wire: WireProve = from_json(bytes)?;
        Ok(ProveRequest { epoch: epoch(wire.epoch)?, from: NodeId::new(wire.from) })
    }
}

impl RelayRequest {
    /// The most bytes that a relayed file has.
    pub(crate) const MAX_FILE_BYTES: usize = MAX_REQUEST_BYTES - CHAIN_BYTES;

    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(CHAIN_BYTES + self.file.len());
        bytes.extend_from_slice(&self.chain.to_bytes());
        bytes.extend_from_slice(&self.file);
        bytes.into()
    }

    pub(crate) fn from_bytes(mut bytes: Bytes) -> Result<RelayRequest> {
        let Some((chain, _)) = bytes.split_first_chunk::<CHAIN_BYTES>() else {
            return Err(invalid("a relayed slot begins with its chain value"));
        };
        let chain = Chain::from_bytes(*chain);
        Ok(RelayRequest { chain, file: bytes.split_off(CHAIN_BYTES) })
    }
}

impl RelayResponse {
    pub(crate) fn to_json(self) -> Vec<u8> {
        to_json(&WireRelayed { answer: self.answer })
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<RelayResponse> {
        let wire: WireRelayed = from_json(bytes)?;
        Ok(RelayResponse { answer: wire.answer })
    }
}

impl LookUpRequest {
    pub(crate) fn to_json(self) -> Vec<u8> {
        to_json(&WireLookUp { txid: self.txid.get() })
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<LookUpRequest> {
        let wire: WireLookUp = from_json(bytes)?;
        Ok(LookUpRequest { txid: Txid::new(wire.txid) })
    }
}

impl LookUpResponse {
    pub(crate) fn to_json(self) -> Vec<u8> {
        to_json(&WireFound { slot: self.slot.map(WireSlot::from), floor: self.floor.0.get() })
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<LookUpResponse> {
        let wire: WireFound = from_json(bytes)?;
        let slot = wire.slot.map(WireSlot::into_facts).transpose()?;
        Ok(LookUpResponse { slot, floor: Floor(Txid::new(wire.floor)) })
    }
}

#[derive(Serialize, Deserialize)]
struct WireProve {
    epoch: u64,
    from: String,
}

#[derive(Serialize, Deserialize)]
struct WireRelayed {
    answer: Relayed,
}

#[derive(Serialize, Deserialize)]
struct WireLookUp {
    txid: u64,
}

#[derive(Serialize, Deserialize)]
struct WireFound {
    slot: Option<WireSlot>,
    floor: u64,
}

#[derive(Serialize, Deserialize)]
struct WireSlot {
    txid: u64,
    chain: String,
    previous: String,
    epoch: u64,
    session: [u8; 6],
}

impl From<SlotFacts> for WireSlot {
    fn from(facts: SlotFacts) -> WireSlot {
        WireSlot {
            txid: facts.txid.get(),
            chain: facts.chain.to_hex(),
            previous: facts.previous.to_hex(),
            epoch: facts.epoch.get(),
            session: facts.session,
        }
    }
}

impl WireSlot {
    fn into_facts(self) -> Result<SlotFacts> {
        let chain = |text: &str| {
            Chain::from_hex(text).ok_or_else(|| invalid(format!("{text:?} is not a chain value")))
        };
        Ok(SlotFacts {
            txid: Txid::new(self.txid),
            chain: chain(&self.chain)?,
            previous: chain(&self.previous)?,
            epoch: epoch(self.epoch)?,
            session: self.session,
        })
    }
}
