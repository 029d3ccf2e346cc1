use std::io::Read;

use super::checksum::Checksum;
use super::frame::{self, FRAME_HEADER_SIZE, Form, LENGTH_SIZE};
use super::header::{HEADER_SIZE, Header};
use super::index::{INDEX_LENGTH_SIZE, IndexDigest, IndexEntry, TRAILER_SIZE};
use super::input::Input;
use super::lz4_frame;
use crate::types::{Chain, Error, ErrorKind, PageNumber, Result};

/// Reads a log file, page by page, and checks all that the format promises.
///
/// The reader is read to its end, ahead of what is given out, so it must hold the file and nothing else;
/// it need not be buffered. Memory is bounded by the page size. `Corrupt` is for bytes that are wrong or
/// missing, `Io` for a reader that fails.
pub struct Decoder<R> {
    input: Input<R>,
    header: Header,
    checksum: Checksum,
    index: IndexDigest,
    compressed: Vec<u8>,
    state: State,
}

/// A file that was read to its end and is whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// Its size in bytes.
    pub size: u64,
    /// The hash of all its bytes: the chain value of the slot, if it is one.
    pub chain: Chain,
}

enum State {
    Pages(Option<PageNumber>),
    Whole(Decoded),
    Failed(ErrorKind),
}

impl<R: Read> Decoder<R> {
    /// Reads the header.
    pub fn new(reader: R) -> Result<Decoder<R>> {
        let mut input = Input::new(reader);
        let mut bytes = [0; HEADER_SIZE];
        input.take(&mut bytes)?;
        let header = Header::from_bytes(&bytes)?;
        let mut checksum = Checksum::new();
        checksum.update(&bytes);
        let index = IndexDigest::new();
        Ok(Decoder { input, header, checksum, index, compressed: Vec::new(), state: State::Pages(None) })
    }

    /// What the file is read from.
    pub fn reader(&self) -> &R {
        self.input.reader()
    }

    /// What the file says of itself. The checksum that covers it has not been compared before the end.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next page; `data` becomes its content. `None` is the end, and says that the file is whole:
    /// its pages must not be relied on before.
    ///
    /// After an error every further call fails.
    pub fn next_page(&mut self, data: &mut Vec<u8>) -> Result<Option<PageNumber>> {
        let last = match self.state {
            State::Pages(last) => last,
            State::Whole(_) => return Ok(None),
            State::Failed(kind) => return Err(Error::new(kind, "the log file could not be read before")),
        };
        match self.read_page(last, data) {
            Ok(Some(page)) => {
                self.state = State::Pages(Some(page));
                Ok(Some(page))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.state = State::Failed(error.kind());
                Err(error)
            }
        }
    }

    /// Reads and checks what is left of the file.
    pub fn finish(mut self) -> Result<Decoded> {
        let mut data = Vec::new();
        while self.next_page(&mut data)?.is_some() {}
        Ok(self.whole().expect("BUG: a file that ended is neither whole nor failed"))
    }

    /// The file's size and hash, once its end was reached.
    pub fn whole(&self) -> Option<Decoded> {
        match self.state {
            State::Whole(decoded) => Some(decoded),
            State::Pages(_) | State::Failed(_) => None,
        }
    }

    fn read_page(&mut self, last: Option<PageNumber>, data: &mut Vec<u8>) -> Result<Option<PageNumber>> {
        let offset = self.input.taken();
        let mut header = [0; FRAME_HEADER_SIZE];
        self.input.take(&mut header)?;
        self.checksum.update(&header);
        let Some((page, form)) = frame::parse_frame_header(header)? else {
            self.read_end(last)?;
            return Ok(None);
        };
        self.header.check_page(last, page).map_err(Error::corrupt)?;
        self.read_compressed(form)?;
        data.resize(self.header.page_size.bytes(), 0);
        frame::decompress(form, &self.compressed, data)
            .map_err(|error| error.context(format!("page {page}")))?;
        self.checksum.update(data);
        let size = (self.input.taken() - offset) as u32;
        self.index.push(IndexEntry { page, size, offset });
        Ok(Some(page))
    }

    fn read_compressed(&mut self, form: Form) -> Result<()> {
        let page_size = self.header.page_size;
        match form {
            Form::Block => {
                let mut length = [0; LENGTH_SIZE];
                self.input.take(&mut length)?;
                self.checksum.update(&length);
                self.compressed.resize(frame::parse_length(length, page_size)?, 0);
                self.input.take(&mut self.compressed)
            }
            Form::Frame => {
                let input = &mut self.input;
                lz4_frame::take_frame(
                    |out| input.take(out),
                    &mut self.compressed,
                    frame::max_compressed(page_size),
                )
            }
        }
    }

    fn read_end(&mut self, last: Option<PageNumber>) -> Result<()> {
        if let Some(missing) = self.header.next_page(last) {
            return Err(Error::corrupt(format!("the file ends without page {missing}")));
        }
        self.read_index()?;
        let mut trailer = [0; TRAILER_SIZE];
        self.input.take(&mut trailer)?;
        let (after, checksum) = trailer.split_at(8);
        if after != [0; 8] {
            return Err(Error::corrupt("a checksum after the file in a file without checksums"));
        }
        self.checksum.update(after);
        if checksum != self.checksum.clone().finish().to_be_bytes() {
            return Err(Error::corrupt("the checksum of the file is wrong"));
        }
        let chain = self.input.finish()?;
        self.state = State::Whole(Decoded { size: self.input.taken(), chain });
        Ok(())
    }

    /// Compares the index with the pages that were read.
    fn read_index(&mut self) -> Result<()> {
        let (expected, length) = self.index.finish();
        let mut found = Checksum::new();
        let mut left = length;
        let mut piece = [0; 1024];
        while left > 0 {
            let piece = &mut piece[..left.min(1024) as usize];
            self.input.take(piece)?;
            self.checksum.update(piece);
            found.update(piece);
            left -= piece.len() as u64;
        }
        let mut found_length = [0; INDEX_LENGTH_SIZE];
        self.input.take(&mut found_length)?;
        self.checksum.update(&found_length);
        if found.finish() != expected || found_length != length.to_be_bytes() {
            return Err(Error::corrupt("the page index does not match the pages"));
        }
        Ok(())
    }
}

#[cfg(test)]
impl<R> Decoder<R> {
    /// Goes on as if all pages up to `last` had been read.
    pub(super) fn pretend(&mut self, last: PageNumber) {
        self.state = State::Pages(Some(last));
    }
}
