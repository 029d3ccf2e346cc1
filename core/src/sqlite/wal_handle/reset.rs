use super::raw::lock;
use super::{WalHandle, check_first_page};
use crate::types::{PageNumber, Result};
use crate::wal::{
    ByteOrder, Frame, FrameCursor, IndexHeader, Salts, WAL_HEADER_BYTES, WalHeader, WalPoint, frame_offset,
};

/// Read slots 1 to 3. The fourth is the barrier, which this handle shares with nobody.
const READERS: (i32, i32) = (lock::read(1), 3);

impl WalHandle {
    /// Begins a new generation of the WAL if `at` is what readers see and all of it is in the database file;
    /// also on a WAL without frames. Gives the point behind the new generation's first frame.
    ///
    /// That frame is a commit of page 1 as it is, so that no writer of SQLite chooses salts of its own. The
    /// database holds the same at `at`, at the new generation's start (frame 0) and behind its first frame:
    /// `before_header` gets the latter two points, in this order, and makes them durable before anything is
    /// written. It runs under locks that stop writers and checkpoints, not readers.
    ///
    /// `None`, with nothing changed, if somebody writes, checkpoints, or reads from the WAL, or if `at` is not
    /// what is asked for. An error of `before_header` changes nothing either. After an I/O error the WAL is
    /// empty and may lack its header; another reset from what is then published makes it whole. A crash leaves
    /// the database as it is, and a WAL that proves `at` or one of the new points.
    pub(crate) fn reset(
        &mut self,
        at: &WalPoint,
        before_header: &mut dyn FnMut(&[WalPoint; 2]) -> Result<()>,
    ) -> Result<Option<WalPoint>> {
        let held = self.holds_writes;
        if !held && !self.raw.lock_exclusive(lock::WRITE, 1)? {
            return Ok(None);
        }
        self.holds_writes = true;
        let result = self.reset_as_writer(at, before_header);
        if !held {
            self.release_writes();
        }
        result
    }

    fn reset_as_writer(
        &mut self,
        at: &WalPoint,
        before_header: &mut dyn FnMut(&[WalPoint; 2]) -> Result<()>,
    ) -> Result<Option<WalPoint>> {
        if !self.raw.lock_exclusive(lock::CHECKPOINT, 1)? {
            return Ok(None);
        }
        let result = match self.plan(at) {
            Ok(Some(plan)) => self.begin(plan, before_header),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        self.raw.unlock_exclusive(lock::CHECKPOINT, 1);
        result
    }

    /// Everything about the new generation, if now is the time for it.
    fn plan(&mut self, at: &WalPoint) -> Result<Option<Plan>> {
        let Some(old) = self.raw.try_header()? else { return Ok(None) };
        let published = self.describe(&old)?;
        if published.point != *at || published.backfilled != at.frame {
            return Ok(None);
        }
        // SQLite did this at the end of the checkpoint, unless that one ran with synchronous=OFF.
        self.raw.sync_database()?;
        let mut page = vec![0; self.page_size.bytes()];
        self.raw.read_database_page(PageNumber::FIRST, &mut page)?;
        check_first_page(&page, self.page_size)?;
        let sequence = self.wal_header()?.map_or(0, |header| header.sequence).wrapping_add(1);
        let salts = next_salts(old.salts);
        let header = WalHeader { order: ByteOrder::Little, page_size: self.page_size, sequence, salts };
        let mut cursor = FrameCursor::new(header.order, header.point());
        let commit = Frame { page: PageNumber::FIRST, commit: published.db_size };
        let mut frame = cursor.seal(commit, &page).to_vec();
        frame.extend_from_slice(&page);
        let points = [header.point(), cursor.point()];
        Ok(Some(Plan { old, header, frame, points, db_size: published.db_size }))
    }

    fn begin(
        &mut self,
        plan: Plan,
        before_header: &mut dyn FnMut(&[WalPoint; 2]) -> Result<()>,
    ) -> Result<Option<WalPoint>> {
        // Readers do not wait for this: with all frames in the database file they use slot 0.
        if !self.raw.lock_exclusive(READERS.0, READERS.1)? {
            return Ok(None);
        }
        let recorded = before_header(&plan.points);
        let empty = IndexHeader {
            last_frame: 0,
            order: plan.header.order,
            page_size: Some(self.page_size),
            db_size: plan.db_size,
            checksum: plan.points[0].checksum,
            salts: plan.header.salts,
            change: plan.old.change,
        };
        if recorded.is_ok() {
            // First here, then on the disk: were the header on the disk first and we died between, a writer
            // that knows the old wal-index would append frames that no recovery accepts.
            self.raw.publish_restart(&empty);
        }
        self.raw.unlock_exclusive(READERS.0, READERS.1);
        recorded?;
        self.write_start(&plan)?;
        let first = plan.points[1];
        self.raw.append_to_index(first.frame, PageNumber::FIRST, 0)?;
        let change = empty.change.wrapping_add(1);
        self.raw.publish(&IndexHeader { last_frame: first.frame, checksum: first.checksum, change, ..empty });
        Ok(Some(first))
    }

    fn write_start(&self, plan: &Plan) -> Result<()> {
        self.raw.write_wal(&plan.header.encode(), 0)?;
        // Were a frame on the disk without the header, it could be taken for one of the old generation
        // (SQLite's ticket ff5be73dee).
        self.raw.sync_wal()?;
        debug_assert_eq!(frame_offset(1, self.page_size), WAL_HEADER_BYTES as u64);
        self.raw.write_wal(&plan.frame, WAL_HEADER_BYTES as u64)
    }
}

struct Plan {
    old: IndexHeader,
    header: WalHeader,
    frame: Vec<u8>,
    points: [WalPoint; 2],
    db_size: u32,
}

/// Salts as SQLite makes them: the first one counts up, so that no two neighbours are equal, the second is
/// random. Without a generation before, both are random.
fn next_salts(old: Salts) -> Salts {
    let [a, b, c, d, ..] = old.0;
    let first = match u32::from_be_bytes([a, b, c, d]) {
        0 => random(),
        counted => counted.wrapping_add(1),
    };
    let mut salts = Salts::default();
    salts.0[..4].copy_from_slice(&first.to_be_bytes());
    salts.0[4..].copy_from_slice(&random().to_be_bytes());
    salts
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    // SAFETY: the function fills the four bytes that it is told of.
    unsafe { rusqlite::ffi::sqlite3_randomness(4, bytes.as_mut_ptr().cast()) };
    u32::from_be_bytes(bytes)
}
