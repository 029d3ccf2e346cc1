use std::path::PathBuf;
use std::sync::Arc;

use super::log::Log;
use super::restore::{RestoreRequest, Restored};
use super::restore_target::RestoreTarget;
use crate::bucket::Bucket;
use crate::sqlite::check_database;
use crate::types::{Check, Error, ErrorKind, Result};

/// What is to be restored, and where to.
pub(crate) struct RestoreOptions {
    pub(crate) bucket: Arc<dyn Bucket>,
    /// The log's root: empty, or ending in a slash.
    pub(crate) root: String,
    pub(crate) target: PathBuf,
    pub(crate) request: RestoreRequest,
    /// How the database is checked before it gets its name.
    pub(crate) check: Check,
    /// Whether what is at the target may be replaced. Else nothing must be there.
    pub(crate) replace: bool,
}

/// Restores to a file beside the target, checks it, and gives it its name when it is on the disk.
pub(crate) async fn restore_database(options: RestoreOptions) -> Result<Restored> {
    let target = RestoreTarget::claim(&options.target, options.replace)?;
    let log = Log::new(options.bucket, options.root, target.folder().to_path_buf());
    let Some(restored) = log.restore_with(target.staging(), &options.request).await? else {
        let message = format!("{} holds no log", log.describe());
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    };
    let finish = move || -> Result<()> {
        check_database(target.staging(), options.check)?;
        target.install()
    };
    tokio::task::spawn_blocking(finish)
        .await
        .map_err(|e| Error::new(ErrorKind::Internal, format!("a restore ended early: {e}")))??;
    Ok(restored)
}
