use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::local_files::sync_folder;
use super::replica::{Boundary, Replica};
use super::restore::Restored;
use crate::bucket::LOG_FILE_SUFFIX;
use crate::ltx::{Encoder, Header, Origin};
use crate::sqlite::PageSource;
use crate::types::{Epoch, Error, ErrorKind, PageNumber, Result, SessionId, Txid};

/// Which pages of the local database are saved before they are overwritten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Save {
    /// Those of the spool and of the frames behind it: commits of our own, known exactly.
    Tail,
    /// All that differ: nothing is known of how they came about.
    Differences,
    /// None: they came from the log.
    Nothing,
}

impl Replica {
    /// Makes the database equal to `restored`, the log at its tail, by one atomic group that goes forward:
    /// readers see the state before or after, the WAL is never cut and no page is written in place.
    ///
    /// What is lost by it is in the file that is returned, durable before the first page changes: a log
    /// file with the pages as they were. A crash leaves the state before, and all is done again.
    pub(crate) fn become_copy_of(
        &mut self,
        staged: &Path,
        restored: &Restored,
        save: Save,
    ) -> Result<Option<PathBuf>> {
        if restored.page_size != self.page_size() {
            return Err(Error::corrupt(format!(
                "the log has pages of {} bytes, the database of {}",
                restored.page_size,
                self.page_size()
            )));
        }
        let copy = File::open(staged).map_err(|e| Error::io("opening a restored database", e))?;
        let differing = self.differing_pages(&copy, restored.size)?;
        let lost = match save {
            // What is spooled are commits of our own, whoever says that there are none.
            Save::Nothing if self.spool.is_empty() => None,
            // A WAL that does not prove the way to its end does not tell what the tail is.
            Save::Nothing | Save::Tail => match self.save_tail() {
                Err(error) if error.kind() == ErrorKind::Corrupt => self.save_pages(&differing)?,
                saved => saved?,
            },
            Save::Differences => self.save_pages(&differing)?,
        };
        let published = self.published()?;
        if differing.is_empty() && published.db_size == restored.size && published.point.frame > 0 {
            self.set_boundary(Boundary {
                point: published.point,
                position: restored.position,
                size: restored.size,
            })?;
            self.abandon_spool()?;
            return Ok(lost);
        }
        let mut pages: Vec<PageNumber> =
            differing.into_iter().filter(|page| page.get() <= restored.size).collect();
        if pages.is_empty() {
            // Only the size differs: a group needs a page.
            pages.push(PageNumber::FIRST);
        }
        self.begin_generation_if_empty()?;
        let mut source = Copied { copy, size: restored.page_size.bytes() as u64, pages: pages.into_iter() };
        self.inject(&mut source, restored.size, restored.position)?;
        self.journal.sync()?;
        self.abandon_spool()?;
        Ok(lost)
    }

    /// Gives a WAL without frames its first generation. The boundary stays where it is.
    pub(super) fn begin_generation_if_empty(&mut self) -> Result<()> {
        let published = self.published()?;
        if published.point.frame > 0 {
            return Ok(());
        }
        match self.wal.reset(&published.point, &mut |_| Ok(()))? {
            Some(_) => Ok(()),
            None => Err(Error::new(ErrorKind::Busy, "the WAL is in use by another process")),
        }
    }

    fn differing_pages(&mut self, copy: &File, copy_size: u32) -> Result<Vec<PageNumber>> {
        let published = self.published()?;
        let page_size = self.page_size();
        let mut here = vec![0; page_size.bytes()];
        let mut there = vec![0; page_size.bytes()];
        let mut differing = Vec::new();
        for number in 1..=copy_size.max(published.db_size) {
            let Some(page) = PageNumber::new(number).filter(|page| *page != page_size.lock_page()) else {
                continue;
            };
            if number > copy_size || number > published.db_size {
                differing.push(page);
                continue;
            }
            self.wal.read_page_at(page, published.point.frame, &mut here)?;
            copy.read_exact_at(&mut there, page.offset(page_size))
                .map_err(|e| Error::io("reading a restored database", e))?;
            if here != there {
                differing.push(page);
            }
        }
        Ok(differing)
    }

    fn save_tail(&mut self) -> Result<Option<PathBuf>> {
        if !self.has_frames_beyond()? {
            return Ok(None);
        }
        let pages: Vec<PageNumber> = self.tail_pages()?.into_iter().collect();
        self.save_pages(&pages)
    }

    /// Writes the pages as they are now into a file beside the database. `None` if none of them exists.
    fn save_pages(&mut self, pages: &[PageNumber]) -> Result<Option<PathBuf>> {
        let published = self.published()?;
        let existing: Vec<PageNumber> =
            pages.iter().copied().filter(|page| page.get() <= published.db_size).collect();
        let Some(commit) = PageNumber::new(published.db_size).filter(|_| !existing.is_empty()) else {
            return Ok(None);
        };
        let known = self.known_position();
        // A file from slot 1 on would have to hold every page.
        let txid = known.txid.next().max(Txid::new(2));
        let origin = Origin::new(known.epoch.max(Epoch::FIRST), known.chain, SessionId::default());
        let header = Header::slot(txid, self.page_size(), commit, 0, origin);
        let staged = self.files.staging("lost");
        let doing = |e| Error::io("saving commits that never reached the log", e);
        let file = File::create(&staged).map_err(doing)?;
        let mut writer = BufWriter::new(file);
        let mut encoder = Encoder::new(&mut writer, header)?;
        let mut data = vec![0; self.page_size().bytes()];
        for page in existing {
            self.wal.read_page_at(page, published.point.frame, &mut data)?;
            encoder.page(page, &data)?;
        }
        encoder.finish()?;
        writer.flush().map_err(doing)?;
        writer.get_ref().sync_all().map_err(doing)?;
        let path = free_name(self.files.lost(known.epoch, known.txid), &staged);
        fs::rename(&staged, &path).map_err(doing)?;
        sync_folder(path.parent().unwrap_or(Path::new("/")))?;
        Ok(Some(path))
    }
}

/// The path, or with a number if something else is there already: what was saved is never overwritten, and
/// saving the same once more makes no second file.
pub(super) fn free_name(path: PathBuf, staged: &Path) -> PathBuf {
    let same = |there: &Path| fs::read(there).ok().zip(fs::read(staged).ok()).is_some_and(|(a, b)| a == b);
    let mut candidate = path.clone();
    let mut number = 2;
    while candidate.exists() && !same(&candidate) {
        candidate = path.with_extension(format!("{number}{LOG_FILE_SUFFIX}"));
        number += 1;
    }
    candidate
}

struct Copied {
    copy: File,
    size: u64,
    pages: std::vec::IntoIter<PageNumber>,
}

impl PageSource for Copied {
    fn next(&mut self, data: &mut [u8]) -> Result<Option<PageNumber>> {
        let Some(page) = self.pages.next() else { return Ok(None) };
        self.copy
            .read_exact_at(data, (u64::from(page.get()) - 1) * self.size)
            .map_err(|e| Error::io("reading a restored database", e))?;
        Ok(Some(page))
    }
}
