use std::fmt;

/// The fencing token of a leadership: every leader has a higher one than all before it.
///
/// 48 bits, because that is the room which a log file's header has for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(u64);

impl Epoch {
    /// Nobody has led yet, or the file was written by another tool.
    pub const ZERO: Epoch = Epoch(0);
    /// The first epoch that anybody leads with.
    pub const FIRST: Epoch = Epoch(1);
    /// The highest epoch that a file header can hold.
    pub const MAX: Epoch = Epoch((1 << 48) - 1);

    /// The epoch with this number; `None` above [`Epoch::MAX`].
    pub const fn new(number: u64) -> Option<Epoch> {
        if number <= Epoch::MAX.0 { Some(Epoch(number)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The next epoch; `None` at [`Epoch::MAX`], which an epoch a second reaches in nine million years.
    pub const fn next(self) -> Option<Epoch> {
        Epoch::new(self.0 + 1)
    }

    /// Six bytes, big-endian: the form in a log file's header.
    pub fn to_bytes(self) -> [u8; 6] {
        let mut bytes = [0; 6];
        bytes.copy_from_slice(&self.0.to_be_bytes()[2..]);
        bytes
    }

    /// The epoch in six big-endian bytes.
    pub fn from_bytes(bytes: [u8; 6]) -> Epoch {
        let mut wide = [0; 8];
        wide[2..].copy_from_slice(&bytes);
        Epoch(u64::from_be_bytes(wide))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({})", self.0)
    }
}
