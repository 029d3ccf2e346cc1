use super::log::SlotFile;
use super::replicator::Replicator;
use crate::replication::Floor;
use crate::types::{Error, Position, Result, Txid};

/// Every so many looks that find nothing, a listing is asked whether there is something behind a hole.
const LIST_EVERY: u32 = 64;

/// What the log shows of this node's position: the slot there, and the first that is listed after it.
pub(super) struct Ground {
    own: Option<SlotFile>,
    beyond: Option<Txid>,
}

impl Replicator {
    /// Reads the floor, and at the same time what `verify` asks, if it will: a promotion waits for all of it.
    pub(super) fn floor_and_ground(&mut self) -> Result<(Floor, Option<Ground>)> {
        let Position { txid, .. } = self.replica()?.boundary().position;
        let log = &self.shared.log;
        if txid == Txid::ZERO || self.verified == Some(txid) {
            return Ok((self.wait(log.floor())?, None));
        }
        let all = async { tokio::try_join!(log.floor(), log.slot(txid), log.first_slot_after(txid)) };
        let (floor, own, beyond) = self.wait(all)?;
        if let Some(own) = &own {
            self.shared.stamps.saw(own.header.timestamp_ms);
        }
        Ok((floor, Some(Ground { own, beyond })))
    }

    /// Makes sure that the log still has the slot that this node stands on: a bucket that was rolled back to
    /// an earlier state has no next slot either, and is not the log that was followed.
    pub(super) fn verify(&mut self, position: Position, ground: Option<Ground>) -> Result<()> {
        if position.txid == Txid::ZERO {
            return Ok(());
        }
        if self.verified == Some(position.txid) {
            // Counted before this look.
            let is_due = self.looks.wrapping_sub(1).is_multiple_of(LIST_EVERY);
            return if is_due { self.refuse_hole(position, None) } else { Ok(()) };
        }
        let (own, beyond) = match ground {
            Some(Ground { own, beyond }) => (own, Some(beyond)),
            None => (self.fetch_slot(position.txid)?, None),
        };
        match own {
            Some(slot) if slot.facts.chain == position.chain => {}
            None if self.wait(self.shared.log.floor())?.covers(position.txid) => {}
            Some(_) | None => {
                let message =
                    format!("the log does not hold this node's position {position}: it was cut or replaced");
                return Err(Error::corrupt(message));
            }
        }
        self.refuse_hole(position, beyond)?;
        self.verified = Some(position.txid);
        Ok(())
    }

    /// A slot that is not there is the end of the log only if there is nothing beyond it. A listing may lag,
    /// so that it shows nothing proves nothing; what it shows is there.
    fn refuse_hole(&mut self, position: Position, listed: Option<Option<Txid>>) -> Result<()> {
        let beyond = match listed {
            Some(beyond) => beyond,
            None => self.wait(self.shared.log.first_slot_after(position.txid))?,
        };
        let Some(beyond) = beyond else { return Ok(()) };
        let next = position.txid.next();
        if beyond == next
            || self.fetch_slot(next)?.is_some()
            || self.wait(self.shared.log.floor())?.covers(next)
        {
            // It came meanwhile: the next look finds it.
            return Ok(());
        }
        self.verified = None;
        let message = format!("slot {next} is missing from the log, and slot {beyond} is there");
        Err(self.spoiled(next, Error::corrupt(message)))
    }
}
