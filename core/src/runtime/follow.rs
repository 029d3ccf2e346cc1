use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::clock;
use super::local_files::LocalFiles;
use super::log::SlotFile;
use super::pass_damage::first_damaged;
use super::replicator::{Replicator, State};
use super::rewind::Save;
use super::settle::Standing;
use super::spool::Spool;
use crate::ltx::Decoder;
use crate::replication::{CatchUp, CatchUpEffect, CatchUpEvent};
use crate::sqlite::CheckpointProgress;
use crate::types::{Error, ErrorKind, Event, Params, Position, Result, Txid};

/// Slots are applied in groups of about so many bytes of files.
const GROUP_BYTES: u64 = 16 << 20;
/// Every so many looks that find nothing, the end of the log is proven with the floor.
const PROVE_EVERY: u32 = 16;

/// How the frames beyond the boundary stand after they were judged.
pub(super) enum Settled {
    /// There are none.
    Clean,
    /// There are commits of our own, and the log ends before them.
    Tail,
}

impl Replicator {
    /// One look at the log: what is new is applied. Failures are reported and tried again.
    pub(super) fn look(&mut self) {
        self.unreadable = None;
        self.shared.told.looks();
        self.next_look = clock::now() + self.shared.timing.pull;
        let prove = !self.shared.view.borrow().caught_up || self.looks.is_multiple_of(PROVE_EVERY);
        self.looks = self.looks.wrapping_add(1);
        let result = match self.replica {
            None => self.bootstrap().map(|()| {
                if self.replica.is_some() {
                    // Whether this is the log's end, the next look tells, however seldom there are looks.
                    self.next_look = clock::now();
                }
            }),
            Some(_) => self.catch_up(prove).map(drop),
        };
        match result.or_else(|error| self.pass_damage(error)) {
            Ok(()) => {
                self.readable();
                self.next_look = self.next_look + super::manifest_hint::spared(&self.shared);
                self.shared.recovered();
            }
            Err(error) => self.failed(error),
        }
    }

    /// Reads the log to its end and applies it. With `prove`, gives the end that the floor has proven.
    ///
    /// While there are commits of our own beyond the boundary, nothing is applied, and the boundary is the
    /// end as long as no slot follows it.
    pub(super) fn catch_up(&mut self, prove: bool) -> Result<Option<Position>> {
        self.stop_writers()?;
        self.replica()?.stop_leading()?;
        if let Settled::Tail = self.settle()? {
            return self.stand_before_a_tail().map(Some);
        }
        self.replica()?.follow()?;
        self.has_no_tail();
        self.replica()?.ensure_generation()?;
        self.finish_founding()?;
        let group_bytes = GROUP_BYTES.min(self.shared.timing.wal_cap / 4);
        let mut reader = CatchUp::new(self.replica()?.boundary().position, group_bytes);
        let (mut slots, mut ground) = (Vec::<SlotFile>::new(), None);
        let mut next = reader.handle(CatchUpEvent::Poll)?;
        while let Some(effect) = next {
            if self.shared.is_closing() {
                return Err(Error::new(ErrorKind::Closed, "the database handle was closed"));
            }
            next = match effect {
                CatchUpEffect::Fetch(txid) => match self.fetch_slot(txid) {
                    Err(error) => return Err(self.keep_what_is_sure(&slots, txid, error)),
                    Ok(Some(slot)) if slot.facts.is_foreign_tool() => {
                        self.take_foreign_slots()?;
                        return self.catch_up(prove);
                    }
                    Ok(Some(slot)) => {
                        let found = CatchUpEvent::Found(slot.facts, slot.body.size());
                        slots.push(slot);
                        reader.handle(found).map_err(|error| match first_damaged(&slots) {
                            Some(damaged) => self.spoiled(damaged, error),
                            None => error,
                        })?
                    }
                    Ok(None) => reader.handle(CatchUpEvent::Missing)?,
                },
                CatchUpEffect::Apply(_) => {
                    self.apply(&slots).map_err(|error| self.not_applied(&slots, error))?;
                    slots.clear();
                    reader.handle(CatchUpEvent::Applied)?
                }
                CatchUpEffect::ReadFloor if !prove => {
                    self.shared.see(|view| view.behind_since = None);
                    return Ok(None);
                }
                CatchUpEffect::ReadFloor => {
                    let (floor, seen) = self.floor_and_ground()?;
                    ground = seen;
                    reader.handle(CatchUpEvent::Floor(floor))?
                }
                CatchUpEffect::CheckFence => {
                    reader.handle(CatchUpEvent::Floor(self.wait(self.shared.log.floor())?))?
                }
                CatchUpEffect::Current(position) => {
                    self.verify(position, ground.take())?;
                    self.shared.see(|view| {
                        view.caught_up = true;
                        view.behind_since = None;
                    });
                    return Ok(Some(position));
                }
                CatchUpEffect::Replan => {
                    self.rebuild(Save::Nothing)?;
                    return self.catch_up(prove);
                }
            };
        }
        Ok(None)
    }

