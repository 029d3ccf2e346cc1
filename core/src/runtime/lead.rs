use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::at_boundary::Wish;
use super::clock;
use super::draft::Prepared;
use super::draft_ahead::{Behind, Cut};
use super::relay::Road;
use super::replica::Replica;
use super::replicator::{Replicator, State};
use super::shared::Message;
use crate::election::{Event, Tenure};
use crate::replication::{Shipper, ShipperEffect, ShipperEvent, Unshipped};
use crate::sqlite::Shut;
use crate::types::{Epoch, Error, ErrorKind, Monotonic, Result};

/// A leadership: the shipper, what it has in flight, and who waits for it.
pub(super) struct Leading {
    pub(super) tenure: Tenure,
    pub(super) epoch: Epoch,
    pub(super) shipper: Shipper,
    pub(super) prepared: Option<Arc<Prepared>>,
    pub(super) drains: Vec<oneshot::Sender<Result<()>>>,
    /// Writers wait until the WAL has begun anew.
    pub(super) stalled: bool,
    /// The writer has still to be told how long the WAL is: a statement kept it.
    pub(super) untold: bool,
    /// Whether there are frames that are in no draft.
    pub(super) behind: bool,
    /// Something went wrong and the lease is being released: nothing more is shipped.
    pub(super) over: bool,
    /// How the bucket is asked.
    pub(super) road: Road,
    /// What is cut and not drafted yet.
    pub(super) cut: Option<Cut>,
    /// Before that nothing is spooled.
    pub(super) spool_again: Monotonic,
    /// Who wants the database at a boundary.
    pub(super) wish: Wish,
}

/// For how long the replicator waits for the writer's mutex at a time.
pub(super) const CUT_PATIENCE: Duration = Duration::from_millis(50);

impl Leading {
    /// Whether there is something to watch at short intervals.
    pub(super) fn is_busy(&self) -> bool {
        self.behind
            || self.stalled
            || self.untold
            || !self.shipper.is_idle()
            || !self.drains.is_empty()
            || self.wish.is_open()
    }

    /// Tells those who wait that it did not happen.
    pub(super) fn fail_drains(self, why: &str) {
        for drain in self.drains {
            let _ = drain.send(Err(Error::new(ErrorKind::NotLeader, why)));
        }
    }
}

impl Replicator {
    /// Looks at the WAL, and ships if it is time.
    pub(super) fn ship_on_time(&mut self) {
        match &self.state {
            State::Leading(leading) if !leading.over => {}
            State::Leading(_) | State::Following | State::Stopped => return,
        }
        // Cleared before the WAL is read: a commit after this tells again.
        self.shared.dirty.store(false, std::sync::atomic::Ordering::Release);
        let Behind { gathered, unkept, spooled } = match self.measure() {
            Ok(behind) => behind,
            Err(error) => return self.stand_down(&error),
        };
        if unkept + spooled > 0 {
            // Watched at short intervals from here on: hints would only cost the writers.
            self.shared.dirty.store(true, std::sync::atomic::Ordering::Release);
        }
        let commits = self.shared.connections().map_or(0, |connections| connections.writer.open_commits());
        let State::Leading(leading) = &mut self.state else { return };
        leading.behind = gathered > 0;
        let unshipped = ShipperEvent::Unshipped(Unshipped { bytes: gathered, commits });
        let effect = leading.shipper.handle(clock::now(), unshipped);
        let behind_since = leading.shipper.behind_since();
        self.shared.see(|view| {
            view.unshipped_bytes = unkept + spooled;
            view.spool_bytes = spooled;
            view.behind_since = behind_since;
        });
        self.follow_through(effect);
        self.hurry();
        if let Err(error) = self.grant_when_idle() {
            return self.stand_down(&error);
        }
        self.watch_wal();
        self.finish_drains();
        self.watch_outage();
    }

    /// Ships without waiting for the interval while somebody waits for everything to be shipped.
    fn hurry(&mut self) {
        let State::Leading(leading) = &mut self.state else { return };
        if leading.drains.is_empty() || !leading.behind || !leading.shipper.is_idle() || leading.over {
            return;
        }
        let effect = leading.shipper.handle(clock::now(), ShipperEvent::Flush);
        self.follow_through(effect);
    }

    /// Ships what there is without waiting.
    pub(super) fn flush(&mut self) {
        // First what there is to ship, or the shipper takes the flush for nothing.
        self.ship_on_time();
    }

