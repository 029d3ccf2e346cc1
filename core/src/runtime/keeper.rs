use super::log::Log;
use super::own_snapshot::{OwnDatabase, OwnSnapshot};
use super::retain::Memory;
use crate::replication::{
    Barred, Chore, Known, LogFile, Next, Owner, SNAPSHOTS, millis, newest_without_epoch, next_chore,
};
use crate::types::{Compaction, Error, ErrorKind, Result, Retention, Txid};

/// Keeps one log up: knows its files, and does one piece of work after the other.
pub(super) struct Keeper {
    pub(super) log: Log,
    pub(super) compaction: Compaction,
    pub(super) retention: Retention,
    /// The node's own database, where there is one.
    own: Option<Box<dyn OwnDatabase>>,
    /// The slot before this leadership.
    before: Txid,
    known: Option<Known>,
    /// The slots of which no files can be made, also when the log is listed anew.
    barred: Barred,
    /// Whether it was asked where the slots of another tool end.
    knows_foreign: bool,
    memory: Memory,
    /// Nothing is deleted before this time again, so that a listing that lags is not asked for in a row.
    rest_until_ms: i64,
    /// How many other things come before a snapshot of the own database, which failed.
    own_waits: u32,
    /// The store's time, when it told it.
    pub(super) told_ms: Option<i64>,
}

/// How long there is at least between two rounds of deletions.
const REST_MS: i64 = 100;
/// After a snapshot of the own database failed, so many things that are due come first, so that a full disk does not
/// hold up compaction and deletions as well.
const OWN_WAITS: u32 = 8;

impl Keeper {
    pub(super) fn new(log: Log, compaction: Compaction, retention: Retention) -> Keeper {
        Keeper {
            log,
            compaction,
            retention,
            own: None,
            before: Txid::ZERO,
            known: None,
            barred: Barred::default(),
            knows_foreign: false,
            memory: Memory::default(),
            rest_until_ms: i64::MIN,
            own_waits: 0,
            told_ms: None,
        }
    }

    /// With the node's own database, for what cannot be made of the bucket's files, in a leadership whose first slot
    /// comes after `before`.
    pub(super) fn with_database(self, own: impl OwnDatabase + 'static, before: Txid) -> Keeper {
        Keeper { own: Some(Box::new(own)), before, ..self }
    }

    /// Whether the next slot makes something due: all slots that it was told of are known to it, or this node is
    /// not yet beyond one that cannot be read.
    pub(super) fn waits_for_slots(&self) -> bool {
        let makes_snapshots = self.compaction.snapshots.is_some();
        self.known.as_ref().is_some_and(|known| {
            known.unlisted_since_ms.is_none()
                || (makes_snapshots && self.barred.uncovered(&known.files, true).is_some())
        })
    }

    /// Does the one thing that it is time for, on a log whose slots up to `confirmed` are confirmed, at a time
    /// by the store's clock. If there is nothing, tells what to wait for; `Next::Now` never comes out.
    ///
    /// What is known of the log is kept in memory, so that nothing is asked while there is nothing to do. After
    /// an error it is listed anew.
    pub(super) async fn step(&mut self, confirmed: Txid, now_ms: i64) -> Result<Next> {
        let result = self.try_step(confirmed, now_ms).await;
        if result.is_err() {
            // It may be what was wrong.
            self.known = None;
        }
        result
    }

    async fn try_step(&mut self, confirmed: Txid, now_ms: i64) -> Result<Next> {
        if self.before > Txid::ZERO {
            // Whoever adopted the log knows it from one header; later leaders from what they cannot do.
            if self.log.owner_of(self.before).await? == Owner::OtherTool {
                self.learn_foreign(confirmed).await?;
            }
            self.before = Txid::ZERO;
        }
        if self.known.is_none() {
            let files = self.log.list().await?;
            let floor = self.log.floor().await?;
            let known = Known::of(files, floor);
            if let Some(hole) = known.hole() {
                // A listing that lags shows holes, too.
                self.judge(hole).await?;
            }
            self.known = Some(known);
        }
        let Some(known) = &mut self.known else { return Ok(Next::Idle) };
        self.barred.forget(known.floor);
        known.barred = self.barred.clone();
        known.own_comes_last = self.own_waits > 0;
        known.confirm(confirmed, now_ms);
        match next_chore(known, &self.compaction, &self.retention, now_ms) {
            Next::Now(Chore::Retain) if now_ms < self.rest_until_ms => Ok(Next::At(self.rest_until_ms)),
            Next::Now(chore) => {
                let performed = self.perform(&chore, now_ms).await;
                self.own_waits = match (&chore, &performed) {
                    (Chore::OwnSnapshot, Err(_)) => OWN_WAITS,
                    _ => self.own_waits.saturating_sub(1),
                };
                let done = match performed {
                    Err(error) => self.learn(&chore, error, confirmed).await,
                    done => done,
                };
                done.map(|()| Next::At(now_ms))
            }
            next => Ok(next),
        }
    }

