use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Metadata, TryLockError};
use std::io::{ErrorKind as IoKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::blocking::blocking;
use super::{
    Body, Bucket, Delete, Layout, Listing, Object, Put, PutMode, PutOptions, Range, Version, covered,
    directory_list,
};
use crate::types::{Error, ErrorKind, Outcome, Result};

/// The folder in the root that holds temp files and the lock file, and no object.
pub(super) const INTERNAL: &str = ".haqlite";

/// A temp file this old was left by a crash.
const STALE_TEMP: Duration = Duration::from_secs(24 * 3600);

/// How often a lock that another process holds is tried again, one, two, four ... up to
/// `LOCK_PAUSE_MAX` after the other: about ten seconds in all.
const LOCK_TRIES: u32 = 520;
const LOCK_PAUSE_MAX: Duration = Duration::from_millis(20);

/// Most folders and hashes that are remembered; beyond it they are found out anew.
const REMEMBERED: usize = 1024;

const COPY_BLOCK: usize = 1 << 20;

/// A bucket in a folder. Several processes may share it, if all open the same folder as the root.
///
/// An object is a file that appears under its key whole and fsynced, together with the folder entries that
/// lead to it. Creating is a hard link from a temp file, so the file system must have hard links. Replacing
/// and deleting exclude one another by a lock on `.haqlite/lock`; a process that is stopped while it holds
/// the lock makes the others' replacements fail after ten seconds. The version is the BLAKE3 hash of the
/// content. A crash leaves at most a temp file, which an open more than a day later removes.
#[derive(Clone)]
pub struct DirectoryBucket {
    folder: Arc<Folder>,
}

struct Folder {
    root: PathBuf,
    /// Whether our own folder is in the root since the open: where it is not, there is another file system.
    prepared: bool,
    /// Folders whose entries up to the root were fsynced by us.
    durable: Mutex<HashSet<PathBuf>>,
    /// Hashes of files that were read in part.
    hashes: Mutex<HashMap<PathBuf, (Stamp, Version)>>,
}

/// What changes when a file is another one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl DirectoryBucket {
    /// The bucket in this folder, which is created if it is not there. Blocks on the file system.
    pub fn open(root: impl AsRef<Path>) -> Result<DirectoryBucket> {
        let root = std::path::absolute(root.as_ref())
            .map_err(|e| Error::io(format!("resolve {}", root.as_ref().display()), e))?;
        create_folders(&root.join(INTERNAL).join("tmp"))?;
        let root = root.canonicalize().map_err(|e| Error::io(format!("resolve {}", root.display()), e))?;
        let folder = Folder { root, prepared: true, durable: Mutex::default(), hashes: Mutex::default() };
        folder.remove_stale_temps();
        Ok(DirectoryBucket { folder: Arc::new(folder) })
    }

    /// The bucket in this folder, in which nothing is made before the first write: enough that it can be read.
    /// `InvalidArgument` if it is not there.
    pub fn existing(root: impl AsRef<Path>) -> Result<DirectoryBucket> {
        let root = root.as_ref();
        let there = root.canonicalize().and_then(|root| Ok((root.metadata()?.is_dir(), root)));
        let root = match there {
            Ok((true, root)) => root,
            Ok((false, _)) => return Err(no_folder(root)),
            Err(e) if is_absent(&e) => return Err(no_folder(root)),
            Err(e) => return Err(Error::io(format!("resolve {}", root.display()), e)),
        };
        let folder = Folder { root, prepared: false, durable: Mutex::default(), hashes: Mutex::default() };
        Ok(DirectoryBucket { folder: Arc::new(folder) })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let folder = self.folder.clone();
        blocking(move || work(&folder)).await
    }
}

#[async_trait]
impl Bucket for DirectoryBucket {
    fn describe(&self) -> String {
        format!("file://{}", self.folder.root.display())
    }

    fn layout(&self) -> Layout {
        Layout::Directory
    }

    async fn get(&self, key: &str, range: Range) -> Result<Option<Object>> {
        let path = self.folder.path(key)?;
        self.run(move |folder| folder.get(&path, range)).await
    }

