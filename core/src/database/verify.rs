use std::path::PathBuf;
use std::sync::Arc;

use super::log_source::{LogSource, names_a_log};
use crate::bucket::Bucket;
use crate::runtime::{Log, VerifyOptions, complete, run_blocking, verify_log};
use crate::types::{Progress, Result, VerifyReport};

/// Reads a whole log and checks it, without a node. [`Builder::verify_interval`](crate::Builder::verify_interval)
/// has the leader do it.
///
/// ```no_run
/// # fn verify() -> haqlite::Result<()> {
/// let report = haqlite::Verify::new("s3://my-bucket").db_name("my").run()?;
/// report.problems.iter().for_each(|problem| eprintln!("{problem}"));
/// # Ok(())
/// # }
/// ```
#[must_use = "a verification does nothing before `run`"]
#[derive(Clone)]
pub struct Verify {
    source: LogSource,
    options: VerifyOptions,
}

names_a_log!(Verify);

impl Verify {
    /// Of a log in the bucket that this URL names. [`Verify::db_name`] must be given.
    pub fn new(url: impl Into<String>) -> Verify {
        Verify::over(LogSource::url(url))
    }

    /// Of a log in this bucket.
    pub fn from_bucket(bucket: impl Bucket) -> Verify {
        Verify::over(LogSource::bucket(bucket))
    }

    pub(crate) fn over(source: LogSource) -> Verify {
        Verify { source, options: VerifyOptions::default() }
    }

    /// Also restores the log into a temporary file in this folder, and has SQLite check it
    /// (`integrity_check`).
    pub fn restore_in(mut self, folder: impl Into<PathBuf>) -> Verify {
        self.options.restore_in = Some(folder.into());
        self
    }

    /// Tells how far it is, on a thread of the verification, which waits meanwhile.
    pub fn progress(mut self, progress: impl Fn(Progress) + Send + Sync + 'static) -> Verify {
        self.options.progress = Some(Arc::new(progress));
        self
    }

    /// Reads every object of the log on the caller's thread: its checksums, its name, its hash as it is kept
    /// beside it, its links to others; and finds out whether every state that is kept can be restored.
    ///
    /// What is wrong is in the report; an error says what kept it from looking. Nothing is written to the
    /// bucket. What retention deletes meanwhile is no problem.
    pub fn run(self) -> Result<VerifyReport> {
        let place = self.source.open(None)?;
        let folder = self.options.restore_in.clone().unwrap_or_else(std::env::temp_dir);
        let log = Log::new(place.bucket, place.root, folder);
        let options = self.options;
        complete(async move { verify_log(&log, options).await })?
    }

    /// As [`Verify::run`], under any executor.
    pub fn run_async(self) -> impl Future<Output = Result<VerifyReport>> + Send + 'static {
        run_blocking(move || self.run())
    }
}
