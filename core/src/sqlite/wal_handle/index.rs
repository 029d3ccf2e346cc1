//! The wal-index in shared memory, as SQLite reads and writes it.
//!
//! Other threads and processes look at it at the same time. Every word is read and written as an atomic, so
//! no access is a data race in Rust's sense, and the order between words is kept by barriers where SQLite
//! keeps it.

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use super::raw::Raw;
use crate::types::{Error, PageNumber, Result};
use crate::wal::{INDEX_HEADER_BYTES, INDEX_REGION_BYTES, INDEX_SLOTS, IndexHeader, IndexPlace, hash_slot};

const HEADER_WORDS: usize = INDEX_HEADER_BYTES / 4;
const REGION_WORDS: usize = INDEX_REGION_BYTES / 4;
/// The words of a region before its hash table.
const PLACE_WORDS: usize = REGION_WORDS / 2;
const WORD_BACKFILLED: usize = 24;
const WORD_READ_MARKS: usize = 25;
const WORD_ATTEMPTED: usize = 32;
/// The words of the first region before its places.
const WORD_FIRST_PLACE: usize = 34;
/// The value of a read mark that no reader uses.
pub(super) const MARK_UNUSED: u32 = u32::MAX;
const READ_SLOTS: usize = 5;

impl Raw {
    /// The header that readers see now; `None` while somebody writes it, and if nobody ever finished it.
    pub(super) fn try_header(&self) -> Result<Option<IndexHeader>> {
        let first = self.header_copy(0);
        self.barrier();
        if first != self.header_copy(1) {
            return Ok(None);
        }
        IndexHeader::decode(&first)
    }

    /// Makes this the header that readers see. The write lock must be held.
    ///
    /// Readers compare the first copy with the second and read the first one first, so the second one is
    /// written first.
    pub(super) fn publish(&self, header: &IndexHeader) {
        self.barrier();
        self.write_header_copy(1, header);
        self.barrier();
        self.write_header_copy(0, header);
        self.barrier();
    }

    pub(super) fn write_header_copy(&self, copy: usize, header: &IndexHeader) {
        for (index, word) in header.encode().chunks_exact(4).enumerate() {
            let value = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
            self.word(0, copy * HEADER_WORDS + index).store(value, Ordering::Relaxed);
        }
    }

    /// Makes a header without frames the one that readers see, and starts the checkpoint and read marks of
    /// its generation. The write lock and read slots 1 to 4 must be held, the last one at least shared.
    pub(super) fn publish_restart(&self, header: &IndexHeader) {
        debug_assert_eq!(header.last_frame, 0);
        self.publish(header);
        self.word(0, WORD_BACKFILLED).store(0, Ordering::Release);
        self.word(0, WORD_ATTEMPTED).store(0, Ordering::Relaxed);
        self.read_mark(1).store(0, Ordering::Relaxed);
        for slot in 2..READ_SLOTS {
            self.read_mark(slot).store(MARK_UNUSED, Ordering::Relaxed);
        }
        self.barrier();
    }

    /// How many frames are in the database file.
    pub(super) fn backfilled(&self) -> u32 {
        self.word(0, WORD_BACKFILLED).load(Ordering::Acquire)
    }

    /// The last frame that readers of a slot use.
    pub(super) fn read_mark(&self, slot: usize) -> &AtomicU32 {
        debug_assert!(slot < READ_SLOTS);
        self.word(0, WORD_READ_MARKS + slot)
    }

    /// Enters a frame behind those that are published, where no reader looks for it yet. The write lock must
    /// be held. `published` is the last frame that readers see; what a dead writer left behind it is removed.
    pub(super) fn append_to_index(&mut self, frame: u32, page: PageNumber, published: u32) -> Result<()> {
        let IndexPlace { region, place } = IndexPlace::of(frame);
        self.region(region, true)?.ok_or_else(|| lost_region(region))?;
        if place == 1 {
            self.clear(region);
        } else if self.place(region, place).load(Ordering::Relaxed) != 0 {
            self.remove_behind(published)?;
        }
        let mut slot = hash_slot(page);
        let mut taken = 0;
        while self.slot(region, slot).load(Ordering::Relaxed) != 0 {
            taken += 1;
            if taken > place {
                return Err(Error::corrupt("the hash table of the wal-index has more entries than frames"));
            }
            slot = (slot + 1) % INDEX_SLOTS;
        }
        self.place(region, place).store(page.get(), Ordering::Relaxed);
        // Readers that find the slot must find the page number too.
        self.slot(region, slot).store(place as u16, Ordering::Release);
        Ok(())
    }

