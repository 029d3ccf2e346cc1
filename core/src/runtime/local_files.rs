use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::footing::Footing;
use super::spool::{self, Spool};
use crate::bucket::LOG_FILE_SUFFIX;
use crate::replication::Genesis;
use crate::types::{Chain, DatabaseId, Epoch, Error, ErrorKind, NodeId, PageSize, Result, Txid};

/// What stands before a store's name if a log there needs a manifest.
const FENCED: &str = "fenced by a manifest: ";

/// The database's path and the folder beside it, `<database>-haqlite`, locked for this process.
///
/// The folder holds the lock, who the database is, the journal, and what is being staged. The file lock
/// is held as long as this value lives; a second process, or a second handle, hears `InUse`.
#[derive(Debug)]
pub(crate) struct LocalFiles {
    database: PathBuf,
    folder: PathBuf,
    lock: Mutex<Option<File>>,
}

/// Which log the local database belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    /// The database's id, as in the genesis.
    pub(crate) database: DatabaseId,
    /// `chain(0)`.
    pub(crate) genesis: Chain,
    /// The page size.
    pub(crate) page_size: PageSize,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    haqlite: u32,
    database: String,
    genesis: String,
    page_size: u32,
}

impl LocalFiles {
    /// Makes the folder, takes the lock, and clears what an earlier process left in staging.
    pub(crate) fn open(database: &Path) -> Result<LocalFiles> {
        let database = resolve(database)?;
        let mut folder = database.clone().into_os_string();
        folder.push("-haqlite");
        let folder = PathBuf::from(folder);
        let is_new = !folder.join("spool").exists();
        for name in ["staging", "spool"] {
            fs::create_dir_all(folder.join(name))
                .map_err(|e| Error::io(format_args!("creating {}", folder.display()), e))?;
        }
        if is_new {
            // What is durable in a folder is lost with the folder's name.
            sync_folder(&folder)?;
            sync_folder(folder.parent().unwrap_or(Path::new("/")))?;
        }
        let path = folder.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| Error::io(format_args!("opening {}", path.display()), e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("{} is open in another process or handle", database.display());
                return Err(Error::new(ErrorKind::InUse, message));
            }
            Err(TryLockError::Error(e)) => {
                return Err(Error::io(format_args!("locking {}", path.display()), e));
            }
        }
        let files = LocalFiles { database, folder, lock: Mutex::new(Some(lock)) };
        files.clear_staging()?;
        Ok(files)
    }

    /// Whether a database at this path is known to belong to a log. Makes nothing.
    pub(crate) fn belongs(database: &Path) -> bool {
        let mut identity = database.to_path_buf().into_os_string();
        identity.push("-haqlite/identity.json");
        Path::new(&identity).exists()
    }

    /// Gives the lock back: nothing of this value may be written any more.
    pub(crate) fn unlock(&self) {
        if let Some(lock) = self.lock.lock().take() {
            // Closing is not enough: a process that is being started at this moment has a copy of the descriptor.
            let _ = lock.unlock();
        }
    }

    /// The database's path, absolute and with symbolic links resolved.
    pub(crate) fn database(&self) -> &Path {
        &self.database
    }

    /// The path of one of SQLite's files beside the database: `-wal`, `-shm`, `-journal`.
    pub(crate) fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.database.clone().into_os_string();
        path.push(suffix);
        PathBuf::from(path)
    }

    /// The journal's path.
    pub(crate) fn journal(&self) -> PathBuf {
        self.folder.join("journal")
    }

    /// A path for something that is not finished; what is there is deleted at the next open.
    pub(crate) fn staging(&self, name: &str) -> PathBuf {
        self.folder.join("staging").join(name)
    }

    /// The folder of slots that wait for the bucket.
    pub(crate) fn spool(&self) -> PathBuf {
        self.folder.join("spool")
    }

    /// Where the commits are kept that had slot `txid` behind them and never reached the log.
    pub(crate) fn lost(&self, epoch: Epoch, txid: Txid) -> PathBuf {
        self.beside(&format!(".lost-{epoch}-{txid}{LOG_FILE_SUFFIX}"))
    }

    /// The files with lost commits, oldest first.
    pub(crate) fn lost_tails(&self) -> Vec<PathBuf> {
        let Some((parent, name)) = self.database.parent().zip(self.database.file_name()) else {
            return Vec::new();
        };
        let prefix = format!("{}.lost-", name.to_string_lossy());
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with(&prefix) && name.ends_with(LOG_FILE_SUFFIX)
            })
            .map(|entry| entry.path())
            .collect();
        paths.sort();
        paths
    }

    /// Whether there is a database at the path. An empty file is none: SQLite takes it for a new one.
    pub(crate) fn has_database(&self) -> Result<bool> {
        match fs::metadata(&self.database) {
            Ok(meta) => Ok(meta.len() > 0),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io(format_args!("looking at {}", self.database.display()), e)),
        }
    }

    /// Which log the database belongs to; `None` before that is known.
    pub(crate) fn identity(&self) -> Result<Option<Identity>> {
        let Some(bytes) = self.read("identity.json")? else { return Ok(None) };
        let damaged = || Error::corrupt(format!("{}/identity.json is damaged", self.folder.display()));
        let wire: Wire = serde_json::from_slice(&bytes).map_err(|e| damaged().with_source(e))?;
        Ok(Some(Identity {
            database: DatabaseId::from_hex(&wire.database).ok_or_else(damaged)?,
            genesis: Chain::from_hex(&wire.genesis).ok_or_else(damaged)?,
            page_size: PageSize::new(wire.page_size)?,
        }))
    }

    /// Writes down which log the database belongs to. Durable when it returns.
    pub(crate) fn set_identity(&self, identity: &Identity) -> Result<()> {
        let wire = Wire {
            haqlite: 1,
            database: identity.database.to_string(),
            genesis: identity.genesis.to_hex(),
            page_size: identity.page_size.get(),
        };
        let bytes = serde_json::to_vec(&wire).expect("BUG: an identity is always valid JSON");
        self.write("identity.json", &bytes)
    }

    /// The genesis that this node was about to create when it stopped.
    pub(crate) fn founding(&self) -> Result<Option<Genesis>> {
        self.read("founding.json")?.map(|bytes| Genesis::decode(&bytes)).transpose()
    }

    /// Writes down the genesis before it is created, so that a crash in between is not the end of it.
    pub(crate) fn set_founding(&self, genesis: &Genesis) -> Result<()> {
        self.write("founding.json", &genesis.encode())
    }

    /// Forgets it: slot 1 is confirmed.
    pub(crate) fn clear_founding(&self) -> Result<()> {
        remove(&self.folder.join("founding.json"))
    }

    /// Whether the database at the path is an empty one that haqlite made, for a log that is not founded yet.
    pub(crate) fn is_created(&self) -> bool {
        self.folder.join("created").exists()
    }

    /// Notes that it is, or is not any more.
    pub(crate) fn set_created(&self, created: bool) -> Result<()> {
        match created {
            true => self.write("created", b""),
            false => remove(&self.folder.join("created")),
        }
    }

    /// The name of a node that was given none: made up at the first open, the same ever after.
    pub(crate) fn node_id(&self) -> Result<NodeId> {
        if let Ok(machine) = std::env::var("FLY_MACHINE_ID")
            && !machine.is_empty()
        {
            return Ok(NodeId::new(machine));
        }
        self.persistent_uuid("node").map(NodeId::new)
    }

    /// Tells this folder from every other one: whoever shows it in the lease and holds the lock is the only
    /// one who can have held it before.
    pub(crate) fn token(&self) -> Result<String> {
        self.persistent_uuid("token")
    }

    fn persistent_uuid(&self, name: &str) -> Result<String> {
        if let Some(bytes) = self.read(name)?
            && let Ok(text) = String::from_utf8(bytes)
            && !text.is_empty()
        {
            return Ok(text);
        }
        let text = uuid::Uuid::new_v4().to_string();
        self.write(name, text.as_bytes())?;
        Ok(text)
    }

    /// What a log stands on in this store, or in this one with a manifest's, if that was found out before.
    pub(crate) fn probed_as(&self, store: &str, fenced: Option<&str>) -> Option<Footing> {
        let known = self.read("probed").ok().flatten()?;
        let known = String::from_utf8_lossy(&known);
        match known.lines().next().unwrap_or_default().strip_prefix(FENCED) {
            Some(name) => (Some(name) == fenced).then_some(Footing::Manifest),
            None => known.lines().any(|line| line == store).then_some(Footing::Conditions),
        }
    }

    /// Remembers what a log stands on in this store. Only the newest is kept.
    pub(crate) fn set_probed(&self, store: &str, footing: Footing) -> Result<()> {
        let mark = match footing {
            Footing::Conditions => "",
            Footing::Manifest => FENCED,
        };
        self.write("probed", format!("{mark}{store}").as_bytes())
    }

    /// Removes the database's own files that a restore replaces: a stale WAL would be replayed onto it.
    pub(crate) fn remove_database(&self) -> Result<()> {
        for path in [self.beside("-wal"), self.beside("-shm"), self.beside("-journal"), self.database.clone()]
        {
            remove(&path)?;
        }
        self.sync_parent()
    }

    /// Puts a finished database in place: fsynced, renamed, the folder fsynced.
    pub(crate) fn install(&self, staged: &Path) -> Result<()> {
        let doing = format!("installing {}", self.database.display());
        File::open(staged).and_then(|f| f.sync_all()).map_err(|e| Error::io(&doing, e))?;
        fs::rename(staged, &self.database).map_err(|e| Error::io(&doing, e))?;
        self.sync_parent()
    }

    /// Forgets the journal: the database is going to be another file. What was spooled is kept as lost commits.
    pub(crate) fn remove_journal(&self) -> Result<()> {
        for (txid, path) in Spool::empty(self).found()? {
            spool::set_aside(self, txid, &path)?;
        }
        remove(&self.journal())
    }

    fn sync_parent(&self) -> Result<()> {
        sync_folder(self.database.parent().unwrap_or(Path::new("/")))
    }

    fn clear_staging(&self) -> Result<()> {
        let staging = self.folder.join("staging");
        let entries = fs::read_dir(&staging).map_err(|e| Error::io("reading the staging folder", e))?;
        entries.flatten().try_for_each(|entry| remove(&entry.path()))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match fs::read(self.folder.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(format_args!("reading {}/{name}", self.folder.display()), e)),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_durably(&self.folder.join(name), bytes)
    }
}

impl Drop for LocalFiles {
    fn drop(&mut self) {
        self.unlock();
    }
}

/// Replaces a file as a whole: temporary file, fsync, rename, fsync of the folder.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut temporary = path.to_path_buf().into_os_string();
    temporary.push(".new");
    let doing = || format!("writing {}", path.display());
    let mut file = File::create(&temporary).map_err(|e| Error::io(doing(), e))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| Error::io(doing(), e))?;
    fs::rename(&temporary, path).map_err(|e| Error::io(doing(), e))?;
    sync_folder(folder)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(|e| Error::io(format_args!("syncing {}", folder.display()), e))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format_args!("removing {}", path.display()), e))
        }
        _ => Ok(()),
    }
}

fn resolve(database: &Path) -> Result<PathBuf> {
    if let Ok(path) = fs::canonicalize(database) {
        return Ok(path);
    }
    let invalid = || {
        let message = format!("{} is not the path of a file", database.display());
        Error::new(ErrorKind::InvalidArgument, message)
    };
    let name = database.file_name().ok_or_else(invalid)?;
    let parent = match database.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let parent = fs::canonicalize(parent)
        .map_err(|e| Error::io(format_args!("looking for the folder {}", parent.display()), e))?;
    Ok(parent.join(name))
}
