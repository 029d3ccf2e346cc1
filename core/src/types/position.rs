use std::fmt;

use super::{Chain, Epoch, Txid};

/// A point of the log: the state after slot `txid` of the history that `chain` proves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Position {
    /// The last slot that the state contains.
    pub txid: Txid,
    /// The hash of that slot's file.
    pub chain: Chain,
    /// The epoch that wrote that slot.
    pub epoch: Epoch,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (epoch {}, chain {})", self.txid, self.epoch, &self.chain.to_hex()[..8])
    }
}
