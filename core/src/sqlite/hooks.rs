use std::sync::Arc;

use parking_lot::MutexGuard;

use super::writer::{State, Writer};
use crate::types::{Bookmark, Result};

/// Called after each commit that wrote something. It runs under the writer's mutex and must only hint.
pub(crate) type OnCommit = Arc<dyn Fn() + Send + Sync>;

/// Called with the bookmark of the newest commit before a write is acknowledged, without the writer's mutex:
/// it may wait. What it fails with is what the caller hears.
pub(crate) type Acknowledge = Arc<dyn Fn(Bookmark) -> Result<()> + Send + Sync>;

/// What a writer calls.
#[derive(Clone)]
pub(crate) struct Hooks {
    pub(crate) on_commit: OnCommit,
    /// `None`: a commit is acknowledged as it is.
    pub(crate) acknowledge: Option<Acknowledge>,
}

impl Hooks {
    /// Nothing is called.
    pub(crate) fn none() -> Hooks {
        Hooks { on_commit: Arc::new(|| {}), acknowledge: None }
    }
}

impl Writer {
    /// Lets others go on, and gives the value when the newest commit may be acknowledged. Also the result of
    /// a write that changed nothing tells what the database was: it is held back like any other.
    #[inline]
    pub(super) fn acknowledge<T>(&self, state: MutexGuard<'_, State>, value: T) -> Result<T> {
        let newest = state.newest();
        drop(state);
        self.acknowledge_at(newest, value)
    }

    /// As [`Writer::acknowledge`], for who let go of the mutex before.
    #[inline]
    pub(super) fn acknowledge_at<T>(&self, newest: Bookmark, value: T) -> Result<T> {
        match &self.hooks.acknowledge {
            Some(acknowledge) => acknowledge(newest).map(|()| value),
            None => Ok(value),
        }
    }
}
