use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::assemble::{Assembled, Assembly, OnProgress};
use super::damage::{Judged, LISTINGS};
use super::file_reader::{Failure, OpenFile};
use super::log::Log;
use super::object_reader::persistently;
use crate::bucket::Key;
use crate::replication::{
    LogFile, Plan, Walk, WholeFile, beyond_the_slots, covers, plan_as_far, plan_restore, plan_until,
};
use crate::types::{Chain, Error, ErrorKind, PageSize, Position, Problem, Progress, Result, Timestamp, Txid};

/// What a restore made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Restored {
    /// The position of the database. The chain is zero if nothing in the log tells it.
    pub(crate) position: Position,
    /// The size of its pages.
    pub(crate) page_size: PageSize,
    /// Its size in pages.
    pub(crate) size: u32,
    /// Whether another tool wrote any of the files.
    pub(crate) foreign: bool,
    /// Whether another tool wrote the newest slot. A slot of ours after another tool's is its adoption.
    pub(crate) foreign_end: bool,
    /// When the last of its commits was captured, in milliseconds since 1970.
    pub(crate) timestamp_ms: i64,
    /// What was read for it.
    pub(crate) read: Progress,
    /// Damaged objects that were done without.
    pub(crate) damaged: Vec<Problem>,
    /// What could not be restored, if only what is provable was asked for.
    pub(crate) left_out: Option<String>,
}

/// Up to where the log is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Until {
    /// Its end.
    #[default]
    End,
    /// This slot, exactly.
    Slot(Txid),
    /// The newest state that is not later.
    Moment(Timestamp),
}

/// What is to be restored.
#[derive(Clone, Default)]
pub(crate) struct RestoreRequest {
    /// Up to where.
    pub(crate) until: Until,
    /// Up to the first thing that is damaged or missing, if that comes before.
    pub(crate) last_good: bool,
    /// Who hears how far it is.
    pub(crate) progress: Option<OnProgress>,
}

/// Before another listing after one with a hole.
const PAUSE: Duration = Duration::from_millis(200);
/// Slots after the end of a listing that are asked for by their keys, at most.
const MOST_UNLISTED: u32 = 1000;
/// A file that decides where a moment is, is read to its end to know, if it is not larger.
const DECIDING: u64 = 256 << 20;

impl Log {
    /// The database at the end of the log, for a node: `Corrupt` if the chain value there cannot be known.
    pub(crate) async fn restore(&self, path: &Path) -> Result<Option<Restored>> {
        let restored = self.restore_with(path, &RestoreRequest::default()).await?;
        match &restored {
            Some(there) if there.position.chain == Chain::ZERO && !there.foreign_end => {
                let message = format!("nothing tells the chain value of slot {}", there.position.txid);
                Err(Error::corrupt(message))
            }
            _ => Ok(restored),
        }
    }

    /// Writes the database that the log makes to a new file at `path`. `None` if the log is empty.
    ///
    /// Every file is checked, and so is each link between two of ours, before the result is returned; until
    /// then the file at `path` is not to be used. A damaged file is done without if others have its slots. The
    /// file is written in place, since nobody reads it yet, and is not synced. If the future is dropped, the
    /// writing ends soon.
    ///
    /// `Corrupt` names the object that is damaged, or the slots that are missing; `InvalidArgument` if the
    /// log does not reach so far.
    pub(crate) async fn restore_with(
        &self,
        path: &Path,
        request: &RestoreRequest,
    ) -> Result<Option<Restored>> {
        let mut judged = Judged::default();
        let genesis = match persistently(|| self.genesis()).await {
            Err(error) if request.last_good && error.kind() == ErrorKind::Corrupt => {
                judged.problems.push(Problem::new(self.key(&Key::Genesis), &error));
                None
            }
            other => other.map_err(|error| error.context(self.key(&Key::Genesis)))?,
        };
        let guard = CancelOnDrop::default();
        loop {
            let files = self.list_to_the_end().await?;
            if files.is_empty() && judged.is_empty() {
                return Ok(None);
            }
            let Some((plan, left_out)) = self.choose(&files, request, &mut judged).await? else { continue };
            let end = match self.prove_end(genesis.is_some(), &files, &plan, request, &mut judged).await? {
                Some(end) => end,
                None => continue,
            };
            let walk = Walk::new(genesis.as_ref());
            match self.assemble(path, plan, walk, end, request.progress.clone(), &guard).await {
                Ok(assembled) => return Ok(Some(finish(assembled, judged, left_out))),
                Err(failure) => judged.judge(self, failure)?,
            }
        }
    }

