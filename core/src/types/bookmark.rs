use std::fmt;
use std::str::FromStr;

use super::{Epoch, Error, ErrorKind, Result, Txid};

/// Where a write is in the log: the epoch that took it and the slot that holds or will hold it.
///
/// The text form sorts like the bookmark: 12 hexadecimal digits of the epoch, a dash, 16 of the txid. A
/// bookmark of a lost epoch is never satisfied by another epoch's slot of the same number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Bookmark {
    /// The epoch of the leader that committed the write.
    pub epoch: Epoch,
    /// The slot of the write.
    pub txid: Txid,
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}-{:016x}", self.epoch.get(), self.txid.get())
    }
}

impl FromStr for Bookmark {
    type Err = Error;

    fn from_str(text: &str) -> Result<Bookmark> {
        let parsed = match text.split_once('-') {
            Some((epoch, txid)) if epoch.len() == 12 && txid.len() == 16 => u64::from_str_radix(epoch, 16)
                .ok()
                .and_then(Epoch::new)
                .zip(u64::from_str_radix(txid, 16).ok()),
            _ => None,
        };
        match parsed {
            Some((epoch, txid)) => Ok(Bookmark { epoch, txid: Txid::new(txid) }),
            None => Err(Error::new(ErrorKind::InvalidArgument, format!("{text:?} is not a bookmark"))),
        }
    }
}
