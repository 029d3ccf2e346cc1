use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::Floor;
use crate::types::{Epoch, Error, ErrorKind, Result, SessionId, Txid};

/// What the manifest of a log says: whose slots the log is made of.
///
/// In a bucket without conditional writes a slot is an object of its own for each epoch that wrote it, `N` by `E`,
/// and this table, which is only changed by compare-and-swap, says which of them is the log's: slot N belongs to the
/// newest epoch that *started* at or below N. An epoch *claims* first, then looks for the end of the log, and starts
/// behind it. While a claim is open nobody can know where it will start, so nothing that its look may have missed is
/// shown or confirmed: what counts was there before a moment at which nothing was claimed.
///
/// Why that is enough is told at [`FencedBucket`](crate::manifest_store).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct LogManifest {
    genesis: Option<Vec<u8>>,
    floor: Floor,
    /// Epochs that own slots, and from which slot on. Both go up.
    started: Vec<(Epoch, Txid)>,
    /// Who started last.
    started_by: SessionId,
    claimed: Option<Claim>,
}

/// An epoch that somebody wants to lead in. No two sessions ever claim the same one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Claim {
    /// The epoch.
    pub(crate) epoch: Epoch,
    /// Who claimed it, so that it is recognised when the answer was lost.
    pub(crate) session: SessionId,
}

/// What a session knows of its own claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mine {
    /// It.
    pub(crate) claim: Claim,
    /// The slot at which it has begun to start: whatever it sees from now on may be behind that.
    pub(crate) starting: Option<Txid>,
}

/// What a reader is to make of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shown {
    /// No epoch owns it.
    Nothing,
    /// It is this epoch's object, for ever.
    Settled(Epoch),
    /// It is this epoch's object, if that is there and the manifest is still this one at a later moment.
    Open(Epoch),
    /// It would be this epoch's object, but another claim is open: if that object is there, nobody can tell whether
    /// it is the slot.
    Contested(Epoch),
}

/// What may become of a slot of an epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// The epoch is claimed by whoever asks, and has not started.
    Claimed,
    /// If its object is there and the manifest is still this one at a later moment, it is the log's for ever.
    Open,
    /// Another claim is open: it depends on where that starts.
    Contested,
    /// A later epoch has started behind it: what is there is there.
    Settled,
    /// It can never be the log's.
    Superseded,
    /// The manifest knows nothing of so high an epoch.
    Unheard,
}

/// What must be there, and what must not, for the log to end before a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// It goes on: the slot is there.
    Beyond,
    /// The slot is below the floor.
    Deleted,
    /// No epoch has started, and it is the first one.
    Empty,
    /// The slot must not be there as this epoch's, and the one before it must, if one is named.
    Probe(Epoch, Option<Txid>),
    /// There is no log that it could follow.
    Nowhere,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    haqlite: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    genesis: Option<String>,
    #[serde(default)]
    floor: u64,
    epochs: Vec<(u64, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claimed: Option<(u64, String)>,
}

const FORMAT: u32 = 1;
/// So many epochs that own slots are kept. With the longest numbers they fit into a manifest.
const MOST_EPOCHS: usize = 8192;

impl LogManifest {
    /// The genesis object's bytes, once the log has one.
    pub(crate) fn genesis(&self) -> Option<&[u8]> {
        self.genesis.as_deref()
    }

    /// The floor.
    pub(crate) fn floor(&self) -> Floor {
        self.floor
    }

    /// The highest epoch that was ever claimed.
    pub(crate) fn newest(&self) -> Epoch {
        let started = self.started.last().map(|(epoch, _)| *epoch);
        self.claimed.map(|claim| claim.epoch).or(started).unwrap_or(Epoch::ZERO)
    }

    /// Whether this epoch may have written slots: nobody writes before the start is in the manifest, so an object of
    /// an epoch that is only claimed tells of a start that was lost.
    pub(crate) fn may_have_written(&self, epoch: Epoch) -> bool {
        epoch <= self.newest() && self.claimed.is_none_or(|claim| claim.epoch != epoch)
    }

