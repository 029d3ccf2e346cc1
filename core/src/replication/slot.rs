use crate::types::{Chain, Epoch, Position, Txid};

/// What the header and the hash of a slot's file say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SlotFacts {
    /// The slot.
    pub(crate) txid: Txid,
    /// The hash of the whole file.
    pub(crate) chain: Chain,
    /// The chain value that it embeds: of the slot before it.
    pub(crate) previous: Chain,
    /// The epoch that wrote it; zero for another tool's file.
    pub(crate) epoch: Epoch,
    /// The first bytes of the session that wrote it.
    pub(crate) session: [u8; 6],
}

impl SlotFacts {
    /// The position of a database that contains the log up to this slot.
    pub(crate) fn position(&self) -> Position {
        Position { txid: self.txid, chain: self.chain, epoch: self.epoch }
    }

    /// Whether another tool wrote it: none of our fields is set.
    pub(crate) fn is_foreign_tool(&self) -> bool {
        self.epoch == Epoch::ZERO && self.previous == Chain::ZERO && self.session == [0; 6]
    }
}
