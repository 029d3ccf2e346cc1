use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use super::assemble::OnProgress;
use super::file_reader::{Failure, OpenFile};
use super::log::{Log, Staged};
use super::object_reader::persistently;
use super::restore::RestoreRequest;
use crate::bucket::Key;
use crate::replication::{
    Floor, Genesis, Ledger, LogFile, WholeFile, beyond_the_slots, missing_slots, out_of_reach, plan_as_far,
    plan_restore,
};
use crate::sqlite::check_database;
use crate::types::{Chain, Check, Error, ErrorKind, Position, Problem, Progress, Result, Txid, VerifyReport};

/// How a log is verified.
#[derive(Clone, Default)]
pub(crate) struct VerifyOptions {
    /// One request at a time: for whom nobody waits.
    pub(crate) slowly: bool,
    /// A folder in which the log is restored and checked by SQLite as well.
    pub(crate) restore_in: Option<PathBuf>,
    /// Who hears how far it is.
    pub(crate) progress: Option<OnProgress>,
}

/// So often a log is listed anew because retention deleted what was about to be read, or there is a hole.
const ROUNDS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);
/// Most problems, and most unexplained objects, in a report.
const MOST: usize = 1000;

/// Reads every object of the log and holds it against its name, its checksums, what is kept beside it, and the
/// others: whether the links agree, the epochs never go down, and every state that is kept can be restored.
///
/// What retention deletes meanwhile is no problem. An error is what kept it from looking: the store, mostly.
/// If the future is dropped, the reading ends soon.
pub(crate) async fn verify_log(log: &Log, options: VerifyOptions) -> Result<VerifyReport> {
    let stop = StopOnDrop::default();
    let (of_work, stopped) = (log.clone(), Arc::clone(&stop.0));
    let restore_in = options.restore_in.clone();
    let work = move || Verification::new(of_work, options, stopped)?.run();
    let ended = |e| Error::new(ErrorKind::Internal, format!("a verification ended early: {e}"));
    let mut report = tokio::task::spawn_blocking(work).await.map_err(ended)??;
    if let Some(folder) = restore_in
        && report.is_healthy()
    {
        restore_and_check(log, &folder, &mut report).await?;
    }
    Ok(report)
}

