use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::disk::{Content, Disk, StoreFailure};
use super::record::{Kind, Record};
use crate::types::{Error, ErrorKind, Result};

/// Values by key, in memory, and on a disk if there is one; every value is on the disk before anybody hears of it.
///
/// Versions only grow, per key, and none ever comes back: not after a delete, a restart or a crash. They are at least
/// the milliseconds since 1970 at the write, so that they grow also where the memory or the disk was lost.
pub(super) struct Storage {
    disk: Option<Disk>,
    limits: StorageLimits,
    /// Milliseconds since 1970.
    now: fn() -> i64,
    index: Mutex<Index>,
    /// How many writes there were, by the first byte of the slot's name.
    writes: Vec<watch::Sender<u64>>,
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct StorageLimits {
    /// Keys, with those that were deleted.
    pub(super) keys: usize,
    /// The values and keys together.
    pub(super) bytes: usize,
}

#[derive(Default)]
struct Index {
    /// By the name of the file.
    slots: HashMap<String, Arc<Slot>>,
    bytes: usize,
}

struct Slot {
    /// Held by who writes the key, while the disk works; readers do not wait for it.
    writing: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Clone)]
enum State {
    /// This is it; `None` if there never was anything.
    Known(Option<Record>),
    /// This was being stored, and nobody knows whether it was. It is stored again before anything is said of the key.
    Doubtful(Record),
    /// Its file cannot be read.
    Damaged(String),
}

/// What a write needs to find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Condition {
    /// Nothing.
    Absent,
    /// A value with this version.
    Version(u64),
    /// Whatever there is.
    Any,
}

/// What a write did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Written {
    /// It was stored, and has this version; or deleted, as of this version.
    Done(u64),
    /// The condition does not hold; nothing was changed.
    Lost,
    /// What is there has this higher epoch; nothing was changed.
    Outranked(u64),
}

const SHARDS: usize = 64;

impl Storage {
    /// Values that go with this value.
    pub(super) fn in_memory(limits: StorageLimits, now: fn() -> i64) -> Storage {
        let writes = (0..SHARDS).map(|_| watch::Sender::new(0)).collect();
        Storage { disk: None, limits, now, index: Mutex::default(), writes }
    }

    /// The values in this folder, which is held until this value goes. `InUse` if another server holds it. A file
    /// that is damaged makes only its key unreadable. Blocks on the file system.
    pub(super) fn open(folder: &Path, limits: StorageLimits, now: fn() -> i64) -> Result<Storage> {
        let (disk, Content { records, damaged }) = Disk::open(folder)?;
        let mut storage = Storage::in_memory(limits, now);
        storage.disk = Some(disk);
        let index = storage.index.get_mut();
        for record in records {
            index.bytes += size(&record);
            let name = Record::file_name(record.kind, &record.key);
            index.slots.insert(name, Arc::new(Slot::new(State::Known(Some(record)))));
        }
        for (name, error) in damaged {
            tracing::error!(%error, "a value is lost");
            index.slots.insert(name, Arc::new(Slot::new(State::Damaged(error.to_string()))));
        }
        Ok(storage)
    }

    /// What is at the key: `None` if nothing is. `StoreUnavailable` while a write of it is in doubt ([`Storage::settle`]
    /// ends that), `Corrupt` if its file is. Does not block.
    pub(super) fn read(&self, kind: Kind, key: &str) -> Result<Option<Record>> {
        let Some(slot) = self.slot(&Record::file_name(kind, key)) else { return Ok(None) };
        let state = slot.state.lock();
        match &*state {
            State::Known(record) => Ok(record.clone().filter(|record| record.body.is_some())),
            State::Doubtful(_) => Err(Error::new(ErrorKind::StoreUnavailable, "the disk failed; try again")),
            State::Damaged(why) => Err(Error::corrupt(why.clone())),
        }
    }

