use super::{ByteOrder, Salts, WalPoint, checksum};
use crate::types::PageSize;

/// The length of a WAL's header in bytes.
pub const WAL_HEADER_BYTES: usize = 32;

const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;

/// The first 32 bytes of a WAL: what all frames of its generation share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WalHeader {
    /// How the checksums of header and frames add up.
    pub order: ByteOrder,
    /// The size of the pages in the frames.
    pub page_size: PageSize,
    /// A count of generations that writers keep; nothing depends on it.
    pub sequence: u32,
    /// The generation.
    pub salts: Salts,
}

impl WalHeader {
    /// The header with its checksum, as it stands in the file.
    pub fn encode(&self) -> [u8; WAL_HEADER_BYTES] {
        let mut bytes = [0; WAL_HEADER_BYTES];
        let magic = MAGIC | u32::from(self.order == ByteOrder::Big);
        bytes[0..4].copy_from_slice(&magic.to_be_bytes());
        bytes[4..8].copy_from_slice(&VERSION.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.page_size.get().to_be_bytes());
        bytes[12..16].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.salts.0);
        let (first, second) = checksum(self.order, (0, 0), &bytes[..24]);
        bytes[24..28].copy_from_slice(&first.to_be_bytes());
        bytes[28..32].copy_from_slice(&second.to_be_bytes());
        bytes
    }

    /// The header in these bytes; `None` for what SQLite does not take for a WAL either.
    pub fn decode(bytes: &[u8; WAL_HEADER_BYTES]) -> Option<WalHeader> {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let order = match word(0) {
            MAGIC => ByteOrder::Little,
            magic if magic == MAGIC | 1 => ByteOrder::Big,
            _ => return None,
        };
        let sum = checksum(order, (0, 0), &bytes[..24]);
        if word(4) != VERSION || sum != (word(24), word(28)) {
            return None;
        }
        let mut salts = Salts::default();
        salts.0.copy_from_slice(&bytes[16..24]);
        Some(WalHeader { order, page_size: PageSize::new(word(8)).ok()?, sequence: word(12), salts })
    }

    /// The point before the first frame.
    pub fn point(&self) -> WalPoint {
        let bytes = self.encode();
        WalPoint { salts: self.salts, frame: 0, checksum: checksum(self.order, (0, 0), &bytes[..24]) }
    }
}
