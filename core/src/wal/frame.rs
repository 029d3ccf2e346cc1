use super::{ByteOrder, WAL_HEADER_BYTES, WalPoint, checksum};
use crate::types::{PageNumber, PageSize};

/// The length of a frame's header in bytes; one page follows it.
pub const FRAME_HEADER_BYTES: usize = 24;

/// The offset in bytes of a frame, counted from 1, in the WAL.
pub fn frame_offset(frame: u32, size: PageSize) -> u64 {
    debug_assert!(frame > 0);
    WAL_HEADER_BYTES as u64 + (u64::from(frame) - 1) * (FRAME_HEADER_BYTES as u64 + u64::from(size.get()))
}

/// What a frame says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The page that it holds.
    pub page: PageNumber,
    /// The size of the database in pages after the commit that this frame ends; 0 if it ends none.
    pub commit: u32,
}

/// Walks along the frames of one generation, as a writer or as a reader, and keeps the cumulative checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameCursor {
    order: ByteOrder,
    point: WalPoint,
}

impl FrameCursor {
    /// The cursor behind the frame of this point.
    pub fn new(order: ByteOrder, point: WalPoint) -> FrameCursor {
        FrameCursor { order, point }
    }

    /// The point behind the last frame that was sealed or verified.
    pub fn point(&self) -> WalPoint {
        self.point
    }

    /// The header of the next frame, which holds `data`; moves behind it.
    pub fn seal(&mut self, frame: Frame, data: &[u8]) -> [u8; FRAME_HEADER_BYTES] {
        let mut header = [0; FRAME_HEADER_BYTES];
        header[0..4].copy_from_slice(&frame.page.get().to_be_bytes());
        header[4..8].copy_from_slice(&frame.commit.to_be_bytes());
        header[8..16].copy_from_slice(&self.point.salts.0);
        let sum = self.sum(&header, data);
        header[16..20].copy_from_slice(&sum.0.to_be_bytes());
        header[20..24].copy_from_slice(&sum.1.to_be_bytes());
        self.advance(sum);
        header
    }

    /// Takes the next frame if it continues the generation: its salts and its cumulative checksum fit. `None`
    /// leaves the cursor where it was.
    pub fn verify(&mut self, header: &[u8; FRAME_HEADER_BYTES], data: &[u8]) -> Option<Frame> {
        let word =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if header[8..16] != self.point.salts.0 {
            return None;
        }
        let page = PageNumber::new(word(0))?;
        let sum = self.sum(header, data);
        if sum != (word(16), word(20)) {
            return None;
        }
        self.advance(sum);
        Some(Frame { page, commit: word(4) })
    }

    fn sum(&self, header: &[u8; FRAME_HEADER_BYTES], data: &[u8]) -> (u32, u32) {
        let of_header = checksum(self.order, self.point.checksum, &header[..8]);
        checksum(self.order, of_header, data)
    }

    fn advance(&mut self, sum: (u32, u32)) {
        self.point.frame = self.point.frame.saturating_add(1);
        self.point.checksum = sum;
    }
}
