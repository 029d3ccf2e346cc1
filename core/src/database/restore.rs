use std::path::{Path, PathBuf};

use super::log_source::{LogSource, names_a_log};
use crate::bucket::Bucket;
use crate::runtime::{RestoreOptions, complete, restore_database, run_blocking};
use crate::types::{Position, Result, Txid};

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
    txid: Option<Txid>,
}

names_a_log!(Restore);

/// What a restore made.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RestoredDatabase {
    /// Where it is.
    pub path: PathBuf,
    /// The position of the log that it holds.
    pub position: Position,
    /// Its size in pages.
    pub pages: u32,
    /// Whether another tool wrote any of the files.
    pub written_by_another_tool: bool,
}

impl Restore {
    /// From the bucket that this URL names, as [`Builder::bucket`](crate::Builder::bucket) has it.
    pub fn new(url: impl Into<String>) -> Restore {
        Restore { source: LogSource::url(url), txid: None }
    }

    /// From this bucket.
    pub fn from_bucket(bucket: impl Bucket) -> Restore {
        Restore { source: LogSource::bucket(bucket), txid: None }
    }

    /// The slot to restore; the newest by default.
    pub fn txid(mut self, txid: impl Into<Option<u64>>) -> Restore {
        self.txid = txid.into().map(Txid::new);
        self
    }

    /// Writes the database to `path`, where nothing must be yet, on the caller's thread.
    ///
    /// Every file is checked, the result passes SQLite's `quick_check`, is on the disk and gets its name
    /// last: a crash leaves at most a file that ends in `.restoring`. `InUse` if there is something at the
    /// path, `InvalidArgument` if the log does not reach the slot, `Corrupt` if a file of the log is damaged.
    pub fn run(self, path: impl AsRef<Path>) -> Result<RestoredDatabase> {
        let target = path.as_ref().to_path_buf();
        let place = self.source.open(Some(&target))?;
        let options = RestoreOptions {
            bucket: place.bucket,
            root: place.root,
            target: target.clone(),
            txid: self.txid,
        };
        let restored = complete(restore_database(options))??;
        Ok(RestoredDatabase {
            path: target,
            position: restored.position,
            pages: restored.size,
            written_by_another_tool: restored.foreign,
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
