use std::collections::{BTreeMap, BTreeSet};

use super::log::Log;
use super::patience::limited;
use super::publish::Verdict;
use crate::bucket::{Body, Key, Put, PutMode, PutOptions, Range, join_all};
use crate::replication::{
    Barred, Facts, Floor, LogFile, check_newest, millis, plan_discard, plan_floor, plan_repair, plan_restore,
    plan_slots, plan_sweep,
};
use crate::types::{Error, ErrorKind, Result, Retention, Txid};

/// What a leader remembers of the files that it made or read.
#[derive(Default)]
pub(super) struct Memory {
    /// Facts of files, so that they are read once.
    facts: BTreeMap<Name, Facts>,
    /// Files that this leader made itself, out of slots whose links it held.
    made: BTreeMap<Name, Facts>,
    /// Snapshots that were read to their end.
    whole: BTreeMap<Name, ()>,
    /// The epochs from slot 1 on, as far as they were asked for.
    timeline: Option<Facts>,
    /// A slot at the end of a file that was about to stand for it, and that could not be read or did not fit.
    pub(super) suspect: Option<Txid>,
}

type Name = (u8, Txid, Txid);

fn name(file: &LogFile) -> Name {
    (file.level, file.min, file.max)
}

/// What is there after old files were deleted.
pub(super) struct Retained {
    /// The files that are left, of the slots those above the floor.
    pub(super) files: Vec<LogFile>,
    pub(super) floor: Floor,
    /// The store's time.
    pub(super) now_ms: i64,
}

const TRIES: u32 = 5;
/// So many objects are deleted at one time: one by one would be slower than a busy leader adds slots.
const AT_ONCE: usize = 32;

impl Memory {
    /// A file was made by this leader.
    pub(super) fn made(&mut self, file: &LogFile, facts: &Facts) {
        self.made.insert(name(file), facts.clone());
        self.facts.insert(name(file), facts.clone());
    }

    /// A snapshot was read to its end, and is what its facts say.
    pub(super) fn read(&mut self, snapshot: &LogFile) {
        self.whole.insert(name(snapshot), ());
    }

    fn forget(&mut self, files: &[LogFile]) {
        let there: BTreeSet<Name> = files.iter().filter(|file| file.level > 0).map(name).collect();
        self.facts.retain(|name, _| there.contains(name));
        self.made.retain(|name, _| there.contains(name));
        self.whole.retain(|name, ()| there.contains(name));
    }
}

impl Log {
    /// Deletes what the settings let go of a log whose slots up to `confirmed` are confirmed. What is barred stands
    /// for nothing, and goes like the rest.
    ///
    /// Slots go only after every file that stands for them was read back and verified, and after the floor
    /// was raised; old compactions and snapshots only after the snapshot that stands for them was verified. So
    /// it does not matter who does it and when a deletion arrives: a leader that was replaced long ago deletes
    /// nothing that anybody needs. A crash, or dropping the future, leaves a part undeleted, and the next leader
    /// goes on.
    pub(super) async fn retain(
        &self,
        confirmed: Txid,
        retention: &Retention,
        barred: &Barred,
        memory: &mut Memory,
    ) -> Result<Retained> {
        let mut files = Vec::new();
        // The slots last, and the floor after them.
        for level in (0..=9).rev() {
            files.extend(self.list_level(level, Txid::ZERO).await?);
        }
        let mut floor = self.floor().await?;
        check_newest(&files)?;
        let now_ms = limited(self.bucket().now_ms()).await?;
        memory.forget(&files);
        let newest = files.iter().filter(|f| f.level == 0).map(|f| f.max).max().unwrap_or_default();
        let written_by = now_ms.saturating_sub(millis(retention.slots));
        let (usable, provable) = (barred.usable(&files), barred.provable(&files));
        if let Some(raise) = plan_floor(&provable, floor, newest.min(confirmed), written_by) {
            for cover in &raise.by {
                self.verify_cover(cover, &usable, floor, memory).await?;
            }
            self.learn_timeline(&usable, raise.to, memory).await?;
            floor = self.raise_floor(raise.to).await?;
        }
        let (mut gone, mut lone) = (Vec::new(), Vec::new());
        if files.iter().any(|f| f.level == 0 && floor.covers(f.max)) {
            self.learn_timeline(&usable, floor, memory).await?;
        }
        if let Some(timeline) = &memory.timeline {
            gone = plan_slots(&files, floor, timeline);
        }
        if let Some(discard) = plan_discard(&files, barred, now_ms, retention) {
            self.verify_base(&discard.base, &usable, memory).await?;
            let facts = self.list_facts().await?;
            lone = plan_sweep(&facts, &files, &discard.base, now_ms);
            gone.extend(discard.files);
        }
        for some in gone.chunks(AT_ONCE) {
            let deletions = some.iter().map(|file| self.delete_file(file));
            join_all(deletions).await.into_iter().collect::<Result<()>>()?;
        }
        for facts in &lone {
            self.delete_facts(facts).await?;
        }
        let gone: BTreeSet<Name> = gone.iter().map(name).collect();
        files.retain(|file| !gone.contains(&name(file)) && (file.level > 0 || !floor.covers(file.max)));
        Ok(Retained { files, floor, now_ms })
    }

