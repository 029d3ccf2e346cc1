use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::local_files::sync_folder;
use super::log::Staged;
use crate::sqlite::Exclusive;
use crate::types::{Error, ErrorKind, Result};

/// Files that SQLite keeps beside a database: a stale one would be played onto a restored database.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Where a restored database is to be, and the file beside it in which it is made.
pub(super) struct RestoreTarget {
    path: PathBuf,
    folder: PathBuf,
    staging: Staged,
    replace: bool,
    /// Held until this value goes: other restores and nodes keep away.
    _locks: Vec<File>,
}

impl RestoreTarget {
    /// `InUse` if there is something at the path and it is not to be replaced, if a node or another restore
    /// is at work there, or if anybody has the database open.
    pub(super) fn claim(path: &Path, replace: bool) -> Result<RestoreTarget> {
        let path = match fs::canonicalize(path) {
            // The file that a link leads to is replaced, not the link.
            Ok(real) if replace => real,
            _ => path.to_path_buf(),
        };
        if !replace {
            refuse_what_is_there(&path)?;
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let mut locks = Vec::new();
        let of_a_node = with_suffix(&path, "-haqlite");
        if of_a_node.is_dir() {
            locks.push(lock(&of_a_node.join("lock"), "a node has it open")?);
        }
        if replace {
            drop(Exclusive::take(&path)?);
        }
        let staging = with_suffix(&path, ".restoring");
        locks.push(lock(&staging, "another restore is at work there")?);
        Ok(RestoreTarget { path, folder, staging: Staged::new(staging), replace, _locks: locks })
    }

    /// Where the database is to be written.
    pub(super) fn staging(&self) -> &Path {
        self.staging.path()
    }

    /// The folder of the target.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the file durable and gives it its name. A crash leaves what was at the path before, whole, or
    /// the restored database.
    pub(super) fn install(self) -> Result<()> {
        let doing = |e| Error::io(format_args!("finishing {}", self.path.display()), e);
        File::open(self.staging()).and_then(|file| file.sync_all()).map_err(doing)?;
        if self.replace {
            let old = Exclusive::take(&self.path)?;
            if let Ok(metadata) = fs::metadata(&self.path) {
                fs::set_permissions(self.staging(), metadata.permissions()).map_err(doing)?;
            }
            // The old database must be whole without its WAL, for a crash may come before the new one.
            if let Some(old) = &old {
                old.checkpoint();
            }
            for suffix in BESIDE {
                match fs::remove_file(with_suffix(&self.path, suffix)) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(doing(e)),
                    _ => {}
                }
            }
            sync_folder(&self.folder)?;
            fs::rename(self.staging(), &self.path).map_err(doing)?;
        } else {
            // Without replacing what may have come meanwhile.
            refuse_what_is_there(&self.path)?;
            fs::hard_link(self.staging(), &self.path).map_err(doing)?;
            fs::remove_file(self.staging()).map_err(doing)?;
        }
        sync_folder(&self.folder)
    }
}

fn refuse_what_is_there(path: &Path) -> Result<()> {
    let beside = BESIDE.iter().map(|suffix| with_suffix(path, suffix));
    for file in std::iter::once(path.to_path_buf()).chain(beside) {
        if fs::symlink_metadata(&file).is_ok() {
            let message =
                format!("{} exists: a restore writes to a new path unless it may replace", file.display());
            return Err(Error::new(ErrorKind::InUse, message));
        }
    }
    Ok(())
}

fn lock(path: &Path, holder: &str) -> Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|e| Error::io(format_args!("opening {}", path.display()), e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::new(ErrorKind::InUse, format!("{} is locked: {holder}", path.display())))
        }
        Err(TryLockError::Error(e)) => Err(Error::io(format_args!("locking {}", path.display()), e)),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.to_path_buf().into_os_string();
    path.push(suffix);
    PathBuf::from(path)
}