    /// Returns when something may have been written to the key since `version` was there.
    pub(super) async fn changed(&self, kind: Kind, key: &str, version: Option<u64>) {
        let mut writes = self.writes_of(&Record::file_name(kind, key)).subscribe();
        loop {
            match self.read(kind, key) {
                Ok(found) if found.as_ref().map(|record| record.version) == version => {}
                _ => return,
            }
            // The sender lives as long as we do.
            if writes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Stores a value if the condition holds and the epoch of what is there is not higher; `None` deletes. An error
    /// leaves open whether it took place, and it may take place later. Blocks on the disk.
    pub(super) fn write(
        &self,
        kind: Kind,
        key: &str,
        condition: Condition,
        epoch: u64,
        body: Option<Bytes>,
    ) -> Result<Written> {
        let name = Record::file_name(kind, key);
        let Some(slot) = self.slot_to_write(&name, condition, body.is_some())? else {
            return Ok(Written::Lost);
        };
        let written = self.write_slot(&slot, (kind, key), condition, epoch, body);
        drop(slot);
        if written.is_err() {
            self.forget_if_empty(&name);
        }
        written
    }

    fn write_slot(
        &self,
        slot: &Slot,
        (kind, key): (Kind, &str),
        condition: Condition,
        epoch: u64,
        body: Option<Bytes>,
    ) -> Result<Written> {
        let _writing = slot.writing.lock();
        self.settle_slot(slot)?;
        let before = match &*slot.state.lock() {
            State::Known(record) => record.clone(),
            State::Damaged(why) => return Err(Error::corrupt(why.clone())),
            State::Doubtful(_) => return Err(Error::new(ErrorKind::Internal, "BUG: it was settled")),
        };
        let present = before.as_ref().filter(|record| record.body.is_some());
        // Also of one that was deleted: an epoch never goes back.
        if let Some(newest) = before.as_ref().map(|record| record.epoch).filter(|newest| *newest > epoch) {
            return Ok(Written::Outranked(newest));
        }
        let holds = match condition {
            Condition::Absent => present.is_none(),
            Condition::Version(version) => present.is_some_and(|record| record.version == version),
            Condition::Any => true,
        };
        if !holds {
            return Ok(Written::Lost);
        }
        let newest = before.as_ref().map_or(0, |record| record.version);
        let version = match (&body, present) {
            // There is nothing to delete.
            (None, None) => return Ok(Written::Done(newest)),
            (None, Some(_)) => newest,
            (Some(_), _) => self.next_version(newest)?,
        };
        let record = Record { kind, key: key.to_owned(), version, epoch, body };
        self.replace(slot, before, record)?;
        Ok(Written::Done(version))
    }

    /// Ends the doubt about a key after the disk failed, if there is any. Blocks on the disk.
    pub(super) fn settle(&self, kind: Kind, key: &str) -> Result<()> {
        let Some(slot) = self.slot(&Record::file_name(kind, key)) else { return Ok(()) };
        let _writing = slot.writing.lock();
        self.settle_slot(&slot)
    }

    /// Puts the record in the place of the one before. The caller holds the slot for writing.
    fn replace(&self, slot: &Slot, before: Option<Record>, record: Record) -> Result<()> {
        let name = Record::file_name(record.kind, &record.key);
        let (more, less) = (size(&record), before.as_ref().map_or(0, size));
        self.take_room(more)?;
        if let Some(disk) = &self.disk {
            // Readers hear of the old one meanwhile: the writer of the new one has no answer yet.
            match disk.store(&record) {
                Ok(()) => {}
                Err(StoreFailure::Nothing(error)) => {
                    self.give_room(more);
                    return Err(error);
                }
                Err(StoreFailure::Doubtful(error)) => {
                    self.give_room(less);
                    *slot.state.lock() = State::Doubtful(record);
                    return Err(error);
                }
            }
        }
        self.give_room(less);
        *slot.state.lock() = State::Known(Some(record));
        self.writes_of(&name).send_modify(|writes| *writes = writes.wrapping_add(1));
        Ok(())
    }

    /// A doubtful record is stored once more, and then it is known: its writer heard that it may still take place.
    fn settle_slot(&self, slot: &Slot) -> Result<()> {
        let doubtful = match &*slot.state.lock() {
            State::Doubtful(record) => record.clone(),
            State::Known(_) | State::Damaged(_) => return Ok(()),
        };
        if let Some(disk) = &self.disk {
            disk.store(&doubtful).map_err(|failure| match failure {
                StoreFailure::Nothing(error) | StoreFailure::Doubtful(error) => error,
            })?;
        }
        let name = Record::file_name(doubtful.kind, &doubtful.key);
        *slot.state.lock() = State::Known(Some(doubtful));
        self.writes_of(&name).send_modify(|writes| *writes = writes.wrapping_add(1));
        Ok(())
    }

    fn next_version(&self, newest: u64) -> Result<u64> {
        let next = newest
            .checked_add(1)
            .ok_or_else(|| Error::new(ErrorKind::LimitExceeded, "the key has no more versions"))?;
        Ok(next.max(u64::try_from((self.now)()).unwrap_or(0)))
    }

    fn slot(&self, name: &str) -> Option<Arc<Slot>> {
        self.index.lock().slots.get(name).map(Arc::clone)
    }

    /// The slot, made for who may create; `None` where nothing is and nothing could be done. `LimitExceeded` for one
    /// key too many.
    fn slot_to_write(&self, name: &str, condition: Condition, creates: bool) -> Result<Option<Arc<Slot>>> {
        let mut index = self.index.lock();
        if let Some(slot) = index.slots.get(name) {
            return Ok(Some(Arc::clone(slot)));
        }
        if matches!(condition, Condition::Version(_)) {
            return Ok(None);
        }
        let slot = Arc::new(Slot::new(State::Known(None)));
        if creates {
            if index.slots.len() >= self.limits.keys {
                let message = format!("there are {} keys already, which is the limit", self.limits.keys);
                return Err(Error::new(ErrorKind::LimitExceeded, message));
            }
            index.slots.insert(name.to_owned(), Arc::clone(&slot));
        }
        Ok(Some(slot))
    }

    /// A slot whose first write failed takes no key's place, if nobody else is about to write it.
    fn forget_if_empty(&self, name: &str) {
        let mut index = self.index.lock();
        let is_empty = index.slots.get(name).is_some_and(|slot| {
            // Whoever has one of its own took it under this lock.
            Arc::strong_count(slot) == 1 && matches!(*slot.state.lock(), State::Known(None))
        });
        if is_empty {
            index.slots.remove(name);
        }
    }

    fn take_room(&self, bytes: usize) -> Result<()> {
        let mut index = self.index.lock();
        let taken = index.bytes.saturating_add(bytes);
        if taken > self.limits.bytes {
            let message = format!("the values would take more than {} bytes, the limit", self.limits.bytes);
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        index.bytes = taken;
        Ok(())
    }

    fn give_room(&self, bytes: usize) {
        self.index.lock().bytes -= bytes;
    }

    fn writes_of(&self, name: &str) -> &watch::Sender<u64> {
        &self.writes[usize::from(blake3::hash(name.as_bytes()).as_bytes()[0]) % SHARDS]
    }
}

impl Slot {
    fn new(state: State) -> Slot {
        Slot { writing: Mutex::new(()), state: Mutex::new(state) }
    }
}

fn size(record: &Record) -> usize {
    record.key.len() + record.body.as_ref().map_or(0, Bytes::len)
}
