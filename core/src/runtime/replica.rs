use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::journal_file::JournalFile;
use super::local_files::LocalFiles;
use super::spool::Spool;
use crate::replication::{MainFile, Record, RecordKind};
use crate::sqlite::{Published, WalHandle};
use crate::types::{Error, ErrorKind, PageSize, Position, Result, Txid};
use crate::wal::WalPoint;

/// The local copy of the database, and what is proven of it: the point of the WAL at which it equals the
/// log at a position.
///
/// The position is what the recovered WAL proves, never what a side file claims: a record of the journal
/// counts only if the WAL holds the very frames that it names. Frames beyond the boundary are a *tail*
/// (commits that no slot has) or a *residue* (slots whose record did not survive); until they are
/// accounted for, no slot is applied.
///
/// With a *spool* the database is ahead of the log by slots that are made and not confirmed. The *boundary*
/// stays what it is, the log's position; the *edge* is where the next slot begins, the end of the spool. Only
/// the edge's point is one of this WAL, only the boundary's position is one of the log.
///
/// As long as this value lives it keeps the WAL from being restarted by anybody else, and while it holds
/// the write lock (always, except while the node leads) nobody else can commit.
pub(crate) struct Replica {
    pub(super) files: Arc<LocalFiles>,
    pub(super) wal: WalHandle,
    pub(super) journal: JournalFile,
    pub(super) boundary: Boundary,
    pub(super) spool: Spool,
}

/// Where the local database equals the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Boundary {
    /// The point of the WAL.
    pub(crate) point: WalPoint,
    /// The position of the log.
    pub(crate) position: Position,
    /// The size of the database there, in pages.
    pub(crate) size: u32,
}

/// What opening the local database showed.
pub(crate) enum Opened {
    /// The WAL proves a boundary.
    Proven(Replica),
    /// Nothing is proven: the database must be compared with the log, page by page.
    Unproven(Replica),
}

/// For how long the write lock is waited for: only a foreign process can hold it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

impl Replica {
    /// Opens the database at `files`, lets SQLite recover its WAL, takes the barrier and the write lock,
    /// and finds the newest boundary that the WAL proves.
    pub(crate) fn open(files: Arc<LocalFiles>) -> Result<Opened> {
        let journal = JournalFile::open(&files.journal())?;
        let mut wal = WalHandle::open(files.database())?;
        wal.hold_writes(LOCK_TIMEOUT)?;
        let boundary = Boundary { point: WalPoint::default(), position: Position::default(), size: 0 };
        let spool = Spool::empty(&files);
        let mut replica = Replica { files, wal, journal, boundary, spool };
        if !replica.find_boundary()? {
            return Ok(Opened::Unproven(replica));
        }
        replica.spool.sweep()?;
        Ok(Opened::Proven(replica))
    }

    /// Where the database equals the log. While there is a spool the position is the log's as always, and the
    /// point need not be one of this WAL.
    pub(crate) fn boundary(&self) -> Boundary {
        self.boundary
    }

    /// Where the next slot begins: at the end of the spool, or at the boundary if there is none. A spool's
    /// position is provisional, since the log may get other slots instead.
    pub(crate) fn edge(&self) -> Boundary {
        self.spool.last().map_or(self.boundary, |slot| slot.boundary)
    }

    /// The position that was recorded last, if the WAL proves none.
    pub(crate) fn known_position(&self) -> Position {
        match self.boundary.position.txid {
            Txid::ZERO => self.journal.journal().newest_position().unwrap_or_default(),
            _ => self.boundary.position,
        }
    }

    /// The size of the database's pages.
    pub(crate) fn page_size(&self) -> PageSize {
        self.wal.page_size()
    }

    /// What SQLite has published of the WAL.
    pub(crate) fn published(&mut self) -> Result<Published> {
        self.wal.published()
    }

    /// Whether there is anything beyond the boundary that the log does not have, a tail or a residue: a spool, or
    /// frames of the WAL.
    pub(crate) fn has_frames_beyond(&mut self) -> Result<bool> {
        Ok(!self.spool.is_empty() || self.has_loose_frames()?)
    }

