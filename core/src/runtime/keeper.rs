use super::log::Log;
use super::retain::Memory;
use crate::replication::{Chore, Known, LogFile, Next, SNAPSHOTS, millis, next_chore};
use crate::types::{Compaction, ErrorKind, Result, Retention, Txid};

/// Keeps one log up: knows its files, and does one piece of work after the other.
pub(super) struct Keeper {
    pub(super) log: Log,
    pub(super) compaction: Compaction,
    pub(super) retention: Retention,
    known: Option<Known>,
    memory: Memory,
    /// Nothing is deleted before this time again, so that a listing that lags is not asked for in a row.
    rest_until_ms: i64,
    /// The store's time, when it told it.
    pub(super) told_ms: Option<i64>,
}

/// How long there is at least between two rounds of deletions.
const REST_MS: i64 = 100;

impl Keeper {
    pub(super) fn new(log: Log, compaction: Compaction, retention: Retention) -> Keeper {
        Keeper {
            log,
            compaction,
            retention,
            known: None,
            memory: Memory::default(),
            rest_until_ms: i64::MIN,
            told_ms: None,
        }
    }

    /// Whether all slots that it was told of are known to it.
    pub(super) fn waits_for_slots(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.unlisted_since_ms.is_none())
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
        if self.known.is_none() {
            let files = self.log.list().await?;
            let floor = self.log.floor().await?;
            self.known = Some(Known::of(files, floor));
        }
        let Some(known) = &mut self.known else { return Ok(Next::Idle) };
        known.confirm(confirmed, now_ms);
        match next_chore(known, &self.compaction, &self.retention, now_ms) {
            Next::Now(Chore::Retain) if now_ms < self.rest_until_ms => Ok(Next::At(self.rest_until_ms)),
            Next::Now(chore) => self.perform(chore, now_ms).await.map(|()| Next::At(now_ms)),
            next => Ok(next),
        }
    }

    async fn perform(&mut self, chore: Chore, now_ms: i64) -> Result<()> {
        let Some(known) = &mut self.known else { return Ok(()) };
        match chore {
            Chore::Look => {
                let slots = self.log.list_level(0, known.listed()).await?;
                known.listed_slots(slots, now_ms);
            }
            Chore::Compact(level, inputs) => {
                let made = make(&self.log, level, &inputs, &mut self.memory).await?;
                known.add(LogFile { modified_ms: now_ms, ..made });
            }
            Chore::Snapshot(inputs) => {
                let made = make(&self.log, SNAPSHOTS, &inputs, &mut self.memory).await?;
                known.add(LogFile { modified_ms: now_ms, ..made });
                // It was read to its end.
                inputs.first().into_iter().for_each(|base| self.memory.read(base));
            }
            Chore::Retain => {
                let confirmed = known.confirmed;
                self.rest_until_ms = now_ms + REST_MS.max(millis(self.retention.slots) / 4).min(60_000);
                let left = self.log.retain(confirmed, &self.retention, &mut self.memory).await?;
                self.told_ms = Some(left.now_ms);
                let mut known = Known::of(left.files, left.floor);
                known.confirm(confirmed, now_ms);
                self.known = Some(known);
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
