use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::clock;
use super::log::{Log, limited};
use super::retain::Memory;
use super::shared::{Shared, View};
use crate::election::Tenure;
use crate::replication::{Chore, Known, LogFile, Next, SNAPSHOTS, next_chore};
use crate::types::{ErrorKind, Monotonic, Result, Txid};

/// The leader's upkeep of the log: compacts, makes snapshots, deletes. One thing at a time, and nothing at all
/// while nothing is added.
///
/// It begins with a promotion and ends with the tenure, and no part of its safety rests on that: a leader that
/// does not know yet that it was replaced makes files of slots that it knows to be confirmed, which are the
/// log's for ever, deletes only what verified files stand for, and raises the floor to no slot but one that
/// has a confirmed slot above it, which is where its successor's fence begins.
struct Upkeep {
    shared: Arc<Shared>,
    view: watch::Receiver<View>,
    known: Option<Known>,
    memory: Memory,
    /// The store's time at a time of ours.
    clock: Option<(i64, Monotonic)>,
}

/// How long is waited after a failure, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often the task looks whether its tenure is over, if nothing tells it.
const STILL_LEADING: Duration = Duration::from_secs(1);

/// Keeps the log up for a tenure that begins now.
pub(super) fn start(shared: &Arc<Shared>, tenure: Tenure, tokio: &Handle) {
    let upkeep = Upkeep {
        shared: Arc::clone(shared),
        view: shared.view.subscribe(),
        known: None,
        memory: Memory::default(),
        clock: None,
    };
    let compaction = &shared.settings.compaction;
    if compaction.levels.is_empty() && compaction.snapshots.is_none() {
        return;
    }
    let shared = Arc::clone(shared);
    tokio.spawn(async move {
        tokio::select! {
            biased;
            () = over(&shared, tenure) => {}
            () = upkeep.run() => {}
        }
    });
}

async fn over(shared: &Shared, tenure: Tenure) {
    let mut view = shared.view.subscribe();
    while shared.holds(tenure) {
        let _ = tokio::time::timeout(STILL_LEADING, view.changed()).await;
    }
}

impl Upkeep {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        let mut failed = false;
        loop {
            match self.step().await {
                Ok(next) => {
                    if std::mem::take(&mut failed) {
                        self.shared.recovered();
                    }
                    pause = FIRST_PAUSE;
                    self.wait(next).await;
                }
                Err(error) => {
                    self.shared.degraded(&error.context("the upkeep of the log"));
                    failed = true;
                    // What is known may be what was wrong.
                    self.known = None;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Does one thing if it is time for it; otherwise tells what to wait for.
    async fn step(&mut self) -> Result<Next> {
        self.look_at_clock().await?;
        let now_ms = self.now_ms();
        let confirmed = self.view.borrow_and_update().confirmed.txid;
        let log = self.shared.log.clone();
        if self.known.is_none() {
            let files = log.list().await?;
            let floor = log.floor().await?;
            self.known = Some(Known { files, floor, ..Known::default() });
        }
        let Some(known) = &mut self.known else { return Ok(Next::Idle) };
        known.confirmed = known.confirmed.max(confirmed);
        if newest_slot(known).max(known.floor.0) < known.confirmed {
            known.unlisted_since_ms.get_or_insert(now_ms);
        }
        let settings = &self.shared.settings;
        let next = next_chore(known, &settings.compaction, &settings.retention, now_ms);
        let Next::Now(chore) = next else { return Ok(next) };
        self.perform(&log, chore, now_ms).await?;
        // Whatever there is to do now.
        Ok(Next::At(i64::MIN))
    }

    async fn perform(&mut self, log: &Log, chore: Chore, now_ms: i64) -> Result<()> {
        let Some(known) = &mut self.known else { return Ok(()) };
        match chore {
            Chore::Look => {
                let end = known.files.iter().map(|f| f.max).max().unwrap_or_default();
                known.files.extend(log.list_level(0, newest_slot(known).max(known.floor.0).min(end)).await?);
                // A listing may lag: then another one is made at the next boundary.
                known.unlisted_since_ms = (newest_slot(known) < known.confirmed).then_some(now_ms);
            }
            Chore::Compact(level, inputs) => {
                let made = make(log, level, &inputs, &mut self.memory).await?;
                known.add(LogFile { modified_ms: now_ms, ..made });
            }
            Chore::Snapshot(inputs) => {
                let made = make(log, SNAPSHOTS, &inputs, &mut self.memory).await?;
                // It was the first input, and read to its end.
                if let Some(base) = inputs.first() {
                    self.memory.read(base);
                }
                known.add(LogFile { modified_ms: now_ms, ..made });
            }
            Chore::Retain => {
                let retention = &self.shared.settings.retention;
                let retained = log.retain(known.confirmed, retention, &mut self.memory).await?;
                self.clock = Some((retained.now_ms, clock::now()));
                let confirmed = known.confirmed;
                let known = Known {
                    files: retained.files,
                    floor: retained.floor,
                    confirmed,
                    unlisted_since_ms: None,
                };
                self.known = Some(known);
            }
        }
        Ok(())
    }

    async fn wait(&mut self, next: Next) {
        let until = match next {
            Next::Now(_) => return,
            Next::At(at) => Some(at),
            Next::Idle => None,
        };
        let known = self.known.as_ref().map(|known| known.confirmed).unwrap_or_default();
        let left = until.map_or(Duration::MAX, |at| {
            Duration::from_millis(u64::try_from(at.saturating_sub(self.now_ms())).unwrap_or(0))
        });
        let listed = self.known.as_ref().is_some_and(|known| known.unlisted_since_ms.is_none());
        let moved = self.view.wait_for(|view| listed && view.confirmed.txid > known);
        let _ = tokio::time::timeout(left, moved).await;
    }

    /// The store's clock, by ours since it was last asked for.
    fn now_ms(&self) -> i64 {
        let Some((then, at)) = self.clock else { return 0 };
        then.saturating_add(i64::try_from(clock::now().since(at).as_millis()).unwrap_or(i64::MAX))
    }

    async fn look_at_clock(&mut self) -> Result<()> {
        if self.clock.is_none() {
            self.clock = Some((limited(self.shared.log.bucket().now_ms()).await?, clock::now()));
        }
        Ok(())
    }
}

/// Makes a file. If an input is damaged, it is made again where that is possible, for the next try.
async fn make(log: &Log, level: u8, inputs: &[LogFile], memory: &mut Memory) -> Result<LogFile> {
    match log.make_of(level, inputs).await {
        Ok((made, facts)) => {
            memory.made(&made, &facts);
            Ok(made)
        }
        Err(error) => {
            if error.kind() == ErrorKind::Corrupt
                && let Err(worse) = log.repair_among(inputs).await
            {
                tracing::warn!("{worse}");
            }
            Err(error)
        }
    }
}

fn newest_slot(known: &Known) -> Txid {
    known.files.iter().filter(|f| f.level == 0).map(|f| f.max).max().unwrap_or_default()
}
