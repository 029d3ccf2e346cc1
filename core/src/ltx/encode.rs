use std::io::{self, Read, Seek, SeekFrom, Write};

use lz4_flex::block::{self, CompressTable};

use super::checksum::Checksum;
use super::frame::{END_OF_PAGES, FRAME_HEADER_SIZE, LENGTH_SIZE, frame_header, max_compressed};
use super::header::Header;
use super::index::{IndexEntry, TRAILER_SIZE, put_entry};
use crate::types::{Chain, Error, ErrorKind, PageNumber, Result};

/// Bytes are hashed and written in pieces of about this size.
const PIECE: usize = 64 * 1024;

/// So many bytes of the index are kept in memory, if there is somewhere else to keep it.
pub(super) const INDEX_IN_MEMORY: usize = 1 << 20;

/// Writes a log file, page by page.
///
/// It keeps the index until the end, some eleven bytes a page (140 MB for 50 GB in pages of 4 KiB), and one
/// piece of output. The index is in memory, unless [`Encoder::spill_index`] tells of a better place.
/// Whatever ends it early leaves a file that no decoder takes for whole.
pub struct Encoder<W> {
    writer: W,
    header: Header,
    checksum: Checksum,
    hasher: blake3::Hasher,
    table: CompressTable,
    /// Room for a piece and one more frame; the first `filled` bytes wait to be written.
    pending: Box<[u8]>,
    filled: usize,
    written: u64,
    /// The end of the index; what comes before it was spilled.
    index: Vec<u8>,
    spill: Option<Spill>,
    index_in_memory: usize,
    last: Option<PageNumber>,
    failed: bool,
}

/// Where the index is kept if it becomes large: a temporary file.
pub trait IndexStore: Read + Write + Seek + Send {}

impl<T: Read + Write + Seek + Send> IndexStore for T {}

type MakeStore = Box<dyn FnOnce() -> io::Result<Box<dyn IndexStore>> + Send>;

enum Spill {
    Unused(MakeStore),
    /// The store and how much is in it.
    Used(Box<dyn IndexStore>, u64),
}

/// A file that was written to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Encoded {
    /// Its size in bytes.
    pub size: u64,
    /// The hash of all its bytes: the chain value of the slot, if it is one.
    pub chain: Chain,
}

impl<W: Write> Encoder<W> {
    /// Begins a file. `Corrupt` if the header breaks a rule of the format.
    pub fn new(writer: W, header: Header) -> Result<Encoder<W>> {
        let bytes = header.to_bytes()?;
        let mut checksum = Checksum::new();
        checksum.update(&bytes);
        let frame = FRAME_HEADER_SIZE + LENGTH_SIZE + max_compressed(header.page_size);
        let mut pending = vec![0; PIECE + frame].into_boxed_slice();
        pending[..bytes.len()].copy_from_slice(&bytes);
        let small = header.page_size.bytes() < usize::from(u16::MAX);
        Ok(Encoder {
            writer,
            checksum,
            hasher: blake3::Hasher::new(),
            table: if small { CompressTable::small() } else { CompressTable::large() },
            pending,
            filled: bytes.len(),
            written: 0,
            index: Vec::new(),
            spill: None,
            index_in_memory: INDEX_IN_MEMORY,
            last: None,
            failed: false,
            header,
        })
    }

    /// Keeps all but the last mebibyte of the index in what `make` opens once it is needed: empty, read and
    /// written by nobody else.
    #[must_use]
    pub fn spill_index(
        mut self,
        make: impl FnOnce() -> io::Result<Box<dyn IndexStore>> + Send + 'static,
    ) -> Self {
        self.spill = Some(Spill::Unused(Box::new(make)));
        self
    }

