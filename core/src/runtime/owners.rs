use std::collections::BTreeSet;

use super::examine::Found;
use super::log::Log;
use super::object_reader::persistently;
use crate::bucket::{Key, Range, join_all};
use crate::ltx::Header;
use crate::replication::{Barred, Facts, LogFile, Owner, Timeline, newest_without_epoch};
use crate::types::{Epoch, Error, ErrorKind, Result, Txid};

/// What tells who owns slots.
enum Evidence {
    /// Facts, for the slots from this one on.
    Facts(Txid, Box<Facts>),
    /// A slot's header.
    Slot(Txid, Owner),
}

/// So many headers are asked for at one time.
const AT_ONCE: usize = 32;
/// So many slots in a row that a listing does not show are asked for by their keys.
const MOST_UNLISTED: u64 = 1000;

impl Log {
    /// Who owns the slots from the first to `until`: each epoch with its first slot, and epoch zero where another
    /// tool or nobody known does. It is told by the facts beside files, whether the files are still there or not,
    /// and beyond them by the slots.
    ///
    /// `Corrupt` if nothing tells of slots that may be deleted: the fences among them could not be told from
    /// others.
    pub(super) async fn epochs_until(&self, until: Txid) -> Result<Vec<(Epoch, Txid)>> {
        let mut evidence = self.evidence_until(until).await?;
        let mut read = BTreeSet::new();
        loop {
            let timeline = timeline_of(&evidence);
            let decisive: BTreeSet<Txid> =
                timeline.decisive().into_iter().filter(|s| read.insert(*s)).collect();
            let mut changed = false;
            for piece in &mut evidence {
                if let Evidence::Slot(slot, owner) = piece
                    && decisive.contains(slot)
                {
                    let found = match self.examine(*slot).await? {
                        Found::Whole(facts, _) if facts.is_foreign_tool() => Owner::OtherTool,
                        Found::Whole(facts, _) => Owner::Epoch(facts.epoch),
                        Found::Damaged => Owner::Damaged,
                        Found::Missing => Owner::Missing,
                    };
                    changed |= std::mem::replace(owner, found) != found;
                }
            }
            if !changed {
                return timeline.epochs();
            }
        }
    }

    /// What another tool wrote of a log that ends with these files.
    pub(super) async fn barred(&self, files: &[LogFile]) -> Result<Barred> {
        let newest = files.iter().filter(|f| f.level == 0).map(|f| f.max).max().unwrap_or_default();
        let mut barred = Barred::default();
        if let Some(foreign) = newest_without_epoch(&self.epochs_until(newest).await?) {
            barred.add_foreign(foreign);
        }
        Ok(barred)
    }

    async fn evidence_until(&self, until: Txid) -> Result<Vec<Evidence>> {
        let mut known: Vec<LogFile> = self.list_facts().await?;
        known.retain(|facts| facts.max <= until);
        let slots = self.list_level(0, Txid::ZERO).await?;
        let listed: BTreeSet<Txid> = slots.iter().filter(|f| f.min == f.max).map(|f| f.max).collect();
        let floor = persistently(|| self.floor()).await?;
        let mut evidence = Vec::new();
        // Before any slot of ours there is no fence to be missed. A log that does not begin with another tool's slot
        // is ours from its first one on: what a listing does not show of it is asked for, or a fence that lies there
        // would be taken for nothing.
        let foreign = persistently(|| self.owner_of(Txid::new(1))).await? == Owner::OtherTool;
        let (mut next, mut ours, mut missing) = (Txid::new(1), !foreign, 0);
        while next <= until {
            let covers = |f: &&LogFile| f.min <= next && next <= f.max;
            if let Some(file) = known.iter().filter(covers).max_by_key(|f| f.max).copied() {
                match persistently(|| self.facts(&file)).await {
                    Ok(Some(facts)) if (facts.min, facts.max) == (file.min, file.max) => {
                        evidence.push(Evidence::Facts(next, Box::new(facts)));
                        (next, ours, missing) = (file.max.next(), true, 0);
                    }
                    Err(error) if error.kind() != ErrorKind::Corrupt => return Err(error),
                    _ => known.retain(|other| *other != file),
                }
                continue;
            }
            if floor.covers(next) {
                let message = format!("nothing tells any more whose slot {next} was, which the floor covers");
                return Err(Error::corrupt(message));
            }
            let facts = known.iter().map(|f| f.min).filter(|min| *min > next).min();
            let stop = facts.unwrap_or(until.next()).min(until.next());
            if !listed.contains(&next) && (!ours || missing >= MOST_UNLISTED) {
                evidence.push(Evidence::Slot(next, Owner::Missing));
                next = listed.range(next..).next().map_or(stop, |shown| stop.min(*shown));
                missing = 0;
                continue;
            }
            let worth = |slot: &Txid| *slot < stop && (ours || listed.contains(slot));
            let some: Vec<Txid> = std::iter::successors(Some(next), |slot| Some(slot.next()))
                .take_while(worth)
                .take(AT_ONCE)
                .collect();
            let answers = join_all(some.iter().map(|slot| persistently(|| self.owner_of(*slot)))).await;
            for (slot, answer) in some.into_iter().zip(answers) {
                let owner = answer?;
                ours |= matches!(owner, Owner::Epoch(_));
                missing = if owner == Owner::Missing { missing + 1 } else { 0 };
                evidence.push(Evidence::Slot(slot, owner));
                next = slot.next();
            }
        }
        Ok(evidence)
    }

    /// What a slot's header says; of the rest of the object nothing is read.
    pub(super) async fn owner_of(&self, slot: Txid) -> Result<Owner> {
        let head = Range::Part { offset: 0, length: Header::SIZE as u64 };
        let Some(bytes) = self.part(&Key::slot(slot), head).await? else { return Ok(Owner::Missing) };
        let header =
            bytes.get(..Header::SIZE).and_then(|bytes| Header::from_bytes(bytes.try_into().ok()?).ok());
        Ok(match header {
            Some(header) if (header.min, header.max) != (slot, slot) => Owner::Damaged,
            Some(header) => header.origin.map_or(Owner::OtherTool, |origin| Owner::Epoch(origin.epoch)),
            None => Owner::Damaged,
        })
    }
}

fn timeline_of(evidence: &[Evidence]) -> Timeline {
    let mut timeline = Timeline::default();
    for piece in evidence {
        match piece {
            Evidence::Facts(from, facts) => timeline.add_facts(*from, facts),
            Evidence::Slot(slot, owner) => timeline.add(*slot, *owner),
        }
    }
    timeline
}