    /// The log ends where commits of our own begin.
    fn stand_before_a_tail(&mut self) -> Result<Position> {
        self.may_have_a_tail()?;
        self.shared.confirmations.settled(true);
        let position = self.replica()?.boundary().position;
        self.verify(position, None)?;
        self.shared.see(|view| view.caught_up = true);
        Ok(position)
    }

    /// Applies what was read before a read failed, or reads that fail now and then would hold up a follower for
    /// ever. But nothing from the first slot of an epoch on: for that the floor was not read yet.
    fn keep_what_is_sure(&mut self, slots: &[SlotFile], unread: Txid, error: Error) -> Error {
        let applied = self.replica().map(|replica| replica.boundary().position.epoch).and_then(|epoch| {
            let sure = slots.iter().take_while(|slot| slot.facts.epoch == epoch).count();
            self.apply(&slots[..sure])
        });
        match applied {
            Ok(()) => self.spoiled(unread, error),
            Err(error) => self.not_applied(slots, error),
        }
    }

    /// Tells that the log has all that this node has.
    fn has_no_tail(&self) {
        self.shared.confirmations.settled(false);
        self.shared.see(|view| (view.unshipped_bytes, view.spool_bytes) = (0, 0));
    }

    /// Judges the frames beyond the boundary until they are accounted for, or are our own tail at the end
    /// of the log.
    pub(super) fn settle(&mut self) -> Result<Settled> {
        loop {
            let replica = self.replica()?;
            let Position { txid, epoch, .. } = replica.boundary().position;
            let questions = replica.has_frames_beyond()? || replica.has_intents();
            if !questions {
                return Ok(Settled::Clean);
            }
            let next = match self.fetch_slot(txid.next()) {
                // A fence that is kept for ever may be damaged: the log goes on without it.
                Err(error) if self.is_damage_below_the_floor(txid.next(), &error)? => {
                    self.rebuild(Save::Tail)?;
                    continue;
                }
                next => next.map_err(|error| self.spoiled(txid.next(), error))?,
            };
            // Below the floor neither an absence nor a fence tells anything.
            let doubtful = next.as_ref().is_none_or(|next| next.facts.epoch > epoch);
            if doubtful && self.wait(self.shared.log.floor())?.covers(txid.next()) {
                self.rebuild(Save::Tail)?;
                continue;
            }
            if let Some(next) = &next {
                if next.facts.is_foreign_tool() {
                    self.take_foreign_slots()?;
                    continue;
                }
                // Before anybody is told of a position beyond it: a bookmark of ours may be lost.
                self.shared.epoch_began(next.facts.epoch, next.facts.txid);
            }
            match self.replica()?.settle(next.as_ref().map(|slot| &slot.facts))? {
                Standing::Clean => return Ok(Settled::Clean),
                Standing::Tail => return Ok(Settled::Tail),
                Standing::Advanced => self.moved(),
                Standing::Residue => self.redo()?,
                Standing::Diverged => self.rebuild(Save::Tail)?,
            }
        }
    }

