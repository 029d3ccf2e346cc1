use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::log_source::{LogSource, names_a_log};
use crate::bucket::Bucket;
use crate::runtime::{RestoreOptions, RestoreRequest, Until, complete, restore_database, run_blocking};
use crate::types::{Check, Position, Problem, Progress, Result, Timestamp, Txid};

/// Makes a database from a bucket alone, without a node.
///
/// ```no_run
/// # fn restore() -> haqlite::Result<()> {
/// let restored = haqlite::Restore::new("s3://my-bucket").db_name("my").run("/data/copy.db")?;
/// println!("{} pages, up to slot {}", restored.pages, restored.position.txid);
/// # Ok(())
/// # }
/// ```
#[must_use = "a restore does nothing before `run`"]
#[derive(Clone)]
pub struct Restore {
    source: LogSource,
    request: RestoreRequest,
    check: Check,
    replace: bool,
}

names_a_log!(Restore);

/// What a restore made.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RestoredDatabase {
    /// Where it is.
    pub path: PathBuf,
    /// The position of the log that it holds. The chain value is zero if nothing in the log tells it, as in
    /// logs of other tools.
    pub position: Position,
    /// When the last of its commits was captured, by the clock of who captured it.
    pub timestamp: Timestamp,
    /// Its size in pages.
    pub pages: u32,
    /// Files of the log that it was made of.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Whether another tool wrote any of the files.
    pub written_by_another_tool: bool,
    /// Damaged objects of the log that were done without, because others hold the same.
    pub damaged: Vec<Problem>,
    /// With [`Restore::last_good`]: what ended the restore early. `None` if it reached what was asked for.
    pub left_out: Option<String>,
}

impl Restore {
    /// From the bucket that this URL names, as [`Builder::bucket`](crate::Builder::bucket) has it. The
    /// database's name is the stem of the target, if [`Restore::db_name`] gives no other.
    pub fn new(url: impl Into<String>) -> Restore {
        Restore::over(LogSource::url(url))
    }

    /// As [`Restore::new`], from this bucket.
    pub fn from_bucket(bucket: impl Bucket) -> Restore {
        Restore::over(LogSource::bucket(bucket))
    }

    pub(crate) fn over(source: LogSource) -> Restore {
        Restore { source, request: RestoreRequest::default(), check: Check::Quick, replace: false }
    }

    /// The slot to restore, exactly; the newest by default. Slots that were compacted away cannot be named,
    /// but the last of a compacted file.
    pub fn txid(mut self, txid: impl Into<Option<u64>>) -> Restore {
        self.request.until = txid.into().map_or(Until::End, |txid| Until::Slot(Txid::new(txid)));
        self
    }

    /// The newest state that is not later than this moment, instead of a slot.
    ///
    /// A log file has the time at which the last of its commits was captured, by the leader's clock, and
    /// counts as a whole: what was compacted can be restored as of the ends of the compacted files.
    pub fn timestamp(mut self, moment: impl Into<Timestamp>) -> Restore {
        self.request.until = Until::Moment(moment.into());
        self
    }

    /// Replaces what is at the path, if nobody has it open. By default nothing must be there.
    pub fn replace(mut self, replace: bool) -> Restore {
        self.replace = replace;
        self
    }

    /// How SQLite checks the database before it gets its name; [`Check::Quick`] by default.
    pub fn check(mut self, check: Check) -> Restore {
        self.check = check;
        self
    }

    /// If the log is damaged or has a hole, restores up to there instead of failing;
    /// [`RestoredDatabase::left_out`] says why it ended.
    pub fn last_good(mut self, last_good: bool) -> Restore {
        self.request.last_good = last_good;
        self
    }

    /// Tells how far it is, on a thread of the restore, which waits meanwhile.
    pub fn progress(mut self, progress: impl Fn(Progress) + Send + Sync + 'static) -> Restore {
        self.request.progress = Some(Arc::new(progress));
        self
    }

    /// Writes the database to `path` on the caller's thread.
    ///
    /// Every file and each link between two files is checked, the result passes SQLite's check, is on the
    /// disk and gets its name last: a crash leaves what was at the path before, and at most a file that ends
    /// in `.restoring`. A damaged file is done without if others have the same slots. Memory is bounded.
    ///
    /// `InUse` if there is something at the path and it may not be replaced or is open, `InvalidArgument` if
    /// the log does not reach the slot or the moment, `Corrupt` if the log is damaged or has a hole: the
    /// error names the object or the slots.
    pub fn run(self, path: impl AsRef<Path>) -> Result<RestoredDatabase> {
        let target = path.as_ref().to_path_buf();
        let place = self.source.open(Some(&target))?;
        let options = RestoreOptions {
            bucket: place.bucket,
            root: place.root,
            target: target.clone(),
            request: self.request,
            check: self.check,
            replace: self.replace,
        };
        let restored = complete(restore_database(options))??;
        Ok(RestoredDatabase {
            path: target,
            position: restored.position,
            timestamp: Timestamp::from_unix_ms(restored.timestamp_ms),
            pages: restored.size,
            files: restored.read.files,
            bytes: restored.read.bytes,
            written_by_another_tool: restored.foreign,
            damaged: restored.damaged,
            left_out: restored.left_out,
        })
    }

    /// As [`Restore::run`], under any executor.
    pub fn run_async(
        self,
        path: impl AsRef<Path>,
    ) -> impl Future<Output = Result<RestoredDatabase>> + Send + 'static {
        let path = path.as_ref().to_path_buf();
        run_blocking(move || self.run(path))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Timestamp {
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_unix_ms(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => ms(after),
            Err(before) => -ms(before.duration()),
        })
    }
}