    /// Adds a page. Pages come in ascending order, without the lock page, and all of them in a file that
    /// starts at slot 1.
    ///
    /// `InvalidArgument` for a page that must not follow: nothing is added. `Io` if the writer fails: the
    /// encoder can only be dropped.
    pub fn page(&mut self, page: PageNumber, data: &[u8]) -> Result<()> {
        self.check(page, data)?;
        let offset = self.written + self.filled as u64;
        let (header, rest) = self.pending[self.filled..].split_at_mut(FRAME_HEADER_SIZE);
        let (length, block) = rest.split_at_mut(LENGTH_SIZE);
        let compressed = block::compress_into_with_table(data, block, &mut self.table)
            .expect("BUG: the bound on compressed pages is too low");
        header.copy_from_slice(&frame_header(page));
        length.copy_from_slice(&(compressed as u32).to_be_bytes());

        self.checksum.update(header);
        self.checksum.update(length);
        self.checksum.update(data);
        let size = FRAME_HEADER_SIZE + LENGTH_SIZE + compressed;
        put_entry(&mut self.index, IndexEntry { page, size: size as u32, offset });
        self.last = Some(page);
        self.filled += size;
        if self.index.len() >= self.index_in_memory {
            self.spill_now()?;
        }
        if self.filled >= PIECE { self.flush() } else { Ok(()) }
    }

    /// Writes the index and the trailer, and flushes the writer.
    ///
    /// `InvalidArgument` if a file that starts at slot 1 lacks its last pages. `Io` if the writer fails.
    pub fn finish(mut self) -> Result<Encoded> {
        self.check_writer()?;
        if let Some(missing) = self.header.next_page(self.last) {
            return Err(invalid(format!("the file ends without page {missing}")));
        }
        self.checksum.update(&END_OF_PAGES);
        self.flush()?;
        self.write(&END_OF_PAGES)?;
        let spilled = self.write_spilled_index()?;
        let mut rest = std::mem::take(&mut self.index);
        rest.push(0);
        let length = spilled + rest.len() as u64;
        rest.extend_from_slice(&length.to_be_bytes());
        let mut trailer = [0; TRAILER_SIZE];
        self.checksum.update(&rest);
        self.checksum.update(&trailer[..8]);
        trailer[8..].copy_from_slice(&self.checksum.clone().finish().to_be_bytes());
        self.write(&rest)?;
        self.write(&trailer)?;
        self.writer.flush().map_err(|error| Error::io("writing a log file", error))?;
        Ok(Encoded { size: self.written, chain: Chain::from_hash(self.hasher.finalize()) })
    }

    /// Moves the index to where it is kept, if there is such a place.
    fn spill_now(&mut self) -> Result<()> {
        let result = match self.spill.take() {
            None => return Ok(()),
            Some(Spill::Unused(make)) => make().map(|store| (store, 0)),
            Some(Spill::Used(store, length)) => Ok((store, length)),
        };
        let result = result.and_then(|(mut store, length)| {
            store.write_all(&self.index)?;
            self.spill = Some(Spill::Used(store, length + self.index.len() as u64));
            self.index.clear();
            Ok(())
        });
        self.failed = result.is_err();
        result.map_err(|error| Error::io("keeping the index of a log file", error))
    }

    /// Writes what was spilled of the index; how much it was.
    fn write_spilled_index(&mut self) -> Result<u64> {
        let Some(Spill::Used(mut store, length)) = self.spill.take() else { return Ok(0) };
        let failed = |error| Error::io("reading the index of a log file back", error);
        store.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut left = length;
        let mut piece = vec![0; PIECE];
        while left > 0 {
            let piece = &mut piece[..left.min(PIECE as u64) as usize];
            store.read_exact(piece).map_err(failed)?;
            self.checksum.update(piece);
            self.write(piece)?;
            left -= piece.len() as u64;
        }
        Ok(length)
    }

    fn check(&self, page: PageNumber, data: &[u8]) -> Result<()> {
        self.check_writer()?;
        if data.len() != self.header.page_size.bytes() {
            let message = format!("page {page} has {} bytes, not {}", data.len(), self.header.page_size);
            return Err(invalid(message));
        }
        self.header.check_page(self.last, page).map_err(invalid)
    }

    fn check_writer(&self) -> Result<()> {
        if self.failed {
            return Err(Error::new(ErrorKind::Io, "the log file could not be written before"));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let result = self.write(&pending[..self.filled]);
        self.pending = pending;
        self.filled = 0;
        result
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        let result = self.writer.write_all(bytes);
        self.failed = result.is_err();
        result.map_err(|error| Error::io("writing a log file", error))
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

#[cfg(test)]
impl<W> Encoder<W> {
    /// Goes on as if all pages up to `last` had been added.
    pub(super) fn pretend(&mut self, last: PageNumber) {
        self.last = Some(last);
    }

    /// Spills the index once it has so many bytes.
    pub(super) fn index_in_memory(&mut self, bytes: usize) {
        self.index_in_memory = bytes;
    }
}
