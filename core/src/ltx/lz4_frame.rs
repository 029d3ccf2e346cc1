//! Pages as Litestream 0.5.0 to 0.5.15 wrote them: each an LZ4 frame, whose length nothing tells but the
//! frame itself. Source: the LZ4 frame format description, 1.6.

use std::io::Read;

use lz4_flex::frame::FrameDecoder;

use crate::types::{Error, Result};

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const HAS_DICTIONARY: u8 = 1 << 0;
const HAS_CONTENT_CHECKSUM: u8 = 1 << 2;
const HAS_CONTENT_SIZE: u8 = 1 << 3;
const HAS_BLOCK_CHECKSUMS: u8 = 1 << 4;
const STORED: u32 = 1 << 31;

/// Appends one whole LZ4 frame to `frame`, taking its bytes from `take`. `Corrupt` if it is none, or one
/// of more than `limit` bytes.
pub(super) fn take_frame(
    mut take: impl FnMut(&mut [u8]) -> Result<()>,
    frame: &mut Vec<u8>,
    limit: usize,
) -> Result<()> {
    frame.clear();
    let mut append = |frame: &mut Vec<u8>, length: usize| {
        let start = frame.len();
        if length > limit.saturating_sub(start) {
            return Err(Error::corrupt("an LZ4 frame larger than a page can make it"));
        }
        frame.resize(start + length, 0);
        take(&mut frame[start..])
    };
    append(frame, 6)?;
    let flags = frame[4];
    if frame[..4] != MAGIC || flags & HAS_DICTIONARY != 0 {
        return Err(Error::corrupt("a page that is no plain LZ4 frame"));
    }
    append(frame, if flags & HAS_CONTENT_SIZE != 0 { 9 } else { 1 })?;
    loop {
        let start = frame.len();
        append(frame, 4)?;
        let mut word = [0; 4];
        word.copy_from_slice(&frame[start..]);
        let length = u32::from_le_bytes(word) & !STORED;
        if word == [0; 4] {
            break;
        }
        append(frame, length as usize)?;
        append(frame, if flags & HAS_BLOCK_CHECKSUMS != 0 { 4 } else { 0 })?;
    }
    append(frame, if flags & HAS_CONTENT_CHECKSUM != 0 { 4 } else { 0 })
}

/// The page in an LZ4 frame. `Corrupt` unless the frame is whole and exactly fills `page`.
pub(super) fn decompress(frame: &[u8], page: &mut [u8]) -> Result<()> {
    let mut decoder = FrameDecoder::new(frame);
    let mut past_end = [0];
    let exact = decoder
        .read_exact(page)
        .and_then(|()| decoder.read(&mut past_end))
        .map_err(|error| Error::corrupt("a damaged LZ4 frame").with_source(error))?;
    if exact == 0 && decoder.get_ref().is_empty() {
        Ok(())
    } else {
        Err(Error::corrupt("an LZ4 frame that holds more than a page"))
    }
}
