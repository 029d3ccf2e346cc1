use std::time::Duration;

use super::clock;
use super::log::SlotFile;
use super::replicator::{Replicator, State};
use super::rewind::Save;
use crate::ltx::Decoder;
use crate::replication::{Plight, covers};
use crate::types::{Error, ErrorKind, Result, Txid};

/// So many looks in a row must find the log damaged before the node stops for good.
const MOST_DOUBTS: u32 = 3;
/// Who waits for the leader to cover a slot looks so many times less often.
const HOPEFUL: u32 = 4;

impl Replicator {
    /// The log could be read.
    pub(super) fn readable(&mut self) {
        self.doubts = 0;
        self.shared.see(|view| view.plight = None);
    }

    /// A slot after this node's position is damaged, look after look: nobody makes it anew, but a compacted file
    /// or a snapshot may cover it. If so, this node is now beyond it. Otherwise the error, or why that cannot be
    /// told; and the leader is told, who may be beyond the slot and can cover it.
    pub(super) fn pass_damage(&mut self, error: Error) -> Result<()> {
        let Some(slot) = self.unreadable.take() else { return Err(error) };
        let now = clock::now();
        self.shared.see(|view| {
            let known = view.plight.filter(|plight| plight.slot == slot);
            view.plight = known.or(Some(Plight { slot, since: now, answer: None }));
        });
        if self.doubts + 1 < MOST_DOUBTS {
            return Err(error);
        }
        let before = self.replica()?.boundary().position;
        // Whether the slot is our own cannot be told from its bytes.
        if self.replica()?.has_frames_beyond()? {
            return Err(error);
        }
        let mut files = self.wait(self.shared.log.list())?;
        files.retain(|file| file.level > 0);
        if !covers(&files, slot) {
            return Err(error);
        }
        match self.rebuild(Save::Nothing) {
            Ok(()) => {}
            Err(other) if other.kind() == ErrorKind::Corrupt => return Err(error),
            Err(other) => return Err(other),
        }
        let after = self.replica()?.boundary().position;
        if after.txid == before.txid {
            return Err(error);
        }
        tracing::warn!(
            from = before.txid.get(),
            to = after.txid.get(),
            "went past damage of the log: {error}"
        );
        Ok(())
    }

    /// Notes that slots could not be applied.
    pub(super) fn not_applied(&mut self, slots: &[SlotFile], error: Error) -> Error {
        let first = slots.first().map_or(Txid::ZERO, |slot| slot.facts.txid);
        self.spoiled(first_damaged(slots).unwrap_or(first), error)
    }

    /// Notes that a slot was there and cannot be read.
    pub(super) fn spoiled(&mut self, slot: Txid, error: Error) -> Error {
        self.unreadable = Some(slot).filter(|_| error.kind() == ErrorKind::Corrupt);
        error
    }

    /// Notes a failure of following. What more time may mend is tried again; the rest stops the node.
    pub(super) fn failed(&mut self, error: Error) {
        if self.shared.is_closing() {
            // What a close cuts short is no trouble.
            return;
        }
        let final_kind = matches!(
            error.kind(),
            ErrorKind::Corrupt
                | ErrorKind::ForeignDatabase
                | ErrorKind::Internal
                | ErrorKind::InvalidConfig
                | ErrorKind::NotImplemented
        );
        // What a stale listing shows, or a read that was cut short, is gone at the next look.
        self.doubts = if final_kind { self.doubts + 1 } else { 0 };
        if final_kind {
            // So that the next look proves the end of the log again, instead of finding nothing new.
            self.shared.see(|view| view.caught_up = false);
        }
        let is_final = final_kind && (self.doubts >= MOST_DOUBTS || error.kind() != ErrorKind::Corrupt);
        let hopes = is_final && error.kind() == ErrorKind::Corrupt && self.has_hope();
        if is_final && !hopes {
            self.state = State::Stopped;
            self.shared.stop(error);
        } else {
            self.shared.degraded(&error);
            let pause = self.shared.timing.pull.max(Duration::from_millis(100));
            self.next_look = clock::now() + pause * if hopes { HOPEFUL } else { 1 };
        }
    }

    /// Whether the leader may yet cover the slot that this node cannot read.
    fn has_hope(&self) -> bool {
        let view = self.shared.view.borrow();
        view.plight.is_some_and(|plight| plight.has_hope(view.leader.is_some(), clock::now()))
    }
}

/// The first of these slots that cannot be read to its end, or else that the next one does not follow.
pub(super) fn first_damaged(slots: &[SlotFile]) -> Option<Txid> {
    let whole = |slot: &&SlotFile| slot.body.reader().and_then(|body| Decoder::new(body)?.finish()).is_ok();
    let broken = |pair: &&[SlotFile]| pair[1].facts.previous != pair[0].facts.chain;
    let damaged = slots.iter().find(|slot| !whole(slot));
    damaged.or_else(|| slots.windows(2).find(broken).map(|pair| &pair[0])).map(|slot| slot.facts.txid)
}
