use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::log_source::{LogSource, names_a_log};
use crate::bucket::Bucket;
use crate::runtime::{Node, ReadOnlyOptions, ReadOnlyView, run_blocking};
use crate::types::{Bookmark, Error, ErrorKind, Params, Position, ReadOptions, Result, Rows};

/// Keeps a read-only copy of a database current, from its log alone: see [`ReadReplica`].
///
/// ```no_run
/// # fn follow() -> haqlite::Result<()> {
/// use std::time::Duration;
///
/// let copy = haqlite::Follow::new("s3://my-bucket").db_name("my").start("/data/copy.db")?;
/// copy.wait_current(Duration::from_secs(60))?;
/// println!("{:?} users", copy.query("SELECT count(*) FROM users", &[])?.rows[0][0]);
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is followed before `start`"]
#[derive(Clone)]
pub struct Follow {
    pub(super) source: LogSource,
    interval: Duration,
    adopt: bool,
}

names_a_log!(Follow);

impl Follow {
    /// The log in the bucket that this URL names, as [`Builder::bucket`](crate::Builder::bucket) has it.
    pub fn new(url: impl Into<String>) -> Follow {
        Follow::the(LogSource::url(url))
    }

    /// The log in this bucket.
    pub fn from_bucket(bucket: impl Bucket) -> Follow {
        Follow::the(LogSource::bucket(bucket))
    }

    fn the(source: LogSource) -> Follow {
        Follow { source, interval: Duration::from_secs(1), adopt: false }
    }

    /// How often it looks for new slots; 1 s by default. A look that finds nothing costs one request.
    pub fn interval(mut self, interval: Duration) -> Follow {
        self.interval = interval;
        self
    }

    /// Takes a database at the path that has no local state (a restore, a copy) for the log's: it is compared
    /// with the log page by page, and what differs is saved beside it.
    pub fn adopt(mut self, adopt: bool) -> Follow {
        self.adopt = adopt;
        self
    }

    /// Begins to follow: restores the log to `path` if nothing is there, else goes on from what is there. The
    /// log's name is the stem of the path if none was given.
    ///
    /// Returns when the log was met; [`ReadReplica::wait_current`] waits for the copy. `InvalidArgument` if there
    /// is no log, `ForeignDatabase` if another tool wrote it, `InUse` if the file is open as a node or a replica.
    /// If the bucket cannot be reached that is an error the first time; a replica that was there before goes on
    /// as soon as it can. That the file is another database shows in [`ReadReplica::status`] and `wait_current`.
    pub fn start(self, path: impl AsRef<Path>) -> Result<ReadReplica> {
        if self.interval.is_zero() {
            let message = "the interval is zero: the smallest useful one is a millisecond";
            return Err(Error::new(ErrorKind::InvalidConfig, message));
        }
        let path = path.as_ref();
        let place = self.source.open_later(Some(path))?;
        let node = Node::open_read_only(ReadOnlyOptions {
            path: path.to_path_buf(),
            bucket: place.bucket,
            root: place.root,
            manifest: place.manifest,
            interval: self.interval,
            adopt: self.adopt,
        })?;
        Ok(ReadReplica { node: Arc::new(node) })
    }

    /// As [`Follow::start`], under any executor.
    pub fn start_async(
        self,
        path: impl AsRef<Path>,
    ) -> impl Future<Output = Result<ReadReplica>> + Send + 'static {
        let path = path.as_ref().to_path_buf();
        run_blocking(move || self.start(path))
    }
}

/// A live read-only copy of a database, kept current by [`Follow`].
///
/// The file is an ordinary SQLite database at some slot of the log, at every moment and after every crash;
/// other processes may read it with any SQLite from 3.7 on while it is kept current. Nobody can write to it
/// meanwhile. It takes no part in the cluster, never leads, and writes nothing to the bucket. Beside the file
/// lies `<file>-haqlite/`, with which it goes on after a restart; keep it with the file.
///
/// A bucket that is away is waited for. The last drop closes it.
#[derive(Clone)]
pub struct ReadReplica {
    node: Arc<Node>,
}

