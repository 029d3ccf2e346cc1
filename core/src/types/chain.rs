use std::fmt;

/// The hash of a log file and, through the hash that the file embeds, of all files before it: two nodes
/// with the same txid and chain have the same history.
///
/// `chain(N)` is the first 128 bits of BLAKE3 over all bytes of file N, which hold `chain(N-1)`.
/// `chain(0)` is the hash of the genesis object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Chain([u8; 16]);

impl Chain {
    /// All zeros: what a file of another tool carries.
    pub const ZERO: Chain = Chain([0; 16]);

    /// The chain value with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Chain {
        Chain(bytes)
    }

    /// The 16 bytes.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// The chain value of one whole file, or of the genesis object.
    pub fn of(bytes: &[u8]) -> Chain {
        Chain::from_hash(blake3::hash(bytes))
    }

    /// The chain value from the finished hash of a file that was streamed.
    pub fn from_hash(hash: blake3::Hash) -> Chain {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_bytes()[..16]);
        Chain(bytes)
    }

    /// 32 lower-case hexadecimal digits.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The chain value in 32 hexadecimal digits; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<Chain> {
        super::node_id::hex_to_bytes(text).map(Chain)
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({})", &self.to_hex()[..8])
    }
}
