use std::fmt;

/// The number of a slot of the log, counted from 1. A batch of commits that was shipped together has
/// one txid.
///
/// Zero stands for the state before the first slot and is what [`Txid::ZERO`] means.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Txid(u64);

impl Txid {
    /// The state before slot 1.
    pub const ZERO: Txid = Txid(0);

    /// The txid with this number.
    pub const fn new(number: u64) -> Txid {
        Txid(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The slot after this one.
    #[must_use]
    pub const fn next(self) -> Txid {
        Txid(self.0.saturating_add(1))
    }

    /// The slot before this one; `ZERO` has none.
    #[must_use]
    pub const fn previous(self) -> Option<Txid> {
        match self.0 {
            0 => None,
            n => Some(Txid(n - 1)),
        }
    }
}

impl fmt::Display for Txid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Txid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Txid({})", self.0)
    }
}
