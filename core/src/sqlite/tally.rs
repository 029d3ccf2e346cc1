use std::sync::atomic::{AtomicU64, Ordering};

use crate::types::{Bookmark, Txid};

/// What was committed, changed under the writer's mutex and read without it.
#[derive(Default)]
pub(super) struct Tally {
    /// In the slot that is open.
    commits: AtomicU64,
    /// The slot that the newest commit is in.
    newest: AtomicU64,
}

impl Tally {
    /// A commit is in the slot that is open.
    pub(super) fn committed(&self, open: Bookmark) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.newest.store(open.txid.get(), Ordering::Relaxed);
    }

    /// Another slot is open: the next one, or that of another leadership, which stands where its log ends.
    pub(super) fn moved(&self, from: Bookmark, to: Bookmark) {
        if from == to {
            return;
        }
        self.commits.store(0, Ordering::Relaxed);
        if from.epoch != to.epoch {
            self.newest.store(to.txid.previous().unwrap_or(Txid::ZERO).get(), Ordering::Relaxed);
        }
    }

    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub(super) fn newest(&self) -> Txid {
        Txid::new(self.newest.load(Ordering::Relaxed))
    }
}
