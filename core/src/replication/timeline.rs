use super::Facts;
use crate::types::{Epoch, Error, Result, Txid};

/// Who owns slots, as the bucket tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// This epoch.
    Epoch(Epoch),
    /// Another tool wrote them.
    OtherTool,
    /// The slot is there, and what it says cannot be believed.
    Damaged,
    /// They are not there.
    Missing,
}

/// Who owns the slots of a log, from one on: each entry tells where somebody else's begin. Made of what is kept
/// beside files and of the slots themselves, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Timeline {
    runs: Vec<(Txid, Owner)>,
}

impl Timeline {
    /// Slots from this one on are of this owner.
    pub(crate) fn add(&mut self, first: Txid, owner: Owner) {
        let same = self.runs.last().is_some_and(|(_, last)| *last == owner);
        // Each damaged slot stands for itself: it may have been the first one of an epoch, and so may the next.
        if !same || owner == Owner::Damaged {
            self.runs.push((first, owner));
        }
    }

    /// Slots from this one on are as the facts of a file tell, which covers it.
    pub(crate) fn add_facts(&mut self, from: Txid, facts: &Facts) {
        for (index, (epoch, first)) in facts.epochs.iter().enumerate() {
            let end =
                facts.epochs.get(index + 1).map_or(facts.max, |next| next.1.previous().unwrap_or_default());
            if end >= from {
                // What nobody owns has its own entry in the facts, which stays one.
                let owner = if *epoch == Epoch::ZERO { Owner::Damaged } else { Owner::Epoch(*epoch) };
                self.add(from.max(*first), owner);
            }
        }
    }

    /// The slots that decide: those of ours on both sides of where the owner changes. A damaged header that tells of
    /// another epoch would move the beginning of one.
    pub(crate) fn decisive(&self) -> Vec<Txid> {
        let mut slots = Vec::new();
        for (index, (first, owner)) in self.runs.iter().enumerate() {
            let before = index.checked_sub(1).map(|before| self.runs[before].1);
            if matches!(before, Some(Owner::Epoch(_))) {
                slots.extend(first.previous());
            }
            if before.is_some() && matches!(owner, Owner::Epoch(_)) {
                slots.push(*first);
            }
        }
        slots.dedup();
        slots
    }

    /// Each owner with its first slot, as facts have them. Epoch zero is nobody of ours: another tool, or nobody
    /// knows who.
    ///
    /// The first slot of every epoch must be among them, for retention keeps these for ever, so that the late PUT
    /// of a leader that was replaced finds its successor's fence. So every slot that may be one is: a damaged
    /// slot between two epochs, and the one after it. `Corrupt` if epochs go down.
    pub(crate) fn epochs(&self) -> Result<Vec<(Epoch, Txid)>> {
        let mut epochs: Vec<(Epoch, Txid)> = Vec::new();
        let mut newest = Epoch::ZERO;
        let mut rest = self.runs.as_slice();
        while let Some(((first, owner), later)) = rest.split_first() {
            rest = later;
            let Owner::Epoch(epoch) = *owner else {
                let lost = |(_, owner): &&(Txid, Owner)| matches!(owner, Owner::Damaged | Owner::Missing);
                let gap = if *owner == Owner::OtherTool { 0 } else { later.iter().take_while(lost).count() };
                // An epoch's slots are in a row: what is between two of them is of the same.
                let same = newest > Epoch::ZERO
                    && *owner != Owner::OtherTool
                    && epochs.last().is_some_and(|(last, _)| *last == newest)
                    && later.get(gap).is_some_and(|(_, next)| *next == Owner::Epoch(newest));
                if same {
                    rest = &later[gap + 1..];
                } else {
                    epochs.push((Epoch::ZERO, *first));
                }
                continue;
            };
            let goes_on = epochs.last().is_some_and(|(last, _)| *last == epoch);
            if epoch < newest || epoch == Epoch::ZERO || (epoch == newest && !goes_on) {
                let message = format!("slot {first} has epoch {epoch}, and {newest} has slots before it");
                return Err(Error::corrupt(message));
            }
            if !goes_on {
                epochs.push((epoch, *first));
            }
            newest = epoch;
        }
        Ok(epochs)
    }
}

