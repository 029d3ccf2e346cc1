use super::log::Log;
use crate::ltx::{Decoder, Header};
use crate::replication::{LogFile, SlotFacts};
use crate::types::{Error, ErrorKind, Result, Txid};

/// What a slot's object turned out to be.
#[derive(Debug)]
pub(super) enum Found {
    /// Every byte of it is as it was made, as far as the object itself can tell.
    Whole(SlotFacts, Box<Header>),
    /// It cannot be read, or holds something else.
    Damaged,
    /// There is no such object.
    Missing,
}

impl Log {
    /// Reads a slot from its first byte to its last. What seems damaged is read once more, for a fault on the way
    /// is none of the object's. An error means that the bucket did not answer.
    pub(super) async fn examine(&self, slot: Txid) -> Result<Found> {
        match self.look_into(slot).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => {}
            found => return found,
        }
        match self.look_into(slot).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::warn!("the log is damaged: {error}");
                Ok(Found::Damaged)
            }
            found => found,
        }
    }

    async fn look_into(&self, slot: Txid) -> Result<Found> {
        let Some(file) = self.slot(slot).await? else { return Ok(Found::Missing) };
        let (facts, header) = (file.facts, Box::new(file.header.clone()));
        let read = move || Decoder::new(file.body.reader()?)?.finish();
        let read = tokio::task::spawn_blocking(read).await;
        read.map_err(|e| Error::new(ErrorKind::Internal, format!("a read ended early: {e}")))?
            .map_err(|e| e.context(format_args!("slot {slot}")))?;
        Ok(Found::Whole(facts, header))
    }

    /// Whether the bucket does not have this slot as it was made, although it should: it is damaged, or missing
    /// above the floor, or another one than the next slot follows.
    pub(super) async fn is_damaged(&self, slot: Txid) -> Result<bool> {
        let damaged = match self.examine(slot).await? {
            Found::Missing | Found::Damaged => true,
            Found::Whole(facts, _) => match self.examine(slot.next()).await? {
                Found::Whole(next, _) => !next.is_foreign_tool() && next.previous != facts.chain,
                Found::Missing | Found::Damaged => false,
            },
        };
        // Below the floor nothing has to be there, and what is may be anybody's.
        Ok(damaged && !self.floor().await?.covers(slot))
    }

    /// The first damaged slot among files that could not be merged.
    pub(super) async fn first_damaged(&self, inputs: &[LogFile]) -> Result<Option<Txid>> {
        let mut before: Option<SlotFacts> = None;
        for file in inputs.iter().filter(|file| file.level == 0) {
            let slot = file.max;
            let damaged = match self.examine(slot).await? {
                Found::Missing | Found::Damaged => Some(slot),
                Found::Whole(facts, _) => {
                    let broken = before.filter(|before| {
                        before.txid.next() == slot
                            && !facts.is_foreign_tool()
                            && facts.previous != before.chain
                    });
                    before = Some(facts);
                    broken.map(|broken| broken.txid)
                }
            };
            if let Some(damaged) = damaged {
                let deleted = self.floor().await?.covers(damaged);
                return Ok(Some(damaged).filter(|_| !deleted));
            }
        }
        Ok(None)
    }
}
