use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use tokio::runtime::Handle;

use super::log::{Fetched, Log};
use crate::ltx::Decoder;
use crate::replication::{LogFile, plan_restore};
use crate::types::{Chain, Epoch, Error, ErrorKind, PageSize, Position, Result, Txid};

/// What a restore made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Restored {
    /// The position of the database. The chain is zero if the last file covers several slots.
    pub(crate) position: Position,
    /// The size of its pages.
    pub(crate) page_size: PageSize,
    /// Its size in pages.
    pub(crate) size: u32,
    /// Whether another tool wrote any of the files.
    pub(crate) foreign: bool,
    /// Whether another tool wrote the newest one. A slot of ours after another tool's is its adoption.
    pub(crate) foreign_end: bool,
}

/// How many files are fetched ahead.
const AHEAD: usize = 8;

impl Log {
    /// Writes the database that the log makes, at `target` or at its end, to a new file at `path`. `None`
    /// if the log is empty.
    ///
    /// Every file is checked, and so is each link between two of ours, before the result is returned; until
    /// then the file at `path` is not to be used. Memory is bounded; the file is written in place, since
    /// nobody reads it yet.
    pub(crate) async fn restore(&self, path: &Path, target: Option<Txid>) -> Result<Option<Restored>> {
        let plan = plan_restore(&self.list().await?, Txid::ZERO, target)?;
        if plan.files.is_empty() {
            return Ok(None);
        }
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(path)
            .map_err(|e| Error::io(format_args!("creating {}", path.display()), e))?;
        let mut restore = Restore { file, state: None };
        let mut waiting: VecDeque<_> = VecDeque::new();
        let mut files = plan.files.iter();
        let runtime = Handle::current();
        loop {
            while waiting.len() < AHEAD
                && let Some(next) = files.next()
            {
                let (log, next) = (self.clone(), *next);
                waiting.push_back((next, runtime.spawn(async move { log.fetch(&next).await })));
            }
            let Some((next, fetch)) = waiting.pop_front() else { break };
            let fetched = fetch
                .await
                .map_err(|e| Error::new(ErrorKind::Internal, format!("a fetch ended early: {e}")))??;
            restore = tokio::task::spawn_blocking(move || -> Result<Restore> {
                restore.add(&next, &fetched)?;
                Ok(restore)
            })
            .await
            .map_err(|e| Error::new(ErrorKind::Internal, format!("a restore ended early: {e}")))??;
        }
        Ok(restore.state)
    }
}

struct Restore {
    file: File,
    state: Option<Restored>,
}

impl Restore {
    fn add(&mut self, named: &LogFile, fetched: &Fetched) -> Result<()> {
        let context = |e: Error| e.context(format_args!("log file {}-{}", named.min, named.max));
        let mut decoder = Decoder::new(fetched.reader()?).map_err(context)?;
        let header = decoder.header().clone();
        if (header.min, header.max) != (named.min, named.max) {
            return Err(context(Error::corrupt("a log file holds other slots than its name says")));
        }
        self.check_link(&header).map_err(context)?;
        let mut data = Vec::new();
        while let Some(page) = decoder.next_page(&mut data).map_err(context)? {
            let offset = page.offset(header.page_size);
            self.file.write_all_at(&data, offset).map_err(|e| Error::io("writing a restored page", e))?;
        }
        let decoded = decoder.finish().map_err(context)?;
        let length = u64::from(header.commit.get()) * u64::from(header.page_size.get());
        self.file.set_len(length).map_err(|e| Error::io("sizing a restored database", e))?;
        let before = self.state.map(|state| (state.foreign, state.position.epoch));
        let (was_foreign, old_epoch) = before.unwrap_or((false, Epoch::ZERO));
        self.state = Some(Restored {
            position: Position {
                txid: header.max,
                chain: if named.level == 0 && header.min == header.max { decoded.chain } else { Chain::ZERO },
                epoch: header.origin.map_or(old_epoch, |origin| origin.epoch),
            },
            page_size: header.page_size,
            size: header.commit.get(),
            foreign: was_foreign || header.is_foreign(),
            foreign_end: header.is_foreign(),
        });
        Ok(())
    }

    fn check_link(&self, header: &crate::ltx::Header) -> Result<()> {
        let Some(before) = self.state else {
            return match header.is_complete() {
                true => Ok(()),
                false => Err(Error::corrupt("the first file does not hold the whole database")),
            };
        };
        if header.page_size != before.page_size {
            return Err(Error::corrupt("the page size changes"));
        }
        let Some(origin) = header.origin else { return Ok(()) };
        let directly_after = header.min == before.position.txid.next();
        if directly_after && before.position.chain != Chain::ZERO && origin.previous != before.position.chain
        {
            return Err(Error::corrupt("the file belongs to another history than the one before it"));
        }
        if origin.epoch < before.position.epoch {
            return Err(Error::corrupt("the epoch goes down"));
        }
        Ok(())
    }
}
