use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind as IoKind, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};

use super::record::Record;
use crate::types::{Error, ErrorKind, Result};

/// A folder with a file for each key, held by one server at a time.
///
/// A file is replaced whole: written under another name, synced, renamed, and the folder synced. What a crash leaves
/// under the other name is removed at the next open.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    /// The folder itself: if its path leads to another one, nothing is written there.
    folder: File,
    /// Locked while we live.
    lock: File,
}

/// What a folder holds.
#[derive(Default)]
pub(super) struct Content {
    pub(super) records: Vec<Record>,
    /// The names of files that cannot be read, with why.
    pub(super) damaged: Vec<(String, Error)>,
}

/// How far a failed store came.
#[derive(Debug)]
pub(super) enum StoreFailure {
    /// The file is as it was.
    Nothing(Error),
    /// The file may be either; also after a crash.
    Doubtful(Error),
}

const LOCK: &str = "lock";

/// Before the name of a file that is being written.
const UNFINISHED: &str = "new-";

impl Drop for Disk {
    /// A process that is being started by another thread has the lock's file open for a moment, too: a close alone
    /// would not give it back.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

impl Disk {
    /// Takes the folder, which is made if it is not there, and gives what is in it. `InUse` if another server has it.
    /// Blocks on the file system.
    pub(super) fn open(path: &Path) -> Result<(Disk, Content)> {
        let doing = |what: &str, e| Error::io(format!("{what} {}", path.display()), e);
        make(path)?;
        let folder = File::open(path).map_err(|e| doing("open", e))?;
        let lock_path = path.join(LOCK);
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(|e| doing("lock", e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("another server has the folder {}", path.display());
                return Err(Error::new(ErrorKind::InUse, message));
            }
            Err(TryLockError::Error(e)) => return Err(doing("lock", e)),
        }
        let disk = Disk { path: path.to_owned(), folder, lock };
        let mut content = Content::default();
        for entry in fs::read_dir(path).map_err(|e| doing("read", e))? {
            let name = entry.map_err(|e| doing("read", e))?.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with(UNFINISHED) {
                unlinkat(&disk.folder, name, AtFlags::empty()).map_err(|e| doing("tidy", e.into()))?;
            } else if name.starts_with("lease-") || name.starts_with("manifest-") {
                match disk.load(name) {
                    Ok(record) => content.records.push(record),
                    Err(error) => content.damaged.push((name.to_owned(), error)),
                }
            }
        }
        // What a server before us renamed and could not sync any more.
        disk.folder.sync_all().map_err(|e| doing("sync", e))?;
        Ok((disk, content))
    }

    fn load(&self, name: &str) -> Result<Record> {
        let path = self.path.join(name);
        let file = fs::read(&path).map_err(|e| Error::io(format!("read {}", path.display()), e))?;
        let record = Record::decode(&file).map_err(|e| e.context(path.display()))?;
        if Record::file_name(record.kind, &record.key) != name {
            return Err(Error::corrupt(format!("{}: the file has another one's name", path.display())));
        }
        Ok(record)
    }

    /// Stores the record durably under its key. One call at a time per key. Blocks on the file system.
    pub(super) fn store(&self, record: &Record) -> Result<(), StoreFailure> {
        let name = Record::file_name(record.kind, &record.key);
        let unfinished = format!("{UNFINISHED}{name}");
        let doing = |what: &str, e| Error::io(format!("{what} a file in {}", self.path.display()), e);
        if let Err(e) = self.write(&unfinished, &record.encode()) {
            // If this fails as well, the next write of the key tries again.
            let _ = unlinkat(&self.folder, unfinished.as_str(), AtFlags::empty());
            return Err(StoreFailure::Nothing(doing("write", e)));
        }
        renameat(&self.folder, unfinished.as_str(), &self.folder, name.as_str())
            .map_err(|e| StoreFailure::Doubtful(doing("rename", e.into())))?;
        self.folder.sync_all().map_err(|e| StoreFailure::Doubtful(doing("sync", e)))
    }

    fn write(&self, name: &str, content: &[u8]) -> std::io::Result<()> {
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.folder, name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(file);
        file.write_all(content)?;
        file.sync_all()
    }
}

/// Makes the folder and those above it, and syncs the entry of each that it made.
fn make(path: &Path) -> Result<()> {
    let doing = |e| Error::io(format!("make {}", path.display()), e);
    let absolute = std::path::absolute(path).map_err(doing)?;
    let missing: Vec<&Path> = absolute.ancestors().take_while(|above| !above.exists()).collect();
    for folder in missing.into_iter().rev() {
        match fs::create_dir(folder) {
            Err(e) if e.kind() != IoKind::AlreadyExists => return Err(doing(e)),
            _ => {}
        }
        if let Some(above) = folder.parent() {
            File::open(above).and_then(|above| above.sync_all()).map_err(doing)?;
        }
    }
    Ok(())
}
