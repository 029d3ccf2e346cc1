use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::types::{Monotonic, Txid};

/// What followers said they cannot read, until the leader has looked itself.
///
/// Nothing that a follower says is believed. It costs the leader one read of that slot, at most one in a second,
/// and one of the same slot in a while.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    waiting: BTreeSet<Txid>,
    /// What the leader saw, and when.
    judged: BTreeMap<Txid, (Verdict, Monotonic)>,
    next_look: Monotonic,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Whole,
    Damaged,
}

/// So many slots wait to be looked at, and so many looks are remembered.
const MOST_WAITING: usize = 16;
const MOST_JUDGED: usize = 64;
/// There is at least so long between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// A slot is not looked at again for so long.
const AGAIN: Duration = Duration::from_secs(60);

impl Complaints {
    /// A follower cannot read this slot of a log whose slots up to `confirmed` are confirmed. Whether something is
    /// done about it: not if it can be read from here, and not if this node is not beyond it.
    pub(crate) fn hear(&mut self, slot: Txid, confirmed: Txid, now: Monotonic) -> bool {
        if slot == Txid::ZERO || slot > confirmed {
            return false;
        }
        match self.judged.get(&slot) {
            Some((verdict, at)) if now.since(*at) < AGAIN => return *verdict == Verdict::Damaged,
            _ => {}
        }
        if self.waiting.len() == MOST_WAITING && !self.waiting.contains(&slot) {
            return false;
        }
        self.waiting.insert(slot);
        true
    }

    /// The slot to look at now, if there is one. It counts as looked at when it was judged.
    pub(crate) fn next(&mut self, now: Monotonic) -> Option<Txid> {
        if now < self.next_look {
            return None;
        }
        let slot = *self.waiting.first()?;
        self.next_look = now + PAUSE;
        Some(slot)
    }

    /// When there is something to look at.
    pub(crate) fn due(&self) -> Option<Monotonic> {
        (!self.waiting.is_empty()).then_some(self.next_look)
    }

    /// The leader has looked.
    pub(crate) fn judge(&mut self, slot: Txid, damaged: bool, now: Monotonic) {
        self.waiting.remove(&slot);
        if self.judged.len() >= MOST_JUDGED && !self.judged.contains_key(&slot) {
            let oldest = self.judged.iter().min_by_key(|(_, (_, at))| *at).map(|(slot, _)| *slot);
            oldest.map(|oldest| self.judged.remove(&oldest));
        }
        let verdict = if damaged { Verdict::Damaged } else { Verdict::Whole };
        self.judged.insert(slot, (verdict, now));
    }
}

/// A follower that cannot read the slot after its position: for how long it may hope that the leader does
/// something about it, instead of stopping for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Plight {
    /// The slot.
    pub(crate) slot: Txid,
    /// Since when.
    pub(crate) since: Monotonic,
    /// What the leader answered last, and when.
    pub(crate) answer: Option<(bool, Monotonic)>,
}

/// The leader may take so long for its first answer.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// A promise holds for so long after it was given the last time.
const PROMISE: Duration = Duration::from_secs(30);

impl Plight {
    /// Whether there is hope.
    pub(crate) fn has_hope(&self, has_leader: bool, now: Monotonic) -> bool {
        match self.answer {
            Some((promised, at)) => promised && now.since(at) < PROMISE,
            None => has_leader && now.since(self.since) < FIRST_ANSWER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_secs(seconds))
    }

    fn slot(n: u64) -> Txid {
        Txid::new(n)
    }

    #[test]
    fn a_slot_is_looked_at_once_in_a_while_whoever_complains_and_how_often() {
        let mut complaints = Complaints::default();
        assert_eq!((complaints.due(), complaints.next(at(9))), (None, None));
        assert!(complaints.hear(slot(5), slot(9), at(10)) && complaints.hear(slot(5), slot(9), at(10)));
        assert!(complaints.hear(slot(6), slot(9), at(10)));
        assert_eq!(complaints.next(at(10)), Some(slot(5)));
        assert_eq!(complaints.next(at(10)), None, "one in a second");
        complaints.judge(slot(5), false, at(10));
        assert_eq!(complaints.due(), Some(at(11)));
        assert_eq!(complaints.next(at(11)), Some(slot(6)));
        complaints.judge(slot(6), true, at(11));
        assert!(!complaints.hear(slot(5), slot(9), at(30)), "it can be read from here");
        assert!(complaints.hear(slot(6), slot(9), at(30)), "it is being covered");
        assert_eq!(complaints.next(at(40)), None);
        assert!(complaints.hear(slot(5), slot(9), at(71)));
        assert_eq!(complaints.next(at(71)), Some(slot(5)));
    }

    #[test]
    fn what_could_not_be_looked_at_waits() {
        let mut complaints = Complaints::default();
        complaints.hear(slot(5), slot(9), at(10));
        assert_eq!(complaints.next(at(10)), Some(slot(5)));
        assert_eq!(complaints.next(at(11)), Some(slot(5)));
    }

    #[test]
    fn of_slots_that_this_node_is_not_beyond_nothing_is_promised() {
        let mut complaints = Complaints::default();
        assert!(!complaints.hear(slot(10), slot(9), at(1)) && !complaints.hear(slot(0), slot(9), at(1)));
        assert!(complaints.hear(slot(9), slot(9), at(1)));
    }

    #[test]
    fn complaints_are_bounded() {
        let mut complaints = Complaints::default();
        let heard = (1..=1000).filter(|n| complaints.hear(slot(*n), slot(2000), at(1))).count();
        assert_eq!(heard, MOST_WAITING);
        for n in 1..=1000 {
            complaints.judge(slot(n), true, at(n));
        }
        assert_eq!(complaints.judged.len(), MOST_JUDGED);
        assert!(complaints.judged.contains_key(&slot(1000)), "the oldest go");
    }

    #[test]
    fn a_follower_waits_as_long_as_the_leader_promises() {
        let mut plight = Plight { slot: slot(5), since: at(10), answer: None };
        assert!(plight.has_hope(true, at(12)) && !plight.has_hope(false, at(12)));
        assert!(!plight.has_hope(true, at(20)), "nobody answers");
        plight.answer = Some((true, at(30)));
        assert!(plight.has_hope(false, at(59)) && !plight.has_hope(true, at(60)));
        plight.answer = Some((false, at(61)));
        assert!(!plight.has_hope(true, at(61)));
    }
}
