use super::replicator::Replicator;
use super::restore::Restored;
use super::rewind::Save;
use crate::replication::{Genesis, PutAnswer};
use crate::types::{Error, ErrorKind, Result, Txid};

/// Going on with a log that another tool wrote to, when the application asked for it (`adopt`).
///
/// The other tool's slots name no predecessor, so nothing proves that they continue the database that this
/// node has: what they make is taken as it is, and what the node has beyond it is saved. The log is adopted when
/// a fence of ours follows the other tool's last slot: nobody else would have written one. The chain value of
/// that slot is the hash of its bytes, as of any other, so the fence and everything after it are proven as ever,
/// and other nodes follow without being asked.
impl Replicator {
    /// Whether such a restore may be followed.
    pub(super) fn accept(&self, restored: &Restored) -> Result<()> {
        if restored.foreign_end && !self.bootstrap.adopt {
            return Err(self.written_by_another_tool());
        }
        Ok(())
    }

    /// The next slot is another tool's: the database becomes what the log is, if that was adopted or may be now.
    pub(super) fn take_foreign_slots(&mut self) -> Result<()> {
        let tail = self.replica()?.has_frames_beyond()?;
        self.rebuild(if tail { Save::Tail } else { Save::Nothing })
    }

    /// With `adopt`, the log is listed at the open: the other tool may have deleted the slots that would lead
    /// from this node's position to its own.
    pub(super) fn take_what_was_added(&mut self) -> Result<()> {
        if !self.bootstrap.adopt {
            return Ok(());
        }
        let here = self.replica()?.boundary().position.txid;
        let end = self.wait(self.shared.log.list())?.iter().map(|file| file.max).max();
        if here == Txid::ZERO || end.is_none_or(|end| end <= here) {
            return Ok(());
        }
        if self.fetch_slot(here.next())?.is_some_and(|slot| !slot.facts.is_foreign_tool()) {
            return Ok(());
        }
        self.take_foreign_slots()
    }

    /// Gives a log that only another tool has written a genesis, so that it can be adopted. `false` if there
    /// is no such log. The lease must be held.
    ///
    /// The genesis holds no base: slot 1 is there or was deleted, and nobody may create it any more.
    pub(super) fn found_on_foreign_log(&mut self) -> Result<bool> {
        let has_identity = self.files().identity()?.is_some();
        if !self.bootstrap.adopt || has_identity || self.replica.is_some() {
            return Ok(false);
        }
        if self.wait(self.shared.log.genesis())?.is_some() {
            return Ok(false);
        }
        let files = self.wait(self.shared.log.list())?;
        let Some(newest) = files.iter().filter(|file| file.level == 0).map(|file| file.max).max() else {
            return Ok(false);
        };
        let gone = || Error::corrupt(format!("slot {newest} was listed, and is not there"));
        let slot = self.fetch_slot(newest)?.ok_or_else(gone)?;
        let (database, page_size) = (self.bootstrap.new_id, slot.header.page_size);
        let genesis = Genesis { database, page_size, base: [0; 32] };
        match self.wait(self.shared.log.create_genesis(&genesis))? {
            PutAnswer::Stored => Ok(true),
            PutAnswer::Refused | PutAnswer::Ambiguous => {
                let message =
                    "another node adopts the log at the same time, or the bucket gave no clear answer";
                Err(Error::new(ErrorKind::LeaderUnavailable, message))
            }
        }
    }
}