    /// Whether there are frames beyond the edge, which neither the log nor the spool has.
    pub(crate) fn has_loose_frames(&mut self) -> Result<bool> {
        Ok(self.published()?.point != self.edge().point)
    }

    /// Whether a slot after the boundary was about to be sent, so that the log may hold one of our own.
    pub(crate) fn has_intents(&self) -> bool {
        !self.journal.journal().intents_after(self.boundary.position.txid).is_empty()
    }

    /// How many bytes of the WAL lie beyond the point, which is the edge's or after it.
    pub(crate) fn bytes_beyond(&mut self, point: WalPoint) -> Result<u64> {
        let frames = self.published()?.point.frame.saturating_sub(point.frame);
        Ok(u64::from(frames) * (u64::from(self.page_size().get()) + 24))
    }

    /// Whether nobody else can write.
    pub(crate) fn is_locked(&self) -> bool {
        self.wal.holds_writes()
    }

    /// Lets others write: the node leads. The word on the role is durable before the lock goes.
    pub(crate) fn lead(&mut self) -> Result<()> {
        self.append_durably(RecordKind::Leading)?;
        self.wal.release_writes();
        Ok(())
    }

    /// Takes the write lock again: the node no longer leads. Frames beyond the boundary stay what they
    /// are, its own commits, until they are accounted for.
    pub(crate) fn stop_leading(&mut self) -> Result<()> {
        self.wal.hold_writes(LOCK_TIMEOUT)
    }

    /// Writes down that frames from here on come from the log.
    pub(crate) fn follow(&mut self) -> Result<()> {
        if !self.journal.journal().was_leading() {
            return Ok(());
        }
        self.append_durably(RecordKind::Following)
    }

    /// Moves the boundary: the database at `point` is the log at `position`. The record reaches the disk
    /// with the next `sync`; without it the log proves the same, by the intent or by being applied again.
    pub(super) fn set_boundary(&mut self, boundary: Boundary) -> Result<()> {
        let Boundary { point, position, .. } = boundary;
        self.journal.append(Record { kind: RecordKind::Boundary, point, position })?;
        self.boundary = boundary;
        Ok(())
    }

    /// The log has the first slot of the spool, byte for byte: the boundary moves to it. The slot's file goes
    /// when that is durable; a crash before leaves the file, and the log to be asked again.
    pub(super) fn confirm_spooled(&mut self) -> Result<()> {
        let Some(first) = self.spool.first() else {
            return Err(Error::new(ErrorKind::Internal, "a spooled slot is confirmed and there is none"));
        };
        let (point, position) = (self.edge().point, first.boundary.position);
        // Of the point only the end of the spool is proof.
        let kind = if self.spool.len() == 1 { RecordKind::Boundary } else { RecordKind::Confirmed };
        self.journal.append_durably(Record { kind, point, position })?;
        self.boundary = first.boundary;
        self.spool.remove_first();
        Ok(())
    }

    /// The database has become the log at the boundary, whatever the spool held: first that is durable, then
    /// the spool goes.
    pub(super) fn abandon_spool(&mut self) -> Result<()> {
        if self.spool.is_empty() {
            return Ok(());
        }
        let mut spool = std::mem::replace(&mut self.spool, Spool::empty(&self.files));
        self.journal.sync()?;
        self.wal.sync_frames()?;
        spool.clear();
        Ok(())
    }

