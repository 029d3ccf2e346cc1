use serde::{Deserialize, Serialize};

use super::SlotFacts;
use crate::types::{Chain, Epoch, Error, Result, Txid};

/// What is kept beside a compacted file or a snapshot: what its bytes are, and the links of the slots that it
/// covers, which the merged file cannot show any more.
///
/// It is written before the file. A file whose hash is none of those in it is damaged, or was made by somebody
/// who did not know what he wrote: it counts as missing. All but the hashes is a function of the log, and
/// hashes are only ever added: a file that was once vouched for stays so, whoever else makes the same file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    /// The first slot.
    pub(crate) min: Txid,
    /// The last slot.
    pub(crate) max: Txid,
    /// The hash of the whole file.
    pub(crate) file: Chain,
    /// Other hashes that the file may have: another version of this library packs the same pages into other
    /// bytes.
    pub(crate) others: Vec<Chain>,
    /// The chain value before the first slot.
    pub(crate) before: Chain,
    /// The chain value of the last slot.
    pub(crate) after: Chain,
    /// Each epoch that owns any of the slots, with the first of these slots that it owns. Zero stands for slots
    /// that no epoch of ours owns, as far as anybody knows; such entries may follow each other.
    pub(crate) epochs: Vec<(Epoch, Txid)>,
}

/// So many bytes for one file are vouched for at most.
const MOST_HASHES: usize = 8;

#[derive(Serialize, Deserialize)]
struct Wire {
    min: u64,
    max: u64,
    file: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<String>,
    before: String,
    after: String,
    epochs: Vec<(u64, u64)>,
    /// The hash of these bytes, with zeros in this place.
    check: String,
}

impl Facts {
    /// What a slot would have beside it.
    pub(crate) fn of_slot(slot: &SlotFacts) -> Facts {
        Facts {
            min: slot.txid,
            max: slot.txid,
            file: slot.chain,
            others: Vec::new(),
            before: slot.previous,
            after: slot.chain,
            epochs: vec![(slot.epoch, slot.txid)],
        }
    }

    /// The facts of one file that covers what the others do, oldest first; its hash is `file`.
    ///
    /// `Corrupt` unless each goes on in the slot after the one before it, in the same history, or overlaps it,
    /// and epochs do not go down.
    pub(crate) fn join(parts: &[Facts], file: Chain) -> Result<Facts> {
        let Some((first, rest)) = parts.split_first() else {
            return Err(Error::corrupt("no files to join"));
        };
        let mut joined = Facts { file, others: Vec::new(), ..first.clone() };
        for part in rest {
            joined.append(part)?;
        }
        Ok(joined)
    }

    fn append(&mut self, next: &Facts) -> Result<()> {
        let context = || format!("log files {}-{} and {}-{}", self.min, self.max, next.min, next.max);
        let wrong = |what: &str| Err(Error::corrupt(what).context(context()));
        if next.min > self.max.next() || next.max <= self.max {
            return wrong("the second does not go on where the first ends");
        }
        if next.min == self.max.next() && next.before != self.after {
            return wrong("they belong to two histories");
        }
        let new: Vec<(Epoch, Txid)> = next
            .epochs
            .iter()
            .filter(|(epoch, first)| *first > self.max && Some(*epoch) != self.owner(self.max))
            .copied()
            .collect();
        let shared = next.min <= self.max && next.owner(self.max) != self.owner(self.max);
        let down = new.first().zip(self.epochs.last()).is_some_and(|(new, old)| new.0 < old.0);
        if shared || down {
            return wrong("their epochs do not fit");
        }
        self.epochs.extend(new);
        self.max = next.max;
        self.after = next.after;
        Ok(())
    }

    /// Whether a file with this hash is the one that this is kept beside.
    pub(crate) fn vouches_for(&self, hash: Chain) -> bool {
        self.file == hash || self.others.contains(&hash)
    }

    /// The epoch that owns a slot that the file covers.
    pub(crate) fn owner(&self, slot: Txid) -> Option<Epoch> {
        if slot < self.min || slot > self.max {
            return None;
        }
        self.epochs.iter().rev().find(|(_, first)| *first <= slot).map(|(epoch, _)| *epoch)
    }

    /// These facts with the hash of `other` as well. `None` if they vouch for it already; `Corrupt` if the two
    /// are not about the same slots of the same log, or there are too many hashes.
    pub(crate) fn with(&self, other: &Facts) -> Result<Option<Facts>> {
        let about = |facts: &Facts| Facts { file: Chain::ZERO, others: Vec::new(), ..facts.clone() };
        if about(self) != about(other) {
            return Err(Error::corrupt("the facts of a log file are of another history"));
        }
        if self.vouches_for(other.file) {
            return Ok(None);
        }
        if self.others.len() + 1 >= MOST_HASHES {
            return Err(Error::corrupt(format!("{MOST_HASHES} different files were made of the same slots")));
        }
        let mut others = self.others.clone();
        others.push(other.file);
        Ok(Some(Facts { others, ..self.clone() }))
    }

