use std::sync::Arc;

use super::builder::Builder;
use super::engine::Engine;
use super::handle::HaQLite;
use crate::runtime::{RoleEvents, Subscription};
use crate::types::{Error, ErrorKind, Event, NodeId, Result};

impl HaQLite {
    /// Begins to open a database of a cluster.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(super) fn over(engine: Arc<dyn Engine>) -> HaQLite {
        HaQLite { engine }
    }

    /// Who is in the cluster. Not implemented: it fails with `NotImplemented`.
    pub fn nodes(&self) -> Result<Vec<NodeId>> {
        Err(Error::new(
            ErrorKind::NotImplemented,
            "`nodes` is not implemented yet: see `status` for the leader",
        ))
    }

    /// Calls `callback` for every event from now on, on a thread of its own, one at a time, until the
    /// subscription is dropped. `NotImplemented` for a local database, to which nothing happens.
    pub fn subscribe(&self, callback: impl Fn(Event) + Send + Sync + 'static) -> Result<Subscription> {
        self.engine.subscribe(Arc::new(callback))
    }

    /// The changes of role, epoch and leader. Whoever reads them late sees the newest, never an error for
    /// having been late.
    pub fn role_events(&self) -> Result<RoleEvents> {
        self.engine.role_events()
    }
}