    /// The first slot whose owner may still change; slots before it are settled.
    pub(crate) fn open_from(&self) -> Txid {
        let start = self.started.last().map_or(Txid::ZERO, |(_, start)| *start);
        start.max(self.floor.0.next())
    }

    /// With this genesis. The first one stays.
    pub(crate) fn with_genesis(&self, genesis: &[u8]) -> LogManifest {
        let mut next = self.clone();
        next.genesis.get_or_insert_with(|| genesis.to_vec());
        next
    }

    /// With the floor raised to this one; never lowered.
    pub(crate) fn with_floor(&self, to: Floor) -> LogManifest {
        LogManifest { floor: self.floor.max(to), ..self.clone() }
    }

    /// With this claim, which takes the place of an open one: whoever made that can never start.
    ///
    /// `Fenced` if there was an epoch as high before, `LimitExceeded` if too many epochs own slots above the floor.
    pub(crate) fn with_claim(&self, claim: Claim) -> Result<LogManifest> {
        if claim.epoch <= self.newest() {
            let message = format!("epoch {} is not above the manifest's {}", claim.epoch, self.newest());
            return Err(Error::new(ErrorKind::Fenced, message));
        }
        let mut next = LogManifest { claimed: Some(claim), ..self.clone() };
        if next.started.len() >= MOST_EPOCHS {
            // Of those whose slots are all below the floor, no reader sees any.
            let below =
                next.started.windows(2).take_while(|pair| next.floor.covers_before(pair[1].1)).count();
            next.started.drain(..below);
        }
        if next.started.len() >= MOST_EPOCHS {
            let message = format!(
                "{MOST_EPOCHS} epochs own slots of this log: compaction and retention must raise the floor first"
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        Ok(next)
    }

    /// Whether this claim is open, and the newest.
    pub(crate) fn is_claimed_by(&self, claim: Claim) -> bool {
        self.claimed == Some(claim)
    }

    /// With the claim started at this slot, the one after the log's last; `None` if it is not open any more. An
    /// epoch that started there and has written nothing owns nothing now.
    pub(crate) fn with_start(&self, claim: Claim, slot: Txid) -> Option<LogManifest> {
        if !self.is_claimed_by(claim) {
            return None;
        }
        let mut next = LogManifest { claimed: None, started_by: claim.session, ..self.clone() };
        while next.started.last().is_some_and(|(_, start)| *start >= slot) {
            next.started.pop();
        }
        next.started.push((claim.epoch, slot));
        Some(next)
    }

    /// Whether this claim has started at the slot, and none after it.
    pub(crate) fn is_started_by(&self, claim: Claim, slot: Txid) -> bool {
        self.started.last() == Some(&(claim.epoch, slot)) && self.started_by == claim.session
    }

    /// What a reader is to make of the slot; `mine` is its own session's claim.
    pub(crate) fn shown(&self, slot: Txid, mine: Option<Mine>) -> Shown {
        let Some(epoch) = self.owner(slot) else { return Shown::Nothing };
        if self.is_settled(slot) {
            Shown::Settled(epoch)
        } else if self.is_contested(mine) {
            Shown::Contested(epoch)
        } else {
            Shown::Open(epoch)
        }
    }

    /// What may become of the epoch's object for the slot; `mine` is the claim of whoever asks.
    pub(crate) fn standing(&self, epoch: Epoch, slot: Txid, mine: Option<Mine>) -> Standing {
        if epoch > self.newest() {
            return Standing::Unheard;
        }
        if mine.is_some_and(|mine| mine.claim.epoch == epoch && self.is_claimed_by(mine.claim)) {
            return Standing::Claimed;
        }
        if self.is_settled(slot) {
            let is_owner = self.owner(slot) == Some(epoch);
            return if is_owner { Standing::Settled } else { Standing::Superseded };
        }
        match self.started.last() {
            Some((newest, _)) if *newest == epoch && self.is_contested(mine) => Standing::Contested,
            Some((newest, _)) if *newest == epoch => Standing::Open,
            // It has never started and never will, or another one has started at or before the slot.
            _ => Standing::Superseded,
        }
    }

    /// What shows whether the log ends right before the slot.
    pub(crate) fn end_before(&self, slot: Txid) -> End {
        if self.floor.covers(slot) {
            return End::Deleted;
        }
        // The floor is always below the newest slot.
        if self.floor != Floor::default() && slot == self.floor.0.next() {
            return End::Beyond;
        }
        match self.started.last() {
            None if slot.get() == 1 => End::Empty,
            None => End::Nowhere,
            Some((_, start)) if slot < *start => End::Beyond,
            Some((epoch, start)) if slot == *start => End::Probe(*epoch, None),
            Some((epoch, _)) => End::Probe(*epoch, slot.previous()),
        }
    }

    fn owner(&self, slot: Txid) -> Option<Epoch> {
        self.started.iter().rev().find(|(_, start)| *start <= slot).map(|(epoch, _)| *epoch)
    }

    /// Whether no later epoch can start at or before the slot: one has started behind it, or it is below the floor.
    fn is_settled(&self, slot: Txid) -> bool {
        self.floor.covers(slot) || self.started.last().is_some_and(|(_, start)| slot < *start)
    }

    /// Whether somebody may start in front of what is there. Our own claim will find what we have seen, unless it
    /// has looked already.
    fn is_contested(&self, mine: Option<Mine>) -> bool {
        let is_ours = |claim| mine.is_some_and(|mine| mine.claim == claim && mine.starting.is_none());
        self.claimed.is_some_and(|claim| !is_ours(claim))
    }

    /// The bytes of the manifest.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let wire = Wire {
            haqlite: FORMAT,
            genesis: self.genesis.as_ref().map(|bytes| STANDARD.encode(bytes)),
            floor: self.floor.0.get(),
            epochs: self.started.iter().map(|(epoch, start)| (epoch.get(), start.get())).collect(),
            started_by: (!self.started.is_empty()).then(|| self.started_by.to_string()),
            claimed: self.claimed.map(|claim| (claim.epoch.get(), claim.session.to_string())),
        };
        serde_json::to_vec(&wire).expect("BUG: a manifest is always valid JSON")
    }

