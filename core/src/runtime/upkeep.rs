use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::at_boundary::LeadersDatabase;
use super::clock;
use super::keeper::Keeper;
use super::patience::limited;
use super::shared::Shared;
use crate::election::Tenure;
use crate::replication::Next;
use crate::types::{Monotonic, Result, Txid};

/// The leader's upkeep of the log: compacts, makes snapshots, deletes. One thing at a time, beside everything
/// else that the node does, and nothing at all while nothing is added.
///
/// It begins with a promotion and ends with the tenure, and no part of its safety rests on that. A leader that
/// does not know yet that it was replaced makes files of slots that it knows to be confirmed, which are the
/// log's for ever; it deletes only what verified files stand for, which are never deleted in turn before others
/// stand for them; and it raises the floor to no slot but one that has a confirmed slot above it, which is
/// where its successor's fence begins at the earliest.
struct Upkeep {
    shared: Arc<Shared>,
    keeper: Keeper,
    /// The store's time at a time of ours: ours tells only how much has passed since. What may be deleted is
    /// judged by the store's alone.
    clock: Option<(i64, Monotonic)>,
}

/// How long is waited after a failure, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often the task looks whether its tenure is over, if nothing tells it.
const STILL_LEADING: Duration = Duration::from_secs(1);

/// Keeps the log up for a tenure that begins now.
pub(super) fn start(shared: &Arc<Shared>, tenure: Tenure, tokio: &Handle) {
    let settings = &shared.settings;
    if settings.compaction.levels.is_empty() && settings.compaction.snapshots.is_none() {
        return;
    }
    let first = shared.view.borrow().epochs.last().map(|(_, first)| *first);
    let before = first.and_then(Txid::previous).unwrap_or_default();
    let keeper = Keeper::new(shared.log.clone(), settings.compaction.clone(), settings.retention.clone())
        .with_database(LeadersDatabase(Arc::clone(shared)), before);
    let upkeep = Upkeep { shared: Arc::clone(shared), keeper, clock: None };
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
            let confirmed = self.shared.view.borrow().confirmed.txid;
            match self.step(confirmed).await {
                Ok(next) => {
                    if std::mem::take(&mut failed) {
                        self.shared.recovered();
                    }
                    pause = FIRST_PAUSE;
                    self.wait(next, confirmed).await;
                }
                Err(error) => {
                    self.shared.degraded(&error.context("the upkeep of the log"));
                    failed = true;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn step(&mut self, confirmed: Txid) -> Result<Next> {
        if self.clock.is_none() {
            self.clock = Some((limited(self.shared.log.bucket().now_ms()).await?, clock::now()));
        }
        let complaint = self.shared.complaints.lock().next(clock::now());
        if let Some(slot) = complaint {
            // That one slot cannot be judged now must not hold up everything else.
            let damaged = self.keeper.judge(slot).await.unwrap_or_else(|error| {
                tracing::warn!(slot = slot.get(), "a follower's complaint cannot be judged: {error}");
                false
            });
            self.shared.complaints.lock().judge(slot, damaged, clock::now());
        }
        let next = self.keeper.step(confirmed, self.now_ms()).await;
        if let Some(told_ms) = self.keeper.told_ms.take() {
            self.clock = Some((told_ms, clock::now()));
        }
        next
    }

    /// Waits until it is time for more, or for the first slot of which nothing is known yet: those after it
    /// make nothing due any earlier. Or until a follower cannot read something.
    async fn wait(&self, next: Next, confirmed: Txid) {
        let mut view = self.shared.view.subscribe();
        let first_slot = async {
            if self.keeper.waits_for_slots() {
                let _ = view.wait_for(|view| view.confirmed.txid > confirmed).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let time = async {
            match next {
                Next::Now(_) => {}
                Next::At(at) => {
                    let left = u64::try_from(at.saturating_sub(self.now_ms())).unwrap_or(0);
                    tokio::time::sleep(Duration::from_millis(left)).await;
                }
                Next::Idle => std::future::pending().await,
            }
        };
        tokio::select! {
            () = first_slot => {}
            () = time => {}
            () = self.complaint() => {}
        }
    }

    /// Waits until there is something that a follower cannot read, and may be looked at.
    async fn complaint(&self) {
        loop {
            let told = self.shared.complained.notified();
            let due = self.shared.complaints.lock().due();
            match due {
                Some(due) => return tokio::time::sleep(due.since(clock::now())).await,
                None => told.await,
            }
        }
    }

    /// The store's clock, by ours since it was last asked for.
    fn now_ms(&self) -> i64 {
        let Some((then, at)) = self.clock else { return 0 };
        then.saturating_add(i64::try_from(clock::now().since(at).as_millis()).unwrap_or(i64::MAX))
    }
}