    async fn put(&self, key: &str, body: Body, options: PutOptions) -> Result<Put> {
        let path = self.folder.path(key)?;
        self.run(move |folder| folder.put(&path, body, &options))
            .await
            .map_err(|e| e.with_outcome(Outcome::Unknown))
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Listing> {
        let (prefix, start_after) = (prefix.to_owned(), start_after.map(str::to_owned));
        self.run(move |folder| {
            let listing = directory_list::list(&folder.root, &prefix, start_after.as_deref())?;
            if listing.objects.is_empty() {
                folder.check_presence()?;
            }
            Ok(listing)
        })
        .await
    }

    async fn delete(&self, key: &str, version: Option<&Version>) -> Result<Delete> {
        let path = self.folder.path(key)?;
        let version = version.cloned();
        self.run(move |folder| folder.delete(&path, version.as_ref()))
            .await
            .map_err(|e| e.with_outcome(Outcome::Unknown))
    }

    async fn now_ms(&self) -> Result<i64> {
        self.run(|folder| {
            let temp = folder.temp()?;
            let metadata = temp.file.metadata().map_err(|e| temp.error("look at", e))?;
            Ok(written_ms(&metadata))
        })
        .await
    }
}

impl Folder {
    /// `StoreUnavailable` if the root is not there, or is not what was opened: a volume that is not mounted is an
    /// outage, and says nothing of the objects.
    fn check_presence(&self) -> Result<()> {
        let there = if self.prepared { self.root.join(INTERNAL) } else { self.root.clone() };
        if there.is_dir() {
            return Ok(());
        }
        let message = format!("the folder {} is gone, or its volume is not mounted", self.root.display());
        Err(Error::new(ErrorKind::StoreUnavailable, message))
    }

    fn get(&self, path: &Path, range: Range) -> Result<Option<Object>> {
        let doing = |e| Error::io(format!("read {}", path.display()), e);
        let Some(mut file) = open_if_there(path)? else {
            self.check_presence()?;
            return Ok(None);
        };
        let metadata = file.metadata().map_err(doing)?;
        let size = metadata.len();
        let part = covered(range, size);
        let length = usize::try_from(part.end - part.start)
            .map_err(|_| Error::new(ErrorKind::LimitExceeded, format!("{} is too large", path.display())))?;
        let mut body = vec![0; length];
        file.seek(SeekFrom::Start(part.start)).map_err(doing)?;
        file.read_exact(&mut body).map_err(doing)?;
        let version = if part == (0..size) {
            Version(blake3::hash(&body).to_hex().to_string())
        } else {
            self.remembered_version(path, &mut file, &metadata)?
        };
        Ok(Some(Object { body: body.into(), version, size, last_modified_ms: written_ms(&metadata) }))
    }

    fn put(&self, path: &Path, body: Body, options: &PutOptions) -> Result<Put> {
        let mut temp = self.temp()?;
        let version = temp.fill(body)?;
        let parent = path.parent().expect("BUG: a key lies below the root");
        self.make_durable(parent)?;
        let stored = match &options.mode {
            PutMode::Create => self.link(&temp, path)?,
            PutMode::Replace(expected) => {
                let _lock = self.lock()?;
                let holds = version_at(path)?.as_ref() == Some(expected);
                if holds {
                    temp.rename(path)?;
                }
                holds
            }
            PutMode::Overwrite => {
                let _lock = self.lock()?;
                temp.rename(path)?;
                true
            }
        };
        if stored && let Some(ms) = options.timestamp_ms {
            temp.carry(ms);
        }
        // After a refusal too: the file that is there may be ours from before a crash, not yet fsynced.
        sync_folder(parent)?;
        Ok(if stored { Put::Stored(version) } else { Put::Refused })
    }

    fn delete(&self, path: &Path, version: Option<&Version>) -> Result<Delete> {
        let _lock = self.lock()?;
        if let Some(expected) = version {
            match version_at(path)? {
                None => return Ok(Delete::Gone),
                Some(present) if present != *expected => return Ok(Delete::Refused),
                Some(_) => {}
            }
        }
        match fs::remove_file(path) {
            Ok(()) => sync_folder(path.parent().expect("BUG: a key lies below the root"))?,
            Err(e) if is_absent(&e) => {}
            Err(e) => return Err(Error::io(format!("delete {}", path.display()), e)),
        }
        self.hashes.lock().remove(path);
        Ok(Delete::Gone)
    }

