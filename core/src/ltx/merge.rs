use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Read;

use super::decode::Decoder;
use super::header::{Header, WalRange, page_after};
use crate::types::{Chain, Epoch, Error, ErrorKind, PageNumber, PageSize, Position, Result, Txid};

/// What the first file of a merge must follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Base {
    /// Nothing: the files make a whole database and start at slot 1. That slot 1 follows the genesis object
    /// is not held; position 0 with the genesis object's hash holds it.
    Empty,
    /// This position: the files bring a database that is there further.
    Position(Position),
    /// Anything: the files become one file that covers as much as they do.
    Anything,
}

/// A log file to be merged.
pub struct Source<R> {
    /// The file, from its first page on.
    pub decoder: Decoder<R>,
    /// What the chain value of the file's last slot is.
    pub after: After,
}

/// Where the chain value of a file's last slot comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// The file is that slot, in level 0: its own hash.
    OwnHash,
    /// The file was made from slots, and this is kept beside it.
    Known(Chain),
    /// The file was made from slots, by a tool that keeps no chain values.
    Unknown,
}

/// What a finished merge proved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Merged {
    /// The last slot.
    pub txid: Txid,
    /// Its chain value; `None` if the last file's is [`After::Unknown`].
    pub chain: Option<Chain>,
    /// The highest epoch of the files and the base.
    pub epoch: Epoch,
    /// Whether any of the files was written by another tool, so that its link to the file before it is
    /// unproven.
    pub foreign: bool,
    /// The last page of the database: its size in pages.
    pub commit: PageNumber,
}

impl Merged {
    /// The position after the last file, if its chain value is known.
    pub fn position(&self) -> Option<Position> {
        let chain = self.chain?;
        Some(Position { txid: self.txid, chain, epoch: self.epoch })
    }
}

/// The pages that a run of log files leaves, in ascending order and each once: the newest image of every
/// page that the database still has at the end.
///
/// It holds one page and some 20 KiB for each file, and reads each file once, from its start to its end.
pub struct Merge<R> {
    inputs: Vec<Input<R>>,
    heap: BinaryHeap<Reverse<(PageNumber, Reverse<usize>)>>,
    base: Base,
    last: Option<PageNumber>,
    failed: Option<ErrorKind>,
}

struct Input<R> {
    decoder: Decoder<R>,
    after: After,
    /// The smallest size that the database had since: later pages were cut off and are void.
    ceiling: PageNumber,
    data: Vec<u8>,
}

impl<R: Read> Merge<R> {
    /// A merge of files, the oldest first, and reads the first page of each.
    ///
    /// `Corrupt` unless each file goes on where the one before it ends or overlaps it, they have one page
    /// size, epochs do not go down, and the first follows the base. `InvalidArgument` without files.
    pub fn new(base: Base, sources: Vec<Source<R>>) -> Result<Merge<R>> {
        for Source { decoder, after } in &sources {
            if *after == After::OwnHash && decoder.header().min != decoder.header().max {
                return Err(name(Error::corrupt("the file is not one slot"), decoder));
            }
        }
        let headers: Vec<&Header> = sources.iter().map(|source| source.decoder.header()).collect();
        check_run(base, &headers)?;
        let mut inputs: Vec<Input<R>> = sources
            .into_iter()
            .map(|Source { decoder, after }| {
                let ceiling = decoder.header().commit;
                Input { decoder, after, ceiling, data: Vec::new() }
            })
            .collect();
        let mut ceiling = PageNumber::new(u32::MAX).expect("BUG: the highest page number is zero");
        for input in inputs.iter_mut().rev() {
            ceiling = ceiling.min(input.ceiling);
            input.ceiling = ceiling;
        }
        let mut merge = Merge { inputs, heap: BinaryHeap::new(), base, last: None, failed: None };
        for index in 0..merge.inputs.len() {
            merge.advance(index)?;
        }
        Ok(merge)
    }

    /// The next page; `data` becomes its content. `None` is the end, and says that every file is whole
    /// and every link between them holds: the pages must not be relied on before.
    ///
    /// After an error every further call fails.
    pub fn next_page(&mut self, data: &mut Vec<u8>) -> Result<Option<PageNumber>> {
        if let Some(kind) = self.failed {
            return Err(Error::new(kind, "the log files could not be merged before"));
        }
        let result = self.pop(data);
        self.failed = result.as_ref().err().map(Error::kind);
        result
    }

    /// Reads and checks what is left of the files, and tells where they lead.
    pub fn finish(mut self) -> Result<Merged> {
        let mut data = Vec::new();
        while self.next_page(&mut data)?.is_some() {}
        let newest = self.inputs.len() - 1;
        let origins = self.inputs.iter().map(|input| input.decoder.header().origin);
        let epochs = origins.clone().flatten().map(|origin| origin.epoch);
        Ok(Merged {
            txid: self.last().max,
            chain: self.chain_after(newest),
            epoch: epochs.chain([base_epoch(self.base)]).max().unwrap_or_default(),
            foreign: origins.into_iter().any(|origin| origin.is_none()),
            commit: self.commit(),
        })
    }

    /// The hash of each file, the oldest first; `None` for one that was not read to its end yet.
    pub fn hashes(&self) -> Vec<Option<Chain>> {
        self.inputs.iter().map(|input| input.decoder.whole().map(|whole| whole.chain)).collect()
    }

    /// The last page of the database after the files: its size in pages.
    pub fn commit(&self) -> PageNumber {
        self.last().commit
    }

