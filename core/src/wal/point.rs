use std::fmt;

/// The two salts of a generation of the WAL, as the eight bytes stand in its header and in each frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Salts(pub [u8; 8]);

impl fmt::Debug for Salts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Salts({:016x})", u64::from_be_bytes(self.0))
    }
}

/// A point of the WAL: the generation, how many frames, and the cumulative checksum of the last of them
/// (of the header if there are none).
///
/// Two WALs that prove the same point hold the same frames up to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct WalPoint {
    /// The generation.
    pub salts: Salts,
    /// The number of the last frame, counted from 1; 0 for none.
    pub frame: u32,
    /// The cumulative checksum after that frame.
    pub checksum: (u32, u32),
}