    /// Gives the temp file the name `path` as well, unless something has it.
    fn link(&self, temp: &Temp, path: &Path) -> Result<bool> {
        match fs::hard_link(&temp.path, path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == IoKind::AlreadyExists => Ok(false),
            Err(e) => {
                // Somebody removed the folder under us: make it anew at the next try.
                self.durable.lock().clear();
                Err(Error::io(format!("create {}", path.display()), e))
            }
        }
    }

    /// Creates the folder and fsyncs every entry on the way to it from the root, once.
    fn make_durable(&self, folder: &Path) -> Result<()> {
        if self.durable.lock().contains(folder) {
            return Ok(());
        }
        create_folders(folder)?;
        for above in folder.ancestors().take_while(|above| *above != self.root).filter_map(Path::parent) {
            sync_folder(above)?;
        }
        let mut durable = self.durable.lock();
        if durable.len() >= REMEMBERED {
            durable.clear();
        }
        durable.insert(folder.to_owned());
        Ok(())
    }

    fn remembered_version(&self, path: &Path, file: &mut File, metadata: &Metadata) -> Result<Version> {
        let stamp = Stamp::of(metadata);
        if let Some((known, version)) = self.hashes.lock().get(path)
            && *known == stamp
        {
            return Ok(version.clone());
        }
        file.rewind().map_err(|e| Error::io(format!("read {}", path.display()), e))?;
        let version = hash(file, path)?;
        let mut hashes = self.hashes.lock();
        if hashes.len() >= REMEMBERED {
            hashes.clear();
        }
        hashes.insert(path.to_owned(), (stamp, version.clone()));
        Ok(version)
    }

    /// Excludes all other replacements and deletes, in this process and in others, until it is dropped.
    fn lock(&self) -> Result<File> {
        let path = self.root.join(INTERNAL).join("lock");
        let doing = |e| Error::io(format!("lock {}", path.display()), e);
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(doing)?;
        let mut pause = Duration::from_millis(1);
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => std::thread::sleep(pause),
                Err(TryLockError::Error(e)) => return Err(doing(e)),
            }
            pause = (pause * 2).min(LOCK_PAUSE_MAX);
        }
        let message = format!("{} is held by another process", path.display());
        Err(Error::new(ErrorKind::StoreUnavailable, message))
    }

    fn temp(&self) -> Result<Temp> {
        let internal = self.root.join(INTERNAL);
        let path = internal.join("tmp").join(uuid::Uuid::new_v4().to_string());
        let create = || File::options().create_new(true).write(true).open(&path);
        let file = create().or_else(|e| {
            if !is_absent(&e) {
                return Err(e);
            }
            // Never the root, or what the open made: it may be the place of a volume that is not mounted now.
            if self.prepared && !internal.is_dir() {
                return Err(e);
            }
            [&internal, &internal.join("tmp")].into_iter().try_for_each(|folder| {
                fs::create_dir(folder).or_else(|e| match e.kind() {
                    IoKind::AlreadyExists => Ok(()),
                    _ => Err(e),
                })
            })?;
            create()
        });
        let file = file.map_err(|e| Error::io(format!("create {}", path.display()), e))?;
        Ok(Temp { path, file })
    }

    /// Best effort: what cannot be removed now is met again at the next open.
    fn remove_stale_temps(&self) {
        let Ok(now) = self.temp().and_then(|temp| {
            temp.file.metadata().and_then(|m| m.modified()).map_err(|e| temp.error("look at", e))
        }) else {
            return;
        };
        let Ok(entries) = fs::read_dir(self.root.join(INTERNAL).join("tmp")) else {
            return;
        };
        for entry in entries.flatten() {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified.ok().and_then(|modified| now.duration_since(modified).ok());
            if age.is_some_and(|age| age > STALE_TEMP)
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::warn!(path = %entry.path().display(), %error, "a left-over temp file stays");
            }
        }
    }

    /// The file of a key. Refuses what could leave the root or meet our own files.
    fn path(&self, key: &str) -> Result<PathBuf> {
        check_key(key)?;
        Ok(self.root.join(key))
    }
}

fn no_folder(root: &Path) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("there is no folder {}", root.display()))
}

/// A file of our own, removed when it is dropped.
struct Temp {
    path: PathBuf,
    file: File,
}

