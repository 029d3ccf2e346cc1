//! The format of SQLite's write-ahead log: headers, frames, checksums. Pure.
//!
//! The format is fixed by SQLite's documentation (<https://www.sqlite.org/fileformat2.html#walformat>).

mod point;

pub use point::{Salts, WalPoint};
