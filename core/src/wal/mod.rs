//! The format of SQLite's write-ahead log: headers, frames, checksums, and the header of its index. Pure.
//!
//! The format is fixed by SQLite's documentation (<https://www.sqlite.org/fileformat2.html#walformat> and
//! <https://www.sqlite.org/walformat.html>).

mod checksum;
mod frame;
mod header;
mod index;
mod point;
mod scan;

pub use checksum::{ByteOrder, checksum};
pub use frame::{FRAME_HEADER_BYTES, Frame, FrameCursor, frame_offset};
pub use header::{WAL_HEADER_BYTES, WalHeader};
pub use index::{
    FRAMES_PER_REGION, INDEX_HEADER_BYTES, INDEX_REGION_BYTES, INDEX_SLOTS, IndexHeader, IndexPlace,
    hash_slot,
};
pub use point::{Salts, WalPoint};
pub use scan::{Scan, Scanner};

#[cfg(test)]
mod wal_tests;