/// The newest slot that these epochs do not own, if there is one: another tool wrote it, or nobody knows who.
pub(crate) fn newest_without_epoch(epochs: &[(Epoch, Txid)]) -> Option<Txid> {
    let last = epochs.iter().rposition(|(epoch, _)| *epoch == Epoch::ZERO)?;
    let next = epochs.get(last + 1).map(|(_, first)| *first);
    next.and_then(|next| next.previous()).or(Some(epochs[last].1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Owner::{Damaged, Missing, OtherTool};

    fn of(epoch: u64) -> Owner {
        Owner::Epoch(Epoch::new(epoch).unwrap())
    }

    fn timeline(owners: &[Owner]) -> Timeline {
        let mut timeline = Timeline::default();
        for (slot, owner) in (1..).zip(owners) {
            timeline.add(Txid::new(slot), *owner);
        }
        timeline
    }

    fn epochs(owners: &[Owner]) -> Vec<(u64, u64)> {
        let epochs = timeline(owners).epochs().unwrap();
        epochs.iter().map(|(epoch, first)| (epoch.get(), first.get())).collect()
    }

    #[test]
    fn every_slot_that_may_be_the_first_of_an_epoch_is_told() {
        assert_eq!(epochs(&[of(1), of(1), of(4), of(4)]), [(1, 1), (4, 3)]);
        assert_eq!(epochs(&[of(1), Damaged, of(1)]), [(1, 1)], "it can only be of the same");
        assert_eq!(epochs(&[of(1), Missing, Damaged, Damaged, of(1), of(2)]), [(1, 1), (2, 6)]);
        assert_eq!(epochs(&[of(1), Damaged, of(2)]), [(1, 1), (0, 2), (2, 3)]);
        assert_eq!(epochs(&[of(1), Damaged, Damaged, of(2)]), [(1, 1), (0, 2), (0, 3), (2, 4)]);
        assert_eq!(epochs(&[of(1), Missing, Missing, of(2)]), [(1, 1), (0, 2), (2, 4)]);
    }

    #[test]
    fn the_first_slot_of_another_tool_after_ours_is_told_like_a_fence() {
        assert_eq!(epochs(&[OtherTool, OtherTool, of(1)]), [(0, 1), (1, 3)]);
        assert_eq!(epochs(&[of(1), OtherTool, OtherTool, of(2)]), [(1, 1), (0, 2), (2, 4)]);
        assert_eq!(epochs(&[of(1), Missing, OtherTool, of(2)]), [(1, 1), (0, 2), (0, 3), (2, 4)]);
        assert_eq!(epochs(&[of(1), Damaged, OtherTool, of(2)]), [(1, 1), (0, 2), (0, 3), (2, 4)]);
    }

    #[test]
    fn epochs_that_go_down_or_come_back_are_damage() {
        assert!(timeline(&[of(2), of(1)]).epochs().is_err());
        assert!(timeline(&[of(2), OtherTool, of(2)]).epochs().is_err());
        assert!(timeline(&[of(2), Damaged, of(1)]).epochs().is_err());
    }

    #[test]
    fn what_facts_tell_goes_on_with_the_slots() {
        let facts = |min, max, epochs: &[(u64, u64)]| Facts {
            min: Txid::new(min),
            max: Txid::new(max),
            file: Default::default(),
            others: Vec::new(),
            before: Default::default(),
            after: Default::default(),
            epochs: epochs.iter().map(|(e, n)| (Epoch::new(*e).unwrap(), Txid::new(*n))).collect(),
        };
        let mut timeline = Timeline::default();
        timeline.add_facts(Txid::new(1), &facts(1, 6, &[(1, 1), (0, 3), (0, 4), (2, 5)]));
        // It overlaps what is known.
        timeline.add_facts(Txid::new(7), &facts(4, 9, &[(2, 5), (3, 9)]));
        timeline.add(Txid::new(10), of(3));
        timeline.add(Txid::new(11), of(5));
        let told: Vec<_> = timeline.epochs().unwrap().iter().map(|(e, n)| (e.get(), n.get())).collect();
        assert_eq!(told, [(1, 1), (0, 3), (0, 4), (2, 5), (3, 9), (5, 11)]);
    }

    #[test]
    fn whatever_moves_the_beginning_of_an_epoch_is_read_whole() {
        let decisive = |owners: &[Owner]| -> Vec<u64> {
            timeline(owners).decisive().iter().map(|slot| slot.get()).collect()
        };
        assert_eq!(decisive(&[of(1), of(1), of(1), of(4), of(4)]), [3, 4]);
        // One header of many tells something else.
        assert_eq!(decisive(&[of(1), of(1), of(9), of(1), of(1)]), [2, 3, 4]);
        assert_eq!(decisive(&[of(1), OtherTool, OtherTool, of(2)]), [1, 4]);
    }

    #[test]
    fn where_the_slots_of_others_end_is_known() {
        let newest =
            |owners: &[Owner]| newest_without_epoch(&timeline(owners).epochs().unwrap()).map(Txid::get);
        assert_eq!(newest(&[of(1), of(2)]), None);
        assert_eq!(newest(&[OtherTool, OtherTool, of(1), of(1)]), Some(2));
        assert_eq!(newest(&[of(1), OtherTool, of(2), Damaged, of(3)]), Some(4));
    }

    proptest::proptest! {
        /// A leadership or another tool's time is (whose, how many slots); each slot may be damaged.
        #[test]
        fn no_fence_is_missed_whatever_is_damaged(
            times in proptest::collection::vec((proptest::prelude::any::<bool>(), 1usize..4), 1..8),
            damaged in proptest::collection::vec(proptest::prelude::any::<bool>(), 32),
        ) {
            let mut truth = Vec::new();
            let mut fences = Vec::new();
            for (epoch, (ours, slots)) in (1..).zip(times) {
                let owner = if ours { of(epoch) } else { OtherTool };
                if truth.last() != Some(&owner) && (ours || !truth.is_empty()) {
                    fences.push(truth.len() as u64 + 1);
                }
                truth.extend(std::iter::repeat_n(owner, slots));
            }
            let seen: Vec<Owner> =
                truth.iter().zip(damaged).map(|(owner, bad)| if bad { Damaged } else { *owner }).collect();
            let told = epochs(&seen);
            for fence in fences {
                proptest::prop_assert!(told.iter().any(|(_, first)| *first == fence), "{fence}: {seen:?} {told:?}");
            }
            // And nobody is told to own what is another's.
            for (epoch, first) in told {
                let owner = truth[first as usize - 1];
                proptest::prop_assert!(epoch == 0 || owner == of(epoch));
            }
        }
    }
}