    /// The answer to something that the shipper asked for.
    pub(super) fn answered(&mut self, operation: u64, event: ShipperEvent, error: Option<Error>) {
        if self.operation != operation {
            return;
        }
        // Answered: a second answer to the same question is as late as any other.
        self.operation += 1;
        let State::Leading(leading) = &mut self.state else { return };
        if leading.over {
            return;
        }
        match &error {
            // Nobody may be left who would settle it: as a follower this node can, with another epoch.
            Some(error) if error.kind() == ErrorKind::Fenced && leading.road.is_direct() => {
                return self.stand_down(error);
            }
            Some(error) => self.shared.degraded(error),
            None if leading.road.is_direct() => self.shared.recovered(),
            None => self.outage.answered(&event),
        }
        let effect = leading.shipper.handle(clock::now(), event);
        self.follow_through(effect);
        self.ship_on_time();
    }

    pub(super) fn follow_through(&mut self, first: Option<ShipperEffect>) {
        let mut next = first;
        while let Some(effect) = next {
            next = match self.perform(effect) {
                Ok(next) => next,
                Err(error) => return self.stand_down(&error),
            };
        }
    }

    fn perform(&mut self, effect: ShipperEffect) -> Result<Option<ShipperEffect>> {
        let State::Leading(leading) = &mut self.state else { return Ok(None) };
        match effect {
            ShipperEffect::Draft(_) => {
                let draft = self.cut()?;
                let State::Leading(leading) = &mut self.state else { return Ok(None) };
                Ok(leading.shipper.handle(clock::now(), ShipperEvent::Drafted(draft)))
            }
            ShipperEffect::Put(txid) => {
                if leading.prepared.is_none() {
                    leading.prepared = self.replica.as_ref().and_then(Replica::first_spooled).map(Arc::new);
                }
                let prepared = leading.prepared.clone().filter(|p| p.draft.position.txid == txid);
                let prepared = prepared.ok_or_else(|| {
                    Error::new(ErrorKind::Internal, "a slot is to be sent and not prepared")
                })?;
                let road = leading.road.clone();
                self.outage.sends(&road);
                self.spawn(async move {
                    let (answer, error) = road.create_slot(txid, &prepared).await;
                    (ShipperEvent::Put(answer), error)
                });
                Ok(None)
            }
            ShipperEffect::ReadSlot(txid) => {
                let road = leading.road.clone();
                self.spawn(async move {
                    match road.slot(txid).await {
                        Ok(slot) => (ShipperEvent::Slot(slot), None),
                        Err(error) => (ShipperEvent::ReadFailed, Some(error)),
                    }
                });
                Ok(None)
            }
            ShipperEffect::ReadFloor => {
                let (road, txid) = (leading.road.clone(), leading.shipper.confirmed().txid.next());
                self.spawn(async move {
                    match road.floor(txid).await {
                        Ok(floor) => (ShipperEvent::Floor(floor), None),
                        Err(error) => (ShipperEvent::ReadFailed, Some(error)),
                    }
                });
                Ok(None)
            }
            ShipperEffect::Confirmed(position) => {
                let direct = leading.road.is_direct();
                let prepared = leading.prepared.take();
                if let (Some(prepared), Some(replica)) = (prepared, self.replica.as_mut()) {
                    replica.confirm(&prepared)?;
                }
                self.moved();
                self.shared.confirmations.confirm(position.txid);
                self.confirmed_on(direct);
                Ok(None)
            }
            ShipperEffect::Fenced(slot) => {
                let tenure = leading.tenure;
                leading.over = true;
                tracing::warn!(slot = slot.txid.get(), epoch = slot.epoch.get(), "fenced");
                self.shared.gate.shut_tenure(tenure.0, Shut::Fenced { leader: None });
                self.shared.confirmations.lose();
                self.shared.tell_election(Event::Fenced { tenure, by: slot.epoch });
                Ok(None)
            }
            ShipperEffect::Overtaken(_) | ShipperEffect::Unknown => {
                Err(Error::new(ErrorKind::OutcomeUnknown, "the log was compacted over a slot in flight"))
            }
            ShipperEffect::WakeAt(_) => Ok(None),
        }
    }

    /// Cuts a batch and drafts it. `None` if there is nothing to ship.
    fn cut(&mut self) -> Result<Option<crate::replication::Draft>> {
        let Some(cut) = self.cut_batch(|_, _| true)? else { return Ok(None) };
        let prepared = self.replica()?.draft(&cut.until, cut.author)?;
        let draft = prepared.draft;
        self.grant_drafted(draft.position);
        self.shared.see(|view| view.committed = draft.position.txid);
        let State::Leading(leading) = &mut self.state else { return Ok(None) };
        leading.cut = None;
        leading.prepared = Some(Arc::new(prepared));
        Ok(Some(draft))
    }