    /// Removes the entries behind the last published frame. The write lock must be held.
    ///
    /// Only the region of that frame needs it: a later one is cleared when its first frame is entered.
    pub(super) fn remove_behind(&mut self, published: u32) -> Result<()> {
        if published == 0 {
            return Ok(());
        }
        let IndexPlace { region, place: last } = IndexPlace::of(published);
        self.region(region, true)?.ok_or_else(|| lost_region(region))?;
        for slot in 0..INDEX_SLOTS {
            let entry = self.slot(region, slot);
            if u32::from(entry.load(Ordering::Relaxed)) > last {
                entry.store(0, Ordering::Relaxed);
            }
        }
        for place in last + 1..=IndexPlace::capacity(region) {
            self.place(region, place).store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The newest frame up to `last` that holds the page. `last` must be published.
    pub(super) fn find_frame(&mut self, page: PageNumber, last: u32) -> Result<Option<u32>> {
        if last == 0 {
            return Ok(None);
        }
        for region in (0..=IndexPlace::of(last).region).rev() {
            self.region(region, false)?.ok_or_else(|| lost_region(region))?;
            let before = IndexPlace::frames_before(region);
            let mut newest = None;
            let mut slot = hash_slot(page);
            for tried in 0.. {
                let place = u32::from(self.slot(region, slot).load(Ordering::Acquire));
                if place == 0 {
                    break;
                }
                if tried == INDEX_SLOTS || place > IndexPlace::capacity(region) {
                    return Err(Error::corrupt("the hash table of the wal-index is damaged"));
                }
                let frame = before + place;
                if frame <= last && self.place(region, place).load(Ordering::Relaxed) == page.get() {
                    newest = newest.max(Some(frame));
                }
                slot = (slot + 1) % INDEX_SLOTS;
            }
            if newest.is_some() {
                return Ok(newest);
            }
        }
        Ok(None)
    }

    /// The page that a published frame holds.
    pub(super) fn page_of(&mut self, frame: u32) -> Result<PageNumber> {
        let IndexPlace { region, place } = IndexPlace::of(frame);
        self.region(region, false)?.ok_or_else(|| lost_region(region))?;
        PageNumber::new(self.place(region, place).load(Ordering::Relaxed))
            .ok_or_else(|| Error::corrupt(format!("the wal-index has no page for frame {frame}")))
    }

    fn header_copy(&self, copy: usize) -> [u8; INDEX_HEADER_BYTES] {
        let mut bytes = [0; INDEX_HEADER_BYTES];
        for (index, word) in bytes.chunks_exact_mut(4).enumerate() {
            let value = self.word(0, copy * HEADER_WORDS + index).load(Ordering::Relaxed);
            word.copy_from_slice(&value.to_ne_bytes());
        }
        bytes
    }

    /// Zeroes the places and the hash table of a region.
    fn clear(&self, region: usize) {
        for place in 1..=IndexPlace::capacity(region) {
            self.place(region, place).store(0, Ordering::Relaxed);
        }
        for index in PLACE_WORDS..REGION_WORDS {
            self.word(region, index).store(0, Ordering::Relaxed);
        }
    }

    /// The page number at a place, counted from 1, of a mapped region.
    fn place(&self, region: usize, place: u32) -> &AtomicU32 {
        let header = if region == 0 { WORD_FIRST_PLACE } else { 0 };
        self.word(region, header + place as usize - 1)
    }

    /// A slot of the hash table of a mapped region.
    fn slot(&self, region: usize, slot: u32) -> &AtomicU16 {
        assert!(slot < INDEX_SLOTS, "BUG: a slot outside of the hash table");
        // SAFETY: the region is mapped for as long as `self` lives, is 32768 bytes long and page-aligned;
        // the slots are its second half.
        unsafe { &*self.regions[region].as_ptr().cast::<AtomicU16>().add(2 * PLACE_WORDS + slot as usize) }
    }

    /// A word of a mapped region.
    fn word(&self, region: usize, index: usize) -> &AtomicU32 {
        assert!(index < REGION_WORDS, "BUG: a word outside of the region");
        // SAFETY: the region is mapped for as long as `self` lives, is 32768 bytes long and page-aligned.
        unsafe { &*self.regions[region].as_ptr().cast::<AtomicU32>().add(index) }
    }
}

fn lost_region(region: usize) -> Error {
    Error::corrupt(format!("the wal-index lacks region {region}"))
}
