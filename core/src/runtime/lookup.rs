use super::log::Log;
use crate::types::{Epoch, Result, Txid};

/// What the log tells of single slots, also of those whose objects were deleted.
impl Log {
    /// The epoch that a slot belongs to; `None` if no file covers it, as when it is not written yet.
    ///
    /// What lies at the key of a slot below the floor is not believed, for anybody's late PUT may have landed
    /// there; the files that cover it tell, unless they do not know either.
    pub(crate) async fn owner(&self, slot: Txid) -> Result<Option<Epoch>> {
        let found = self.slot(slot).await?.map(|found| found.facts.epoch);
        if !self.floor().await?.covers(slot) {
            return Ok(found);
        }
        for level in (1..=9).rev() {
            let files = self.list_level(level, Txid::ZERO).await?;
            for file in files.iter().filter(|file| file.min <= slot && slot <= file.max) {
                let owner = self.facts(file).await?.and_then(|facts| facts.owner(slot));
                let owner = owner.filter(|owner| *owner > Epoch::ZERO);
                if owner.is_some() {
                    return Ok(owner);
                }
            }
        }
        Ok(None)
    }
}