    fn spawn(&mut self, work: impl Future<Output = (ShipperEvent, Option<Error>)> + Send + 'static) {
        self.operation += 1;
        let operation = self.operation;
        let shared = Arc::clone(&self.shared);
        self.tokio.spawn(async move {
            let (event, error) = work.await;
            shared.tell_replicator(Message::Answer { operation, event, error });
        });
    }

    /// Keeps the WAL bounded. Once everything in it is shipped or spooled it is checkpointed and begun anew; if
    /// writers leave no moment for that, they are held up for one.
    fn watch_wal(&mut self) {
        let Ok(bytes) = self.wal_bytes() else { return };
        if let State::Leading(leading) = &self.state
            && (leading.untold || (leading.stalled && bytes <= self.shared.timing.wal_cap / 2))
        {
            self.after_checkpoint();
        }
        let cap = self.shared.timing.wal_cap;
        // What is drafted and not spooled is beyond the edge.
        let all_kept = self.replica().and_then(Replica::has_loose_frames).is_ok_and(|beyond| !beyond);
        if bytes > self.shared.timing.reset_bytes() && all_kept {
            self.ask_checkpoint();
            return;
        }
        self.draft_ahead_if_due();
        if bytes <= cap / 2 {
            return;
        }
        self.stall(true);
        let State::Leading(leading) = &mut self.state else { return };
        if leading.shipper.is_idle() && leading.behind {
            let effect = leading.shipper.handle(clock::now(), ShipperEvent::Flush);
            self.follow_through(effect);
        }
    }

    /// Begins the WAL anew if everything in it is shipped and in the main file.
    pub(super) fn reset_as_leader(&mut self) -> Result<bool> {
        let shared = Arc::clone(&self.shared);
        let replica = self.replica()?;
        // Under the writer's mutex, so that our own writer does not find the lock taken.
        let connections = shared.connections()?;
        let reset = connections.writer.try_cut(CUT_PATIENCE, |_| {
            if replica.has_loose_frames()? {
                return Ok(false);
            }
            replica.reset_wal()
        });
        reset.unwrap_or(Ok(false))
    }

    /// Lets writers go on if the WAL is small again.
    pub(super) fn after_checkpoint(&mut self) {
        let Ok(bytes) = self.wal_bytes() else { return };
        self.limit_writers();
        let cap = self.shared.timing.wal_cap;
        if bytes <= cap / 2 {
            self.stall(false);
        }
    }

    /// Has writers wait, or go on. While a statement runs that cannot be told; it is tried again.
    fn stall(&mut self, stalled: bool) {
        let State::Leading(leading) = &mut self.state else { return };
        if leading.stalled != stalled
            && let Ok(connections) = self.shared.connections()
            && connections.writer.stall(stalled, CUT_PATIENCE)
        {
            leading.stalled = stalled;
        }
    }

    /// Tells the writer how long the WAL is and may be. While a statement runs, which may be for long, slots
    /// and their answers go on: it is told later.
    pub(super) fn limit_writers(&mut self) {
        let told = self.tell_limit();
        if let State::Leading(leading) = &mut self.state {
            leading.untold = !told;
        }
    }

    fn tell_limit(&mut self) -> bool {
        let cap = self.shared.timing.wal_cap;
        let Ok(replica) = self.replica() else { return true };
        let frame = u64::from(replica.page_size().get()) + 24;
        let limit = u32::try_from(cap / frame).unwrap_or(u32::MAX).max(1);
        let Ok(published) = replica.published() else { return true };
        self.shared
            .connections()
            .is_ok_and(|connections| connections.writer.limit_wal(published.point.frame, limit, CUT_PATIENCE))
    }

    fn finish_drains(&mut self) {
        let State::Leading(leading) = &mut self.state else { return };
        if leading.behind || !leading.shipper.is_idle() {
            return;
        }
        for drain in leading.drains.drain(..) {
            let _ = drain.send(Ok(()));
        }
    }

    /// Something went wrong that a leader cannot go on with: the lease is released, and the log is judged
    /// anew as a follower.
    pub(super) fn stand_down(&mut self, error: &Error) {
        let State::Leading(leading) = &mut self.state else { return };
        let tenure = leading.tenure;
        leading.over = true;
        self.shared.degraded(error);
        self.shared.gate.shut_tenure(tenure.0, Shut::NotLeader { leader: None });
        self.shared.confirmations.end();
        self.shared.tell_election(Event::Stalled { tenure });
    }
}
