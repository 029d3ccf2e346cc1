use std::sync::Arc;
use std::time::Duration;

use super::clock;
use super::draft::Author;
use super::lead::Leading;
use super::patience::{body_bytes, transfer_time};
use super::relay::Road;
use super::replicator::{Replicator, State};
use crate::election::{Event, Tenure};
use crate::replication::{Pace, PutAnswer, Shipper, ShipperEffect, ShipperEvent};
use crate::types::{Bookmark, Epoch, Error, ErrorKind, Monotonic, Position, Result, Txid};

/// A promotion whose fence makes no progress for so long, and for what its bytes take, is given up: a lease
/// without progress wedges the cluster. A definite answer to the PUT is progress; catching up has no limit, since
/// it ends by itself or with an error.
const PROMOTION_TIMEOUT: Duration = Duration::from_secs(60);

enum Shipped {
    All,
    /// A slot of a lower epoch is in the way: read on.
    Overtaken,
}

enum Fence {
    Confirmed(Box<Shipper>),
    /// A slot of a lower epoch is in the way: read on.
    Overtaken,
}

impl Replicator {
    /// The lease is ours: read the log to its tail, settle the epoch, fence, open for writes.
    pub(super) fn promote(&mut self, tenure: Tenure, epoch: Epoch) {
        if !self.shared.holds(tenure) {
            return;
        }
        if let State::Stopped = self.state {
            self.shared.tell_election(Event::PromotionFailed { tenure });
            return;
        }
        self.unreadable = None;
        match self.try_promote(tenure, epoch) {
            Ok(()) => self.shared.recovered(),
            Err(error) => {
                tracing::warn!(kind = error.kind().name(), "promotion failed: {error}");
                self.state = State::Following;
                // The lease first: what follows may take as long as a restore.
                self.shared.tell_election(Event::PromotionFailed { tenure });
                // This may have been the last look before the node would stop: it goes past damage as any other.
                match self.pass_damage(error) {
                    Ok(()) => self.readable(),
                    Err(error) => self.failed(error),
                }
            }
        }
    }

    fn try_promote(&mut self, tenure: Tenure, lease_epoch: Epoch) -> Result<()> {
        let mut epoch = self.wait(self.shared.log.claim(lease_epoch))?;
        // The log may have been rolled back since this node last made sure of it.
        self.verified = None;
        loop {
            self.still_holding(tenure)?;
            if self.replica.is_none() {
                self.found_on_foreign_log()?;
                self.bootstrap()?;
            }
            // A slot 1 of ours may have arrived after all: then the log is founded.
            let founding = self.is_founding() && self.fetch_slot(Txid::new(1))?.is_none();
            let shipper = if self.replica.is_none() || founding {
                self.found(tenure, epoch)?
            } else {
                if self.catch_up(true)?.is_none() {
                    continue;
                }
                let tail = self.replica()?.boundary().position;
                if tail.epoch >= epoch {
                    if self.shared.log.is_fenced() {
                        self.still_holding(tenure)?;
                        let message = format!("epoch {} was claimed after this node's {epoch}", tail.epoch);
                        return Err(Error::new(ErrorKind::Fenced, message));
                    }
                    epoch = tail
                        .epoch
                        .next()
                        .ok_or_else(|| Error::new(ErrorKind::LimitExceeded, "there are no epochs left"))?;
                }
                self.shared.tell_election(Event::EpochSettled { tenure, epoch });
                if let Shipped::Overtaken = self.ship_spool(tenure, epoch)? {
                    continue;
                }
                match self.fence(tenure, epoch)? {
                    Fence::Confirmed(shipper) => *shipper,
                    Fence::Overtaken => continue,
                }
            };
            return self.open_for_writes(tenure, epoch, shipper);
        }
    }

    /// Creates the slots that an earlier leadership of this node has spooled, as they are.
    ///
    /// They are of its epoch, and anybody may create them: it is as if its own PUTs arrived late. Whoever
    /// fences first, they or another leader, decides by creating the slot; so each counts only with the
    /// floor, like a fence. Bookmarks stay what they were, which they would not if the fence carried it all.
    fn ship_spool(&mut self, tenure: Tenure, epoch: Epoch) -> Result<Shipped> {
        while let Some(prepared) = self.replica()?.first_spooled() {
            self.shared.stamps.saw(prepared.timestamp_ms);
            match self.confirm_first_slot(tenure, epoch, &prepared)? {
                Fence::Confirmed(_) => {
                    let Position { epoch, txid, .. } = prepared.draft.position;
                    self.shared.epoch_began(epoch, txid);
                    self.moved();
                }
                Fence::Overtaken => return Ok(Shipped::Overtaken),
            }
        }
        Ok(Shipped::All)
    }

    /// Creates the epoch's first slot: what we committed and never shipped, if it sits exactly on the tail;
    /// otherwise page 1 as of the tail.
    fn fence(&mut self, tenure: Tenure, epoch: Epoch) -> Result<Fence> {
        let author = Author { epoch, session: self.shared.session, now_ms: self.shared.stamps.next() };
        let replica = self.replica()?;
        replica.ensure_generation()?;
        let published = replica.published()?;
        let prepared = replica.draft(&published, author)?;
        self.confirm_first_slot(tenure, epoch, &prepared)
    }