    /// Raises the floor, never lowers it; the floor that is now in force.
    pub(super) async fn raise_floor(&self, to: Floor) -> Result<Floor> {
        let key = self.key(&Key::Floor);
        for _ in 0..TRIES {
            let there = limited(self.bucket().get(&key, Range::Whole)).await?;
            let mode = match there {
                None => PutMode::Create,
                Some(object) => match Floor::decode(&object.body)? {
                    floor if floor >= to => return Ok(floor),
                    _ => PutMode::Replace(object.version),
                },
            };
            let body = Body::Bytes(to.encode().into());
            if let Put::Stored(_) = limited(self.bucket().put(&key, body, PutOptions::new(mode))).await? {
                return Ok(to);
            }
        }
        Err(Error::new(ErrorKind::StoreUnavailable, "others raise the floor at the same time"))
    }

    /// Reads a file back that slots are about to be deleted for, and holds it against the slots at its ends.
    async fn verify_cover(
        &self,
        cover: &LogFile,
        files: &[LogFile],
        floor: Floor,
        memory: &mut Memory,
    ) -> Result<()> {
        let facts = self.whole(cover, files).await?;
        memory.read(cover);
        memory.facts.insert(name(cover), facts.clone());
        if memory.made.get(&name(cover)).is_some_and(|made| made.after == facts.after) {
            return Ok(());
        }
        let differs = |slot: Txid| {
            let message = format!("{} is of another history than slot {slot}", self.file_key(cover));
            Error::corrupt(message)
        };
        for slot in [cover.min, cover.max] {
            // The first slot has the whole base image, and its place is the genesis object's to tell.
            if floor.covers(slot) || slot.get() == 1 {
                continue;
            }
            memory.suspect = Some(slot);
            let gone = || Error::corrupt(format!("slot {slot} is missing, which no file is known to cover"));
            let found = self.slot(slot).await?.ok_or_else(gone)?.facts;
            let first = slot == cover.min && found.previous != facts.before;
            let last = slot == cover.max && found.chain != facts.after;
            if first || last || facts.owner(slot) != Some(found.epoch) {
                return Err(differs(slot));
            }
        }
        memory.suspect = None;
        Ok(())
    }

    async fn verify_base(&self, base: &LogFile, files: &[LogFile], memory: &mut Memory) -> Result<()> {
        if !memory.whole.contains_key(&name(base)) {
            self.whole(base, files).await?;
            memory.read(base);
        }
        Ok(())
    }

    /// Reads a file to its end. A damaged one is made again, if what it was made of is still there.
    async fn whole(&self, file: &LogFile, files: &[LogFile]) -> Result<Facts> {
        match self.verify(file).await? {
            Verdict::Whole(facts) => Ok(facts),
            Verdict::Missing => {
                Err(Error::new(ErrorKind::StoreUnavailable, format!("{} is gone", self.file_key(file))))
            }
            Verdict::Damaged(_, why) => {
                self.repair(file, files).await.map_err(|e| e.context(&why))?;
                match self.verify(file).await? {
                    Verdict::Whole(facts) => Ok(facts),
                    _ => Err(Error::corrupt(why)),
                }
            }
        }
    }

    /// Makes a damaged file again out of others. `Corrupt` if they are gone.
    async fn repair(&self, file: &LogFile, files: &[LogFile]) -> Result<()> {
        let inputs = plan_repair(files, file).ok_or_else(|| {
            Error::corrupt(format!("{} is damaged, and what it was made of is gone", self.file_key(file)))
        })?;
        self.make(file.level, &inputs).await.map(drop)
    }

    /// Looks for a damaged file among those that could not be merged, and makes it again.
    pub(super) async fn repair_among(&self, inputs: &[LogFile]) -> Result<()> {
        let files = self.list().await?;
        for input in inputs.iter().filter(|f| f.level > 0) {
            self.whole(input, &files).await?;
        }
        Ok(())
    }

    /// The epochs from slot 1 to the floor at least, out of what is kept beside the files.
    async fn learn_timeline(&self, files: &[LogFile], floor: Floor, memory: &mut Memory) -> Result<()> {
        if memory.timeline.as_ref().is_some_and(|known| floor.0 <= known.max) {
            return Ok(());
        }
        let above: Vec<LogFile> = files.iter().filter(|f| f.level > 0).copied().collect();
        let plan = plan_restore(&above, Txid::ZERO, None)?;
        let mut parts = Vec::new();
        for file in &plan.files {
            let known = memory.facts.get(&name(file)).cloned();
            let facts = match known {
                Some(facts) => facts,
                None => {
                    let gone = || Error::corrupt(format!("{} has no facts beside it", self.file_key(file)));
                    self.facts(file).await?.ok_or_else(gone)?
                }
            };
            memory.facts.insert(name(file), facts.clone());
            parts.push(facts);
        }
        let file = parts.last().map(|facts| facts.file).unwrap_or_default();
        memory.timeline = Some(Facts::join(&parts, file)?);
        Ok(())
    }
}
