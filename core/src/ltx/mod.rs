//! The log's file format, LTX version 3: streaming encoder, decoder and merge. Pure.
//!
//! A log file is a header, the pages that its slots changed in ascending order, an index of them, and
//! checksums. The layout, byte by byte, is in `core/FORMAT.md`; it was read from `superfly/ltx` 0.5 and
//! is held against the `litestream` binary by `core/tests/litestream.rs`.

mod checksum;
mod decode;
mod encode;
mod frame;
mod header;
mod index;
mod input;
#[cfg(test)]
mod lock_page_tests;
mod lz4_frame;
mod merge;
mod restore;
#[cfg(test)]
mod spill_tests;

pub use decode::{Decoded, Decoder};
pub use encode::{Encoded, Encoder, IndexStore};
pub use frame::decode_frame;
pub use header::{Header, Origin, WalRange};
pub use index::{IndexEntry, PageIndex, Tail};
pub use merge::{After, Base, Merge, Merged, Source};
pub use restore::write_database;