    /// The manifest in these bytes; `Corrupt` if they are none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<LogManifest> {
        let damaged = || Error::corrupt("the log's manifest is damaged");
        let wire: Wire = serde_json::from_slice(bytes).map_err(|e| damaged().with_source(e))?;
        if wire.haqlite != FORMAT {
            let message =
                format!("the log's manifest has format {}, this version knows {FORMAT}", wire.haqlite);
            return Err(Error::corrupt(message));
        }
        let epoch = |number| Epoch::new(number).filter(|epoch| *epoch > Epoch::ZERO).ok_or_else(damaged);
        let session = |text: &str| SessionId::from_hex(text).ok_or_else(damaged);
        let genesis = wire.genesis.map(|text| STANDARD.decode(text)).transpose();
        let started: Vec<(Epoch, Txid)> = wire
            .epochs
            .into_iter()
            .map(|(number, start)| Ok((epoch(number)?, Txid::new(start))))
            .collect::<Result<_>>()?;
        let claimed = wire
            .claimed
            .map(|(number, by)| Ok(Claim { epoch: epoch(number)?, session: session(&by)? }))
            .transpose()?;
        let goes_up = started.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1);
        let is_newest =
            claimed.is_none_or(|claim| started.last().is_none_or(|(epoch, _)| *epoch < claim.epoch));
        if !goes_up || !is_newest || started.first().is_some_and(|(_, start)| *start == Txid::ZERO) {
            return Err(damaged());
        }
        Ok(LogManifest {
            genesis: genesis.map_err(|e| damaged().with_source(e))?,
            floor: Floor(Txid::new(wire.floor)),
            started,
            started_by: wire.started_by.as_deref().map(session).transpose()?.unwrap_or_default(),
            claimed,
        })
    }
}

impl Floor {
    /// Whether every slot before this one is at or below the floor.
    fn covers_before(self, slot: Txid) -> bool {
        slot <= self.0.next()
    }
}
