use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::local_files::{LocalFiles, sync_folder};
use super::replica::Boundary;
use crate::bucket::LOG_FILE_SUFFIX;
use crate::ltx::Decoder;
use crate::replication::Journal;
use crate::types::{Error, PageNumber, Position, Result, Txid};
use crate::wal::WalPoint;

/// Slots that are on the disk and not in the log yet: the files that are to be sent, byte for byte, one after
/// the other, from the slot after the boundary on.
///
/// A slot is in the spool from when its record is durable; before that, what lies in the folder under its
/// name is nothing. Its file is removed after the log's answer, or where its content went instead, is durable
/// in the journal. So a crash at any moment leaves the files of a run of slots that ends where the newest
/// record says, and begins at or before the first that the journal does not know to be confirmed.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    slots: VecDeque<Spooled>,
    bytes: u64,
}

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Spooled {
    /// Where the database is when it is confirmed. Of the point only the last slot's means something: that
    /// of the others may be of a WAL that is gone.
    pub(crate) boundary: Boundary,
    /// What the file's header says of the time.
    pub(crate) timestamp_ms: i64,
    /// The size of the file.
    pub(crate) bytes: u64,
}

impl Spool {
    /// The spool in this folder, without looking into it.
    pub(crate) fn empty(files: &LocalFiles) -> Spool {
        Spool { folder: files.spool(), slots: VecDeque::new(), bytes: 0 }
    }

    /// The slots that end at `end`, which a record has named and the WAL has proven, and the position before
    /// the first of them: the newest before which the journal knows the log to be. Every file is read whole.
    ///
    /// `Corrupt` if one of them is missing or damaged.
    pub(crate) fn load(files: &LocalFiles, end: Boundary, journal: &Journal) -> Result<(Position, Spool)> {
        let mut spool = Spool::empty(files);
        let mut after = end;
        while !journal.knows(&after.position) {
            let (slot, before) = read(&spool.path(after.position.txid), after)?;
            spool.bytes += slot.bytes;
            spool.slots.push_front(slot);
            // Its point and size are those of no moment that anybody asks for.
            after = Boundary { point: WalPoint::default(), position: before, size: 0 };
        }
        Ok((after.position, spool))
    }

    /// Removes what is left of slots that are confirmed, and of such that were never recorded.
    pub(crate) fn sweep(&self) -> Result<()> {
        for (txid, path) in self.found()? {
            if !self.slots.iter().any(|slot| slot.boundary.position.txid == txid) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Every slot that has a file, also one that is not in the spool, in their order.
    pub(crate) fn found(&self) -> Result<Vec<(Txid, PathBuf)>> {
        let doing = || format!("reading {}", self.folder.display());
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(|e| Error::io(doing(), e))? {
            let path = entry.map_err(|e| Error::io(doing(), e))?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let Some(txid) = stem.and_then(|stem| stem.parse().ok()) else { continue };
            found.push((Txid::new(txid), path));
        }
        found.sort();
        Ok(found)
    }

    /// The file of a slot.
    pub(crate) fn path(&self, txid: Txid) -> PathBuf {
        self.folder.join(format!("{txid}{LOG_FILE_SUFFIX}"))
    }

    /// Makes what was written to the file durable, and its name.
    pub(crate) fn sync(&self, file: &File) -> Result<()> {
        file.sync_all().map_err(|e| Error::io("syncing a spooled slot", e))?;
        sync_folder(&self.folder)
    }

    /// Takes a slot whose file and record are durable.
    pub(crate) fn push(&mut self, slot: Spooled) {
        self.bytes += slot.bytes;
        self.slots.push_back(slot);
    }

    /// The slot that is confirmed next.
    pub(crate) fn first(&self) -> Option<Spooled> {
        self.slots.front().copied()
    }

    /// The slot behind which the next one begins.
    pub(crate) fn last(&self) -> Option<Spooled> {
        self.slots.back().copied()
    }

    /// The last slot's end is at this point now: its WAL began anew.
    pub(crate) fn move_end(&mut self, point: WalPoint) {
        if let Some(last) = self.slots.back_mut() {
            last.boundary.point = point;
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The size of their files.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Lets the first slot go, of which the journal says durably that the log has it.
    pub(crate) fn remove_first(&mut self) {
        if let Some(slot) = self.slots.pop_front() {
            self.bytes -= slot.bytes;
            self.forget(&slot);
        }
    }

    /// Lets all slots go: the database durably is something else.
    pub(crate) fn clear(&mut self) {
        self.bytes = 0;
        for slot in std::mem::take(&mut self.slots) {
            self.forget(&slot);
        }
    }

    /// What cannot be removed now is swept away at the next open.
    fn forget(&self, slot: &Spooled) {
        if let Err(error) = remove(&self.path(slot.boundary.position.txid)) {
            tracing::warn!("{error}");
        }
    }

    /// Every page that one of the slots changed. `Corrupt` if a file is missing or damaged.
    pub(crate) fn pages(&self) -> Result<BTreeSet<PageNumber>> {
        let mut pages = BTreeSet::new();
        let mut data = Vec::new();
        for slot in &self.slots {
            let mut decoder = Decoder::new(open(&self.path(slot.boundary.position.txid))?)?;
            while let Some(page) = decoder.next_page(&mut data)? {
                pages.insert(page);
            }
        }
        Ok(pages)
    }
}

/// Reads the file of the slot that ends there, and gives the position before it.
fn read(path: &Path, end: Boundary) -> Result<(Spooled, Position)> {
    let damaged = || Error::corrupt(format!("{} is not the slot that was spooled", path.display()));
    let decoder = Decoder::new(open(path)?)?;
    let header = decoder.header().clone();
    let whole = decoder.finish()?;
    let txid = end.position.txid;
    let origin = header.origin.filter(|_| header.min == txid && header.max == txid).ok_or_else(damaged)?;
    if whole.chain != end.position.chain || origin.epoch != end.position.epoch {
        return Err(damaged());
    }
    let before = txid.previous().ok_or_else(damaged)?;
    let slot = Spooled { boundary: end, timestamp_ms: header.timestamp_ms, bytes: whole.size };
    // Slots are spooled by a leader whose fence is confirmed: the one before is of its epoch, too.
    Ok((slot, Position { txid: before, chain: origin.previous, epoch: origin.epoch }))
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::corrupt(format!("{} is missing", path.display())),
        _ => Error::io(format_args!("opening {}", path.display()), e),
    })
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format_args!("removing {}", path.display()), e))
        }
        _ => Ok(()),
    }
}

/// Keeps a spooled slot that no database and no log is known to hold, under the name of lost commits. Durable
/// when it returns.
pub(crate) fn set_aside(files: &LocalFiles, txid: Txid, path: &Path) -> Result<PathBuf> {
    let epoch = Decoder::new(open(path)?).ok().and_then(|decoder| decoder.header().origin).map(|o| o.epoch);
    let lost = files.lost(epoch.unwrap_or_default(), txid.previous().unwrap_or_default());
    let name = super::rewind::free_name(lost, path);
    fs::rename(path, &name).map_err(|e| Error::io(format_args!("keeping {}", path.display()), e))?;
    sync_folder(name.parent().unwrap_or(Path::new("/")))?;
    Ok(name)
}
