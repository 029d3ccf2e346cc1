use lz4_flex::block;

use super::lz4_frame;
use crate::types::{Error, PageNumber, PageSize, Result};

/// Page number and flags.
pub(super) const FRAME_HEADER_SIZE: usize = 6;
/// The length of the compressed page, which follows the header if the flags say so.
pub(super) const LENGTH_SIZE: usize = 4;
/// The header that ends the pages.
pub(super) const END_OF_PAGES: [u8; FRAME_HEADER_SIZE] = [0; FRAME_HEADER_SIZE];

const HAS_LENGTH: u16 = 1;

/// How a page is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// One LZ4 block, its length before it: Litestream from 0.5.16 on.
    Block,
    /// One LZ4 frame: Litestream before that.
    Frame,
}

/// The page and the form that a frame's header announces; `None` at the end of the pages.
pub(super) fn parse_frame_header(bytes: [u8; FRAME_HEADER_SIZE]) -> Result<Option<(PageNumber, Form)>> {
    let page = PageNumber::new(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let flags = u16::from_be_bytes([bytes[4], bytes[5]]);
    match (page, flags) {
        (None, 0) => Ok(None),
        (Some(page), 0) => Ok(Some((page, Form::Frame))),
        (Some(page), HAS_LENGTH) => Ok(Some((page, Form::Block))),
        _ => Err(Error::corrupt(format!("a page frame with the flags {flags:#x}"))),
    }
}

pub(super) fn frame_header(page: PageNumber) -> [u8; FRAME_HEADER_SIZE] {
    let mut bytes = [0; FRAME_HEADER_SIZE];
    bytes[..4].copy_from_slice(&page.get().to_be_bytes());
    bytes[4..].copy_from_slice(&HAS_LENGTH.to_be_bytes());
    bytes
}

/// The most bytes that a page can be compressed to.
pub(super) fn max_compressed(page_size: PageSize) -> usize {
    block::get_maximum_output_size(page_size.bytes())
}

/// A length that a frame announces. `Corrupt` above what a page can be compressed to.
pub(super) fn parse_length(bytes: [u8; LENGTH_SIZE], page_size: PageSize) -> Result<usize> {
    let length = u32::from_be_bytes(bytes) as usize;
    if length <= max_compressed(page_size) {
        Ok(length)
    } else {
        Err(Error::corrupt(format!("a page of {page_size} bytes that was compressed to {length}")))
    }
}

/// The page in compressed bytes. `Corrupt` unless they exactly fill `page`.
pub(super) fn decompress(form: Form, compressed: &[u8], page: &mut [u8]) -> Result<()> {
    if form == Form::Frame {
        return lz4_frame::decompress(compressed, page);
    }
    match block::decompress_into(compressed, page) {
        Ok(length) if length == page.len() => Ok(()),
        Ok(length) => Err(Error::corrupt(format!("a page of {} bytes that holds {length}", page.len()))),
        Err(error) => Err(Error::corrupt("a damaged LZ4 block").with_source(error)),
    }
}

/// The page that the bytes of one frame hold, as the page index gives them; `data` becomes its content.
///
/// Nothing but the compression's own rules guards a single page: the checksum covers the whole file. The
/// error is `Corrupt` for anything but exactly one frame.
pub fn decode_frame(bytes: &[u8], page_size: PageSize, data: &mut Vec<u8>) -> Result<PageNumber> {
    let cut_off = || Error::corrupt("a page frame that is cut off");
    let (header, rest) = bytes.split_first_chunk::<FRAME_HEADER_SIZE>().ok_or_else(cut_off)?;
    let Some((page, form)) = parse_frame_header(*header)? else {
        return Err(Error::corrupt("the end of the pages where a page should be"));
    };
    let compressed = match form {
        Form::Frame => rest,
        Form::Block => {
            let (length, compressed) = rest.split_first_chunk::<LENGTH_SIZE>().ok_or_else(cut_off)?;
            if parse_length(*length, page_size)? != compressed.len() {
                return Err(Error::corrupt("a page frame of another length than it says"));
            }
            compressed
        }
    };
    data.resize(page_size.bytes(), 0);
    decompress(form, compressed, data)?;
    Ok(page)
}
