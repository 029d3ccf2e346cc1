use super::{WalHandle, raw::Raw};
use crate::types::{Error, PageSize, Result};
use crate::wal::{FRAME_HEADER_BYTES, FrameCursor, Scan, Scanner, WalPoint, frame_offset};

/// How much of the WAL is read at once, at least one frame.
const READ_BYTES: usize = 256 << 10;

impl WalHandle {
    /// Folds what was committed behind `from` up to `to`, or up to what readers see, into one change.
    ///
    /// Both points must be ends of commits of the present generation. `Corrupt` if the WAL does not prove the
    /// way from one to the other, which is a gap: something else than this handle has changed the WAL, and
    /// only a comparison of all pages tells what.
    ///
    /// Needs no lock: frames that are published stay as they are until a reset, and only this handle resets.
    pub(crate) fn scan(&mut self, from: &WalPoint, to: Option<&WalPoint>) -> Result<Scan> {
        let header = self.header()?;
        let published = self.describe(&header)?;
        let to = to.copied().unwrap_or(published.point);
        if from.salts != published.point.salts || to.salts != published.point.salts {
            return Err(gap(format!("the WAL is generation {:?}", published.point.salts), from, &to));
        }
        if from.frame > to.frame || to.frame > published.point.frame {
            return Err(gap(format!("the WAL has {} frames", published.point.frame), from, &to));
        }
        let mut scanner = Scanner::new(header.order, *from, published.db_size);
        walk(&self.raw, self.page_size, from.frame + 1..to.frame + 1, |frame_header, page| {
            scanner.push(frame_header, page)
        })?;
        scanner.finish(&to).map_err(|error| gap(error.message(), from, &to))
    }

    /// The newest of these points that the WAL proves, as an index: same generation, not beyond what readers
    /// see, same cumulative checksum. Points must be ends of commits when they were made; only then does a
    /// proof say what the database held there.
    ///
    /// Reads the whole WAL once. `Corrupt` if the WAL does not verify up to what readers see.
    pub(crate) fn prove(&mut self, points: &[WalPoint]) -> Result<Option<usize>> {
        let header = self.header()?;
        if header.last_frame == 0 {
            // A generation's start says that the database file alone holds the state. That is so from the
            // moment that the wal-index names the generation, before the file has its header.
            return Ok(points.iter().rposition(|point| point.frame == 0 && point.salts == header.salts));
        }
        let found = self.wal_header()?.filter(|found| found.salts == header.salts);
        let start = found.ok_or_else(|| unproven(0))?.point();
        let mut newest = newest_of(points, &start, None);
        let mut cursor = FrameCursor::new(header.order, start);
        let frames = 1..header.last_frame + 1;
        walk(&self.raw, self.page_size, frames, |frame_header, page| {
            let continues = cursor.verify(frame_header, page).is_some();
            if continues {
                newest = newest_of(points, &cursor.point(), newest);
            }
            continues
        })?;
        if cursor.point() != header.point() {
            return Err(unproven(header.last_frame));
        }
        Ok(newest)
    }
}

/// Hands published frames to `take`, which says whether one continues the WAL.
fn walk(
    raw: &Raw,
    size: PageSize,
    frames: std::ops::Range<u32>,
    mut take: impl FnMut(&[u8; FRAME_HEADER_BYTES], &[u8]) -> bool,
) -> Result<()> {
    let frame_bytes = FRAME_HEADER_BYTES + size.bytes();
    let at_once = (READ_BYTES / frame_bytes).clamp(1, frames.len().max(1));
    let mut buffer = vec![0; at_once * frame_bytes];
    let mut next = frames.start;
    while next < frames.end {
        let count = at_once.min((frames.end - next) as usize);
        let bytes = &mut buffer[..count * frame_bytes];
        if !raw.read_wal(bytes, frame_offset(next, size))? {
            return Err(Error::corrupt(format!("the WAL ends before frame {}", frames.end - 1)));
        }
        for frame in bytes.chunks_exact(frame_bytes) {
            let (header, page) = frame.split_first_chunk().expect("BUG: a frame is longer than its header");
            if !take(header, page) {
                return Err(unproven(next));
            }
            next += 1;
        }
    }
    Ok(())
}

fn newest_of(points: &[WalPoint], proven: &WalPoint, before: Option<usize>) -> Option<usize> {
    points.iter().rposition(|point| point == proven).or(before)
}

fn unproven(frame: u32) -> Error {
    Error::corrupt(format!("frame {frame} of the WAL does not continue the ones before it"))
}

fn gap(reason: impl std::fmt::Display, from: &WalPoint, to: &WalPoint) -> Error {
    Error::corrupt(format!("a gap in the WAL between {from:?} and {to:?}: {reason}"))
}
