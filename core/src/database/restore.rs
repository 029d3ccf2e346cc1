use std::path::{Path, PathBuf};

use super::store_url::open_storage;
use crate::bucket::S3Credentials;
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
    url: String,
    name: Option<String>,
    prefix: String,
    txid: Option<Txid>,
    endpoint: Option<String>,
    region: Option<String>,
    credentials: Option<S3Credentials>,
}

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
        Restore {
            url: url.into(),
            name: None,
            prefix: "haqlite/".to_owned(),
            txid: None,
            endpoint: None,
            region: None,
            credentials: None,
        }
    }

    /// The database's name in the bucket; the stem of the target by default. An empty name stands for files
    /// right below the prefix, as Litestream writes them.
    pub fn db_name(mut self, name: impl Into<String>) -> Restore {
        self.name = Some(name.into());
        self
    }

    /// What stands before the name in the bucket; `haqlite/` by default.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Restore {
        self.prefix = prefix.into();
        self
    }

    /// The slot to restore; the newest by default.
    pub fn txid(mut self, txid: impl Into<Option<u64>>) -> Restore {
        self.txid = txid.into().map(Txid::new);
        self
    }

    /// The S3 server, if it is not Amazon's.
    pub fn endpoint(mut self, url: impl Into<String>) -> Restore {
        self.endpoint = Some(url.into());
        self
    }

    /// The S3 region.
    pub fn region(mut self, region: impl Into<String>) -> Restore {
        self.region = Some(region.into());
        self
    }

    /// The key for S3; by default what the AWS tools would take.
    pub fn credentials(mut self, credentials: S3Credentials) -> Restore {
        self.credentials = Some(credentials);
        self
    }

    /// Writes the database to `path`, where nothing must be yet, on the caller's thread.
    ///
    /// Every file is checked, the result passes SQLite's `quick_check`, is on the disk and gets its name
    /// last: a crash leaves at most a file that ends in `.restoring`. `InUse` if there is something at the
    /// path, `InvalidArgument` if the log does not reach the slot, `Corrupt` if a file of the log is damaged.
    pub fn run(self, path: impl AsRef<Path>) -> Result<RestoredDatabase> {
        let target = path.as_ref().to_path_buf();
        let stem = || target.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = self.name.or_else(stem).unwrap_or_default();
        let storage = open_storage(&self.url, self.endpoint, self.region, self.credentials)?;
        let slash = if name.is_empty() { "" } else { "/" };
        let options = RestoreOptions {
            bucket: storage.bucket,
            root: format!("{}{}{name}{slash}", storage.root, self.prefix),
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