    /// The database that was just put in place is the log at `position`: its WAL begins with a generation
    /// that proves it.
    pub(crate) fn begin_at(&mut self, position: Position) -> Result<()> {
        let published = self.published()?;
        self.boundary = Boundary { point: published.point, position, size: published.db_size };
        match self.reset_wal()? {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Busy, "the new database's WAL is in use by another process")),
        }
    }

    /// Gives a WAL without frames its first one: stock SQLite would begin it with salts of its own, and the
    /// capture could not tell that from a gap.
    pub(crate) fn ensure_generation(&mut self) -> Result<()> {
        if self.published()?.point.frame > 0 || self.reset_wal()? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Busy, "the WAL is in use by another process"))
    }

    /// Starts a new generation of the WAL if everything in it is in the log or in the spool, and in the main
    /// file, and no reader needs it. `false` if that is not so, or if the locks are not free at this moment.
    ///
    /// The new generation's first point is durable in the journal before its header is written, so a crash
    /// at any moment leaves a WAL whose edge is proven. With a spool the record says so: it proves nothing of
    /// the log, and without the spool's files nothing at all.
    pub(crate) fn reset_wal(&mut self) -> Result<bool> {
        let Boundary { point, position, .. } = self.edge();
        let kind = if self.spool.is_empty() { RecordKind::Boundary } else { RecordKind::Spooled };
        let journal = &mut self.journal;
        let mut recorded = None;
        let mut record = |points: &[WalPoint; 2]| {
            for point in points {
                journal.append(Record { kind, point: *point, position })?;
            }
            recorded = Some(*points);
            journal.sync()
        };
        match self.wal.reset(&point, &mut record) {
            Ok(Some(point)) => {
                self.move_edge(point);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => {
                // The new generation may have begun: then the edge is where it begins.
                if let Ok(published) = self.published()
                    && recorded.is_some_and(|points| points.contains(&published.point))
                {
                    self.move_edge(published.point);
                }
                Err(error)
            }
        }
    }

    fn move_edge(&mut self, point: WalPoint) {
        match self.spool.is_empty() {
            true => self.boundary.point = point,
            false => self.spool.move_end(point),
        }
    }

    /// The last word of a clean close: the WAL is kept, and any change of the main file voids the proof.
    pub(crate) fn close(&mut self) -> Result<()> {
        let main = main_file(self.files.database())?;
        let Boundary { point, position, .. } = self.edge();
        let kind = match self.spool.is_empty() {
            true => RecordKind::Closed(main),
            false => RecordKind::SpooledClosed(main),
        };
        self.journal.append_durably(Record { kind, point, position })
    }

    fn append_durably(&mut self, kind: RecordKind) -> Result<()> {
        let Boundary { point, position, .. } = self.boundary;
        self.journal.append_durably(Record { kind, point, position })
    }

    /// Finds what the WAL proves, and the spool that belongs to it; `false` if that is nothing.
    fn find_boundary(&mut self) -> Result<bool> {
        let closed = self.journal.journal().closed();
        if closed.is_some_and(|left| main_file(self.files.database()).is_ok_and(|main| main != left)) {
            tracing::warn!("the database was changed while it was closed: it will be compared with the log");
            return Ok(false);
        }
        // Without a WAL nothing but the main file can prove anything: it has to be the one that was recorded.
        let main = RecordKind::Closed(main_file(self.files.database())?);
        let mut records = self.journal.journal().points();
        records.retain(|record| record.point != WalPoint::default() || record.kind == main);
        let points: Vec<WalPoint> = records.iter().map(|record| record.point).collect();
        let Some(newest) = self.wal.prove(&points)? else { return Ok(false) };
        // Of several records for one point the last is the newest.
        let Some(record) = records.iter().rev().find(|record| record.point == points[newest]) else {
            return Err(Error::new(ErrorKind::Internal, "a proven point has no record"));
        };
        let size = self.wal.commit_size(record.point.frame)?;
        let end = Boundary { point: record.point, position: record.position, size };
        if self.journal.journal().spooled_beyond(record) {
            // The frames were on the disk before the record of their slot was written, and are gone.
            tracing::warn!("the WAL lacks commits that are spooled: it will be compared with the log");
            return Ok(false);
        }
        match Spool::load(&self.files, end, self.journal.journal()) {
            Ok((_, spool)) if spool.is_empty() => self.boundary = end,
            Ok((position, spool)) => {
                // No point is the boundary's: it is taken for one of this WAL by nobody.
                self.boundary = Boundary { point: WalPoint::default(), position, size: 0 };
                self.spool = spool;
            }
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::warn!("{error}: the database will be compared with the log");
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

/// What tells the file from one that somebody changed.
pub(super) fn main_file(path: &Path) -> Result<MainFile> {
    use std::os::unix::fs::MetadataExt;
    let meta =
        std::fs::metadata(path).map_err(|e| Error::io(format_args!("looking at {}", path.display()), e))?;
    let modified_ns = meta.mtime().wrapping_mul(1_000_000_000).wrapping_add(meta.mtime_nsec());
    Ok(MainFile { size: meta.len(), inode: meta.ino(), modified_ns })
}
