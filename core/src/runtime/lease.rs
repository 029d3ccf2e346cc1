use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use super::clock;
use super::shared::{Message, Shared, Stopped};
use crate::election::{Effect, Election, Event, Found, LeaseRecord, Reason, SwapOutcome, Tenure, Version};
use crate::lease_store::{LeaseStore, LeaseVersion, Register, Swap};
use crate::sqlite::Shut;
use crate::types::{Error, ErrorKind, Result, Role};

/// Drives the election until it is closed: performs its effects, one operation on the register at a time.
///
/// It runs on the node's own runtime, where nothing blocks: a long query or a busy executor of the
/// application cannot keep a renewal from being sent.
pub(super) struct LeaseTask {
    pub(super) shared: Arc<Shared>,
    pub(super) election: Election,
    pub(super) store: Arc<dyn LeaseStore>,
    pub(super) key: String,
    pub(super) inbox: UnboundedReceiver<Event>,
    pub(super) version: Option<LeaseVersion>,
    /// The newest tenure.
    pub(super) tenure: Tenure,
    pub(super) released: tokio::sync::watch::Sender<u64>,
}

type Operation = Pin<Box<dyn Future<Output = Event> + Send>>;

impl LeaseTask {
    /// Runs until the election is over.
    pub(super) async fn run(mut self) {
        let mut operation: Option<Operation> = None;
        let mut event = Event::Timer;
        loop {
            let effects = self.election.handle(clock::now(), event);
            for effect in effects {
                match self.perform(effect) {
                    Performed::Nothing => {}
                    Performed::Started(started) => operation = Some(started),
                    Performed::Over => return,
                }
            }
            event = self.next_event(&mut operation).await;
        }
    }

    async fn next_event(&mut self, operation: &mut Option<Operation>) -> Event {
        let wait = match self.election.wake_at() {
            Some(at) => at.since(clock::now()),
            None => Duration::from_secs(3600),
        };
        let follows = self.shared.view.borrow().role != Role::Leader;
        let answered = async {
            match operation {
                Some(running) => running.await,
                None => std::future::pending().await,
            }
        };
        let store = Arc::clone(&self.store);
        let version = self.version.clone();
        let key = self.key.clone();
        let idle_follower = follows && version.is_some();
        tokio::select! {
            biased;
            event = answered => {
                *operation = None;
                if let Event::ReadDone(Ok(Some(found))) = &event {
                    self.version = Some(LeaseVersion(found.version.0.clone()));
                }
                event
            }
            event = self.inbox.recv() => event.unwrap_or(Event::Close),
            () = tokio::time::sleep(wait) => Event::Timer,
            () = store.changed(&key, version.as_ref()), if idle_follower => {
                // The next read tells what it is; until then there is nothing to watch for.
                self.version = None;
                Event::Look
            }
        }
    }

    fn perform(&mut self, effect: Effect) -> Performed {
        match effect {
            Effect::Read { timeout } => return Performed::Started(self.read(timeout)),
            Effect::Create { body, timeout } => return Performed::Started(self.swap(body, None, timeout)),
            Effect::Replace { body, version, timeout } => {
                return Performed::Started(self.swap(body, Some(version), timeout));
            }
            Effect::Promote { tenure, epoch } => {
                self.shared.set_tenure(Some(tenure));
                self.tenure = tenure;
                self.shared.see(|view| view.handed_to = None);
                self.shared.tell_replicator(Message::Promote { tenure, epoch });
            }
            Effect::ExtendGate { until } => {
                let open = self.shared.gate.open_until(self.tenure.0, until);
                if open && self.shared.view.borrow().role != Role::Leader {
                    self.lead();
                }
            }
            Effect::CloseGate { reason } => self.shut_gate(&reason),
            Effect::Demote { tenure, reason } => {
                self.shut_gate(&reason);
                self.shared.set_tenure(None);
                tracing::info!(?tenure, ?reason, "no longer leading");
                self.shared.tell_replicator(Message::Demote);
            }
            Effect::Following { leader } => self.follow(leader.as_deref()),
            Effect::Degraded(error) => self.shared.lease_degraded(&error.context("the lease store")),
            Effect::Recovered => self.shared.lease_recovered(),
            Effect::Failed(error) => {
                self.shared.see(|view| {
                    view.stopped = Some(Stopped(Arc::new(error)));
                    view.election_over = true;
                });
                return Performed::Over;
            }
            Effect::Closed => {
                self.shared.see(|view| view.election_over = true);
                return Performed::Over;
            }
        }
        Performed::Nothing
    }

