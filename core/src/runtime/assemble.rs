use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::file_reader::{Failure, FileReader, OpenFile};
use super::log::Log;
use super::page_writer::PageWriter;
use crate::replication::{Gaps, LogFile, Plan, Walk, WholeFile};
use crate::types::{Chain, Error, ErrorKind, PageSize, Position, Progress, Result};

/// Who hears how far a restore or a verification is.
pub(crate) type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// Files that are open ahead at one time, and the bytes that they may hold.
const AHEAD: usize = 64;
const AHEAD_BYTES: u64 = 48 << 20;
/// Progress within a file is told after so many bytes.
const TELL_EVERY: u64 = 8 << 20;

/// The files of a plan, made into a database.
pub(super) struct Assembly<'a> {
    pub(super) log: &'a Log,
    pub(super) plan: &'a Plan,
    /// Before the first file.
    pub(super) walk: Walk,
    /// The last slot itself, if it is not the last file.
    pub(super) end: Option<WholeFile>,
    pub(super) progress: Option<OnProgress>,
    /// Set when nobody waits for the result any more.
    pub(super) cancelled: &'a AtomicBool,
}

/// The database that files made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Assembled {
    /// The chain value is zero if nothing told it.
    pub(super) position: Position,
    pub(super) page_size: PageSize,
    pub(super) size: u32,
    /// Whether another tool wrote any of the files.
    pub(super) foreign: bool,
    /// Whether another tool wrote the last slot.
    pub(super) foreign_end: bool,
    pub(super) timestamp_ms: i64,
    pub(super) done: Progress,
}

