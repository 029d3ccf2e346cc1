use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::clock;
use super::shared::Shared;
use crate::client::Forwarder;
use crate::election::Event;
use crate::server::wire::CampaignRequest;
use crate::types::{Error, ErrorKind, Result, Role};

/// For how long a write waits on the server for this node to lead, or to know who does. Its sender tries again
/// afterwards, so this only has to cover what a hand-over takes.
const HOLD: Duration = Duration::from_secs(1);
/// How soon it is noticed that a promotion has failed.
const NOTICE: Duration = Duration::from_millis(50);

/// Calls the successor before the lease is released: it fetches what is left of the log meanwhile, and keeps the
/// writes that come to it. When it has answered, writers are sent there.
///
/// It only saves time: a successor that hears nothing finds the tombstone by itself.
pub(super) fn announce(tokio: &Handle, shared: &Arc<Shared>, forwarder: &Forwarder, address: &str) {
    let until = clock::now() + HOLD;
    shared.see(|view| view.changes_until = Some(until));
    let (shared, forwarder, address) = (Arc::clone(shared), forwarder.clone(), address.to_owned());
    tokio.spawn(async move {
        let heard = call(&shared, &forwarder, &address, false).await;
        shared.see(|view| {
            view.changes_until = None;
            view.handed_to = Some(address).filter(|_| heard && view.leader.is_none());
        });
    });
}

/// Tells the successor that the lease is released. `false` if it did not answer.
pub(super) async fn call(shared: &Shared, forwarder: &Forwarder, address: &str, released: bool) -> bool {
    let epoch = shared.view.borrow().epoch;
    let request = CampaignRequest { epoch, from: shared.node.clone(), released };
    forwarder.campaign(address, &request, Duration::from_secs(1)).await.is_ok()
}

/// This node is called to take over.
pub(super) fn called(shared: &Shared, request: &CampaignRequest) {
    if shared.view.borrow().role == Role::Leader {
        return;
    }
    let until = clock::now() + HOLD;
    shared.see(|view| view.changes_until = Some(until));
    if request.released {
        shared.tell_election(Event::Called);
    } else {
        shared.look_at_the_log();
    }
}

/// Returns when writes run here. While the leadership comes to this node or goes from it that is waited for, for a
/// second at most: a sender that tried again and again would find out later.
///
/// `NotLeader` otherwise, with the leader if it is known.
pub(super) async fn wait_to_lead(shared: &Shared) -> Result<()> {
    let mut changes = shared.view.subscribe();
    let until = clock::now() + HOLD;
    loop {
        if shared.gate.is_open() {
            return Ok(());
        }
        let now = clock::now();
        let is_coming = {
            let view = changes.borrow_and_update();
            let changes = view.changes_until.is_some_and(|until| now < until);
            let goes_on = view.stopped.is_none() && !view.closed && view.handed_to.is_none();
            goes_on && (changes || shared.has_tenure())
        };
        if !is_coming || now >= until || shared.is_closing() {
            return Err(not_leader(shared));
        }
        let _ = tokio::time::timeout(NOTICE, changes.changed()).await;
    }
}

/// `NotLeader`, with the leader if it is known, unless writes run here.
pub(super) fn check_leads(shared: &Shared) -> Result<()> {
    if shared.gate.is_open() { Ok(()) } else { Err(not_leader(shared)) }
}

fn not_leader(shared: &Shared) -> Error {
    let view = shared.view.borrow();
    let error = Error::new(ErrorKind::NotLeader, "this node does not lead");
    let leader = view.leader.clone().filter(|_| view.role != Role::Leader);
    match leader.or_else(|| view.handed_to.clone()) {
        Some(leader) => error.with_leader(leader),
        None => error,
    }
}
