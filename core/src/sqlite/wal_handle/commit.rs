use super::WalHandle;
use crate::types::{Error, Result};
use crate::wal::{FRAME_HEADER_BYTES, frame_offset};

impl WalHandle {
    /// The size in pages that the database has at a frame that ends a commit; at frame 0, that of the
    /// database file.
    ///
    /// `Corrupt` if the frame ends no commit.
    pub(crate) fn commit_size(&mut self, frame: u32) -> Result<u32> {
        if frame == 0 {
            let pages = self.raw.database_bytes()? / u64::from(self.page_size.get());
            return u32::try_from(pages).map_err(|_| Error::corrupt("the database file is too large"));
        }
        let mut header = [0; FRAME_HEADER_BYTES];
        if !self.raw.read_wal(&mut header, frame_offset(frame, self.page_size))? {
            return Err(Error::corrupt(format!("the WAL ends before frame {frame}")));
        }
        match u32::from_be_bytes([header[4], header[5], header[6], header[7]]) {
            0 => Err(Error::corrupt(format!("frame {frame} of the WAL ends no commit"))),
            size => Ok(size),
        }
    }
}
