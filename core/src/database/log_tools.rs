use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use super::log_source::{LogPlace, LogSource, names_a_log};
use crate::bucket::Bucket;
use crate::replication::LogFile;
use crate::runtime::{Log, Scratch, Survey, complete, meet, run_blocking, survey};
use crate::types::{Epoch, NodeId, Result, Timestamp, Txid};

/// What can be done with a log in its bucket without a node. Looking at it needs a key that may read, no more.
///
/// ```no_run
/// # fn look() -> haqlite::Result<()> {
/// let info = haqlite::LogTools::new("s3://my-bucket").db_name("my").info()?;
/// println!("{} slots, {} bytes", info.newest.map_or(0, |newest| newest.txid.get()), info.bytes);
/// # Ok(())
/// # }
/// ```
///
/// Every verb fails with `InvalidArgument` if there is no log, `StoreUnavailable` or `Unauthorized` if the bucket
/// does not answer. Each has a twin that ends in `_async` and runs under any executor.
#[must_use = "tools do nothing before one is used"]
#[derive(Clone)]
pub struct LogTools {
    source: LogSource,
    staging: PathBuf,
}

names_a_log!(LogTools);

/// A file of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LogFileInfo {
    /// 0 for slots, 1 to 8 for compactions, 9 for snapshots.
    pub level: u8,
    /// The first slot that it covers.
    pub min: Txid,
    /// The last slot that it covers.
    pub max: Txid,
    /// Bytes.
    pub size: u64,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
}

/// A state that can be restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RestorePoint {
    /// The slot.
    pub txid: Txid,
    /// When the last of its commits was captured, by the leader's clock.
    pub timestamp: Timestamp,
}

/// The files of one level together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LevelInfo {
    /// 0 for slots, 1 to 8 for compactions, 9 for snapshots.
    pub level: u8,
    /// How many.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// The first slot that any of them covers.
    pub min: Txid,
    /// The last one.
    pub max: Txid,
}

/// What the lease that is kept beside a log says. Whether it still holds is not known from one look.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LeaseInfo {
    /// The node that holds or held it.
    pub holder: NodeId,
    /// Where others reach that node.
    pub address: String,
    /// The epoch of its leadership.
    pub epoch: Epoch,
    /// How long it holds after each renewal.
    pub ttl: Duration,
    /// Whether it was given back: nobody leads.
    pub released: bool,
}

/// What a look at a log shows.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LogInfo {
    /// Where it is, for people.
    pub log: String,
    /// The database's id; `None` if another tool wrote the log.
    pub database: Option<String>,
    /// The page size that the log was founded with, in bytes.
    pub page_size: Option<u32>,
    /// The first state that can be restored.
    pub oldest: Option<RestorePoint>,
    /// The last state that can be restored.
    pub newest: Option<RestorePoint>,
    /// Each epoch that is known, with its first slot.
    pub epochs: Vec<(Epoch, Txid)>,
    /// Single slots up to this one are gone; compactions and snapshots cover them.
    pub floor: Txid,
    /// The lease, if it is kept beside the log and can be read.
    pub lease: Option<LeaseInfo>,
    /// All files together, in bytes.
    pub bytes: u64,
    /// Per level that has files.
    pub levels: Vec<LevelInfo>,
    /// The newest snapshot.
    pub snapshot: Option<LogFileInfo>,
    /// What keeps the log from being restored to its end, as far as names and headers show it.
    pub damage: Option<String>,
}

impl LogTools {
    /// For the log in the bucket that this URL names, as [`Builder::bucket`](crate::Builder::bucket) has it. It
    /// needs a [`LogTools::db_name`].
    pub fn new(url: impl Into<String>) -> LogTools {
        LogTools::over(LogSource::url(url))
    }

    /// For the log in this bucket.
    pub fn from_bucket(bucket: impl Bucket) -> LogTools {
        LogTools::over(LogSource::bucket(bucket))
    }

    fn over(source: LogSource) -> LogTools {
        LogTools { source, staging: std::env::temp_dir() }
    }

    /// Where files are built before they are uploaded, a folder that exists; the system's folder for temporary
    /// files by default. A snapshot needs as much room as it has bytes.
    pub fn staging(mut self, folder: impl Into<PathBuf>) -> LogTools {
        self.staging = folder.into();
        self
    }

    /// Where the log is, for people. Opens the bucket, and asks nothing of it.
    pub fn describe(&self) -> Result<String> {
        Ok(self.source.locate(None)?.log(PathBuf::new()).describe())
    }

    /// Every file of the log that a restore may read: slots first, then the levels above, each by slot.
    pub fn files(&self) -> Result<Vec<LogFileInfo>> {
        Ok(files_of(&self.survey()?.1))
    }

