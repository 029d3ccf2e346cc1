use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::draft::Prepared;
use super::log::Log;
use super::patience::transfer_time;
use super::shared::Shared;
use crate::bucket::Body;
use crate::client::Forwarder;
use crate::ltx::Decoder;
use crate::replication::{Floor, Proof, PutAnswer, SlotFacts};
use crate::server::wire::{
    LookUpRequest, LookUpResponse, ProveRequest, RelayRequest, RelayResponse, Relayed,
};
use crate::types::{Chain, Epoch, Error, ErrorKind, Result, Role, Txid};

/// The way that a leader's requests take to the bucket: its own, or through a follower.
///
/// Which one makes no difference to what an answer means. A slot is created with the same bytes at the same key,
/// once; who has carried them cannot be seen in the log. What was asked on the one way and is repeated on the
/// other is one more repetition after an ambiguous answer, and what arrives late meets what is there.
#[derive(Clone)]
pub(super) enum Road {
    /// Its own.
    Direct(Log),
    /// The follower creates and reads for this leader.
    Through(Forwarder, Proof),
}

/// What a follower is asked to do takes at most so long, as its own request to the bucket may; and what the bytes
/// take, which go two ways.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

impl Road {
    /// Creates the slot. Only `Stored` and `Refused` are definite; the error says what was ambiguous.
    pub(super) async fn create_slot(&self, txid: Txid, prepared: &Prepared) -> (PutAnswer, Option<Error>) {
        match self {
            Road::Direct(log) => log.create_slot(txid, prepared.body(), prepared.timestamp_ms).await,
            Road::Through(forwarder, by) => match relay_through(forwarder, by, prepared).await {
                Ok(answer) => (answer, None),
                Err(error) => (PutAnswer::Ambiguous, Some(error)),
            },
        }
    }

    /// What the slot is; `None` if there is no such object.
    pub(super) async fn slot(&self, txid: Txid) -> Result<Option<SlotFacts>> {
        match self {
            Road::Direct(log) => Ok(log.slot(txid).await?.map(|slot| slot.facts)),
            Road::Through(forwarder, by) => Ok(look_up_through(forwarder, by, txid).await?.slot),
        }
    }

    /// The floor, read after this was called. `txid` is the slot in question.
    pub(super) async fn floor(&self, txid: Txid) -> Result<Floor> {
        match self {
            Road::Direct(log) => log.floor().await,
            Road::Through(forwarder, by) => Ok(look_up_through(forwarder, by, txid).await?.floor),
        }
    }

    /// Whether it is the node's own.
    pub(super) fn is_direct(&self) -> bool {
        matches!(self, Road::Direct(_))
    }
}

async fn relay_through(forwarder: &Forwarder, by: &Proof, prepared: &Prepared) -> Result<PutAnswer> {
    let request = RelayRequest { chain: prepared.draft.position.chain, file: bytes_of(prepared.body())? };
    let limit = ANSWER_TIMEOUT + transfer_time(request.file.len() as u64) * 2;
    let sent = forwarder.relay(&by.address, &request, limit).await;
    let response =
        sent.map_err(|failure| failure.into_error().context(format_args!("shipping through {}", by.node)))?;
    Ok(match response.answer {
        Relayed::Stored => PutAnswer::Stored,
        Relayed::Refused => PutAnswer::Refused,
    })
}

async fn look_up_through(forwarder: &Forwarder, by: &Proof, txid: Txid) -> Result<LookUpResponse> {
    let looked = forwarder.look_up(&by.address, LookUpRequest { txid }, ANSWER_TIMEOUT).await;
    looked.map_err(|failure| failure.into_error().context(format_args!("reading through {}", by.node)))
}