    /// Sends the first slot of the epoch until its fate is definite.
    fn confirm_first_slot(
        &mut self,
        tenure: Tenure,
        epoch: Epoch,
        prepared: &super::draft::Prepared,
    ) -> Result<Fence> {
        let mut deadline = clock::now() + PROMOTION_TIMEOUT + transfer_time(body_bytes(&prepared.body()));
        let mut answered = false;
        let before = self.replica()?.boundary().position;
        let mut shipper = Shipper::new(epoch, before, Pace::of(self.shared.settings.durability));
        let mut next = shipper.handle(clock::now(), ShipperEvent::Flush);
        while let Some(effect) = next {
            self.still_holding(tenure)?;
            if clock::now() > deadline {
                let message = "the fence could not be written in time";
                return Err(Error::new(ErrorKind::StoreUnavailable, message));
            }
            let event = match effect {
                ShipperEffect::Draft(_) => ShipperEvent::Drafted(Some(prepared.draft)),
                ShipperEffect::Put(txid) => {
                    let put = self.shared.log.create_slot(txid, prepared.body(), prepared.timestamp_ms);
                    let (answer, error) = self.wait(async { Ok(put.await) })?;
                    if let Some(error) = error {
                        if error.kind() == ErrorKind::Fenced {
                            return Err(error);
                        }
                        self.shared.degraded(&error);
                    }
                    // Once, or a store that refuses a slot and does not have it would be asked for ever.
                    if answer != PutAnswer::Ambiguous && !std::mem::replace(&mut answered, true) {
                        deadline = deadline.max(clock::now() + PROMOTION_TIMEOUT);
                    }
                    ShipperEvent::Put(answer)
                }
                ShipperEffect::ReadSlot(txid) => match self.fetch_slot(txid) {
                    Ok(slot) => ShipperEvent::Slot(slot.map(|slot| slot.facts)),
                    Err(_) => ShipperEvent::ReadFailed,
                },
                ShipperEffect::ReadFloor => match self.wait(self.shared.log.floor()) {
                    Ok(floor) => ShipperEvent::Floor(floor),
                    Err(_) => ShipperEvent::ReadFailed,
                },
                ShipperEffect::Confirmed(_) => {
                    self.replica()?.confirm(prepared)?;
                    return Ok(Fence::Confirmed(Box::new(shipper)));
                }
                ShipperEffect::Overtaken(_) => return Ok(Fence::Overtaken),
                ShipperEffect::Fenced(slot) => {
                    let message = format!("epoch {} has fenced slot {}", slot.epoch, slot.txid);
                    return Err(Error::new(ErrorKind::Fenced, message));
                }
                ShipperEffect::Unknown => {
                    let message = "the log moved on while the fence was sent";
                    return Err(Error::new(ErrorKind::OutcomeUnknown, message));
                }
                ShipperEffect::WakeAt(at) => {
                    self.sleep_until(at.min(deadline));
                    ShipperEvent::Timer
                }
            };
            next = shipper.handle(clock::now(), event);
        }
        Err(Error::new(ErrorKind::Internal, "the fence was neither confirmed nor refused"))
    }

    /// The fence is ours: from here on commits of this node may be shipped. The write lock goes before the
    /// gate opens, and the barrier stays, so that SQLite never begins the WAL anew by itself.
    fn open_for_writes(&mut self, tenure: Tenure, epoch: Epoch, shipper: Shipper) -> Result<()> {
        let confirmed = shipper.confirmed();
        self.finish_founding()?;
        self.operation += 1;
        let shared = Arc::clone(&self.shared);
        let writer = &shared.connections()?.writer;
        writer.cut(|open| *open = Bookmark { epoch, txid: confirmed.txid.next() });
        self.limit_writers();
        shared.confirmations.begin(epoch, confirmed.txid);
        self.replica()?.lead()?;
        // Whose the slot is before that it is confirmed: who waits for another leader's write in it must not
        // take this one for it.
        shared.epoch_began(epoch, confirmed.txid);
        self.moved();
        shared.see(|view| view.epoch = epoch);
        // An earlier leadership may have left it set, and then no commit would wake this thread.
        shared.dirty.store(false, std::sync::atomic::Ordering::Release);
        self.state = State::Leading(Box::new(Leading {
            tenure,
            epoch,
            shipper,
            prepared: None,
            drains: Vec::new(),
            stalled: false,
            // Once more at the first look, should somebody have kept the writer until now.
            untold: true,
            behind: false,
            over: false,
            road: Road::Direct(shared.log.clone()),
            cut: None,
            spool_again: Monotonic::default(),
            wish: super::at_boundary::Wish::None,
        }));
        shared.tell_election(Event::Promoted { tenure });
        super::upkeep::start(&shared, tenure, &self.tokio);
        Ok(())
    }

    /// Creates slot 1 out of a prepared base image.
    pub(super) fn fence_base(
        &mut self,
        tenure: Tenure,
        epoch: Epoch,
        prepared: &super::draft::Prepared,
    ) -> Result<Shipper> {
        match self.confirm_first_slot(tenure, epoch, prepared)? {
            Fence::Confirmed(shipper) => Ok(*shipper),
            Fence::Overtaken => Err(Error::corrupt("slot 1 exists although nobody else may create it")),
        }
    }

    fn still_holding(&self, tenure: Tenure) -> Result<()> {
        if self.shared.holds(tenure) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NotLeader, "the lease was lost during the promotion"))
    }

    fn sleep_until(&self, at: Monotonic) {
        std::thread::sleep(at.since(clock::now()));
    }
}
