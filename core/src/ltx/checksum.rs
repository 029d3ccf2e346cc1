use crc::{CRC_64_GO_ISO, Crc, Digest, Table};

/// Sixteen tables: a restore checksums every page, and one table makes that its slowest part.
static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_GO_ISO);

/// Set in every checksum that is there, so that zero stands for none.
const PRESENT: u64 = 1 << 63;

/// The running checksum that a log file's trailer ends with.
#[derive(Clone)]
pub(super) struct Checksum(Digest<'static, u64, Table<16>>);

impl Checksum {
    pub(super) fn new() -> Checksum {
        Checksum(CRC.digest())
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The value as the trailer has it.
    pub(super) fn finish(self) -> u64 {
        PRESENT | self.0.finalize()
    }
}