    /// The size of the pages.
    pub fn page_size(&self) -> PageSize {
        self.last().page_size
    }

    /// Whether the files start at slot 1, so that every page of the database comes out.
    pub fn is_complete(&self) -> bool {
        self.first().is_complete()
    }

    /// The header of one file that covers what these files do.
    ///
    /// `origin` holds the epoch and session of the last, and the chain value before the first; it is
    /// `None` if either was written by another tool.
    pub fn header(&self) -> Header {
        let (first, last) = (self.first(), self.last());
        let mut origin = last.origin;
        match (&mut origin, first.origin) {
            (Some(origin), Some(first)) => origin.previous = first.previous,
            (origin, _) => *origin = None,
        }
        Header { min: first.min, wal: WalRange::NONE, origin, ..last.clone() }
    }

    fn first(&self) -> &Header {
        self.inputs.first().expect("BUG: a merge without files").decoder.header()
    }

    fn last(&self) -> &Header {
        self.inputs.last().expect("BUG: a merge without files").decoder.header()
    }

    fn pop(&mut self, data: &mut Vec<u8>) -> Result<Option<PageNumber>> {
        let expected =
            if self.is_complete() { page_after(self.last, self.page_size(), self.commit()) } else { None };
        let Some(Reverse((page, Reverse(newest)))) = self.heap.pop() else {
            return match expected {
                Some(missing) => Err(Error::corrupt(format!("page {missing} is in none of the log files"))),
                None => Ok(None),
            };
        };
        if expected.is_some_and(|expected| expected != page) {
            return Err(Error::corrupt(format!("the log files have no page before page {page}")));
        }
        std::mem::swap(data, &mut self.inputs[newest].data);
        self.advance(newest)?;
        while let Some(&Reverse((older_page, Reverse(older)))) = self.heap.peek() {
            if older_page != page {
                break;
            }
            self.heap.pop();
            self.advance(older)?;
        }
        self.last = Some(page);
        Ok(Some(page))
    }

    /// Reads the next page of a file that the database still has at the end, or the file's end.
    fn advance(&mut self, index: usize) -> Result<()> {
        let input = &mut self.inputs[index];
        loop {
            match input.decoder.next_page(&mut input.data).map_err(|error| name(error, &input.decoder))? {
                Some(page) if page > input.ceiling => {}
                Some(page) => {
                    self.heap.push(Reverse((page, Reverse(index))));
                    return Ok(());
                }
                None => return self.check_links(index),
            }
        }
    }

    /// Holds a file that was read to its end against what is known of its chain value.
    fn check_links(&self, index: usize) -> Result<()> {
        let input = &self.inputs[index];
        let header = input.decoder.header();
        let after = self.chain_after(index);
        let Some(next) = self.inputs.get(index + 1) else { return Ok(()) };
        match next.decoder.header().origin {
            Some(origin) if next.decoder.header().min == header.max.next() => {
                check_link(after, origin.previous).map_err(|error| name(error, &next.decoder))
            }
            _ => Ok(()),
        }
    }

    /// The chain value after a file that was read to its end.
    fn chain_after(&self, index: usize) -> Option<Chain> {
        let input = &self.inputs[index];
        match input.after {
            After::OwnHash => input.decoder.whole().map(|whole| whole.chain),
            After::Known(chain) => Some(chain),
            After::Unknown => None,
        }
    }
}

/// Holds what the headers say against one another and against the base.
fn check_run(base: Base, headers: &[&Header]) -> Result<()> {
    let Some(first) = headers.first() else {
        return Err(Error::new(ErrorKind::InvalidArgument, "no log files to merge"));
    };
    let mut reached = match base {
        Base::Empty => Txid::ZERO,
        Base::Position(position) => position.txid,
        Base::Anything => first.min.previous().unwrap_or_default(),
    };
    if let (Base::Position(position), Some(origin)) = (base, first.origin)
        && first.min == position.txid.next()
    {
        check_link(Some(position.chain), origin.previous).map_err(|error| named(error, first))?;
    }
    let mut epoch = base_epoch(base);
    for header in headers {
        if header.min > reached.next() || header.max <= reached {
            let message = format!("the file does not go on from slot {reached}");
            return Err(named(Error::corrupt(message), header));
        }
        if header.page_size != first.page_size {
            let message = format!("pages of {} bytes after pages of {}", header.page_size, first.page_size);
            return Err(named(Error::corrupt(message), header));
        }
        reached = header.max;
        if let Some(origin) = header.origin {
            if origin.epoch < epoch {
                let message = format!("epoch {} after epoch {epoch}", origin.epoch);
                return Err(named(Error::corrupt(message), header));
            }
            epoch = origin.epoch;
        }
    }
    Ok(())
}

fn check_link(before: Option<Chain>, previous: Chain) -> Result<()> {
    match before {
        Some(before) if before != previous => Err(Error::corrupt(format!(
            "the file follows another history: {previous}, not {before}, comes before it"
        ))),
        _ => Ok(()),
    }
}

fn base_epoch(base: Base) -> Epoch {
    match base {
        Base::Position(position) => position.epoch,
        Base::Empty | Base::Anything => Epoch::ZERO,
    }
}

fn name<R: Read>(error: Error, decoder: &Decoder<R>) -> Error {
    named(error, decoder.header())
}

fn named(error: Error, header: &Header) -> Error {
    error.context(format!("log file {}-{}", header.min, header.max))
}
