use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::compact::{Built, Cancel};
use super::examine::Found;
use super::log::{Log, Staged};
use crate::ltx::{Encoder, Header, Origin, WalRange};
use crate::replication::{Facts, LogFile, SNAPSHOTS};
use crate::sqlite::Snapshot;
use crate::types::{Error, ErrorKind, PageNumber, Position, Result, Txid};

/// A node's own database, of which a snapshot of the log can be made where the bucket's files cannot be read: they
/// are damaged, or another tool's, which tells no chain values.
#[async_trait]
pub(super) trait OwnDatabase: Send + Sync {
    /// The database at a boundary: what it is when the log ends with a slot of this leadership. It comes when that
    /// slot is confirmed, and is to be read soon: the WAL is not begun anew meanwhile.
    async fn at_a_boundary(&self) -> Result<OwnState>;
}

/// The database as it was at a position.
pub(super) struct OwnState {
    /// Where the log is this.
    pub(super) position: Position,
    /// How many pages there are.
    pub(super) size: u32,
    /// All pages.
    pub(super) pages: Box<dyn Pages>,
}

/// Hands out every page but the lock page, in order.
pub(super) trait Pages: Send {
    fn for_each(&mut self, take: &mut dyn FnMut(PageNumber, &[u8]) -> Result<()>) -> Result<()>;
}

impl Pages for Snapshot {
    fn for_each(&mut self, take: &mut dyn FnMut(PageNumber, &[u8]) -> Result<()>) -> Result<()> {
        self.for_each_page(take)
    }
}

/// What became of a snapshot of the node's own database.
#[derive(Debug)]
pub(super) enum OwnSnapshot {
    /// It is in the bucket.
    Made(LogFile),
    /// The slot at its end is itself damaged there: it has to end behind it.
    EndsDamaged(Txid),
}

impl Log {
    /// Makes a snapshot of this state and puts it in the bucket.
    ///
    /// Its label is proven by the bucket: the slot at its end is there with exactly the chain value of this node's
    /// position, above a floor that is read after it. So it is the log's for ever, whoever leads by now, and this
    /// node's database at that boundary is what the log makes up to there. The pages are staged on the local disk
    /// first, so that no slow bucket holds up the WAL. A crash leaves facts without a file at most.
    pub(super) async fn publish_own(&self, state: OwnState) -> Result<OwnSnapshot> {
        let Position { txid, chain, epoch } = state.position;
        let (slot, header) = match self.examine(txid).await? {
            Found::Whole(slot, header) => (slot, header),
            Found::Damaged | Found::Missing => return Ok(OwnSnapshot::EndsDamaged(txid)),
        };
        if slot.chain != chain || slot.epoch != epoch || self.floor().await?.covers(txid) {
            let message = format!("slot {txid} of the log is not this node's: another leads");
            return Err(Error::new(ErrorKind::NotLeader, message));
        }
        if header.commit.get() != state.size {
            let message =
                format!("the database has {} pages at slot {txid}, not {}", state.size, header.commit);
            return Err(Error::new(ErrorKind::Internal, message));
        }
        let genesis = self.genesis().await?.ok_or_else(|| Error::corrupt("the log has no genesis"))?;
        let origin = Origin { epoch, previous: genesis.chain(), session: slot.session };
        let header = Header { min: Txid::new(1), wal: WalRange::NONE, origin: Some(origin), ..*header };
        self.require_room(u64::from(state.size) * u64::from(header.page_size.get()))?;
        let staged = Staged::new(self.staging_file("snapshot"));
        let index = Staged::new(self.staging_file("index"));
        let cancel = Cancel::default();
        let cancelled = Arc::clone(&cancel.0);
        let timestamp_ms = header.timestamp_ms;
        let encode = move || encode(state.pages, header, staged, index, &cancelled);
        let ended = |e| Error::new(ErrorKind::Internal, format!("a snapshot ended early: {e}"));
        let (staged, encoded) = tokio::task::spawn_blocking(encode).await.map_err(ended)??;
        // Now that the WAL may begin anew: it may take a while.
        let epochs = self.epochs_until(txid).await?;
        if epochs.last().map(|(last, _)| *last) != Some(epoch) {
            return Err(Error::corrupt(format!("the log does not show slot {txid} as one of epoch {epoch}")));
        }
        let facts = Facts {
            min: Txid::new(1),
            max: txid,
            file: encoded.chain,
            others: Vec::new(),
            before: genesis.chain(),
            after: chain,
            epochs,
        };
        let built = Built { staged, size: encoded.size, facts, timestamp_ms };
        self.publish(SNAPSHOTS, &built).await.map(OwnSnapshot::Made)
    }
}

fn encode(
    mut pages: Box<dyn Pages>,
    header: Header,
    staged: Staged,
    index: Staged,
    cancelled: &AtomicBool,
) -> Result<(Staged, crate::ltx::Encoded)> {
    let doing = |e| Error::io("staging a snapshot", e);
    let mut writer = BufWriter::new(File::create(staged.path()).map_err(doing)?);
    let mut encoder = Encoder::new(&mut writer, header)?.spill_index(move || index.open_unnamed());
    pages.for_each(&mut |page, data| {
        if cancelled.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Closed, "nobody waits for the snapshot any more"));
        }
        encoder.page(page, data)
    })?;
    // The WAL may begin anew.
    drop(pages);
    let encoded = encoder.finish()?;
    writer.flush().map_err(doing)?;
    Ok((staged, encoded))
}
