use super::facts::Facts;
use super::genesis::Genesis;
use super::plan::LogFile;
use crate::ltx::{Decoded, Header};
use crate::types::{Chain, Epoch, Error, PageSize, Position, Result, Txid};

/// A file of the log that was read to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct WholeFile {
    /// Its name.
    pub(crate) file: LogFile,
    /// Its header.
    pub(crate) header: Header,
    /// Its hash.
    pub(crate) hash: Chain,
    /// What is kept beside it.
    pub(crate) facts: Option<Facts>,
}

impl WholeFile {
    /// Holds the file against its name and against what is kept beside it.
    pub(crate) fn new(
        file: LogFile,
        header: Header,
        decoded: Decoded,
        facts: Option<Facts>,
    ) -> Result<WholeFile> {
        check_name(&file, &header)?;
        if let Some(facts) = &facts {
            check_facts(&file, &header, decoded.chain, facts)?;
        }
        Ok(WholeFile { file, header, hash: decoded.chain, facts })
    }

    /// The chain value of the last slot, if it is known.
    pub(crate) fn after(&self) -> Option<Chain> {
        match &self.facts {
            Some(facts) => Some(facts.after),
            None if self.file.level == 0 && self.file.min == self.file.max => Some(self.hash),
            None => None,
        }
    }
}

/// Holds a file's header against its name: a file of other slots was put under this name.
pub(crate) fn check_name(file: &LogFile, header: &Header) -> Result<()> {
    if (header.min, header.max) == (file.min, file.max) {
        return Ok(());
    }
    Err(Error::corrupt(format!("it holds slots {}-{}, not those of its name", header.min, header.max)))
}

fn check_facts(file: &LogFile, header: &Header, hash: Chain, facts: &Facts) -> Result<()> {
    if !facts.vouches_for(hash) {
        return Err(Error::corrupt(format!("its hash is {hash}, not {} as beside it", facts.file)));
    }
    if (facts.min, facts.max) != (file.min, file.max) {
        return Err(Error::corrupt("what is kept beside it is of another file"));
    }
    if header.origin.is_some_and(|origin| origin.previous != facts.before) {
        return Err(Error::corrupt("its header and what is kept beside it follow different slots"));
    }
    Ok(())
}

/// A walk along the log's files from nothing on, each held against the one before it.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    /// The hash of the genesis object.
    genesis: Option<Chain>,
    at: Option<Step>,
}

#[derive(Clone, Debug)]
struct Step {
    txid: Txid,
    after: Option<Chain>,
    epoch: Epoch,
    page_size: PageSize,
}

impl Walk {
    /// Before the first file of a log that has this genesis, if it has one.
    pub(crate) fn new(genesis: Option<&Genesis>) -> Walk {
        Walk { genesis: genesis.map(Genesis::chain), at: None }
    }

    /// Whether a file with this header goes on from here; `Corrupt` says why not. Nothing can be said of the
    /// link if the files overlap or one of them was written by another tool.
    pub(crate) fn check(&self, header: &Header) -> Result<()> {
        let Some(at) = &self.at else { return self.check_first(header) };
        if header.min > at.txid.next() {
            return Err(Error::corrupt(format!("it does not go on from slot {}", at.txid)));
        }
        if header.page_size != at.page_size {
            let message = format!("it has pages of {} bytes, not of {}", header.page_size, at.page_size);
            return Err(Error::corrupt(message));
        }
        let Some(origin) = header.origin else { return Ok(()) };
        if header.min == at.txid.next()
            && let Some(after) = at.after
        {
            follows(origin.previous, after)?;
        }
        if origin.epoch < at.epoch {
            let message = format!("the epoch goes down from {} to {}", at.epoch, origin.epoch);
            return Err(Error::corrupt(message));
        }
        Ok(())
    }

    /// Goes on by a file that passed the check.
    pub(crate) fn step(&mut self, file: &WholeFile) {
        let epoch = self.at.as_ref().map_or(Epoch::ZERO, |at| at.epoch);
        self.at = Some(Step {
            txid: file.header.max,
            after: file.after(),
            epoch: file.header.origin.map_or(epoch, |origin| origin.epoch),
            page_size: file.header.page_size,
        });
    }

    /// Where the walk is. The chain value is zero if nothing tells it.
    pub(crate) fn position(&self) -> Position {
        self.at.as_ref().map_or(Position::default(), |at| Position {
            txid: at.txid,
            chain: at.after.unwrap_or(Chain::ZERO),
            epoch: at.epoch,
        })
    }

    fn check_first(&self, header: &Header) -> Result<()> {
        if !header.is_complete() {
            return Err(Error::corrupt("the first file does not hold the whole database"));
        }
        match (self.genesis, header.origin) {
            (Some(genesis), Some(origin)) => follows(origin.previous, genesis),
            _ => Ok(()),
        }
    }
}

fn follows(previous: Chain, after: Chain) -> Result<()> {
    if previous == after {
        return Ok(());
    }
    Err(Error::corrupt(format!("it belongs to another history: it follows {previous}, not {after}")))
}
