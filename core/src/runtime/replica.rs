use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::journal_file::JournalFile;
use super::local_files::LocalFiles;
use crate::replication::{MainFile, Record, RecordKind};
use crate::sqlite::{Published, WalHandle};
use crate::types::{Error, ErrorKind, PageSize, Position, Result};
use crate::wal::WalPoint;

/// The local copy of the database, and what is proven of it: the point of the WAL at which it equals the
/// log at a position.
///
/// The position is what the recovered WAL proves, never what a side file claims: a record of the journal
/// counts only if the WAL holds the very frames that it names. Frames beyond the boundary are a *tail*
/// (commits that no slot has) or a *residue* (slots whose record did not survive); until they are
/// accounted for, no slot is applied.
///
/// As long as this value lives it keeps the WAL from being restarted by anybody else, and while it holds
/// the write lock (always, except while the node leads) nobody else can commit.
pub(crate) struct Replica {
    pub(super) files: Arc<LocalFiles>,
    pub(super) wal: WalHandle,
    pub(super) journal: JournalFile,
    pub(super) boundary: Boundary,
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
        let mut replica = Replica { files, wal, journal, boundary };
        match replica.find_boundary()? {
            Some(boundary) => {
                replica.boundary = boundary;
                Ok(Opened::Proven(replica))
            }
            None => Ok(Opened::Unproven(replica)),
        }
    }

    /// Where the database equals the log.
    pub(crate) fn boundary(&self) -> Boundary {
        self.boundary
    }

    /// The size of the database's pages.
    pub(crate) fn page_size(&self) -> PageSize {
        self.wal.page_size()
    }

    /// What SQLite has published of the WAL.
    pub(crate) fn published(&mut self) -> Result<Published> {
        self.wal.published()
    }

    /// Whether there are frames beyond the boundary.
    pub(crate) fn has_frames_beyond(&mut self) -> Result<bool> {
        Ok(self.published()?.point != self.boundary.point)
    }

    /// Whether a slot after the boundary was about to be sent, so that the log may hold one of our own.
    pub(crate) fn has_intents(&self) -> bool {
        !self.journal.journal().intents_after(self.boundary.position.txid).is_empty()
    }

    /// How many bytes of the WAL lie beyond the boundary.
    pub(crate) fn bytes_beyond(&mut self) -> Result<u64> {
        let frames = self.published()?.point.frame.saturating_sub(self.boundary.point.frame);
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

    /// Starts a new generation of the WAL if everything in it is at the boundary and in the main file, and
    /// no reader needs it. `false` if that is not so, or if the locks are not free at this moment.
    ///
    /// The new generation's first point is durable in the journal before its header is written, so a crash
    /// at any moment leaves a WAL whose boundary is proven.
    pub(crate) fn reset_wal(&mut self) -> Result<bool> {
        let Boundary { point, position, size } = self.boundary;
        let journal = &mut self.journal;
        let mut recorded = None;
        let mut record = |points: &[WalPoint; 2]| {
            for point in points {
                journal.append(Record { kind: RecordKind::Boundary, point: *point, position })?;
            }
            recorded = Some(*points);
            journal.sync()
        };
        match self.wal.reset(&point, &mut record) {
            Ok(Some(point)) => {
                self.boundary = Boundary { point, position, size };
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => {
                // The new generation may have begun: then the boundary is where it begins.
                if let Ok(published) = self.published()
                    && recorded.is_some_and(|points| points.contains(&published.point))
                {
                    self.boundary = Boundary { point: published.point, position, size };
                }
                Err(error)
            }
        }
    }

    /// The last word of a clean close: the WAL is kept, and any change of the main file voids the proof.
    pub(crate) fn close(&mut self) -> Result<()> {
        let main = main_file(self.files.database())?;
        self.append_durably(RecordKind::Closed(main))
    }

    fn append_durably(&mut self, kind: RecordKind) -> Result<()> {
        let Boundary { point, position, .. } = self.boundary;
        self.journal.append_durably(Record { kind, point, position })
    }

    fn find_boundary(&mut self) -> Result<Option<Boundary>> {
        if let Some(left) = self.journal.journal().closed()
            && left != main_file(self.files.database())?
        {
            tracing::warn!("the database was changed while it was closed: it will be compared with the log");
            return Ok(None);
        }
        // Without a WAL nothing but the main file can prove anything: it has to be the one that was recorded.
        let main = RecordKind::Closed(main_file(self.files.database())?);
        let mut records = self.journal.journal().boundaries();
        records.retain(|record| record.point != WalPoint::default() || record.kind == main);
        let points: Vec<WalPoint> = records.iter().map(|record| record.point).collect();
        let Some(newest) = self.wal.prove(&points)? else { return Ok(None) };
        // Of several records for one point the last is the newest.
        let Some(record) = records.iter().rev().find(|record| record.point == points[newest]) else {
            return Err(Error::new(ErrorKind::Internal, "a proven point has no record"));
        };
        let size = self.wal.commit_size(record.point.frame)?;
        Ok(Some(Boundary { point: record.point, position: record.position, size }))
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
