use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::log::{Log, Staged};
use super::object_reader::ObjectReader;
use crate::ltx::{After, Base, Decoder, Encoder, Merge, Origin, Source};
use crate::replication::{
    Bounds, Facts, LogFile, MOST_INPUTS, SNAPSHOTS, SlotFacts, check_newest, plan_compaction, plan_snapshot,
};
use crate::types::{Chain, Error, ErrorKind, Result, Txid};

/// A file that was made of others and waits on the local disk to be sent.
pub(super) struct Built {
    pub(super) staged: Staged,
    pub(super) size: u64,
    /// What goes beside it, with its hash.
    pub(super) facts: Facts,
    /// When its last slot was captured.
    pub(super) timestamp_ms: i64,
}

/// A file that is merged, and what is kept beside it; a slot has nothing beside it.
enum Part {
    Slot(ObjectReader, LogFile),
    Compacted(ObjectReader, LogFile, Facts),
    Built(Built),
}

/// So many files are asked for before they are read.
const AHEAD: usize = 8;

impl Log {
    /// Makes one file of `level` (1 to 8) out of what the level below has beyond its end, up to the slot
    /// `until`; without one, up to the end of the log. `None` if there is nothing to do.
    ///
    /// Only files of the bucket are read. Every file is checked, and every link between two; the new one is
    /// created once, after its facts. Any number of callers may do it at one time, also one that leads no
    /// more: what they make is a function of the log. Nothing is deleted, but for a damaged file that is in
    /// the way of its own replacement. `Corrupt` names the object that is damaged. A crash leaves facts without
    /// a file at most.
    pub(crate) async fn compact(&self, level: u8, until: Option<Txid>) -> Result<Option<LogFile>> {
        if !(1..SNAPSHOTS).contains(&level) {
            let message = format!("there are levels 1 to 8 to compact to, and not {level}");
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let files = self.list().await?;
        check_newest(&files)?;
        let bounds = Bounds { until, ..Bounds::default() };
        let floor = self.floor().await?;
        let plan = |files: &[LogFile]| plan_compaction(files, floor, level, bounds);
        self.make_planned(level, &files, plan).await
    }

    /// Makes a snapshot of the log as of `until`; without one, as of its end. `None` if there is nothing new
    /// since the newest one. Otherwise as [`Log::compact`].
    ///
    /// It is made of the newest snapshot, or slot 1, and the files since; no database is looked at.
    pub(crate) async fn make_snapshot(&self, until: Option<Txid>) -> Result<Option<LogFile>> {
        let files = self.list().await?;
        check_newest(&files)?;
        self.make_planned(SNAPSHOTS, &files, |files| plan_snapshot(files, until, true)).await
    }

    /// Makes what is planned of the files. If another tool wrote some, what is planned without them, if a snapshot
    /// of ours covers them.
    async fn make_planned(
        &self,
        level: u8,
        files: &[LogFile],
        plan: impl Fn(&[LogFile]) -> Vec<LogFile>,
    ) -> Result<Option<LogFile>> {
        let inputs = plan(files);
        if inputs.is_empty() {
            return Ok(None);
        }
        let error = match self.make(level, &inputs).await {
            Ok(made) => return Ok(Some(made)),
            // What tells nothing of itself may also be damaged.
            Err(error) if matches!(error.kind(), ErrorKind::ForeignDatabase | ErrorKind::Corrupt) => error,
            Err(error) => return Err(error),
        };
        let barred = self.barred(files).await?;
        if !barred.has_foreign() {
            return Err(error);
        }
        if let Some(slot) = barred.uncovered(files, true) {
            let message = format!(
                "another tool wrote slots up to {slot}, and there is no snapshot of a node's own that covers them: \
                 a leader that opened the log with `adopt` makes one"
            );
            return Err(Error::new(ErrorKind::ForeignDatabase, message));
        }
        let inputs = plan(&barred.usable(files));
        if inputs.is_empty() { Ok(None) } else { self.make(level, &inputs).await.map(Some) }
    }

    /// Makes one file of these, the oldest first, and puts it in the bucket.
    pub(super) async fn make(&self, level: u8, inputs: &[LogFile]) -> Result<LogFile> {
        self.make_of(level, inputs).await.map(|(file, _)| file)
    }

    /// As [`Log::make`], with what it proved.
    pub(super) async fn make_of(&self, level: u8, inputs: &[LogFile]) -> Result<(LogFile, Facts)> {
        let built = self.build(inputs).await?;
        self.believe(inputs).await?;
        if level == SNAPSHOTS {
            let genesis = self.genesis().await?.ok_or_else(|| Error::corrupt("the log has no genesis"))?;
            if built.facts.before != genesis.chain() {
                return Err(Error::corrupt("slot 1 does not follow the log's genesis"));
            }
        }
        let file = self.publish(level, &built).await?;
        Ok((file, built.facts))
    }

    /// Asks, now that these were read, whether the slots among them are still above the floor: another leader
    /// may have raised it and deleted them since they were listed, and the fence of a session whose view was old
    /// may have landed in the hole.
    async fn believe(&self, inputs: &[LogFile]) -> Result<()> {
        let Some(lowest) = inputs.iter().filter(|f| f.level == 0).map(|f| f.max).min() else { return Ok(()) };
        if self.floor().await?.covers(lowest) {
            let message = format!("the floor was raised over slot {lowest} while it was read");
            return Err(Error::new(ErrorKind::StoreUnavailable, message));
        }
        Ok(())
    }

    async fn build(&self, inputs: &[LogFile]) -> Result<Built> {
        self.require_room(inputs.iter().map(|file| file.size).sum())?;
        let mut parts = Vec::new();
        let (mut first, last) = inputs.split_at(inputs.len().saturating_sub(MOST_INPUTS));
        if !first.is_empty() {
            // More than are read at one time: all but the last ones become files on the local disk before.
            while !first.is_empty() {
                let (now, later) = first.split_at(first.len().min(MOST_INPUTS));
                parts.push(Part::Built(Box::pin(self.merge(self.open_parts(now).await?)).await?));
                first = later;
            }
            parts.push(Part::Built(self.merge(self.open_parts(last).await?).await?));
        } else {
            parts = self.open_parts(last).await?;
        }
        self.merge(parts).await
    }

    async fn open_parts(&self, files: &[LogFile]) -> Result<Vec<Part>> {
        let mut parts = Vec::with_capacity(files.len());
        for file in files {
            let reader = self.open_among(file, files.len())?;
            if file.level == 0 {
                parts.push(Part::Slot(reader, *file));
                continue;
            }
            let gone = || Error::corrupt(format!("{} has no facts beside it", self.file_key(file)));
            let facts = self.facts(file).await?.ok_or_else(gone)?;
            parts.push(Part::Compacted(reader, *file, facts));
        }
        Ok(parts)
    }

    /// Merges on a thread that may block. If nobody waits for the result any more, it ends early.
    async fn merge(&self, parts: Vec<Part>) -> Result<Built> {
        let staged = Staged::new(self.staging_file("merged"));
        let index = Staged::new(self.staging_file("index"));
        let cancel = Cancel::default();
        let cancelled = Arc::clone(&cancel.0);
        tokio::task::spawn_blocking(move || merge(parts, staged, index, &cancelled))
            .await
            .map_err(|e| Error::new(ErrorKind::Internal, format!("a merge ended early: {e}")))?
    }
}

/// Set when it goes.
#[derive(Default)]
pub(super) struct Cancel(pub(super) Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn merge(parts: Vec<Part>, staged: Staged, index: Staged, cancelled: &AtomicBool) -> Result<Built> {
    let doing = |e| Error::io("staging a compacted file", e);
    let (sources, known) = open_sources(parts)?;
    let mut merge = Merge::new(Base::Anything, sources)?;
    let header = merge.header();
    let timestamp_ms = header.timestamp_ms;
    let mut writer = BufWriter::new(File::create(staged.path()).map_err(doing)?);
    let mut encoder = Encoder::new(&mut writer, header)?.spill_index(move || index.open_unnamed());
    let mut data = Vec::new();
    while let Some(page) = merge.next_page(&mut data)? {
        if cancelled.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Closed, "nobody waits for the compaction any more"));
        }
        encoder.page(page, &data)?;
    }
    let encoded = encoder.finish()?;
    writer.flush().map_err(doing)?;
    let facts = judge(&known, &merge.hashes(), encoded.chain)?;
    let merged = merge.finish()?;
    if merged.chain != Some(facts.after) || merged.txid != facts.max {
        return Err(Error::new(ErrorKind::Internal, "a merge and its facts differ"));
    }
    Ok(Built { staged, size: encoded.size, facts, timestamp_ms })
}

