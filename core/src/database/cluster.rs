use std::sync::Arc;

use super::builder::Builder;
use super::engine::Engine;
use super::handle::HaQLite;
use crate::runtime::{RoleEvents, Subscription, run_blocking};
use crate::types::{Event, NodeInfo, Result};

impl HaQLite {
    /// Begins to open a database of a cluster.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(super) fn over(engine: Arc<dyn Engine>) -> HaQLite {
        HaQLite { engine }
    }

    /// Who is in the cluster: the leader, and after it the followers by name. A local database lists itself.
    ///
    /// The leader knows it from what followers report to it, about every second, and keeps it in memory: a node that
    /// stopped stays in the list with its age ([`NodeInfo::last_seen`]), for twelve times the lease's time to live and at
    /// most a minute, and a new leader's list fills
    /// when the others find it. A follower asks the leader, for up to five seconds: `LeaderUnavailable` if none answers.
    ///
    /// ```
    /// # let db = haqlite::HaQLite::local(":memory:", "")?;
    /// for node in db.nodes()? {
    ///     println!("{} {:?} at {}, seen {:?} ago", node.id, node.role, node.position, node.last_seen);
    /// }
    /// # Ok::<(), haqlite::Error>(())
    /// ```
    pub fn nodes(&self) -> Result<Vec<NodeInfo>> {
        self.engine.nodes()
    }

    /// As [`HaQLite::nodes`], on another thread.
    pub fn nodes_async(&self) -> impl Future<Output = Result<Vec<NodeInfo>>> + Send + 'static {
        let engine = Arc::clone(&self.engine);
        run_blocking(move || engine.nodes())
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