    /// The bytes of the object.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut wire = Wire {
            min: self.min.get(),
            max: self.max.get(),
            file: self.file.to_string(),
            others: self.others.iter().map(Chain::to_string).collect(),
            before: self.before.to_string(),
            after: self.after.to_string(),
            epochs: self.epochs.iter().map(|(epoch, first)| (epoch.get(), first.get())).collect(),
            check: Chain::ZERO.to_string(),
        };
        wire.check = Chain::of(&wire.to_bytes()).to_string();
        wire.to_bytes()
    }

    /// The facts in these bytes; `Corrupt` if they are none, or not as they were written.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Facts> {
        let damaged = || Error::corrupt("the facts of a log file are damaged");
        let wire: Wire = serde_json::from_slice(bytes).map_err(|e| damaged().with_source(e))?;
        let chain = |text: &str| Chain::from_hex(text).ok_or_else(damaged);
        let epochs = wire
            .epochs
            .iter()
            .map(|(epoch, first)| Ok((Epoch::new(*epoch).ok_or_else(damaged)?, Txid::new(*first))));
        let facts = Facts {
            min: Txid::new(wire.min),
            max: Txid::new(wire.max),
            file: chain(&wire.file)?,
            others: wire.others.iter().map(|text| chain(text)).collect::<Result<_>>()?,
            before: chain(&wire.before)?,
            after: chain(&wire.after)?,
            epochs: epochs.collect::<Result<_>>()?,
        };
        if facts.encode() != bytes {
            return Err(damaged());
        }
        Ok(facts)
    }
}

impl Wire {
    fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("BUG: facts are always valid JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(n: u64) -> Epoch {
        Epoch::new(n).unwrap()
    }

    fn chain(n: u64) -> Chain {
        Chain::of(&n.to_be_bytes())
    }

    fn facts(min: u64, max: u64, epochs: &[(u64, u64)]) -> Facts {
        Facts {
            min: Txid::new(min),
            max: Txid::new(max),
            file: Chain::from_bytes([1; 16]),
            others: Vec::new(),
            before: chain(min - 1),
            after: chain(max),
            epochs: epochs.iter().map(|(e, first)| (epoch(*e), Txid::new(*first))).collect(),
        }
    }

    #[test]
    fn facts_survive_their_bytes() {
        let mut facts = facts(2, 9, &[(1, 2), (4, 7)]);
        assert_eq!(Facts::decode(&facts.encode()).unwrap(), facts);
        facts.others.push(Chain::from_bytes([5; 16]));
        assert_eq!(Facts::decode(&facts.encode()).unwrap(), facts);
        assert!(Facts::decode(b"{}").is_err());
    }

    #[test]
    fn no_bit_of_facts_changes_unnoticed() {
        let bytes = facts(2, 9, &[(1, 2), (4, 7)]).encode();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Facts::decode(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_facts_of_parts_make_those_of_the_whole() {
        let parts = [facts(2, 5, &[(1, 2), (3, 4)]), facts(6, 6, &[(3, 6)]), facts(7, 9, &[(4, 7)])];
        let joined = Facts::join(&parts, Chain::ZERO).unwrap();
        assert_eq!(joined, Facts { file: Chain::ZERO, ..facts(2, 9, &[(1, 2), (3, 4), (4, 7)]) });
        let owners: Vec<_> = (1..=10).map(|n| joined.owner(Txid::new(n)).map(Epoch::get)).collect();
        let expected = [0, 1, 1, 3, 3, 3, 4, 4, 4, 0].map(|n| Some(n).filter(|n| *n > 0));
        assert_eq!(owners, expected);
    }

    #[test]
    fn parts_may_overlap() {
        let parts = [facts(1, 5, &[(1, 1), (3, 4)]), facts(4, 9, &[(3, 4), (4, 7)])];
        let joined = Facts::join(&parts, Chain::ZERO).unwrap();
        assert_eq!(joined, Facts { file: Chain::ZERO, ..facts(1, 9, &[(1, 1), (3, 4), (4, 7)]) });
    }

    #[test]
    fn parts_that_do_not_fit_make_no_whole() {
        let first = facts(2, 5, &[(3, 2)]);
        let other = Facts { before: chain(77), ..facts(6, 7, &[(3, 6)]) };
        for second in [facts(7, 8, &[(3, 7)]), facts(6, 7, &[(2, 6)]), facts(5, 7, &[(4, 5)]), other] {
            assert!(Facts::join(&[first.clone(), second], Chain::ZERO).is_err());
        }
    }

    #[test]
    fn hashes_are_added_and_never_replaced() {
        let first = facts(2, 5, &[(3, 2)]);
        let second = Facts { file: Chain::from_bytes([2; 16]), ..first.clone() };
        let both = first.with(&second).unwrap().unwrap();
        assert!(both.vouches_for(first.file) && both.vouches_for(second.file));
        assert_eq!(both.with(&second).unwrap(), None);
        let mut all = both;
        for i in 3..=8 {
            let next = Facts { file: Chain::from_bytes([i; 16]), ..first.clone() };
            all = all.with(&next).unwrap().unwrap();
        }
        assert!(all.with(&Facts { file: Chain::from_bytes([9; 16]), ..first.clone() }).is_err());
        assert!(first.with(&Facts { after: chain(8), ..first.clone() }).is_err());
    }
}
