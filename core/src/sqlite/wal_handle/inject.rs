use super::raw::Raw;
use super::{WalHandle, check_first_page};
use crate::types::{Error, ErrorKind, PageNumber, PageSize, Result};
use crate::wal::{FRAME_HEADER_BYTES, Frame, FrameCursor, IndexHeader, WalPoint, frame_offset};

/// How many bytes of frames are gathered before they are written.
const GATHER_BYTES: usize = 64 << 10;

/// Where the pages of a group come from.
pub(crate) trait PageSource {
    /// Fills `page` with the next page and says which one it is; `None` at the end.
    fn next(&mut self, page: &mut [u8]) -> Result<Option<PageNumber>>;
}

impl WalHandle {
    /// Appends pages to the WAL as one commit and makes it visible to readers at once. Gives the point behind
    /// it.
    ///
    /// The write lock must be held, and the WAL must have a header of this generation: one that holds frames
    /// has, and [`WalHandle::reset`] makes one. Every page comes once, in any order, none is above `db_size` (pages) or is the lock page, and
    /// if the database grows all new pages are there: `Corrupt` otherwise. `before_publish` gets the point
    /// when all pages have been taken and before the commit is written, so a group that a crash leaves
    /// behind has been recorded, and its record is proven or the group never was.
    ///
    /// An error leaves what readers see as it was, and the handle fit for the next group. A crash leaves the
    /// state before or after the group: after, only if `before_publish` had returned.
    pub(crate) fn inject(
        &mut self,
        pages: &mut dyn PageSource,
        db_size: u32,
        before_publish: &mut dyn FnMut(&WalPoint) -> Result<()>,
    ) -> Result<WalPoint> {
        if !self.holds_writes {
            return Err(Error::new(ErrorKind::Internal, "pages were injected without the write lock"));
        }
        let mut before = self.header()?;
        if before.last_frame == 0 {
            let found = self.wal_header()?.filter(|found| found.salts == before.salts);
            let found = found.ok_or_else(|| {
                Error::new(ErrorKind::Internal, "pages were injected before a generation was begun")
            })?;
            (before.order, before.checksum) = (found.order, found.point().checksum);
            before.db_size = self.pages_of(&before)?;
        }
        let group = Group::new(&mut self.raw, self.page_size, before, db_size);
        let result = group.append(pages, before_publish);
        if result.is_err() {
            discard(&mut self.raw, self.page_size, &before);
        }
        result
    }
}

/// Removes what a failed group left behind the published frames. A failure to do so does no harm: readers
/// do not look there, and the next group overwrites it.
fn discard(raw: &mut Raw, size: PageSize, before: &IndexHeader) {
    let _ = raw.remove_behind(before.last_frame);
    // A group that is complete up to its commit would be taken for committed by the next recovery.
    let _ = raw.write_wal(&[0; FRAME_HEADER_BYTES], frame_offset(before.last_frame + 1, size));
}

/// A group on its way into the WAL.
struct Group<'a> {
    raw: &'a mut Raw,
    size: PageSize,
    before: IndexHeader,
    db_size: u32,
    cursor: FrameCursor,
    gathered: Vec<u8>,
    offset: u64,
    pages: Vec<PageNumber>,
}

impl<'a> Group<'a> {
    fn new(raw: &'a mut Raw, size: PageSize, before: IndexHeader, db_size: u32) -> Group<'a> {
        Group {
            raw,
            size,
            db_size,
            cursor: FrameCursor::new(before.order, before.point()),
            gathered: Vec::with_capacity(GATHER_BYTES + FRAME_HEADER_BYTES + size.bytes()),
            offset: frame_offset(before.last_frame + 1, size),
            pages: Vec::new(),
            before,
        }
    }

    fn append(
        mut self,
        source: &mut dyn PageSource,
        before_publish: &mut dyn FnMut(&WalPoint) -> Result<()>,
    ) -> Result<WalPoint> {
        self.write_frames(source)?;
        let point = self.cursor.point();
        before_publish(&point)?;
        self.flush()?;
        for (frame, page) in (self.before.last_frame + 1..).zip(&self.pages) {
            self.raw.append_to_index(frame, *page, self.before.last_frame)?;
        }
        self.raw.publish(&IndexHeader {
            change: self.before.change.wrapping_add(1),
            page_size: Some(self.size),
            last_frame: point.frame,
            db_size: self.db_size,
            checksum: point.checksum,
            ..self.before
        });
        Ok(point)
    }

    /// Writes the frames, and keeps back the last ones with the commit. Everything that can be said against
    /// the group is said here.
    fn write_frames(&mut self, source: &mut dyn PageSource) -> Result<()> {
        let mut current = vec![0; self.size.bytes()];
        let mut following = vec![0; self.size.bytes()];
        let mut page = source.next(&mut current)?;
        while let Some(number) = page {
            self.check(number, &current)?;
            self.pages.push(number);
            page = source.next(&mut following)?;
            let commit = if page.is_some() { 0 } else { self.db_size };
            if commit != 0 {
                self.check_group()?;
            }
            self.write_frame(Frame { page: number, commit }, &current)?;
            std::mem::swap(&mut current, &mut following);
        }
        if self.pages.is_empty() {
            return Err(Error::corrupt("a group without pages"));
        }
        Ok(())
    }

    fn write_frame(&mut self, frame: Frame, data: &[u8]) -> Result<()> {
        if self.gathered.len() >= GATHER_BYTES {
            self.flush()?;
        }
        let header = self.cursor.seal(frame, data);
        self.gathered.extend_from_slice(&header);
        self.gathered.extend_from_slice(data);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.raw.write_wal(&self.gathered, self.offset)?;
        self.offset += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }

    fn check(&self, page: PageNumber, data: &[u8]) -> Result<()> {
        if page.get() > self.db_size {
            return Err(Error::corrupt(format!("page {page} of a database with {} pages", self.db_size)));
        }
        if page == self.size.lock_page() {
            return Err(Error::corrupt(format!("page {page} is the lock page, which holds no data")));
        }
        if page == PageNumber::FIRST {
            check_first_page(data, self.size)?;
        }
        if self.cursor.point().frame == u32::MAX {
            return Err(Error::new(ErrorKind::LimitExceeded, "the WAL has no room for more frames"));
        }
        Ok(())
    }

    /// Each page once, and all pages that the database grows by.
    fn check_group(&self) -> Result<()> {
        if !self.pages.is_sorted_by(|left, right| left < right) {
            let mut sorted = self.pages.clone();
            sorted.sort_unstable();
            if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(Error::corrupt(format!("page {} comes twice in a group", twice[0])));
            }
        }
        let old = self.before.db_size;
        let lock_page = self.size.lock_page().get();
        let skipped = u32::from(old < lock_page && lock_page <= self.db_size);
        let grown = self.db_size.saturating_sub(old).saturating_sub(skipped) as usize;
        let new = self.pages.iter().filter(|page| page.get() > old).count();
        if new < grown {
            let message = format!("the database grows by {grown} pages, {new} of them are there");
            return Err(Error::corrupt(message));
        }
        Ok(())
    }
}