/// What a replica knows of itself at one moment.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct ReplicaStatus {
    /// The position of the log that the copy is; slot 0 before there is a copy.
    pub applied: Position,
    /// Whether the last look at the log found nothing newer.
    pub is_current: bool,
    /// What goes wrong and is being tried again.
    pub trouble: Option<(ErrorKind, String)>,
    /// Why the copy cannot go on. It stays readable.
    pub stopped: Option<(ErrorKind, String)>,
    /// Files with what was found in the copy and was not the log's.
    pub lost_tails: Vec<PathBuf>,
}

impl ReadReplica {
    /// Where the log is, for people.
    pub fn log(&self) -> String {
        self.node.describe_log()
    }

    /// The state at this moment.
    pub fn status(&self) -> ReplicaStatus {
        self.told(self.node.read_only_view())
    }

    /// Waits until the state is another one than `seen`, or the time is over; the state as it is then. On the
    /// caller's thread.
    pub fn wait_change(&self, seen: &ReplicaStatus, timeout: Duration) -> ReplicaStatus {
        let seen = ReadOnlyView {
            applied: seen.applied,
            is_current: seen.is_current,
            trouble: seen.trouble.clone(),
            stopped: seen.stopped.clone(),
        };
        self.told(self.node.wait_change(&seen, timeout))
    }

    /// Waits until a look at the log has found nothing newer than the copy. `Timeout` if that takes longer, or why
    /// the copy cannot go on.
    pub fn wait_current(&self, timeout: Duration) -> Result<()> {
        self.node.wait_current(timeout)
    }

    /// As [`ReadReplica::wait_current`], under any executor.
    pub fn wait_current_async(&self, timeout: Duration) -> impl Future<Output = Result<()>> + Send + 'static {
        let replica = self.clone();
        run_blocking(move || replica.wait_current(timeout))
    }

    /// Waits until the write that a node gave this bookmark for is visible here. `BookmarkLost` if it was undone.
    pub fn wait_for(&self, bookmark: &Bookmark, timeout: Duration) -> Result<()> {
        self.node.wait_for(bookmark, timeout)
    }

    /// As [`ReadReplica::wait_for`], under any executor.
    pub fn wait_for_async(
        &self,
        bookmark: &Bookmark,
        timeout: Duration,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let (replica, bookmark) = (self.clone(), *bookmark);
        run_blocking(move || replica.wait_for(&bookmark, timeout))
    }

    /// Runs a query on the copy, on the caller's thread. For readers in this process, which must not open the file
    /// with another copy of SQLite. `LeaderUnavailable` before there is a copy.
    pub fn query<'p>(&self, sql: &str, params: impl Into<Params<'p>>) -> Result<Rows> {
        self.node.connections()?.pool.query(sql, &params.into(), &ReadOptions::default())
    }

    /// As [`ReadReplica::query`], under any executor.
    pub fn query_async(
        &self,
        sql: impl Into<String>,
        params: impl Into<Params<'static>>,
    ) -> impl Future<Output = Result<Rows>> + Send + 'static {
        let (replica, sql, params) = (self.clone(), sql.into(), params.into());
        run_blocking(move || replica.query(&sql, params))
    }

    /// Ends it within a bounded time; the file stays, readable by everybody. Again is nothing.
    pub fn close(&self) -> Result<()> {
        self.node.close()
    }

    /// As [`ReadReplica::close`], under any executor.
    pub fn close_async(&self) -> impl Future<Output = Result<()>> + Send + 'static {
        let replica = self.clone();
        run_blocking(move || replica.close())
    }

    fn told(&self, view: ReadOnlyView) -> ReplicaStatus {
        ReplicaStatus {
            applied: view.applied,
            is_current: view.is_current,
            trouble: view.trouble,
            stopped: view.stopped,
            lost_tails: self.node.status().lost_tails,
        }
    }
}

impl std::fmt::Debug for ReadReplica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadReplica").field("status", &self.status()).finish()
    }
}
