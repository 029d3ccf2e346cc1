use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use bytes::Bytes;

use super::log::Staged;
use super::replica::{Boundary, Replica};
use super::spool::Spooled;
use crate::bucket::Body;
use crate::ltx::{Encoded, Encoder, Header, Origin};
use crate::replication::{Draft, Record, RecordKind};
use crate::sqlite::{Published, Snapshot};
use crate::types::{Epoch, Error, ErrorKind, PageNumber, Position, Result, SessionId};

/// A slot's file that is ready to be sent: its bytes stay the same however often they are sent.
pub(crate) struct Prepared {
    /// The slot.
    pub(crate) draft: Draft,
    /// Where the database is when the slot is confirmed.
    pub(crate) boundary: Boundary,
    /// What the file's header says of the time.
    pub(crate) timestamp_ms: i64,
    size: u64,
    body: PreparedBody,
}

enum PreparedBody {
    Memory(Bytes),
    Staged(Staged),
    Spooled(PathBuf),
}

/// Who writes a slot, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Author {
    /// The epoch of the leadership.
    pub(crate) epoch: Epoch,
    /// The session that leads.
    pub(crate) session: SessionId,
    /// Milliseconds since 1970.
    pub(crate) now_ms: i64,
}

/// Batches whose pages exceed this many bytes are encoded into a file.
const MEMORY_LIMIT: u64 = 32 << 20;

impl Prepared {
    /// The bytes, to be sent.
    pub(crate) fn body(&self) -> Body {
        match &self.body {
            PreparedBody::Memory(bytes) => Body::Bytes(bytes.clone()),
            PreparedBody::Staged(staged) => Body::File(staged.path().to_path_buf()),
            PreparedBody::Spooled(path) => Body::File(path.clone()),
        }
    }

    /// How many bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }
}

impl Replica {
    /// Makes the slot after the edge out of the frames up to `until`, and its intent durable.
    ///
    /// The file holds the newest image of every page that those frames changed and the database still has,
    /// and every page by which it grew: SQLite may leave out free pages, and a restore would miss them.
    /// Without frames it is the fence of an idle database: page 1 and the size as of the edge, which changes
    /// nothing.
    pub(crate) fn draft(&mut self, until: &Published, author: Author) -> Result<Prepared> {
        let plan = self.plan(until, author)?;
        let estimate = plan.pages.len() as u64 * u64::from(self.page_size().get());
        let (encoded, body) = if estimate <= MEMORY_LIMIT {
            let mut bytes = Vec::new();
            let encoded = self.encode(&mut bytes, &plan, until)?;
            (encoded, PreparedBody::Memory(bytes.into()))
        } else {
            let name = format!("slot-{}-{}", plan.header.min, author.epoch);
            let staged = Staged::new(self.files.staging(&name));
            let file = File::create(staged.path()).map_err(|e| Error::io("staging a slot", e))?;
            let encoded = self.encode_to_file(&file, &plan, until)?;
            (encoded, PreparedBody::Staged(staged))
        };
        self.finish_draft(until, plan.size, encoded, body, author)
    }

    /// As [`Replica::draft`], into the spool's folder, and without an intent: it is nothing until the spool
    /// takes it. The same call again makes the same bytes.
    pub(crate) fn write_spooled(&mut self, until: &Published, author: Author) -> Result<Spooled> {
        let plan = self.plan(until, author)?;
        let txid = plan.header.min;
        let doing = |e| Error::io("spooling a slot", e);
        let file = File::create(self.spool.path(txid)).map_err(doing)?;
        let encoded = self.encode_to_file(&file, &plan, until)?;
        self.spool.sync(&file)?;
        let position = Position { txid, chain: encoded.chain, epoch: author.epoch };
        Ok(Spooled {
            boundary: Boundary { point: until.point, position, size: plan.size },
            timestamp_ms: author.now_ms,
            bytes: encoded.size,
        })
    }

