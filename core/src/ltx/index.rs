use super::checksum::Checksum;
use super::frame::FRAME_HEADER_SIZE;
use super::header::HEADER_SIZE;
use crate::types::{Error, PageNumber, Result};

/// The trailer: the checksum after the file, which is zero, and the checksum of the file.
pub(super) const TRAILER_SIZE: usize = 16;
/// The length of the index, which follows it.
pub(super) const INDEX_LENGTH_SIZE: usize = 8;

/// Where each page of a log file is, for reads of single pages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageIndex {
    entries: Vec<IndexEntry>,
}

/// Where one page is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexEntry {
    /// The page.
    pub page: PageNumber,
    /// The size of its frame in bytes.
    pub size: u32,
    /// The offset of its frame in the file, in bytes.
    pub offset: u64,
}

/// What the last bytes of a log file tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tail {
    /// The index.
    Index(PageIndex),
    /// The index is longer: it takes the last so many bytes of the file to read it.
    Needs(u64),
}

impl PageIndex {
    /// Reads the index out of the last bytes of a file of `file_size` bytes.
    ///
    /// 32 KiB hold the index of some three thousand pages. `Corrupt` unless the entries ascend and follow
    /// one another without gaps from the header to the end of the pages. No checksum is looked at.
    pub fn from_tail(tail: &[u8], file_size: u64) -> Result<Tail> {
        let least = (INDEX_LENGTH_SIZE + TRAILER_SIZE) as u64;
        let smallest_file = (HEADER_SIZE + FRAME_HEADER_SIZE + 1) as u64 + least;
        if tail.len() as u64 > file_size || file_size < smallest_file {
            return Err(Error::corrupt(format!("a log file cannot have {file_size} bytes")));
        }
        let Some((rest, _trailer)) = tail.split_last_chunk::<TRAILER_SIZE>() else {
            return Ok(Tail::Needs(least));
        };
        let Some((rest, length)) = rest.split_last_chunk::<INDEX_LENGTH_SIZE>() else {
            return Ok(Tail::Needs(least));
        };
        let length = u64::from_be_bytes(*length);
        if length > file_size - least - (HEADER_SIZE + FRAME_HEADER_SIZE) as u64 {
            return Err(Error::corrupt("a page index that is longer than its file"));
        }
        if length > rest.len() as u64 {
            return Ok(Tail::Needs(length + least));
        }
        let entries = parse_entries(&rest[rest.len() - length as usize..], file_size - least - length)?;
        Ok(Tail::Index(PageIndex { entries }))
    }

    /// Where the page is, if the file holds it.
    pub fn get(&self, page: PageNumber) -> Option<IndexEntry> {
        let position = self.entries.binary_search_by_key(&page, |entry| entry.page).ok()?;
        Some(self.entries[position])
    }

    /// Every page of the file, in ascending order.
    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }
}

/// The entries in `bytes`, an index that starts at offset `start` of its file.
fn parse_entries(mut bytes: &[u8], start: u64) -> Result<Vec<IndexEntry>> {
    let damaged = || Error::corrupt("a damaged page index");
    let mut entries: Vec<IndexEntry> = Vec::new();
    let mut offset = HEADER_SIZE as u64;
    loop {
        let number = take_uvarint(&mut bytes).ok_or_else(damaged)?;
        if number == 0 {
            break;
        }
        let page = u32::try_from(number).ok().and_then(PageNumber::new).ok_or_else(damaged)?;
        let at = take_uvarint(&mut bytes).ok_or_else(damaged)?;
        let size = take_uvarint(&mut bytes).and_then(|size| u32::try_from(size).ok()).ok_or_else(damaged)?;
        let ascends = entries.last().is_none_or(|last| last.page < page);
        if !ascends || at != offset || (size as usize) < FRAME_HEADER_SIZE {
            return Err(damaged());
        }
        offset += u64::from(size);
        entries.push(IndexEntry { page, size, offset: at });
    }
    if bytes.is_empty() && offset + FRAME_HEADER_SIZE as u64 == start { Ok(entries) } else { Err(damaged()) }
}

/// The index of a file that is being read, as its checksum and length: enough to compare it with the one
/// that the file ends with, in constant memory.
pub(super) struct IndexDigest {
    checksum: Checksum,
    length: u64,
    scratch: Vec<u8>,
}

impl IndexDigest {
    pub(super) fn new() -> IndexDigest {
        IndexDigest { checksum: Checksum::new(), length: 0, scratch: Vec::with_capacity(32) }
    }

    pub(super) fn push(&mut self, entry: IndexEntry) {
        self.scratch.clear();
        put_entry(&mut self.scratch, entry);
        self.checksum.update(&self.scratch);
        self.length += self.scratch.len() as u64;
    }

    /// The checksum and the length of the whole index.
    pub(super) fn finish(&self) -> (u64, u64) {
        let mut checksum = self.checksum.clone();
        checksum.update(&[0]);
        (checksum.finish(), self.length + 1)
    }
}

pub(super) fn put_entry(out: &mut Vec<u8>, entry: IndexEntry) {
    put_uvarint(out, u64::from(entry.page.get()));
    put_uvarint(out, entry.offset);
    put_uvarint(out, u64::from(entry.size));
}

/// Seven bits a byte, the lowest first; the top bit says that more follow.
fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_uvarint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{put_uvarint, take_uvarint};

    proptest! {
        #[test]
        fn every_number_survives_the_round_trip(value in any::<u64>(), bits in 0u32..64) {
            let value = value >> bits;
            let mut bytes = Vec::new();
            put_uvarint(&mut bytes, value);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take_uvarint(&mut rest), Some(value));
            prop_assert_eq!(rest.len(), 0);
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        assert_eq!(take_uvarint(&mut [0xff; 11].as_slice()), None);
        let mut above = [0x80; 10];
        above[9] = 2;
        assert_eq!(take_uvarint(&mut above.as_slice()), None);
        assert_eq!(take_uvarint(&mut [0x80].as_slice()), None);
    }
}
