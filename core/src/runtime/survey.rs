use super::log::Log;
use crate::bucket::{Key, Range};
use crate::election::LeaseRecord;
use crate::ltx::Header;
use crate::replication::{Floor, Genesis, LogFile, plan_restore};
use crate::types::{Epoch, Error, ErrorKind, Result, Txid};

/// What a look at a log from outside shows, without reading its pages.
#[derive(Debug)]
pub(crate) struct Survey {
    /// Who the log is; `None` if another tool wrote it.
    pub(crate) genesis: Option<Genesis>,
    /// The slots up to it are gone.
    pub(crate) floor: Floor,
    /// Every file that readers see: snapshots and compactions first, slots last.
    pub(crate) files: Vec<LogFile>,
    /// What the lease says, if it is kept beside the log.
    pub(crate) lease: Option<LeaseRecord>,
    /// The first state that can be restored, and when it was captured, in milliseconds since 1970.
    pub(crate) oldest: Option<(Txid, i64)>,
    /// The last one.
    pub(crate) newest: Option<(Txid, i64)>,
    /// Each epoch that is known, with its first slot.
    pub(crate) epochs: Vec<(Epoch, Txid)>,
    /// What keeps the log from being restored to its end, as far as names and headers show it.
    pub(crate) damage: Option<String>,
}

/// Looks at the log: its listing, its small objects and a few headers. `InvalidArgument` if there is no log.
pub(crate) async fn survey(log: &Log) -> Result<Survey> {
    let genesis = log.genesis().await?;
    let files = log.list().await?;
    if genesis.is_none() && files.is_empty() {
        return Err(Error::new(ErrorKind::InvalidArgument, format!("{} holds no log", log.describe())));
    }
    let mut survey = Survey {
        genesis,
        floor: log.floor().await?,
        lease: log.lease().await?,
        files,
        oldest: None,
        newest: None,
        epochs: Vec::new(),
        damage: None,
    };
    match survey.read_on(log).await {
        Err(error) if error.kind() == ErrorKind::Corrupt => survey.damage = Some(error.to_string()),
        done => done?,
    }
    Ok(survey)
}

impl Survey {
    async fn read_on(&mut self, log: &Log) -> Result<()> {
        let complete = self.files.iter().filter(|file| file.min.get() == 1).min_by_key(|file| file.max);
        if let Some(oldest) = complete {
            self.oldest = Some((oldest.max, log.header_of(oldest).await?.timestamp_ms));
        }
        let plan = plan_restore(&self.files, Txid::ZERO, None)?;
        if let Some(newest) = plan.files.last() {
            self.newest = Some((newest.max, log.header_of(newest).await?.timestamp_ms));
        }
        let (compacted, slots): (Vec<LogFile>, Vec<LogFile>) =
            plan.files.iter().copied().partition(|file| file.level > 0);
        for file in &compacted {
            let facts = log.facts(file).await?;
            self.add_epochs(facts.into_iter().flat_map(|facts| facts.epochs));
        }
        let in_slots = log.epochs_of(&slots).await?;
        self.add_epochs(in_slots);
        Ok(())
    }

    fn add_epochs(&mut self, epochs: impl IntoIterator<Item = (Epoch, Txid)>) {
        for (epoch, first) in epochs {
            if epoch > Epoch::ZERO && self.epochs.last().is_none_or(|(last, _)| *last < epoch) {
                self.epochs.push((epoch, first));
            }
        }
    }
}

impl Log {
    /// The lease that is kept beside the log; `None` if there is none, or nothing that could be read as one.
    async fn lease(&self) -> Result<Option<LeaseRecord>> {
        let body = self.part(&Key::Lease, Range::Whole).await?;
        Ok(body.and_then(|body| LeaseRecord::parse(&body).ok()))
    }

    /// The header of a file of a listing.
    async fn header_of(&self, file: &LogFile) -> Result<Header> {
        let key = Key::File { level: file.level, min: file.min, max: file.max };
        let name = || format!("the file of slots {} to {} at level {}", file.min, file.max, file.level);
        let bytes =
            self.part(&key, Range::Part { offset: 0, length: Header::SIZE as u64 }).await?.ok_or_else(
                || Error::new(ErrorKind::StoreUnavailable, format!("{} was deleted meanwhile", name())),
            )?;
        let bytes = bytes[..].try_into().map_err(|_| Error::corrupt(format!("{} is cut off", name())))?;
        Header::from_bytes(bytes).map_err(|error| error.context(name()))
    }

    /// The epochs that own these slots, which are in order. Epochs never go down along the log, so that a range
    /// whose ends have one epoch is that epoch's: a few headers for each change of the leader tell all.
    async fn epochs_of(&self, slots: &[LogFile]) -> Result<Vec<(Epoch, Txid)>> {
        let (Some(first), Some(last)) = (slots.first(), slots.len().checked_sub(1)) else {
            return Ok(Vec::new());
        };
        let mut low = (0, self.epoch(first).await?);
        let mut epochs = vec![(low.1, first.min)];
        let end = self.epoch(&slots[last]).await?;
        while low.1 < end {
            // The first slot beyond `low` with a higher epoch than it.
            let mut high = (last, end);
            while high.0 - low.0 > 1 {
                let middle = low.0 + (high.0 - low.0) / 2;
                let epoch = self.epoch(&slots[middle]).await?;
                if epoch > low.1 {
                    high = (middle, epoch);
                } else {
                    low.0 = middle;
                }
            }
            epochs.push((high.1, slots[high.0].min));
            low = high;
        }
        Ok(epochs)
    }

    async fn epoch(&self, file: &LogFile) -> Result<Epoch> {
        Ok(self.header_of(file).await?.origin.map_or(Epoch::ZERO, |origin| origin.epoch))
    }
}