    /// Writes a slot that is in flight into the spool's folder. It is nothing until the spool takes it.
    pub(crate) fn copy_to_spool(&self, prepared: &Prepared) -> Result<Spooled> {
        let txid = prepared.draft.position.txid;
        let doing = |e| Error::io("spooling a slot", e);
        let mut file = File::create(self.spool.path(txid)).map_err(doing)?;
        match &prepared.body {
            PreparedBody::Memory(bytes) => file.write_all(bytes).map_err(doing)?,
            PreparedBody::Staged(staged) => {
                let mut staged = File::open(staged.path()).map_err(doing)?;
                std::io::copy(&mut staged, &mut file).map_err(doing)?;
            }
            PreparedBody::Spooled(_) => {
                return Err(Error::new(ErrorKind::Internal, "a spooled slot is to be spooled"));
            }
        }
        self.spool.sync(&file)?;
        Ok(Spooled { boundary: prepared.boundary, timestamp_ms: prepared.timestamp_ms, bytes: prepared.size })
    }

    /// The slot whose turn it is, to be sent from its file.
    pub(crate) fn first_spooled(&self) -> Option<Prepared> {
        self.spool.first().map(|slot| self.spooled(&slot))
    }

    /// A slot of the spool, to be sent from its file.
    pub(crate) fn spooled(&self, slot: &Spooled) -> Prepared {
        Prepared {
            draft: Draft { position: slot.boundary.position },
            boundary: slot.boundary,
            timestamp_ms: slot.timestamp_ms,
            size: slot.bytes,
            body: PreparedBody::Spooled(self.spool.path(slot.boundary.position.txid)),
        }
    }

    /// The slot's file is durable; now the rest of what it takes to rely on it: the edge moves behind it.
    ///
    /// The frames first: the record says that the WAL proves its point, and after a power cut it must not be
    /// the file that knows more than the database. Then the record, and with it the intent of `session`, if
    /// the slot has none. From here on the slot may be sent, and the WAL begin anew. A failure or a crash
    /// leaves the edge where it is, or behind the slot; after a failure nobody knows what is on the disk.
    pub(crate) fn take_into_spool(&mut self, slot: Spooled, session: Option<SessionId>) -> Result<()> {
        let Boundary { point, position, .. } = slot.boundary;
        self.wal.sync_frames()?;
        if let Some(session) = session {
            self.journal.append(Record { kind: RecordKind::Intent(session), point, position })?;
        }
        self.journal.append_durably(Record { kind: RecordKind::Spooled, point, position })?;
        self.spool.push(slot);
        Ok(())
    }

    fn plan(&mut self, until: &Published, author: Author) -> Result<Plan> {
        let from = self.edge();
        let (pages, size) = if until.point == from.point {
            (BTreeMap::from([(PageNumber::FIRST, None)]), from.size)
        } else {
            self.changed_pages(until)?
        };
        let txid = from.position.txid.next();
        let origin = Origin::new(author.epoch, from.position.chain, author.session);
        let header = Header::slot(txid, self.page_size(), page_count(size)?, author.now_ms, origin);
        Ok(Plan { header, pages, size })
    }

    /// Makes the intent durable: from here on the slot's bytes may leave.
    fn finish_draft(
        &mut self,
        until: &Published,
        size: u32,
        encoded: Encoded,
        body: PreparedBody,
        author: Author,
    ) -> Result<Prepared> {
        let txid = self.edge().position.txid.next();
        let position = Position { txid, chain: encoded.chain, epoch: author.epoch };
        let boundary = Boundary { point: until.point, position, size };
        self.journal.append_durably(Record {
            kind: RecordKind::Intent(author.session),
            point: until.point,
            position,
        })?;
        let (timestamp_ms, size) = (author.now_ms, encoded.size);
        Ok(Prepared { draft: Draft { position }, boundary, timestamp_ms, size, body })
    }

