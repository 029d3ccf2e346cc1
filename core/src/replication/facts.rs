use serde::{Deserialize, Serialize};

use crate::types::{Chain, Epoch, Error, Result, Txid};

/// What is kept beside a compacted file or a snapshot: what its bytes are, and the links of the slots that it
/// covers, which the merged file cannot show any more.
///
/// It is written before the file. A file whose hash is another one is damaged, or was made by somebody who
/// did not know what he wrote: it counts as missing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    /// The first slot.
    pub(crate) min: Txid,
    /// The last slot.
    pub(crate) max: Txid,
    /// The hash of the whole file.
    pub(crate) file: Chain,
    /// The chain value before the first slot.
    pub(crate) before: Chain,
    /// The chain value of the last slot.
    pub(crate) after: Chain,
    /// Each epoch that owns any of the slots, with the first of the slots that it owns.
    pub(crate) epochs: Vec<(Epoch, Txid)>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    min: u64,
    max: u64,
    file: String,
    before: String,
    after: String,
    epochs: Vec<(u64, u64)>,
}

impl Facts {
    /// The bytes of the object.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let wire = Wire {
            min: self.min.get(),
            max: self.max.get(),
            file: self.file.to_string(),
            before: self.before.to_string(),
            after: self.after.to_string(),
            epochs: self.epochs.iter().map(|(epoch, first)| (epoch.get(), first.get())).collect(),
        };
        serde_json::to_vec(&wire).expect("BUG: facts are always valid JSON")
    }

    /// The facts in these bytes; `Corrupt` if they are none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Facts> {
        let damaged = || Error::corrupt("the facts of a log file are damaged");
        let wire: Wire = serde_json::from_slice(bytes).map_err(|e| damaged().with_source(e))?;
        let chain = |text: &str| Chain::from_hex(text).ok_or_else(damaged);
        let epochs = wire
            .epochs
            .iter()
            .map(|(epoch, first)| Ok((Epoch::new(*epoch).ok_or_else(damaged)?, Txid::new(*first))));
        Ok(Facts {
            min: Txid::new(wire.min),
            max: Txid::new(wire.max),
            file: chain(&wire.file)?,
            before: chain(&wire.before)?,
            after: chain(&wire.after)?,
            epochs: epochs.collect::<Result<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_survive_their_bytes() {
        let facts = Facts {
            min: Txid::new(2),
            max: Txid::new(9),
            file: Chain::from_bytes([1; 16]),
            before: Chain::from_bytes([2; 16]),
            after: Chain::from_bytes([3; 16]),
            epochs: vec![(Epoch::new(1).unwrap(), Txid::new(2)), (Epoch::new(4).unwrap(), Txid::new(7))],
        };
        assert_eq!(Facts::decode(&facts.encode()).unwrap(), facts);
        assert!(Facts::decode(b"{}").is_err());
    }
}
