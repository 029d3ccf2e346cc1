use std::io::{ErrorKind as IoErrorKind, Read};

use crate::types::{Chain, Error, Result};

/// Bytes are read, and hashed, in pieces of this size: enough for BLAKE3's widest instructions, little
/// enough for a merge of a thousand files.
const PIECE: usize = 16 * 1024;

/// A reader of a whole file that counts and hashes what it reads.
///
/// It reads ahead: all that the reader gives is taken to be the file.
pub(super) struct Input<R> {
    reader: R,
    hasher: blake3::Hasher,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    taken: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(reader: R) -> Input<R> {
        let buffer = vec![0; PIECE].into_boxed_slice();
        Input { reader, hasher: blake3::Hasher::new(), buffer, start: 0, end: 0, taken: 0 }
    }

    pub(super) fn reader(&self) -> &R {
        &self.reader
    }

    /// How many bytes were taken: the offset of the next.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Fills `out` with the next bytes. `Corrupt` if the file ends before.
    pub(super) fn take(&mut self, mut out: &mut [u8]) -> Result<()> {
        while !out.is_empty() {
            if self.start == self.end && !self.refill()? {
                return Err(Error::corrupt(format!("the file is cut off after {} bytes", self.taken)));
            }
            let length = out.len().min(self.end - self.start);
            let (now, later) = out.split_at_mut(length);
            now.copy_from_slice(&self.buffer[self.start..self.start + length]);
            self.start += length;
            self.taken += length as u64;
            out = later;
        }
        Ok(())
    }

    /// The hash of the file, which must be at its end. `Corrupt` if there is more.
    pub(super) fn finish(&mut self) -> Result<Chain> {
        if self.start < self.end || self.refill()? {
            return Err(Error::corrupt(format!("the file goes on after its end at {} bytes", self.taken)));
        }
        Ok(Chain::from_hash(self.hasher.finalize()))
    }

    /// Reads the next piece; false at the end of the file.
    fn refill(&mut self) -> Result<bool> {
        let length = loop {
            match self.reader.read(&mut self.buffer) {
                Ok(length) => break length,
                Err(error) if error.kind() == IoErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("reading a log file", error)),
            }
        };
        self.hasher.update(&self.buffer[..length]);
        self.start = 0;
        self.end = length;
        Ok(length > 0)
    }
}
