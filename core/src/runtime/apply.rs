use std::collections::BTreeSet;

use super::log::{FetchedReader, SlotFile};
use super::replica::{Boundary, Replica};
use crate::ltx::{After, Base, Decoder, Merge, Source};
use crate::replication::{Record, RecordKind};
use crate::sqlite::PageSource;
use crate::types::{Error, ErrorKind, PageNumber, Position, Result};

impl Replica {
    /// Applies slots that follow the boundary, as one atomic group: readers see the state before them or
    /// after them. A crash leaves either, and the WAL tells which.
    ///
    /// `Internal` if there are frames beyond the boundary: a slot applied over commits that it does not know
    /// of makes a state that never was.
    pub(crate) fn apply(&mut self, slots: &[SlotFile]) -> Result<()> {
        if self.has_frames_beyond()? {
            return Err(Error::new(ErrorKind::Internal, "slots must not be applied over unaccounted frames"));
        }
        self.inject_slots(slots)
    }

    /// Applies slots over frames that came from the log itself and whose record was lost with the power:
    /// possible if the slots rewrite every page that those frames touched. `false`, and nothing done, if
    /// they do not.
    pub(crate) fn apply_over_residue(&mut self, slots: &[SlotFile]) -> Result<bool> {
        let mut missing = self.tail_pages()?;
        let mut size = u32::MAX;
        let mut data = Vec::new();
        for slot in slots {
            let mut decoder = Decoder::new(slot.body.reader()?)?;
            while let Some(page) = decoder.next_page(&mut data)? {
                missing.remove(&page);
            }
            size = slot.header.commit.get();
        }
        if missing.iter().any(|page| page.get() <= size) {
            return Ok(false);
        }
        self.inject_slots(slots)?;
        Ok(true)
    }

    /// Every page that differs from the log at the boundary: those of the spool's slots and of the frames
    /// behind them. `Corrupt` if they do not prove that these are all.
    pub(super) fn tail_pages(&mut self) -> Result<BTreeSet<PageNumber>> {
        let mut pages = self.spool.pages()?;
        pages.extend(self.wal.scan(&self.edge().point, None)?.pages.into_keys());
        Ok(pages)
    }

    fn inject_slots(&mut self, slots: &[SlotFile]) -> Result<()> {
        let Some(last) = slots.last() else { return Ok(()) };
        let sources = slots
            .iter()
            .map(|slot| Ok(Source { decoder: Decoder::new(slot.body.reader()?)?, after: After::OwnHash }))
            .collect::<Result<Vec<_>>>()?;
        let merge = Merge::new(Base::Position(self.boundary.position), sources)?;
        if merge.page_size() != self.page_size() {
            return Err(Error::corrupt(format!(
                "the log has pages of {} bytes, the database of {}",
                merge.page_size(),
                self.page_size()
            )));
        }
        let size = merge.commit().get();
        self.inject(&mut Merged { merge, data: Vec::new() }, size, last.facts.position())
    }

    /// Injects a group of pages that makes the database the log at `position`.
    pub(super) fn inject(&mut self, pages: &mut dyn PageSource, size: u32, position: Position) -> Result<()> {
        let journal = &mut self.journal;
        let point = self.wal.inject(pages, size, &mut |point| {
            journal.append(Record { kind: RecordKind::Boundary, point: *point, position })
        })?;
        self.boundary = Boundary { point, position, size };
        Ok(())
    }
}

struct Merged {
    merge: Merge<FetchedReader>,
    data: Vec<u8>,
}

impl PageSource for Merged {
    fn next(&mut self, page: &mut [u8]) -> Result<Option<PageNumber>> {
        let next = self.merge.next_page(&mut self.data)?;
        if next.is_some() {
            page.copy_from_slice(&self.data);
        }
        Ok(next)
    }
}