impl Temp {
    /// Writes and fsyncs the body; returns its version.
    fn fill(&mut self, body: Body) -> Result<Version> {
        let mut hasher = blake3::Hasher::new();
        match body {
            Body::Bytes(bytes) => {
                hasher.update(&bytes);
                self.file.write_all(&bytes).map_err(|e| self.error("write", e))?;
            }
            Body::File(from) => {
                let doing = |e| Error::io(format!("read {}", from.display()), e);
                let mut source = File::open(&from).map_err(doing)?;
                let mut block = vec![0; COPY_BLOCK];
                loop {
                    let read = source.read(&mut block).map_err(doing)?;
                    if read == 0 {
                        break;
                    }
                    hasher.update(&block[..read]);
                    self.file.write_all(&block[..read]).map_err(|e| self.error("write", e))?;
                }
            }
        }
        self.file.sync_all().map_err(|e| self.error("fsync", e))?;
        Ok(Version(hasher.finalize().to_hex().to_string()))
    }

    fn rename(&self, to: &Path) -> Result<()> {
        fs::rename(&self.path, to).map_err(|e| Error::io(format!("replace {}", to.display()), e))
    }

    /// Sets the time of change that everybody sees, under all its names: there Litestream looks for the time of a
    /// log file. A crash leaves the time of the writing, and so does a file system that knows no other.
    fn carry(&self, timestamp_ms: i64) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(timestamp_ms.try_into().unwrap_or(0));
        if let Err(error) = self.file.set_modified(time) {
            tracing::debug!(path = %self.path.display(), %error, "a log file does not carry its time");
        }
    }

    fn error(&self, doing: &str, e: std::io::Error) -> Error {
        Error::io(format!("{doing} {}", self.path.display()), e)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        // Gone already after a rename; otherwise a later open removes what stays.
        let _ = fs::remove_file(&self.path);
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Refuses a key that is no plain path of names, or that begins with our own folder.
pub(super) fn check_key(key: &str) -> Result<()> {
    let plain = !key.is_empty()
        && !key.contains('\0')
        && key.split('/').all(|name| !matches!(name, "" | "." | ".."))
        && key.split('/').next() != Some(INTERNAL);
    if plain {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidArgument, format!("{key:?} cannot be the key of an object in a folder")))
}

/// When the file was written, by the clock of the file system, in milliseconds since 1970: the time of the last
/// change of its inode, which nobody can set. Other owners or rights, or another link, make a file younger, and so
/// what goes by its age happens later.
pub(super) fn written_ms(metadata: &Metadata) -> i64 {
    metadata.ctime() * 1000 + metadata.ctime_nsec() / 1_000_000
}

/// Whether there is no such file; a key below a key that is an object counts as that.
pub(super) fn is_absent(e: &std::io::Error) -> bool {
    matches!(e.kind(), IoKind::NotFound | IoKind::NotADirectory)
}

fn open_if_there(path: &Path) -> Result<Option<File>> {
    let doing = |e| Error::io(format!("open {}", path.display()), e);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if is_absent(&e) => return Ok(None),
        Err(e) => return Err(doing(e)),
    };
    let is_file = file.metadata().map_err(doing)?.is_file();
    Ok(is_file.then_some(file))
}

fn version_at(path: &Path) -> Result<Option<Version>> {
    open_if_there(path)?.map(|mut file| hash(&mut file, path)).transpose()
}

fn hash(file: &mut File, path: &Path) -> Result<Version> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(|e| Error::io(format!("read {}", path.display()), e))?;
    Ok(Version(hasher.finalize().to_hex().to_string()))
}

/// Creates a folder and those above it, fsyncing the parent of each that was not there.
fn create_folders(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = match folder.parent() {
        Some(parent) if folder.components().next_back() != Some(Component::RootDir) => parent,
        _ => return Ok(()),
    };
    create_folders(parent)?;
    match fs::create_dir(folder) {
        Ok(()) => {}
        Err(e) if e.kind() == IoKind::AlreadyExists && folder.is_dir() => {}
        Err(e) => return Err(Error::io(format!("create the folder {}", folder.display()), e)),
    }
    sync_folder(parent)
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| Error::io(format!("fsync the folder {}", folder.display()), e))
}
