use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use crate::types::{Error, ErrorKind, Result};

/// Bytes of pages that are handed over at once.
const BATCH: usize = 1 << 20;
/// Batches that wait or are being written, at most.
const WAITING: usize = 6;
/// After so many bytes the disk is told to begin with them, so that little is left to do at the end.
const SYNC_EVERY: u64 = 64 << 20;

/// Writes the pages of a database that nobody reads yet, on a thread of its own: in the order in which they
/// came, so that of several images of a page the last stays.
/// When this value goes, nothing is being written any more.
pub(super) struct PageWriter {
    batch: Batch,
    full: Option<SyncSender<Step>>,
    empty: Receiver<Batch>,
    thread: Option<JoinHandle<Result<File>>>,
}

enum Step {
    Pages(Batch),
    Size(u64),
}

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Where in the file runs of the bytes belong.
    runs: Vec<(u64, usize)>,
}

impl PageWriter {
    /// Writes to this file.
    pub(super) fn start(file: File) -> Result<PageWriter> {
        let (full, steps) = sync_channel(WAITING);
        let (used, empty) = sync_channel(WAITING + 2);
        let syncer = start_syncer(&file)?;
        let thread = thread::Builder::new()
            .name("haqlite-pages".into())
            .spawn(move || write(file, &steps, &used, syncer))
            .map_err(|e| Error::io("starting a writer of pages", e))?;
        Ok(PageWriter { batch: Batch::default(), full: Some(full), empty, thread: Some(thread) })
    }

    /// Adds a page at its offset in the file.
    pub(super) fn page(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        self.batch.bytes.extend_from_slice(data);
        match self.batch.runs.last_mut() {
            Some((start, length)) if *start + *length as u64 == offset => *length += data.len(),
            _ => self.batch.runs.push((offset, data.len())),
        }
        if self.batch.bytes.len() < BATCH { Ok(()) } else { self.hand_over() }
    }

    /// Gives the file this size, after what was added before.
    pub(super) fn size(&mut self, bytes: u64) -> Result<()> {
        self.hand_over()?;
        self.send(Step::Size(bytes))
    }

    /// The file when everything is written; it is synced only in part.
    pub(super) fn finish(mut self) -> Result<File> {
        self.hand_over()?;
        self.end()
    }

    fn hand_over(&mut self) -> Result<()> {
        if self.batch.bytes.is_empty() {
            return Ok(());
        }
        let next = self.empty.try_recv().unwrap_or_default();
        let batch = std::mem::replace(&mut self.batch, next);
        self.send(Step::Pages(batch))
    }

    fn send(&mut self, step: Step) -> Result<()> {
        if self.full.as_ref().is_some_and(|full| full.send(step).is_ok()) {
            return Ok(());
        }
        // The thread has ended, and says why.
        let unknown = || Error::new(ErrorKind::Internal, "a writer of pages ended early");
        Err(self.end().err().unwrap_or_else(unknown))
    }

    fn end(&mut self) -> Result<File> {
        self.full = None;
        let over = || Error::new(ErrorKind::Internal, "a writer of pages is over");
        let thread = self.thread.take().ok_or_else(over)?;
        thread.join().map_err(|_| Error::new(ErrorKind::Internal, "a writer of pages panicked"))?
    }
}

impl Drop for PageWriter {
    fn drop(&mut self) {
        // Whoever drops it has an error of his own.
        let _ = self.end();
    }
}

fn write(file: File, steps: &Receiver<Step>, used: &SyncSender<Batch>, syncer: Syncer) -> Result<File> {
    let failed = |e| Error::io("writing a restored database", e);
    let mut written = 0;
    for step in steps {
        match step {
            Step::Size(bytes) => file.set_len(bytes).map_err(failed)?,
            Step::Pages(mut batch) => {
                let mut rest = batch.bytes.as_slice();
                for (offset, length) in batch.runs.drain(..) {
                    let (run, later) = rest.split_at(length);
                    file.write_all_at(run, offset).map_err(failed)?;
                    rest = later;
                }
                written += batch.bytes.len() as u64;
                batch.bytes.clear();
                // Nobody may be waiting for it any more.
                let _ = used.try_send(batch);
                if written >= SYNC_EVERY {
                    written = 0;
                    // While it is busy with what came before, it will come to this later.
                    let _ = syncer.0.try_send(());
                }
            }
        }
    }
    drop(syncer.0);
    syncer.1.join().map_err(|_| Error::new(ErrorKind::Internal, "a sync panicked"))?.map_err(failed)?;
    Ok(file)
}

/// Syncs when it is told to, beside the writing.
struct Syncer(SyncSender<()>, JoinHandle<std::io::Result<()>>);

fn start_syncer(file: &File) -> Result<Syncer> {
    let doing = |e| Error::io("starting a writer of pages", e);
    let file = file.try_clone().map_err(doing)?;
    let (sender, receiver) = sync_channel::<()>(1);
    let run = move || {
        for () in receiver {
            file.sync_data()?;
        }
        Ok(())
    };
    let thread = thread::Builder::new().name("haqlite-sync".into()).spawn(run).map_err(doing)?;
    Ok(Syncer(sender, thread))
}
