/// In which order the bytes of a word stand when a WAL's checksum adds words up.
///
/// A WAL says in its header which one it uses; everything else in a WAL is big-endian.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ByteOrder {
    /// The magic number ends in 82.
    Little,
    /// The magic number ends in 83.
    Big,
}

impl ByteOrder {
    /// The order of this machine, in which the header of the wal-index is summed.
    pub const NATIVE: ByteOrder =
        if cfg!(target_endian = "big") { ByteOrder::Big } else { ByteOrder::Little };
}

/// The checksum of `bytes` that goes on from `start`: two Fibonacci-weighted sums over pairs of words.
///
/// `bytes` is a whole number of eight-byte pairs; a rest would not be summed.
pub fn checksum(order: ByteOrder, start: (u32, u32), bytes: &[u8]) -> (u32, u32) {
    debug_assert_eq!(bytes.len() % 8, 0);
    match order {
        ByteOrder::Little => sum(u32::from_le_bytes, start, bytes),
        ByteOrder::Big => sum(u32::from_be_bytes, start, bytes),
    }
}

#[inline(always)]
fn sum(word: fn([u8; 4]) -> u32, (mut first, mut second): (u32, u32), bytes: &[u8]) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let left = word([pair[0], pair[1], pair[2], pair[3]]);
        let right = word([pair[4], pair[5], pair[6], pair[7]]);
        first = first.wrapping_add(left).wrapping_add(second);
        second = second.wrapping_add(right).wrapping_add(first);
    }
    (first, second)
}
