use std::sync::Arc;
use std::time::Duration;

use super::clock;
use super::draft::Author;
use super::lead::CUT_PATIENCE;
use super::replica::Replica;
use super::replicator::{Replicator, State};
use super::spool::Spooled;
use crate::replication::{Draft, ShipperEvent, SpoolLimits};
use crate::sqlite::Published;
use crate::types::{Error, ErrorKind, Result};

/// A batch that was cut and not drafted yet: commits behind it have the next slot's bookmark.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) until: Published,
    pub(super) author: Author,
}

/// A disk that takes no spooled slot is asked again after so long.
const DISK_PAUSE: Duration = Duration::from_secs(1);

impl Replicator {
    /// While a slot is in flight and the WAL fills up, drafts the next one into the spool, so that the WAL can
    /// begin anew and writers go on. At the spool's limit nothing happens: the WAL's own limit holds writers up.
    pub(super) fn draft_ahead_if_due(&mut self) {
        let limits = self.spool_limits();
        let measured = self.measure();
        let State::Leading(leading) = &self.state else { return };
        let (now, Ok(measured)) = (clock::now(), measured) else { return };
        let stuck = leading.shipper.stuck_since().map_or(Duration::ZERO, |since| now.since(since));
        let waits = leading.over || now < leading.spool_again;
        if waits || !limits.is_due(measured.gathered, measured.unkept, stuck, leading.stalled) {
            return;
        }
        match self.draft_ahead(&limits) {
            Ok(()) => {}
            Err(error) => self.stand_down(&error),
        }
    }

    /// How far the log is behind.
    pub(super) fn measure(&mut self) -> Result<Behind> {
        let in_flight = match &self.state {
            State::Leading(leading) => leading.prepared.as_ref().map(|prepared| prepared.boundary.point),
            State::Following | State::Stopped => None,
        };
        let replica = self.replica()?;
        let edge = replica.edge().point;
        // A draft that is not spooled ends behind the edge.
        let drafted = in_flight.filter(|_| replica.spool.is_empty()).unwrap_or(edge);
        Ok(Behind {
            gathered: replica.bytes_beyond(drafted)?,
            unkept: replica.bytes_beyond(edge)?,
            spooled: replica.spool.bytes(),
        })
    }

    fn spool_limits(&self) -> SpoolLimits {
        let settings = &self.shared.settings;
        SpoolLimits::new(settings.durability, self.shared.timing.wal_cap, settings.spool_limit)
    }

    /// Spools the slot in flight, if it is not yet, and what has gathered behind the last draft, as far as there
    /// is room.
    fn draft_ahead(&mut self, limits: &SpoolLimits) -> Result<()> {
        let State::Leading(leading) = &self.state else { return Ok(()) };
        let Some(slot) = leading.shipper.next_ahead() else { return Ok(()) };
        let in_flight = leading.prepared.clone();
        let replica = self.replica()?;
        if replica.spool.is_empty()
            && let Some(in_flight) = in_flight
        {
            if !limits.have_room(0, 0, in_flight.size()) {
                return Ok(());
            }
            let written = replica.copy_to_spool(&in_flight);
            let Some(slot) = self.written(written)? else { return Ok(()) };
            self.replica()?.take_into_spool(slot, None)?;
        }
        let Some(cut) = self.cut_batch(|replica, published| fits(limits, replica, published))? else {
            return Ok(());
        };
        let written = self.replica()?.write_spooled(&cut.until, cut.author);
        let Some(spooled) = self.written(written)? else { return Ok(()) };
        self.replica()?.take_into_spool(spooled, Some(cut.author.session))?;
        let draft = Draft { position: spooled.boundary.position };
        self.grant_drafted(draft.position);
        self.shared.see(|view| view.committed = slot);
        let State::Leading(leading) = &mut self.state else { return Ok(()) };
        leading.cut = None;
        let effect = leading.shipper.handle(clock::now(), ShipperEvent::DraftedAhead(draft));
        self.follow_through(effect);
        Ok(())
    }

    /// A full disk may have room again: until it is asked the next time it is as if there were no spool.
    fn written(&mut self, slot: Result<Spooled>) -> Result<Option<Spooled>> {
        match slot {
            Ok(slot) => Ok(Some(slot)),
            Err(error) if error.kind() == ErrorKind::Io => {
                self.shared.degraded(&error);
                if let State::Leading(leading) = &mut self.state {
                    leading.spool_again = clock::now() + DISK_PAUSE;
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Cuts a batch behind the edge under the writer's mutex, if `fits` likes what it would hold: commits from
    /// now on are in the slot after it. What was cut before and not drafted is given again, for its commits
    /// have their bookmark. `None` if there is nothing to ship, or a statement keeps the writer.
    pub(super) fn cut_batch(&mut self, fits: impl Fn(&Replica, &Published) -> bool) -> Result<Option<Cut>> {
        let State::Leading(leading) = &mut self.state else { return Ok(None) };
        if leading.cut.is_some() {
            return Ok(leading.cut);
        }
        let epoch = leading.epoch;
        let mut wish = std::mem::take(&mut leading.wish);
        let shared = Arc::clone(&self.shared);
        let replica = self.replica()?;
        let edge = replica.edge();
        let slot = edge.position.txid.next();
        let until = shared.connections()?.writer.try_cut(CUT_PATIENCE, |open| {
            let published = replica.published()?;
            if published.point == edge.point || !fits(replica, &published) {
                return Ok::<_, Error>(None);
            }
            open.txid = slot.next();
            wish.take(shared.files.database(), &published);
            Ok(Some(published))
        });
        if let State::Leading(leading) = &mut self.state {
            leading.wish = wish;
        }
        // A statement that runs for long is in the way: the next look tries again.
        let Some(Some(until)) = until.transpose()? else { return Ok(None) };
        let author = Author { epoch, session: shared.session, now_ms: shared.stamps.next() };
        let State::Leading(leading) = &mut self.state else { return Ok(None) };
        leading.cut = Some(Cut { until, author });
        Ok(leading.cut)
    }
}

/// How far the log is behind, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behind {
    /// Of the WAL, that no draft has.
    pub(super) gathered: u64,
    /// Of the WAL, that neither the log nor the spool has.
    pub(super) unkept: u64,
    /// Of the spool's files.
    pub(super) spooled: u64,
}

/// Whether there is room for the slot that goes from the edge to there, whatever its pages are.
fn fits(limits: &SpoolLimits, replica: &Replica, until: &Published) -> bool {
    let edge = replica.edge();
    let frames = u64::from(until.point.frame.saturating_sub(edge.point.frame));
    let grown = u64::from(until.db_size.saturating_sub(edge.size));
    // A page that does not compress grows by a 255th, and has a head and an entry in the index.
    let page = u64::from(replica.page_size().get());
    let most = (frames + grown).saturating_mul(page + page / 255 + 64);
    limits.have_room(replica.spool.len(), replica.spool.bytes(), most)
}