    /// Makes slot 1: every page of the database as it is, after `start`, the position of the genesis. The
    /// write lock must be held; the boundary becomes `start`.
    pub(crate) fn draft_base(&mut self, start: Position, author: Author) -> Result<Prepared> {
        let published = self.published()?;
        let mut snapshot = self.snapshot()?;
        self.boundary = Boundary { point: published.point, position: start, size: 0 };
        let origin = Origin::new(author.epoch, start.chain, author.session);
        let commit = page_count(snapshot.db_size())?;
        let header = Header::slot(start.txid.next(), self.page_size(), commit, author.now_ms, origin);
        let staged = Staged::new(self.files.staging("base"));
        let doing = |e| Error::io("staging the base", e);
        let mut writer = BufWriter::new(File::create(staged.path()).map_err(doing)?);
        let index = Staged::new(self.files.staging("base-index"));
        let mut encoder = Encoder::new(&mut writer, header)?.spill_index(move || index.open_unnamed());
        snapshot.for_each_page(|page, data| encoder.page(page, data))?;
        let encoded = encoder.finish()?;
        writer.flush().map_err(doing)?;
        self.finish_draft(&published, snapshot.db_size(), encoded, PreparedBody::Staged(staged), author)
    }

    /// BLAKE3 over all pages as they are, in order. The write lock must be held.
    pub(crate) fn base_hash(&mut self) -> Result<[u8; 32]> {
        let mut hasher = blake3::Hasher::new();
        self.snapshot()?.for_each_page(|_, data| {
            hasher.update(data);
            Ok(())
        })?;
        Ok(*hasher.finalize().as_bytes())
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let snapshot = Snapshot::open(self.files.database())?;
        if snapshot.point() != self.published()?.point {
            return Err(Error::new(ErrorKind::Internal, "somebody wrote while the write lock was held"));
        }
        Ok(snapshot)
    }

    /// The slot is confirmed: the boundary moves to it.
    pub(crate) fn confirm(&mut self, prepared: &Prepared) -> Result<()> {
        match self.spool.first() {
            // Its end may have moved to another WAL since it was prepared.
            Some(first) if first.boundary.position == prepared.boundary.position => self.confirm_spooled(),
            Some(_) => Err(Error::new(ErrorKind::Internal, "a slot is confirmed ahead of the spool")),
            None => self.set_boundary(prepared.boundary),
        }
    }

    /// The pages of the slot, with the frame that holds the newest image where there is one, and the size.
    fn changed_pages(&mut self, until: &Published) -> Result<(BTreeMap<PageNumber, Option<u32>>, u32)> {
        let from = self.edge();
        let scan = self.wal.scan(&from.point, Some(&until.point))?;
        let lock_page = self.page_size().lock_page();
        let mut pages: BTreeMap<PageNumber, Option<u32>> =
            scan.pages.iter().map(|(page, frame)| (*page, Some(*frame))).collect();
        let kept = from.size.min(scan.smallest_db_size);
        let grown = (kept + 1..=scan.db_size).filter_map(PageNumber::new).filter(|p| *p != lock_page);
        for page in grown {
            pages.entry(page).or_insert(None);
        }
        Ok((pages, scan.db_size))
    }

    fn encode_to_file(&mut self, file: &File, plan: &Plan, until: &Published) -> Result<Encoded> {
        let mut writer = BufWriter::new(file);
        let encoded = self.encode(&mut writer, plan, until)?;
        writer.flush().map_err(|e| Error::io("writing a slot", e))?;
        Ok(encoded)
    }

    fn encode<W: Write>(&mut self, writer: W, plan: &Plan, until: &Published) -> Result<Encoded> {
        let mut data = vec![0; self.page_size().bytes()];
        let mut encoder = Encoder::new(writer, plan.header.clone())?;
        for (page, frame) in &plan.pages {
            match frame {
                Some(frame) => self.wal.read_frame(*frame, &mut data)?,
                None => self.wal.read_page_at(*page, until.point.frame, &mut data)?,
            }
            encoder.page(*page, &data)?;
        }
        encoder.finish()
    }
}

/// What a slot's file is to hold.
struct Plan {
    header: Header,
    /// The pages, with the frame that holds the newest image where there is one.
    pages: BTreeMap<PageNumber, Option<u32>>,
    /// The size of the database behind them, in pages.
    size: u32,
}

fn page_count(size: u32) -> Result<PageNumber> {
    PageNumber::new(size).ok_or_else(|| Error::corrupt("the database has no pages"))
}