    /// As [`LogTools::files`], under any executor.
    pub fn files_async(&self) -> impl Future<Output = Result<Vec<LogFileInfo>>> + Send + 'static {
        let tools = self.clone();
        run_blocking(move || tools.files())
    }

    /// What the log is, and what of it can be restored. Reads its listing, its small objects and a few headers,
    /// no pages: [`Verify`](crate::Verify) does that.
    pub fn info(&self) -> Result<LogInfo> {
        let (log, survey) = self.survey()?;
        let files = files_of(&survey);
        let lease = survey.lease.map(|lease| LeaseInfo {
            holder: lease.holder,
            address: lease.address,
            epoch: lease.epoch,
            ttl: lease.ttl,
            released: lease.released,
        });
        let point = |(txid, ms)| RestorePoint { txid, timestamp: Timestamp::from_unix_ms(ms) };
        Ok(LogInfo {
            log,
            database: survey.genesis.map(|genesis| genesis.database.to_string()),
            page_size: survey.genesis.map(|genesis| genesis.page_size.get()),
            oldest: survey.oldest.map(point),
            newest: survey.newest.map(point),
            epochs: survey.epochs,
            floor: survey.floor.0,
            lease,
            bytes: files.iter().map(|file| file.size).sum(),
            levels: (0..=9).filter_map(|level| level_of(&files, level)).collect(),
            snapshot: files.iter().rfind(|file| file.level == 9).copied(),
            damage: survey.damage,
        })
    }

    /// As [`LogTools::info`], under any executor.
    pub fn info_async(&self) -> impl Future<Output = Result<LogInfo>> + Send + 'static {
        let tools = self.clone();
        run_blocking(move || tools.info())
    }

    /// Makes a snapshot of the log's end (level 9) from its other files. `None` if nothing was added since the
    /// newest one.
    ///
    /// No node is needed or disturbed, and nothing is deleted. Every file is checked: `Corrupt` names what is
    /// damaged. It writes, and so needs a key that may. A crash leaves at most a small object that stands for no
    /// file, and something in the staging folder.
    pub fn snapshot(&self) -> Result<Option<LogFileInfo>> {
        self.make(|log| async move { log.make_snapshot(None).await })
    }

    /// As [`LogTools::snapshot`], under any executor.
    pub fn snapshot_async(&self) -> impl Future<Output = Result<Option<LogFileInfo>>> + Send + 'static {
        let tools = self.clone();
        run_blocking(move || tools.snapshot())
    }

    /// Makes one file of `level` (1 to 8) of what the level below has and it has not. `None` if there is nothing.
    /// Otherwise as [`LogTools::snapshot`].
    ///
    /// A leader does it by itself: this is for logs without one.
    pub fn compact(&self, level: u8) -> Result<Option<LogFileInfo>> {
        self.make(move |log| async move { log.compact(level, None).await })
    }

    /// As [`LogTools::compact`], under any executor.
    pub fn compact_async(
        &self,
        level: u8,
    ) -> impl Future<Output = Result<Option<LogFileInfo>>> + Send + 'static {
        let tools = self.clone();
        run_blocking(move || tools.compact(level))
    }

    /// Makes a file of others. Only of a log of ours: there is one if it has a genesis.
    fn make<F>(&self, make: impl FnOnce(Log) -> F + Send + 'static) -> Result<Option<LogFileInfo>>
    where
        F: Future<Output = Result<Option<LogFile>>> + Send,
    {
        let place = self.source.open(None)?;
        let scratch = Scratch::below(&self.staging)?;
        let log = place.log(scratch.path().to_path_buf());
        let made = complete(async move {
            meet(&log).await?;
            let Some(made) = make(log.clone()).await? else { return Ok(None) };
            // The store knows when it was written.
            let files = log.list_level(made.level, Txid::ZERO).await?;
            let there = files.into_iter().find(|file| (file.min, file.max) == (made.min, made.max));
            Ok(Some(there.unwrap_or(made)))
        });
        Ok(made??.as_ref().map(LogFileInfo::of))
    }

    fn survey(&self) -> Result<(String, Survey)> {
        let log = self.source.open(None)?.log(PathBuf::new());
        let name = log.describe();
        Ok((name, complete(async move { survey(&log).await })??))
    }
}

impl LogFileInfo {
    fn of(file: &LogFile) -> LogFileInfo {
        LogFileInfo {
            level: file.level,
            min: file.min,
            max: file.max,
            size: file.size,
            modified: Timestamp::from_unix_ms(file.modified_ms),
        }
    }
}

impl LogPlace {
    /// The log. Large objects are staged in a folder that exists.
    fn log(self, staging: PathBuf) -> Log {
        Log::new(self.bucket, self.root, staging)
    }
}

fn files_of(survey: &Survey) -> Vec<LogFileInfo> {
    let mut files: Vec<LogFileInfo> = survey.files.iter().map(LogFileInfo::of).collect();
    files.sort_by_key(|file| (file.level, file.max, file.min));
    files
}

fn level_of(files: &[LogFileInfo], level: u8) -> Option<LevelInfo> {
    let of_level = || files.iter().filter(|file| file.level == level);
    Some(LevelInfo {
        level,
        files: of_level().count() as u64,
        bytes: of_level().map(|file| file.size).sum(),
        min: of_level().map(|file| file.min).min()?,
        max: of_level().map(|file| file.max).max()?,
    })
}