impl Assembly<'_> {
    /// Writes the database to a new file. Blocks; reading, decoding and writing go on side by side.
    ///
    /// Memory is bounded whatever the sizes. After a failure the file holds nothing of use, and nobody writes
    /// to it any more.
    pub(super) fn run(mut self, file: File) -> Result<Assembled, Failure> {
        let mut writer = PageWriter::start(file).map_err(Failure::Other)?;
        let mut ahead = Ahead::new(self.log, &self.plan.files);
        let mut done = Progress {
            files: self.plan.files.len() as u64,
            bytes: self.plan.files.iter().map(|file| file.size).sum(),
            ..Progress::default()
        };
        let mut gaps = Gaps::default();
        let mut last: Option<WholeFile> = None;
        let mut foreign = false;
        while let Some(open) = ahead.next()? {
            let reader = open.begin()?;
            let before = last.as_ref().map(|last| last.file);
            if let Err(error) = self.walk.check(reader.header()) {
                return Err(self.misfit(reader, before, error));
            }
            let size = last.as_ref().map_or(0, |last| last.header.commit.get());
            gaps.begin(size);
            let whole = self.copy(reader, &mut gaps, &mut writer, done)?;
            let header = &whole.header;
            if header.commit.get() != size {
                let bytes = u64::from(header.commit.get()) * u64::from(header.page_size.get());
                writer.size(bytes).map_err(Failure::Other)?;
            }
            self.walk.step(&whole);
            foreign |= header.is_foreign();
            done.files_done += 1;
            done.bytes_done += whole.file.size;
            last = Some(whole);
            self.tell(done)?;
        }
        writer.finish().map_err(Failure::Other)?;
        let Some(WholeFile { file, header, .. }) = last else {
            return Err(Failure::Other(Error::new(ErrorKind::Internal, "a restore without files")));
        };
        if let Some(page) = gaps.first() {
            let key = self.log.file_key(&file);
            let message = format!("{key}: page {page} is in no file up to this one");
            return Err(Failure::Damaged(vec![file], Error::corrupt(message)));
        }
        let mut position = self.walk.position();
        let mut origin = header.origin;
        if let Some(end) = &self.end {
            if position.chain != Chain::ZERO && position.chain != end.hash {
                let key = self.log.file_key(&file);
                let message =
                    format!("{key}: it ends at {}, and the slot there is {}", position.chain, end.hash);
                return Err(Failure::Damaged(vec![file], Error::corrupt(message)));
            }
            position.chain = end.hash;
            origin = end.header.origin;
            position.epoch = origin.map_or(position.epoch, |origin| position.epoch.max(origin.epoch));
        }
        Ok(Assembled {
            position,
            page_size: header.page_size,
            size: header.commit.get(),
            foreign,
            foreign_end: origin.is_none(),
            timestamp_ms: header.timestamp_ms,
            done,
        })
    }

    /// Writes the pages of a file.
    fn copy(
        &self,
        mut reader: FileReader,
        gaps: &mut Gaps,
        writer: &mut PageWriter,
        mut done: Progress,
    ) -> Result<WholeFile, Failure> {
        let (page_size, commit) = (reader.header().page_size, reader.header().commit.get());
        let files_before = done.bytes_done;
        let owed = || Error::corrupt("it grows the database by many more pages than it holds");
        let mut data = Vec::new();
        while let Some(page) = reader.next_page(&mut data)? {
            if !gaps.page(page, page_size) {
                return Err(reader.misfit(owed()));
            }
            writer.page(page.offset(page_size), &data).map_err(Failure::Other)?;
            let bytes = files_before + reader.bytes();
            if bytes >= done.bytes_done + TELL_EVERY {
                done.bytes_done = bytes;
                self.tell(done)?;
            }
        }
        if !gaps.end(commit, page_size) {
            return Err(reader.misfit(owed()));
        }
        reader.finish()
    }

    /// Which of two files is wrong, if one does not go on from the other. Of what was made of slots and a slot
    /// it is the former, as far as anybody knows; of two slots the second if the one after it says so too, and
    /// else it may be either.
    fn misfit(&self, reader: FileReader, before: Option<LogFile>, error: Error) -> Failure {
        let Some(before) = before else {
            let failure = reader.misfit(error);
            return reader.finish().err().unwrap_or(failure);
        };
        let error = error.context(format_args!("after {}", self.log.file_key(&before)));
        let file = *reader.file();
        let failure = reader.misfit(error);
        // A damaged header says anything.
        let whole = match reader.finish() {
            Ok(whole) => whole,
            Err(damaged) => return damaged,
        };
        let Failure::Damaged(_, error) = failure else { return failure };
        match (before.level > 0, file.level > 0) {
            (true, false) => Failure::Damaged(vec![before], error),
            (false, true) => Failure::Damaged(vec![file], error),
            _ if self.next_contradicts(&whole) => Failure::Damaged(vec![file], error),
            _ => Failure::Damaged(vec![before, file], error),
        }
    }

    /// Whether the plan's next file does not go on from this one either.
    fn next_contradicts(&self, whole: &WholeFile) -> bool {
        let Some(next) = self.plan.files.iter().find(|next| next.min == whole.file.max.next()) else {
            return false;
        };
        let read = || -> Result<bool, Failure> {
            let reader = self.log.open_slowly(next).map_err(Failure::Other)?;
            let next = OpenFile::start(self.log, *next, reader).begin()?;
            let previous = next.header().origin.map(|origin| origin.previous);
            Ok(previous.is_some() && whole.after().is_some() && previous != whole.after())
        };
        read().unwrap_or(false)
    }

    /// Says how far it is, and hears whether to go on.
    fn tell(&self, done: Progress) -> Result<(), Failure> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Failure::Other(Error::new(ErrorKind::Interrupted, "the restore was given up")));
        }
        if let Some(progress) = &self.progress {
            progress(done);
        }
        Ok(())
    }
}

/// Opens the next files while one is read, as far as memory allows.
struct Ahead<'a> {
    log: &'a Log,
    files: std::slice::Iter<'a, LogFile>,
    open: VecDeque<OpenFile>,
}

impl<'a> Ahead<'a> {
    fn new(log: &'a Log, files: &'a [LogFile]) -> Ahead<'a> {
        Ahead { log, files: files.iter(), open: VecDeque::new() }
    }

    fn next(&mut self) -> Result<Option<OpenFile>, Failure> {
        let mut held: u64 = self.open.iter().map(OpenFile::window).sum();
        while self.open.len() < AHEAD {
            let Some(file) = self.files.as_slice().first() else { break };
            let reader = self.log.open(file).map_err(Failure::Other)?;
            held += reader.window();
            if held > AHEAD_BYTES && !self.open.is_empty() {
                break;
            }
            self.files.next();
            self.open.push_back(OpenFile::start(self.log, *file, reader));
        }
        Ok(self.open.pop_front())
    }
}