async fn restore_and_check(log: &Log, folder: &Path, report: &mut VerifyReport) -> Result<()> {
    let staged = Staged::new(folder.join(format!(".haqlite-verify-{}.db", uuid::Uuid::new_v4())));
    let checked = match log.restore_with(staged.path(), &RestoreRequest::default()).await {
        Ok(Some(restored)) => {
            report.problems.extend(restored.damaged);
            let check = move || check_database(staged.path(), Check::Full);
            let ended = |e| Error::new(ErrorKind::Internal, format!("a verification ended early: {e}"));
            tokio::task::spawn_blocking(check).await.map_err(ended)?
        }
        Ok(None) => return Ok(()),
        Err(error) => Err(error),
    };
    match checked {
        Ok(()) => report.restored = true,
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            report.problems.push(Problem::new(log.describe(), format_args!("restored: {error}")));
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

struct Verification {
    log: Log,
    options: VerifyOptions,
    stopped: Arc<AtomicBool>,
    runtime: Handle,
    ledger: Ledger,
    /// The files that were read, and whether they can be used.
    read: BTreeMap<(u8, Txid, Txid), bool>,
    /// Whether another tool wrote any of them: then nothing says which slots there must be.
    foreign: bool,
    report: VerifyReport,
    progress: Progress,
}

impl Verification {
    fn new(log: Log, options: VerifyOptions, stopped: Arc<AtomicBool>) -> Result<Verification> {
        Ok(Verification {
            log,
            options,
            stopped,
            runtime: Handle::current(),
            ledger: Ledger::default(),
            read: BTreeMap::new(),
            foreign: false,
            report: VerifyReport::default(),
            progress: Progress::default(),
        })
    }

    fn run(mut self) -> Result<VerifyReport> {
        let genesis = self.genesis()?;
        self.ledger = Ledger::new(genesis.as_ref());
        self.floor()?;
        let mut round = 0;
        let files = loop {
            round += 1;
            let files = self.runtime.block_on(self.log.list())?;
            // After the listing: what is missing above it was missing then.
            let floor = self.floor()?;
            let complete = self.read_all(&files)?;
            let mut wrong = self.wrong_as_a_whole(&files, genesis.is_some());
            if genesis.is_some() && !self.foreign {
                wrong.extend(self.covered_holes(&files, floor)?);
            }
            if (complete && wrong.is_empty()) || round == ROUNDS {
                wrong.into_iter().for_each(|problem| self.problem(problem));
                break files;
            }
            std::thread::sleep(PAUSE);
        };
        self.read_below_the_floor(&files)?;
        self.explain(&files, genesis.is_some())?;
        if let Some((txid, epoch)) = self.ledger.newest_slot() {
            let chain = self.ledger.chain(txid).unwrap_or(Chain::ZERO);
            self.report.end = Position { txid, chain, epoch };
        }
        Ok(self.report)
    }

    /// Reads what was not read yet, slots first and in their order. False if something is not there any more.
    fn read_all(&mut self, files: &[LogFile]) -> Result<bool> {
        self.ledger.expect(files);
        let mut left: Vec<LogFile> =
            files.iter().filter(|file| !self.read.contains_key(&name(file))).copied().collect();
        left.sort_by_key(|file| (file.level, file.min, file.max));
        self.progress.files = self.progress.files_done + left.len() as u64;
        self.progress.bytes = self.progress.bytes_done + left.iter().map(|file| file.size).sum::<u64>();
        let mut complete = true;
        for file in left {
            match self.read_file(file) {
                Ok(whole) => {
                    let wrong = self.ledger.add(&whole);
                    self.foreign |= whole.header.origin.is_none();
                    let key = self.log.file_key(&file);
                    // It is whole, and yet of no use if it is not this log's.
                    self.read.insert(name(&file), wrong.is_empty() || whole.facts.is_none());
                    wrong.into_iter().for_each(|wrong| self.problem(Problem::new(&key, wrong)));
                    self.count(&file);
                }
                Err(Failure::Damaged(_, error)) => {
                    let key = self.log.file_key(&file);
                    let message =
                        error.message().strip_prefix(&format!("{key}: ")).unwrap_or(error.message());
                    self.problem(Problem::new(&key, message));
                    self.read.insert(name(&file), false);
                    self.count(&file);
                }
                Err(Failure::Gone(..)) => complete = false,
                Err(Failure::Other(error)) => return Err(error),
            }
        }
        Ok(complete)
    }

    fn read_file(&self, file: LogFile) -> Result<WholeFile, Failure> {
        if self.stopped.load(Ordering::Relaxed) {
            let error = Error::new(ErrorKind::Interrupted, "the verification was given up");
            return Err(Failure::Other(error));
        }
        let opened = if self.options.slowly { self.log.open_slowly(&file) } else { self.log.open(&file) };
        let reader = opened.map_err(Failure::Other)?;
        let mut reader = OpenFile::start(&self.log, file, reader).begin()?;
        let mut data = Vec::new();
        while reader.next_page(&mut data)?.is_some() {
            if self.stopped.load(Ordering::Relaxed) {
                let error = Error::new(ErrorKind::Interrupted, "the verification was given up");
                return Err(Failure::Other(error));
            }
        }
        reader.finish()
    }

    /// What is wrong with the files together.
    fn wrong_as_a_whole(&self, files: &[LogFile], ours: bool) -> Vec<Problem> {
        let usable = self.usable(files);
        let mut wrong = Vec::new();
        for file in files.iter().filter(|file| !self.read.contains_key(&name(file))) {
            wrong.push(Problem::new(self.log.file_key(file), "it is listed, and is not there"));
        }
        let missing = self.log.key(&Key::slot(plan_as_far(&usable, Txid::ZERO).end.next()));
        if let Err(error) = plan_restore(&usable, Txid::ZERO, None) {
            wrong.push(Problem::new(missing, error));
        } else if usable.is_empty() && (ours || !files.is_empty()) {
            wrong.push(Problem::new(missing, "nothing of the log can be restored"));
        }
        if ours && let Some(beyond) = beyond_the_slots(files) {
            let message = "it reaches beyond the newest slot of the log, which is always kept";
            wrong.push(Problem::new(self.log.file_key(&beyond), message));
        }
        wrong
    }

    /// Slots that the store lost, where a file that covers them leads on: the end of the log can be restored, but
    /// not every state before it. Each is asked for by its key as well, for a listing may lag.
    fn covered_holes(&self, files: &[LogFile], floor: Floor) -> Result<Vec<Problem>> {
        let end = plan_as_far(&self.usable(files), Txid::ZERO).end;
        let mut wrong = Vec::new();
        for (first, last) in missing_slots(files, floor) {
            if first > end || self.runtime.block_on(persistently(|| self.log.slot_name(first)))?.is_some() {
                continue;
            }
            let missing = if first == last {
                format!("slot {first} is missing")
            } else {
                format!("slots {first} to {last} are missing")
            };
            let key = self.log.key(&Key::slot(first));
            let message =
                "compactions or snapshots lead past it, but not every state on the way can be restored";
            wrong.push(Problem::new(key, format_args!("{missing}: {message}")));
        }
        Ok(wrong)
    }

    /// Those that were read and found whole.
    fn usable(&self, files: &[LogFile]) -> Vec<LogFile> {
        files.iter().filter(|file| self.read.get(&name(file)) == Some(&true)).copied().collect()
    }

    /// The slots that are kept below the floor, for what they prove of their epochs: they must be whole.
    fn read_below_the_floor(&mut self, files: &[LogFile]) -> Result<()> {
        let all = self.runtime.block_on(self.log.list_folder(0, Txid::ZERO))?;
        let above: BTreeSet<_> = files.iter().map(name).collect();
        let below = all.into_iter().filter_map(|(_, file)| file).filter(|file| !above.contains(&name(file)));
        let newest = files.iter().filter(|file| file.level == 0).map(|file| file.max).max();
        for file in below.filter(|file| newest.is_none_or(|newest| file.max <= newest)) {
            match self.read_file(file) {
                Ok(_) => self.count(&file),
                Err(Failure::Damaged(_, error)) => {
                    self.problem(Problem::new(self.log.file_key(&file), error));
                }
                Err(Failure::Gone(..)) => {}
                Err(Failure::Other(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Names what is below the root and no part of the log, and files that lead nowhere.
    ///
    /// What something damaged or missing cuts off is none of these: it is needed once that is back. Slots of a log
    /// of ours never are, those that nobody needs are below the floor.
    fn explain(&mut self, files: &[LogFile], ours: bool) -> Result<()> {
        let usable = self.usable(files);
        let end = plan_as_far(&usable, Txid::ZERO).end;
        let needed = |file: &LogFile| file.max > end || (ours && file.level == 0);
        for file in out_of_reach(files).into_iter().filter(|file| usable.contains(file) && !needed(file)) {
            self.report.unexplained.push(self.log.file_key(&file));
        }
        for key in self.runtime.block_on(self.log.unknown_keys(MOST))? {
            self.report.unexplained.push(key);
        }
        self.report.unexplained.truncate(MOST);
        Ok(())
    }

    fn genesis(&mut self) -> Result<Option<Genesis>> {
        match self.runtime.block_on(persistently(|| self.log.genesis())) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.problem(Problem::new(self.log.key(&Key::Genesis), error));
                Ok(None)
            }
            other => other,
        }
    }

    fn floor(&mut self) -> Result<Floor> {
        match self.runtime.block_on(persistently(|| self.log.floor())) {
            Err(error) if error.kind() == ErrorKind::Corrupt => Err(error.context(self.log.key(&Key::Floor))),
            other => other,
        }
    }

    fn count(&mut self, file: &LogFile) {
        match file.level {
            0 => self.report.slots += 1,
            9 => self.report.snapshots += 1,
            _ => self.report.compactions += 1,
        }
        self.report.bytes += file.size;
        self.progress.files_done += 1;
        self.progress.bytes_done += file.size;
        if let Some(progress) = &self.options.progress {
            progress(self.progress);
        }
    }

    fn problem(&mut self, problem: Problem) {
        if self.report.problems.len() < MOST {
            self.report.problems.push(problem);
        }
    }
}

fn name(file: &LogFile) -> (u8, Txid, Txid) {
    (file.level, file.min, file.max)
}

/// Tells the reading thread that nobody waits for it any more.
#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