/// What is known of an input before it is read.
enum Claim {
    Slot(SlotFacts),
    Facts(Facts),
}

fn open_sources(parts: Vec<Part>) -> Result<(Vec<Source<PartReader>>, Vec<Claim>)> {
    let (mut sources, mut claims) = (Vec::new(), Vec::new());
    let mut waiting: VecDeque<Part> = parts.into();
    loop {
        for part in waiting.iter_mut().take(AHEAD) {
            if let Part::Slot(reader, _) | Part::Compacted(reader, ..) = part {
                reader.start();
            }
        }
        let Some(part) = waiting.pop_front() else { return Ok((sources, claims)) };
        let (source, claim) = open_source(part)?;
        sources.push(source);
        claims.push(claim);
    }
}

fn open_source(part: Part) -> Result<(Source<PartReader>, Claim)> {
    let (reader, named, facts) = match part {
        Part::Slot(reader, file) => (PartReader::Remote(Box::new(reader)), file, None),
        Part::Compacted(reader, file, facts) => (PartReader::Remote(Box::new(reader)), file, Some(facts)),
        Part::Built(built) => {
            let file = File::open(built.staged.path()).map_err(|e| Error::io("opening a staged file", e))?;
            let Built { staged, size, facts, .. } = built;
            let named = LogFile { level: 1, min: facts.min, max: facts.max, size, modified_ms: 0 };
            (PartReader::Staged(file, staged), named, Some(facts))
        }
    };
    let context =
        |e: Error| e.context(format_args!("log file {}-{} of level {}", named.min, named.max, named.level));
    let decoder = Decoder::new(reader).map_err(context)?;
    let header = decoder.header();
    if (header.min, header.max) != (named.min, named.max) {
        return Err(context(Error::corrupt("it holds other slots than its name says")));
    }
    let Some(origin) = header.origin else {
        let message = "another tool wrote it: there is no chain to follow";
        return Err(context(Error::new(ErrorKind::ForeignDatabase, message)));
    };
    let (after, claim) = match facts {
        None => {
            let Origin { epoch, previous, session } = origin;
            let slot = SlotFacts { txid: named.max, chain: Chain::ZERO, previous, epoch, session };
            (After::OwnHash, Claim::Slot(slot))
        }
        Some(facts) => {
            let same = (facts.min, facts.max) == (named.min, named.max)
                && facts.before == origin.previous
                && facts.owner(facts.max) == Some(origin.epoch);
            if !same {
                return Err(context(Error::corrupt("its facts are those of another file")));
            }
            (After::Known(facts.after), Claim::Facts(facts))
        }
    };
    Ok((Source { decoder, after }, claim))
}

/// The facts of the whole, if every input is what is known of it.
fn judge(claims: &[Claim], hashes: &[Option<Chain>], file: Chain) -> Result<Facts> {
    let parts = claims.iter().zip(hashes).map(|(claim, hash)| {
        let hash = hash.ok_or_else(|| Error::new(ErrorKind::Internal, "a merge left a file unread"))?;
        match claim {
            Claim::Slot(slot) => Ok(Facts::of_slot(&SlotFacts { chain: hash, ..*slot })),
            Claim::Facts(facts) if facts.vouches_for(hash) => Ok(facts.clone()),
            Claim::Facts(facts) => Err(Error::corrupt(format!(
                "log file {}-{} is not the one that its facts are about",
                facts.min, facts.max
            ))),
        }
    });
    Facts::join(&parts.collect::<Result<Vec<_>>>()?, file)
}

/// The bytes of an input.
enum PartReader {
    Remote(Box<ObjectReader>),
    /// A local file, which goes with this value.
    Staged(File, #[expect(dead_code, reason = "held for its end")] Staged),
}

impl Read for PartReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            PartReader::Remote(reader) => reader.read(buffer),
            PartReader::Staged(file, _) => file.read(buffer),
        }
    }
}
