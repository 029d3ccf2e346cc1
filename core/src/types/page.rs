use std::fmt;
use std::num::NonZeroU32;

use super::{Error, ErrorKind, Result};

/// The size of a database page in bytes: a power of two from 512 to 65536.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize(u32);

impl PageSize {
    /// SQLite's default, 4096 bytes.
    pub const DEFAULT: PageSize = PageSize(4096);

    /// The page size of so many bytes; `InvalidArgument` unless SQLite allows it.
    pub fn new(bytes: u32) -> Result<PageSize> {
        if (512..=65536).contains(&bytes) && bytes.is_power_of_two() {
            Ok(PageSize(bytes))
        } else {
            Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{bytes} is not a page size: SQLite has powers of two from 512 to 65536"),
            ))
        }
    }

    /// Bytes.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The size as a length.
    pub const fn bytes(self) -> usize {
        self.0 as usize
    }

    /// The page that holds byte 2^30, which SQLite uses for locks and never for data.
    pub fn lock_page(self) -> PageNumber {
        PageNumber::new(0x4000_0000 / self.0 + 1).expect("BUG: the lock page's number is above zero")
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageSize({})", self.0)
    }
}

/// The number of a page in a database, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageNumber(NonZeroU32);

impl PageNumber {
    /// Page 1, which holds the database header.
    pub const FIRST: PageNumber = PageNumber(NonZeroU32::MIN);

    /// The page with this number; `None` for 0.
    pub const fn new(number: u32) -> Option<PageNumber> {
        match NonZeroU32::new(number) {
            Some(n) => Some(PageNumber(n)),
            None => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// The offset in bytes of the page in the database file.
    pub const fn offset(self, size: PageSize) -> u64 {
        (self.0.get() as u64 - 1) * size.get() as u64
    }
}

impl fmt::Display for PageNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for PageNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageNumber({})", self.0)
    }
}