    /// Whether a slot could not be read because it is damaged, and nobody needs it any more.
    fn is_damage_below_the_floor(&mut self, slot: Txid, error: &Error) -> Result<bool> {
        Ok(error.kind() == ErrorKind::Corrupt && self.wait(self.shared.log.floor())?.covers(slot))
    }

    /// Applies the log from the boundary to its tail as one group over frames that came from it.
    fn redo(&mut self) -> Result<()> {
        let mut slots: Vec<SlotFile> = Vec::new();
        let mut bytes = 0;
        let first = self.replica()?.boundary().position.txid.next();
        let mut txid = first;
        loop {
            let slot = match self.fetch_slot(txid) {
                Ok(Some(slot)) => slot,
                Ok(None) => break,
                Err(error) if self.is_damage_below_the_floor(first, &error)? => break,
                Err(error) => return Err(self.spoiled(txid, error)),
            };
            if slot.facts.is_foreign_tool() {
                return self.take_foreign_slots();
            }
            self.shared.epoch_began(slot.facts.epoch, slot.facts.txid);
            bytes += slot.body.size();
            slots.push(slot);
            txid = txid.next();
            if bytes > 16 * GROUP_BYTES {
                return self.rebuild(Save::Differences);
            }
        }
        if self.wait(self.shared.log.floor())?.covers(first) {
            // Slots are missing, and what is there may be anybody's.
            return self.rebuild(Save::Differences);
        }
        if !self.replica()?.apply_over_residue(&slots)? {
            return self.rebuild(Save::Differences);
        }
        self.moved();
        Ok(())
    }

    /// Makes the database what the log is, by a comparison of all pages; what is lost is saved and
    /// reported.
    pub(super) fn rebuild(&mut self, save: Save) -> Result<()> {
        let before = self.replica()?.boundary().position;
        let staged = super::log::Staged::new(self.shared.files.staging("rebuild.db"));
        let restored = self
            .wait(self.shared.log.restore(staged.path()))?
            .ok_or_else(|| Error::corrupt("the log has a genesis and no slot: it cannot be followed"))?;
        if restored.position.txid < before.txid {
            return Err(Error::corrupt(format!(
                "the log ends at slot {}, before this node's {before}: it was cut or is another one",
                restored.position.txid
            )));
        }
        self.accept(&restored)?;
        // What this node had seen before tells nothing of the slots that it skips now.
        self.shared.epochs_from(restored.position);
        let known = self.replica()?.known_position();
        let request_ids =
            if known.txid == Txid::ZERO { Vec::new() } else { self.request_ids_after(known.txid) };
        let proven = self.replica()?.boundary().position.txid != Txid::ZERO;
        let mut lost = if proven { Vec::new() } else { self.keep_unproven_spool()? };
        lost.extend(self.replica()?.become_copy_of(staged.path(), &restored, save)?);
        self.replica()?.follow()?;
        // Slots of ours that the log does not have are no longer committed anywhere.
        self.shared.see(|view| view.committed = restored.position.txid);
        self.moved();
        self.report_lost(lost, known.txid, restored.position.txid, &request_ids);
        Ok(())
    }

    /// Tells of commits that never reached the log, and where they are kept.
    pub(super) fn report_lost(&self, files: Vec<PathBuf>, from: Txid, to: Txid, request_ids: &[String]) {
        for path in files {
            tracing::warn!(path = %path.display(), from = from.get(), to = to.get(),
                "commits that never reached the log were saved and undone");
            let request_ids = request_ids.to_vec();
            self.shared.events.emit(Event::TailLost { path, from, to, request_ids });
        }
    }