    /// The plan, and what it leaves out. `None`: list again.
    async fn choose(
        &self,
        files: &[LogFile],
        request: &RestoreRequest,
        judged: &mut Judged,
    ) -> Result<Option<(Plan, Option<String>)>> {
        let limit = if let Until::Slot(txid) = request.until { txid } else { Txid::new(u64::MAX) };
        let usable: Vec<LogFile> = files.iter().filter(|file| !judged.is_excluded(file)).copied().collect();
        let mut early: Vec<LogFile> = usable.iter().filter(|file| file.max <= limit).copied().collect();
        let planned = match request.until {
            Until::End => plan_restore(&usable, Txid::ZERO, None),
            Until::Slot(Txid::ZERO) => {
                Err(Error::new(ErrorKind::InvalidArgument, "slots are counted from 1: there is no slot 0"))
            }
            Until::Slot(txid) => plan_restore(&usable, Txid::ZERO, Some(txid)),
            Until::Moment(moment) => {
                let dated = match self.timestamps(&usable).await {
                    Ok(dated) => dated,
                    Err(failure) => return judged.judge(self, failure).map(|()| None),
                };
                early =
                    dated.iter().filter(|(_, ms)| *ms <= moment.unix_ms()).map(|(file, _)| *file).collect();
                let planned = plan_until(&dated, moment.unix_ms());
                if let Ok(plan) = &planned
                    && let Err(failure) = self.check_next(&usable, plan).await
                {
                    return judged.judge(self, failure).map(|()| None);
                }
                planned.and_then(|plan| nothing_so_early(plan, &dated, moment))
            }
        };
        let reach = plan_as_far(&early, Txid::ZERO);
        // What reaches beyond a slot that is asked for does not make up for damage before it.
        let damage = match request.until {
            Until::Slot(_) => judged.cuts_off(&early, reach.end),
            Until::End | Until::Moment(_) => judged.cuts_off(&usable, reach.end),
        };
        let error = match (planned, damage) {
            (Ok(plan), None) => return Ok(Some((plan, None))),
            (Ok(plan), Some(_)) if request.until == Until::Slot(plan.end) => return Ok(Some((plan, None))),
            (_, Some(damage)) => damage,
            (Err(error), None) => error,
        };
        if error.kind() == ErrorKind::Corrupt && judged.is_empty() && judged.listings < LISTINGS {
            // A compaction that was made between two parts of the listing looks like a hole.
            judged.listings += 1;
            tokio::time::sleep(PAUSE).await;
            return Ok(None);
        }
        if request.last_good && error.kind() == ErrorKind::Corrupt && !reach.files.is_empty() {
            return Ok(Some((reach, Some(error.message().to_owned()))));
        }
        Err(error)
    }

    /// Reads what decides that the plan of a moment goes no further: a damaged time would end it too early.
    async fn check_next(&self, usable: &[LogFile], plan: &Plan) -> Result<(), Failure> {
        let next = plan.end.next();
        let smallest = usable.iter().filter(|file| covers(&[**file], next)).min_by_key(|file| file.size);
        match smallest {
            Some(file) if file.size <= DECIDING => self.read_whole(*file).await.map(drop),
            _ => Ok(()),
        }
    }