    /// Looks whether what failed met slots of which nothing can be made. If so, and that is news, all is planned
    /// anew: the failure was none. Asked only after a failure, so that a healthy log costs nothing.
    async fn learn(&mut self, chore: &Chore, error: Error, confirmed: Txid) -> Result<()> {
        if !matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::ForeignDatabase) {
            return Err(error);
        }
        if !self.knows_foreign && self.learn_foreign(confirmed).await? {
            return Ok(());
        }
        let damaged = match chore {
            Chore::Compact(_, inputs) | Chore::Snapshot(inputs) => self.log.first_damaged(inputs).await?,
            Chore::Retain => match self.memory.suspect.take() {
                Some(slot) if self.log.is_damaged(slot).await? => Some(slot),
                _ => None,
            },
            Chore::Look | Chore::OwnSnapshot => None,
        };
        match damaged {
            Some(slot) if self.add_damaged(slot) => Ok(()),
            _ => Err(error),
        }
    }

    /// Asks where the slots of another tool end. Whether there are any that were not known.
    async fn learn_foreign(&mut self, confirmed: Txid) -> Result<bool> {
        let epochs = self.log.epochs_until(confirmed).await?;
        self.knows_foreign = true;
        let Some(until) = newest_without_epoch(&epochs) else { return Ok(false) };
        tracing::info!(until = until.get(), "slots of another tool are left out of the log's upkeep");
        Ok(self.barred.add_foreign(until))
    }

    /// Reads a slot that somebody cannot read; whether it is damaged in the bucket.
    pub(super) async fn judge(&mut self, slot: Txid) -> Result<bool> {
        if self.barred.is_damaged(slot) {
            return Ok(true);
        }
        let damaged = self.log.is_damaged(slot).await?;
        if damaged {
            self.add_damaged(slot);
        }
        Ok(damaged)
    }

    fn add_damaged(&mut self, slot: Txid) -> bool {
        let news = self.barred.add_damaged(slot);
        if news {
            tracing::warn!(slot = slot.get(), "a slot of the log is damaged: a snapshot has to cover it");
        }
        news
    }

    async fn perform(&mut self, chore: &Chore, now_ms: i64) -> Result<()> {
        let Some(known) = &mut self.known else { return Ok(()) };
        match chore {
            Chore::Look => self.look(now_ms).await?,
            Chore::OwnSnapshot => self.make_own(now_ms).await?,
            Chore::Compact(level, inputs) => {
                let made = make(&self.log, *level, inputs, &mut self.memory).await?;
                known.add(LogFile { modified_ms: now_ms, ..made });
            }
            Chore::Snapshot(inputs) => {
                let made = make(&self.log, SNAPSHOTS, inputs, &mut self.memory).await?;
                known.add(LogFile { modified_ms: now_ms, ..made });
                // It was read to its end.
                inputs.first().into_iter().for_each(|base| self.memory.read(base));
            }
            Chore::Retain => {
                let confirmed = known.confirmed;
                self.rest_until_ms = now_ms + REST_MS.max(millis(self.retention.slots) / 4).min(60_000);
                let left =
                    self.log.retain(confirmed, &self.retention, &self.barred, &mut self.memory).await?;
                self.told_ms = Some(left.now_ms);
                let mut known = Known::of(left.files, left.floor);
                known.confirm(confirmed, now_ms);
                self.known = Some(known);
            }
        }
        Ok(())
    }

    /// Lists the slots that are not listed. If the next one is not shown, it is asked for by its key: a listing
    /// that lags must not stop everything, and a slot that is not there is damage.
    async fn look(&mut self, now_ms: i64) -> Result<()> {
        let Some(known) = &mut self.known else { return Ok(()) };
        let slots = self.log.list_level(0, known.listed()).await?;
        known.listed_slots(slots, now_ms);
        if known.listed() >= known.confirmed {
            return Ok(());
        }
        let next = known.listed().next();
        match self.log.slot_name(next).await? {
            Some(slot) => known.listed_slots(vec![slot], now_ms),
            None if self.log.floor().await?.covers(next) => self.known = None,
            None => {
                self.add_damaged(next);
            }
        }
        Ok(())
    }

    /// Makes a snapshot of the node's own database.
    async fn make_own(&mut self, now_ms: i64) -> Result<()> {
        let (Some(known), Some(own)) = (&mut self.known, &self.own) else {
            let message = "slots of the log cannot be read, and there is no database to make a snapshot of";
            return Err(Error::corrupt(message));
        };
        match self.log.publish_own(own.at_a_boundary().await?).await? {
            OwnSnapshot::Made(file) => {
                tracing::info!(slot = file.max.get(), "a snapshot of this node's database is in the log");
                known.add(LogFile { modified_ms: now_ms, ..file });
            }
            OwnSnapshot::EndsDamaged(slot) => {
                self.add_damaged(slot);
            }
        }
        Ok(())
    }
}

/// Makes a file. If an input is damaged, that one is made again where it is possible, for the next try.
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