    /// Keeps the spooled slots of a database that proves nothing or is gone, unless the log has them: they may hold
    /// what the database has lost. Before anything changes, so that a crash leaves them to the next open.
    pub(super) fn keep_unproven_spool(&self) -> Result<Vec<PathBuf>> {
        let mut kept = Vec::new();
        for (txid, path) in Spool::empty(self.files()).found()? {
            let there = self.fetch_slot(txid)?;
            let here = File::open(&path).ok().and_then(|file| Decoder::new(file).ok()?.finish().ok());
            if here.is_some_and(|here| there.is_some_and(|there| there.facts.chain == here.chain)) {
                continue;
            }
            kept.push(super::spool::set_aside(self.files(), txid, &path)?);
        }
        Ok(kept)
    }

    fn apply(&mut self, slots: &[SlotFile]) -> Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        let cap = self.shared.timing.wal_cap;
        if self.wal_bytes()? > cap && !self.wait_for_reset()? {
            let message = "a long read keeps the WAL from being reset: the replica waits for it";
            return Err(Error::new(ErrorKind::Backpressure, message));
        }
        self.replica()?.apply(slots)?;
        for slot in slots {
            self.shared.epoch_began(slot.facts.epoch, slot.facts.txid);
        }
        self.moved();
        if self.wal_bytes()? > self.shared.timing.reset_bytes() {
            self.ask_checkpoint();
        }
        Ok(())
    }

    /// Begins the WAL anew as soon as the checkpoint has copied it and nobody reads from it; `false` if that
    /// takes seconds.
    fn wait_for_reset(&mut self) -> Result<bool> {
        const TRIES: u32 = 300;
        for _ in 0..TRIES {
            self.ask_checkpoint();
            if self.replica()?.reset_wal()? {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(false)
    }

    /// Tells the view where the replica is.
    pub(super) fn moved(&mut self) {
        if let Some(replica) = &self.replica {
            self.shared.applied(replica.boundary().position);
        }
    }

    pub(super) fn fetch_slot(&self, txid: Txid) -> Result<Option<SlotFile>> {
        let slot = self.wait(self.shared.log.slot(txid))?;
        if let Some(slot) = &slot {
            self.shared.stamps.saw(slot.header.timestamp_ms);
        }
        Ok(slot)
    }

    pub(super) fn ask_checkpoint(&self) {
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.ask();
        }
    }

    pub(super) fn wal_bytes(&mut self) -> Result<u64> {
        let replica = self.replica()?;
        let frames = replica.published()?.point.frame;
        Ok(u64::from(frames) * (u64::from(replica.page_size().get()) + 24))
    }

    /// A checkpoint ended: if everything is in the main file, the WAL may begin anew.
    pub(super) fn checkpointed(&mut self, result: Result<Option<CheckpointProgress>>) {
        let outcome = match result {
            Ok(Some(done)) if done.backfilled == done.frames => match self.state {
                State::Following => self.replica().and_then(|replica| {
                    if replica.has_loose_frames()? { Ok(false) } else { replica.reset_wal() }
                }),
                State::Leading(_) => self.reset_as_leader(),
                State::Stopped => Ok(false),
            },
            Ok(_) => Ok(false),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(true) => {}
            Ok(false) => {
                // Somebody reads from the WAL; cursors that are too old have to go.
                if let Ok(connections) = self.shared.connections() {
                    connections.pool.expire_cursors();
                }
            }
            Err(error) => {
                let error = error.context("checkpoint");
                self.shared.degraded(&error);
                self.stand_down(&error);
            }
        }
        self.after_checkpoint();
    }

    /// The ids of forwarded requests among the commits that are about to be lost.
    fn request_ids_after(&self, txid: Txid) -> Vec<String> {
        const MOST: usize = 10_000;
        let Ok(connections) = self.shared.connections() else { return Vec::new() };
        let sql = format!("SELECT id FROM _haqlite_requests WHERE txid > {txid} AND id <> '' LIMIT {MOST}");
        let rows = connections.pool.query(&sql, &Params::none(), &Default::default());
        rows.map(|rows| rows.iter().filter_map(|row| row.get(0).ok()).collect()).unwrap_or_default()
    }

    pub(super) fn files(&self) -> &Arc<LocalFiles> {
        &self.shared.files
    }
}