    /// The slot at the plan's end, where that is not its last file: it is kept beside what was made of it.
    /// `None`: list again.
    async fn prove_end(
        &self,
        ours: bool,
        files: &[LogFile],
        plan: &Plan,
        request: &RestoreRequest,
        judged: &mut Judged,
    ) -> Result<Option<Option<WholeFile>>> {
        if ours && let Some(beyond) = beyond_the_slots(files) {
            let key = self.file_key(&beyond);
            let message = format!("{key} reaches beyond the newest slot of the log, which is always kept");
            if !request.last_good {
                return Err(Error::corrupt(message));
            }
            judged.note(&key, &message);
        }
        if plan.files.last().is_some_and(|file| file.level == 0) {
            return Ok(Some(None));
        }
        let slot = files.iter().find(|f| f.level == 0 && f.min == plan.end && f.max == plan.end);
        let Some(slot) = slot.filter(|slot| !judged.is_excluded(slot)) else {
            return Ok(Some(None));
        };
        match self.read_whole(*slot).await {
            Ok(whole) => Ok(Some(Some(whole))),
            Err(failure) => {
                judged.judge(self, failure)?;
                Ok(None)
            }
        }
    }

    /// Reads a file to its end.
    async fn read_whole(&self, file: LogFile) -> Result<WholeFile, Failure> {
        let log = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let reader = log.open(&file).map_err(Failure::Other)?;
            OpenFile::start(&log, file, reader).begin()?.finish()
        });
        read.await.map_err(ended).map_err(Failure::Other)?
    }

    async fn assemble(
        &self,
        path: &Path,
        plan: Plan,
        walk: Walk,
        end: Option<WholeFile>,
        progress: Option<OnProgress>,
        guard: &CancelOnDrop,
    ) -> Result<Assembled, Failure> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(path)
            .map_err(|e| Failure::Other(Error::io(format_args!("creating {}", path.display()), e)))?;
        let (log, cancelled) = (self.clone(), Arc::clone(&guard.0));
        let work =
            move || Assembly { log: &log, plan: &plan, walk, end, progress, cancelled: &cancelled }.run(file);
        tokio::task::spawn_blocking(work).await.map_err(ended).map_err(Failure::Other)?
    }

    /// A listing, and what it does not show yet: the slot at its end, and those after it. The newest slot is
    /// always above the floor: a listing that ends below it lags by far, and is made again some times.
    async fn list_to_the_end(&self) -> Result<Vec<LogFile>> {
        let mut listings = 1;
        loop {
            let mut files = self.list_beyond_the_end().await?;
            let floor = persistently(|| self.floor()).await?;
            // What is found by its key below the floor may be anybody's.
            files.retain(|file| file.level > 0 || !floor.covers(file.max));
            let end = files.iter().map(|file| file.max).max();
            if end.is_none_or(|end| !floor.covers(end)) || listings == LISTINGS {
                return Ok(files);
            }
            listings += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn list_beyond_the_end(&self) -> Result<Vec<LogFile>> {
        let mut files = self.list().await?;
        if let Some(beyond) = beyond_the_slots(&files)
            && let Some(slot) = persistently(|| self.slot_name(beyond.max)).await?
        {
            files.push(slot);
        }
        let Some(mut end) = files.iter().map(|file| file.max).max() else { return Ok(files) };
        for _ in 0..MOST_UNLISTED {
            end = end.next();
            let Some(slot) = persistently(|| self.slot_name(end)).await? else { break };
            files.push(slot);
        }
        Ok(files)
    }
}

fn finish(assembled: Assembled, judged: Judged, left_out: Option<String>) -> Restored {
    Restored {
        position: assembled.position,
        page_size: assembled.page_size,
        size: assembled.size,
        foreign: assembled.foreign,
        foreign_end: assembled.foreign_end,
        timestamp_ms: assembled.timestamp_ms,
        read: assembled.done,
        damaged: judged.problems,
        left_out,
    }
}

fn nothing_so_early(plan: Plan, dated: &[(LogFile, i64)], moment: Timestamp) -> Result<Plan> {
    if !plan.files.is_empty() {
        return Ok(plan);
    }
    let complete = dated.iter().filter(|(file, _)| file.min.get() == 1).map(|(_, ms)| *ms).min();
    let first = complete.map(|ms| format!(": the first that is kept is of {}", Timestamp::from_unix_ms(ms)));
    let message = format!("the log has no state of {moment} or before{}", first.unwrap_or_default());
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

fn ended(error: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, format!("a restore ended early: {error}"))
}

/// Tells the threads of a restore that nobody waits for them any more.
#[derive(Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