fn bytes_of(body: Body) -> Result<Bytes> {
    let limit = RelayRequest::MAX_FILE_BYTES;
    let too_large = |size: u64| {
        let message = format!("a slot of {size} bytes cannot go through a follower, the limit is {limit}");
        Error::new(ErrorKind::LimitExceeded, message)
    };
    match body {
        Body::Bytes(bytes) if bytes.len() > limit => Err(too_large(bytes.len() as u64)),
        Body::Bytes(bytes) => Ok(bytes),
        Body::File(path) => {
            let doing = |e| Error::io("reading a staged slot", e);
            let size = std::fs::metadata(&path).map_err(doing)?.len();
            if size > limit as u64 {
                return Err(too_large(size));
            }
            // A slow disk must not delay a renewal of the lease.
            tokio::task::block_in_place(|| std::fs::read(&path)).map(Bytes::from).map_err(doing)
        }
    }
}

/// Shows that this node can write to the bucket and read from it, now.
pub(super) async fn prove(shared: &Shared, request: &ProveRequest) -> Result<()> {
    only_for_the_leader(shared, request.epoch)?;
    shared.log.prove(format!("outage-{}", uuid::Uuid::new_v4().simple())).await
}

/// Creates a slot for the leader that made it, with its bytes.
///
/// It is the leader's own PUT by another way, and can do no more than one that a network delivers late: the key
/// is free only for the first who comes, a fence of a later leader is in its way for ever, and its 28 bytes say
/// whose it is. What this node asks before keeps mistakes out: the file is the one that was sent, no newer leader
/// is known, and the slot before it is in this node's bucket, with the chain value that the file embeds. So a
/// node whose bucket is another one, by a wrong setting, never says that it has stored a slot.
pub(super) async fn relay(shared: &Arc<Shared>, request: RelayRequest) -> Result<RelayResponse> {
    let RelayRequest { chain, file } = request;
    let header = Decoder::new(file.as_ref())?.header().clone();
    let invalid = |message: &str| Error::new(ErrorKind::InvalidArgument, message);
    if tokio::task::block_in_place(|| Chain::of(&file)) != chain {
        return Err(invalid("the slot was damaged on its way"));
    }
    let origin = header.origin.filter(|_| header.min == header.max);
    let origin = origin.ok_or_else(|| invalid("the file is not a slot of a leader"))?;
    only_for_the_leader(shared, origin.epoch)?;
    let applied = shared.view.borrow().applied;
    if header.min <= applied.txid {
        // Never into a hole below what this node has: the leader reads what is there.
        return Ok(RelayResponse { answer: Relayed::Refused });
    }
    let before = match header.min.previous() {
        Some(before) if before == applied.txid => Some(applied.chain),
        Some(before) => shared.log.slot(before).await?.map(|slot| slot.facts.chain),
        None => None,
    };
    if before != Some(origin.previous) {
        return Err(invalid("the slot does not continue the log that this node has"));
    }
    let (answer, error) = shared.log.create_slot(header.min, Body::Bytes(file), header.timestamp_ms).await;
    let answer = match answer {
        PutAnswer::Stored => Relayed::Stored,
        PutAnswer::Refused => Relayed::Refused,
        PutAnswer::Ambiguous => {
            let nothing = || Error::new(ErrorKind::StoreUnavailable, "the bucket gave no answer");
            return Err(error.unwrap_or_else(nothing));
        }
    };
    shared.look_at_the_log();
    Ok(RelayResponse { answer })
}

/// Reads a slot and the floor after it.
pub(super) async fn look_up(shared: &Shared, request: LookUpRequest) -> Result<LookUpResponse> {
    let slot = shared.log.slot(request.txid).await?.map(|slot| slot.facts);
    Ok(LookUpResponse { slot, floor: shared.log.floor().await? })
}

/// Refuses who is no leader any more as far as this node knows, and everybody if it holds the lease itself or
/// cannot go on.
fn only_for_the_leader(shared: &Shared, epoch: Epoch) -> Result<()> {
    let view = shared.view.borrow();
    if view.role == Role::Leader || shared.has_tenure() || view.epoch > epoch {
        let message = format!("this node knows of epoch {}", view.epoch);
        return Err(Error::new(ErrorKind::Fenced, message));
    }
    if view.stopped.is_some() || view.closed {
        return Err(Error::new(ErrorKind::Closed, "this node does not go on"));
    }
    Ok(())
}