    fn read(&self, timeout: Duration) -> Operation {
        let (store, key) = (Arc::clone(&self.store), self.key.clone());
        Box::pin(async move {
            let read = async { store.read(&key).await };
            let found = |Register { body, version }| Found { body, version: Version(version.0) };
            Event::ReadDone(limited(timeout, read).await.map(|register| register.map(found)))
        })
    }

    fn swap(&self, body: Vec<u8>, over: Option<Version>, timeout: Duration) -> Operation {
        let (store, key) = (Arc::clone(&self.store), self.key.clone());
        let releases = LeaseRecord::parse(&body).is_ok_and(|record| record.released);
        let released = self.released.clone();
        Box::pin(async move {
            let write = async {
                match over {
                    None => store.create(&key, &body).await,
                    Some(version) => store.replace(&key, &body, &LeaseVersion(version.0)).await,
                }
            };
            let swap = limited(timeout, write).await;
            if releases {
                // Whatever came of it, there is nothing more to wait for.
                released.send_modify(|n| *n += 1);
            }
            Event::SwapDone(swap.map(|swap| match swap {
                Swap::Done(version) => SwapOutcome::Done(Version(version.0)),
                Swap::Lost => SwapOutcome::Lost,
            }))
        })
    }

    /// The gate is open: now the node may say that it leads.
    fn lead(&self) {
        let (node, address) = (self.shared.node.clone(), self.shared.address.clone());
        self.shared.see(|view| {
            view.role = Role::Leader;
            view.leader = Some(address);
            view.leader_node = Some(node);
            view.changes_until = None;
            view.caught_up = true;
        });
        tracing::info!(epoch = self.shared.view.borrow().epoch.get(), "leading");
        self.shared.emit_role();
    }

    /// The gate first, then everybody is told.
    fn shut_gate(&self, reason: &Reason) {
        let shut = match reason {
            Reason::Fenced { .. } => Shut::Fenced { leader: None },
            Reason::Closing => Shut::Closed,
            _ => Shut::NotLeader { leader: None },
        };
        self.shared.gate.shut(shut);
        if let Some(connections) = self.shared.database.get() {
            // What runs now ends at once and is rolled back; the rest waits for the replicator.
            connections.writer.interrupt();
        }
        if self.shared.view.borrow().role == Role::Leader {
            self.shared.see(|view| {
                view.role = Role::Follower;
                view.leader = None;
                view.leader_node = None;
                view.caught_up = false;
            });
            self.shared.emit_role();
        }
    }

    fn follow(&self, leader: Option<&LeaseRecord>) {
        if self.shared.view.borrow().role == Role::Leader {
            return;
        }
        let address = leader.map(|record| record.address.clone());
        self.shared.gate.shut(Shut::NotLeader { leader: address.clone() });
        self.shared.see(|view| {
            view.leader = address;
            view.leader_node = leader.map(|record| record.holder.clone());
            if let Some(record) = leader {
                view.epoch = view.epoch.max(record.epoch);
                view.handed_to = None;
            }
        });
        self.shared.emit_role();
        if leader.is_some() {
            self.shared.look_at_the_log();
        }
    }
}

enum Performed {
    Nothing,
    Started(Operation),
    Over,
}

async fn limited<T>(timeout: Duration, operation: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(timeout, operation).await {
        Ok(result) => result,
        Err(_) => {
            let message = format!("the lease store did not answer within {timeout:?}");
            Err(Error::new(ErrorKind::StoreUnavailable, message))
        }
    }
}
