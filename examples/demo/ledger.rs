use std::time::Duration;

use haqlite::Bookmark;
use haqlite::types::Epoch;

use super::node::ROWS;

/// What the nodes' applications were told about their writes.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Writes that were acknowledged, in the order in which the demo heard it.
    pub(crate) acknowledged: Vec<Write>,
    /// Writes of which it was said that they did not take place.
    pub(crate) refused: Vec<Rows>,
    /// Writes of which nothing definite was said.
    pub(crate) unknown: Vec<Rows>,
}

/// The rows of one write: [`ROWS`] of them, from `first` on, of this node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) node: usize,
    pub(crate) first: u64,
}

/// An acknowledged write.
pub(crate) struct Write {
    pub(crate) rows: Rows,
    pub(crate) at: Duration,
    pub(crate) bookmark: Bookmark,
    /// Whether the leader that took it said that its slot is confirmed.
    pub(crate) confirmed: bool,
}

impl Rows {
    /// The rows by their numbers.
    pub(crate) fn numbers(self) -> std::ops::Range<u64> {
        self.first..self.first + ROWS
    }
}

impl Ledger {
    /// The leader of the bookmark's epoch said that its slot is confirmed, and so is every one before it.
    pub(crate) fn confirm(&mut self, bookmark: &Bookmark) {
        for write in self.acknowledged.iter_mut().filter(|write| write.bookmark.epoch == bookmark.epoch) {
            write.confirmed |= write.bookmark.txid <= bookmark.txid;
        }
    }

    /// The newest unconfirmed bookmark of the epoch.
    pub(crate) fn to_confirm(&self, epoch: Epoch) -> Option<Bookmark> {
        let unconfirmed = self.acknowledged.iter().filter(|write| !write.confirmed);
        unconfirmed.map(|write| write.bookmark).filter(|bookmark| bookmark.epoch == epoch).max()
    }

    /// The newest bookmark.
    pub(crate) fn newest(&self) -> Bookmark {
        self.acknowledged.iter().map(|write| write.bookmark).max().unwrap_or_default()
    }

    /// The epoch of what was acknowledged up to this time.
    pub(crate) fn epoch_at(&self, time: Duration) -> Epoch {
        let before = self.acknowledged.iter().filter(|write| write.at <= time);
        before.map(|write| write.bookmark.epoch).max().unwrap_or_default()
    }

    /// How many rows were acknowledged, and how many of them are confirmed.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let confirmed = self.acknowledged.iter().filter(|write| write.confirmed).count();
        (self.acknowledged.len() as u64 * ROWS, confirmed as u64 * ROWS)
    }

    /// The number that the node's next write may begin with: beyond all that it can have used.
    pub(crate) fn next_number(&self, node: usize) -> u64 {
        let used = self.acknowledged.iter().map(|write| write.rows).chain(self.unknown.iter().copied());
        used.filter(|rows| rows.node == node).map(|rows| rows.first + 1000).max().unwrap_or(0)
    }

    /// The node's last acknowledgement of `epoch` or before, and its first of a later one.
    pub(crate) fn around(&self, node: usize, epoch: Epoch) -> Option<(Duration, Duration)> {
        let of_node = || self.acknowledged.iter().filter(|write| write.rows.node == node);
        let last = of_node().filter(|write| write.bookmark.epoch <= epoch).map(|write| write.at).max()?;
        let first = of_node().filter(|write| write.bookmark.epoch > epoch).map(|write| write.at).min()?;
        Some((last, first))
    }
}
