use std::collections::BTreeMap;

use super::{ByteOrder, FRAME_HEADER_BYTES, Frame, FrameCursor, WalPoint};
use crate::types::{Error, PageNumber, Result};

/// The committed frames of a stretch of the WAL, folded into one change of the database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scan {
    /// The point behind the last commit.
    pub to: WalPoint,
    /// The size of the database in pages after the last commit.
    pub db_size: u32,
    /// The smallest size of the database in pages after any of the commits. A page above it that is not in
    /// `pages` has been cut off or never written, and whoever ships the change must add it.
    pub smallest_db_size: u32,
    /// The newest frame of each page that was written and is not above `db_size`.
    pub pages: BTreeMap<PageNumber, u32>,
    /// How many commits.
    pub commits: u32,
}

/// Takes the frames of a WAL one by one, verifies each, and folds those of finished commits into a [`Scan`].
#[derive(Debug)]
pub struct Scanner {
    cursor: FrameCursor,
    open: Vec<(PageNumber, u32)>,
    scan: Scan,
}

impl Scanner {
    /// A scanner of the frames behind `from`, where the database has `db_size` pages.
    pub fn new(order: ByteOrder, from: WalPoint, db_size: u32) -> Scanner {
        let scan = Scan { to: from, db_size, smallest_db_size: db_size, pages: BTreeMap::new(), commits: 0 };
        Scanner { cursor: FrameCursor::new(order, from), open: Vec::new(), scan }
    }

    /// Takes the next frame. Says whether it continues the WAL; if not, nothing behind it does.
    pub fn push(&mut self, header: &[u8; FRAME_HEADER_BYTES], data: &[u8]) -> bool {
        let Some(Frame { page, commit }) = self.cursor.verify(header, data) else {
            return false;
        };
        self.open.push((page, self.cursor.point().frame));
        if commit != 0 {
            self.commit(commit);
        }
        true
    }

    /// The point behind the last frame that was taken, committed or not.
    pub fn point(&self) -> WalPoint {
        self.cursor.point()
    }

    /// The change, which must end at `to`: `Corrupt` if the frames taken do not prove that point, or if it
    /// is in the middle of a transaction.
    pub fn finish(mut self, to: &WalPoint) -> Result<Scan> {
        if self.cursor.point() != *to {
            return Err(Error::corrupt(format!("the WAL proves {:?}, not {to:?}", self.cursor.point())));
        }
        if self.scan.to != *to {
            return Err(Error::corrupt(format!("frame {} of the WAL does not end a commit", to.frame)));
        }
        let db_size = self.scan.db_size;
        self.scan.pages.retain(|page, _| page.get() <= db_size);
        Ok(self.scan)
    }

    fn commit(&mut self, db_size: u32) {
        let scan = &mut self.scan;
        scan.pages.extend(self.open.drain(..));
        scan.to = self.cursor.point();
        scan.db_size = db_size;
        scan.smallest_db_size = match scan.commits {
            0 => db_size,
            _ => scan.smallest_db_size.min(db_size),
        };
        scan.commits += 1;
    }
}
