use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::local_files::sync_folder;
use super::log::{Log, Staged};
use super::restore::Restored;
use crate::bucket::Bucket;
use crate::sqlite::quick_check;
use crate::types::{Error, ErrorKind, Result, Txid};

/// What is to be restored, and where to.
pub(crate) struct RestoreOptions {
    pub(crate) bucket: Arc<dyn Bucket>,
    /// The log's root: empty, or ending in a slash.
    pub(crate) root: String,
    /// Where nothing must be yet.
    pub(crate) target: PathBuf,
    /// The slot; the newest if none.
    pub(crate) txid: Option<Txid>,
}

/// Restores to a file beside the target, checks it, and gives it its name when it is on the disk.
pub(crate) async fn restore_database(options: RestoreOptions) -> Result<Restored> {
    let target = options.target;
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let path = with_suffix(&target, suffix);
        if path.exists() {
            // A stale WAL would be replayed onto the restored database.
            let message = format!("{} exists: a restore writes to a new path only", path.display());
            return Err(Error::new(ErrorKind::InUse, message));
        }
    }
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let staging = Staged::new(with_suffix(&target, ".restoring"));
    let log = Log::new(options.bucket, options.root, folder.clone());
    let Some(restored) = log.restore(staging.path(), options.txid).await? else {
        let message = format!("{} holds no log", log.describe());
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    };
    let finish = move || -> Result<()> {
        quick_check(staging.path())?;
        let doing = || format!("finishing {}", target.display());
        File::open(staging.path()).and_then(|f| f.sync_all()).map_err(|e| Error::io(doing(), e))?;
        // Without replacing what may have come meanwhile.
        fs::hard_link(staging.path(), &target).map_err(|e| Error::io(doing(), e))?;
        drop(staging);
        sync_folder(&folder)
    };
    tokio::task::spawn_blocking(finish)
        .await
        .map_err(|e| Error::new(ErrorKind::Internal, format!("a restore ended early: {e}")))??;
    Ok(restored)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.to_path_buf().into_os_string();
    path.push(suffix);
    PathBuf::from(path)
}
