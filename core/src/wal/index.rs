use super::{ByteOrder, Salts, WalPoint, checksum};
use crate::types::{Error, ErrorKind, PageNumber, PageSize, Result};

/// The length of the wal-index header in bytes; two copies of it stand at the start of the wal-index.
pub const INDEX_HEADER_BYTES: usize = 48;

/// The length in bytes of the regions that the wal-index is mapped in.
pub const INDEX_REGION_BYTES: usize = 32768;

/// How many frames a region has room for; the first one has [`IndexPlace`]'s 34 fewer.
pub const FRAMES_PER_REGION: u32 = 4096;

/// How many slots the hash table of a region has.
pub const INDEX_SLOTS: u32 = 8192;

const VERSION: u32 = 3_007_000;
const FRAMES_IN_FIRST: u32 = FRAMES_PER_REGION - 136 / 4;

/// The header of the wal-index: which state of the database readers see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexHeader {
    /// Counts published commits.
    pub change: u32,
    /// How the checksums of the frames add up.
    pub order: ByteOrder,
    /// The page size; `None` as long as no frame has been seen.
    pub page_size: Option<PageSize>,
    /// The last frame that readers may see; 0 if they read the database file only.
    pub last_frame: u32,
    /// The size of the database in pages; 0 means that the length of the database file says it.
    pub db_size: u32,
    /// The cumulative checksum of that frame; of no meaning without one.
    pub checksum: (u32, u32),
    /// The generation.
    pub salts: Salts,
}

impl IndexHeader {
    /// The header as it stands in shared memory on this machine, with its checksum.
    pub fn encode(&self) -> [u8; INDEX_HEADER_BYTES] {
        let mut bytes = [0; INDEX_HEADER_BYTES];
        let size = self.page_size.map_or(0, PageSize::get);
        let packed_size = ((size & 0xff00) | (size >> 16)) as u16;
        bytes[0..4].copy_from_slice(&VERSION.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.change.to_ne_bytes());
        bytes[12] = 1;
        bytes[13] = u8::from(self.order == ByteOrder::Big);
        bytes[14..16].copy_from_slice(&packed_size.to_ne_bytes());
        bytes[16..20].copy_from_slice(&self.last_frame.to_ne_bytes());
        bytes[20..24].copy_from_slice(&self.db_size.to_ne_bytes());
        bytes[24..28].copy_from_slice(&self.checksum.0.to_ne_bytes());
        bytes[28..32].copy_from_slice(&self.checksum.1.to_ne_bytes());
        bytes[32..40].copy_from_slice(&self.salts.0);
        let sum = checksum(ByteOrder::NATIVE, (0, 0), &bytes[..40]);
        bytes[40..44].copy_from_slice(&sum.0.to_ne_bytes());
        bytes[44..48].copy_from_slice(&sum.1.to_ne_bytes());
        bytes
    }

    /// The header in these bytes; `None` if it is not finished. `InvalidConfig` if it is of another version
    /// of the format.
    pub fn decode(bytes: &[u8; INDEX_HEADER_BYTES]) -> Result<Option<IndexHeader>> {
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let sum = checksum(ByteOrder::NATIVE, (0, 0), &bytes[..40]);
        if bytes[12] == 0 || sum != (word(40), word(44)) {
            return Ok(None);
        }
        if word(0) != VERSION {
            let message = format!("the wal-index has version {}: only {VERSION} is known", word(0));
            return Err(Error::new(ErrorKind::InvalidConfig, message));
        }
        let packed_size = u32::from(u16::from_ne_bytes([bytes[14], bytes[15]]));
        let mut salts = Salts::default();
        salts.0.copy_from_slice(&bytes[32..40]);
        Ok(Some(IndexHeader {
            change: word(8),
            order: if bytes[13] == 0 { ByteOrder::Little } else { ByteOrder::Big },
            page_size: PageSize::new((packed_size & 0xfe00) + ((packed_size & 1) << 16)).ok(),
            last_frame: word(16),
            db_size: word(20),
            checksum: (word(24), word(28)),
            salts,
        }))
    }

    /// The point behind the last frame; only of meaning if there is one.
    pub fn point(&self) -> WalPoint {
        WalPoint { salts: self.salts, frame: self.last_frame, checksum: self.checksum }
    }
}

/// Where the wal-index keeps a frame: the region, and the place in it counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexPlace {
    /// The region, counted from 0.
    pub region: usize,
    /// The place, counted from 1. Slots of the hash table hold this number.
    pub place: u32,
}

impl IndexPlace {
    /// The place of a frame counted from 1.
    pub fn of(frame: u32) -> IndexPlace {
        debug_assert!(frame > 0);
        if frame <= FRAMES_IN_FIRST {
            return IndexPlace { region: 0, place: frame };
        }
        let behind_first = frame - FRAMES_IN_FIRST - 1;
        IndexPlace {
            region: (behind_first / FRAMES_PER_REGION) as usize + 1,
            place: behind_first % FRAMES_PER_REGION + 1,
        }
    }

    /// The last frame before those of a region.
    pub fn frames_before(region: usize) -> u32 {
        match region {
            0 => 0,
            n => FRAMES_IN_FIRST + (n as u32 - 1) * FRAMES_PER_REGION,
        }
    }

    /// How many frames a region holds.
    pub fn capacity(region: usize) -> u32 {
        if region == 0 { FRAMES_IN_FIRST } else { FRAMES_PER_REGION }
    }
}

/// The slot of a region's hash table where the search for a page begins.
pub fn hash_slot(page: PageNumber) -> u32 {
    page.get().wrapping_mul(383) & (INDEX_SLOTS - 1)
}
