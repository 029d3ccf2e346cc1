use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::local_files::{sync_folder, write_durably};
use crate::replication::{Journal, RECORD_BYTES, Record};
use crate::types::{Error, Result};

/// The journal and its file. Appended to; rewritten shorter when it has grown.
#[derive(Debug)]
pub(crate) struct JournalFile {
    path: PathBuf,
    file: File,
    journal: Journal,
    dirty: bool,
    /// The file may end in a part of a record: it is written anew before anything is appended.
    torn: bool,
    compact_at: usize,
}

/// At so many records (1.5 MiB) the file is rewritten with what still matters.
const COMPACT_AT: usize = 16_384;

impl JournalFile {
    /// Opens the file, or makes it; what is damaged at its end is cut off.
    pub(crate) fn open(path: &Path) -> Result<JournalFile> {
        let doing = || format!("opening {}", path.display());
        let mut file = append(path).map_err(|e| Error::io(doing(), e))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| Error::io(doing(), e))?;
        let journal = Journal::decode(&bytes);
        let valid = journal.encode().len();
        if valid < bytes.len() {
            file.set_len(valid as u64).map_err(|e| Error::io(doing(), e))?;
        }
        if bytes.is_empty() {
            sync_folder(path.parent().unwrap_or(Path::new("/")))?;
        }
        let dirty = valid < bytes.len();
        Ok(JournalFile {
            path: path.to_path_buf(),
            file,
            journal,
            dirty,
            torn: false,
            compact_at: COMPACT_AT,
        })
    }

    /// What the file says.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Appends a record. It survives the end of the process, and a power cut after `sync`.
    pub(crate) fn append(&mut self, record: Record) -> Result<()> {
        if self.torn || self.journal.records().len() >= self.compact_at {
            self.compact()?;
        }
        if let Err(error) = self.file.write_all(&record.encode()) {
            // A part of it may be there, and whatever came after it would never be read.
            let valid = (self.journal.records().len() * RECORD_BYTES) as u64;
            self.torn = self.file.set_len(valid).is_err();
            return Err(Error::io("writing the journal", error));
        }
        self.journal.push(record);
        self.dirty = true;
        Ok(())
    }

    /// Appends a record and makes it durable.
    pub(crate) fn append_durably(&mut self, record: Record) -> Result<()> {
        self.append(record)?;
        self.sync()
    }

    /// Makes everything appended so far durable.
    pub(crate) fn sync(&mut self) -> Result<()> {
        if self.dirty {
            self.file.sync_data().map_err(|e| Error::io("syncing the journal", e))?;
            self.dirty = false;
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<()> {
        let journal = self.journal.compacted();
        write_durably(&self.path, &journal.encode())?;
        self.file = append(&self.path).map_err(|e| Error::io("opening the journal", e))?;
        self.compact_at = COMPACT_AT.max(journal.records().len() * 2);
        self.journal = journal;
        self.dirty = false;
        self.torn = false;
        Ok(())
    }
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}
