use std::sync::Arc;
use std::time::Duration;

use super::clock;
use super::draft::{Author, Prepared};
use super::lead::CUT_PATIENCE;
use super::replica::Replica;
use super::replicator::{Replicator, State};
use crate::replication::{ShipperEvent, SpoolLimits};
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
        let Ok(limits) = self.spool_limits() else { return };
        let gathered = self.gathered_bytes().unwrap_or(0);
        let State::Leading(leading) = &self.state else { return };
        let waits = leading.over || clock::now() < leading.spool_again;
        if waits || !limits.is_due(gathered, leading.stalled) {
            return;
        }
        match self.draft_ahead(&limits) {
            Ok(_) => {}
            // A full disk may have room again; meanwhile the leader does as if there were no spool.
            Err(error) if error.kind() == ErrorKind::Io => {
                self.shared.degraded(&error);
                if let State::Leading(leading) = &mut self.state {
                    leading.spool_again = clock::now() + DISK_PAUSE;
                }
            }
            Err(error) => self.stand_down(&error),
        }
    }

    /// How many bytes of the WAL are in no draft.
    pub(super) fn gathered_bytes(&mut self) -> Result<u64> {
        let in_flight = match &self.state {
            State::Leading(leading) => leading.prepared.as_ref().map(|prepared| prepared.boundary.point),
            State::Following | State::Stopped => None,
        };
        let replica = self.replica()?;
        // A draft that is not spooled ends behind the edge.
        let from = if replica.spool.is_empty() { in_flight } else { None };
        let from = from.unwrap_or(replica.edge().point);
        replica.bytes_beyond(from)
    }

    fn spool_limits(&mut self) -> Result<SpoolLimits> {
        let settings = &self.shared.settings;
        Ok(SpoolLimits::new(settings.durability, self.shared.timing.wal_cap, settings.spool_limit))
    }

    /// `false` if nothing could be drafted now.
    fn draft_ahead(&mut self, limits: &SpoolLimits) -> Result<bool> {
        let State::Leading(leading) = &self.state else { return Ok(false) };
        let Some(slot) = leading.shipper.next_ahead() else { return Ok(false) };
        let in_flight = leading.prepared.clone();
        let replica = self.replica()?;
        let unspooled = in_flight.filter(|_| replica.spool.is_empty());
        let published = replica.published()?;
        let room = Room { limits, unspooled: unspooled.as_deref() };
        if !room.is_enough(replica, &published) {
            return Ok(false);
        }
        if let Some(unspooled) = &unspooled {
            replica.spool(unspooled)?;
        }
        let Some(cut) = self
            .cut_batch(|replica, published| Room { limits, unspooled: None }.is_enough(replica, published))?
        else {
            return Ok(false);
        };
        let draft = self.replica()?.draft_into_spool(&cut.until, cut.author)?;
        self.shared.see(|view| view.committed = slot);
        let State::Leading(leading) = &mut self.state else { return Ok(false) };
        leading.cut = None;
        let effect = leading.shipper.handle(clock::now(), ShipperEvent::DraftedAhead(draft));
        self.follow_through(effect);
        Ok(true)
    }

    /// Cuts a batch behind the edge under the writer's mutex, if `fits` likes what it would hold: commits from
    /// now on are in the slot after it. What was cut before and not drafted is given again, for its commits
    /// have their bookmark. `None` if there is nothing to ship, or a statement keeps the writer.
    pub(super) fn cut_batch(&mut self, fits: impl Fn(&Replica, &Published) -> bool) -> Result<Option<Cut>> {
        let State::Leading(leading) = &self.state else { return Ok(None) };
        if leading.cut.is_some() {
            return Ok(leading.cut);
        }
        let epoch = leading.epoch;
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
            Ok(Some(published))
        });
        // A statement that runs for long is in the way: the next look tries again.
        let Some(Some(until)) = until.transpose()? else { return Ok(None) };
        let author = Author { epoch, session: shared.session, now_ms: shared.stamps.next() };
        let State::Leading(leading) = &mut self.state else { return Ok(None) };
        leading.cut = Some(Cut { until, author });
        Ok(leading.cut)
    }
}

/// What is still to be spooled.
struct Room<'a> {
    limits: &'a SpoolLimits,
    /// The slot in flight, if it has to be spooled first.
    unspooled: Option<&'a Prepared>,
}

impl Room<'_> {
    /// Whether the slot that ends there fits, whatever its pages are.
    fn is_enough(&self, replica: &Replica, until: &Published) -> bool {
        let (mut slots, mut bytes) = (replica.spool.len(), replica.spool.bytes());
        let mut from = replica.edge();
        if let Some(prepared) = self.unspooled {
            (slots, bytes, from) = (slots + 1, bytes + prepared.size(), prepared.boundary);
        }
        let frames = u64::from(until.point.frame.saturating_sub(from.point.frame));
        let grown = u64::from(until.db_size.saturating_sub(from.size));
        // A page that does not compress grows by a 255th, and has a head and an entry in the index.
        let page = u64::from(replica.page_size().get());
        let next = (frames + grown).saturating_mul(page + page / 255 + 64);
        self.limits.have_room(slots, bytes, next)
    }
}
