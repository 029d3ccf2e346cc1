use std::sync::Arc;
use std::time::Duration;

use super::clock;
use super::shared::Shared;
use crate::client::Forwarder;
use crate::election::Event;
use crate::server::wire::{FollowRequest, FollowResponse};
use crate::types::{Role, Txid};

/// Reports to the leader while this node follows, so that the leader knows who is there, whom it can hand over to, and
/// what this node cannot read; what the leader answers says whether there is something to fetch, and whether it covers
/// that.
pub(super) async fn run(shared: Arc<Shared>, forwarder: Forwarder, every: Duration, can_lead: bool) {
    let mut view = shared.view.subscribe();
    loop {
        let (follows, leader, position, unreadable, closed) = {
            let view = view.borrow_and_update();
            (
                view.role != Role::Leader && view.stopped.is_none(),
                view.leader.clone(),
                view.applied,
                view.plight.map(|plight| plight.slot),
                view.closed,
            )
        };
        if closed {
            return;
        }
        if let (true, Some(address)) = (follows, leader.clone())
            && address != shared.address
        {
            let request = FollowRequest {
                node_id: shared.node.clone(),
                session: shared.session,
                can_lead,
                address: shared.address.clone(),
                position,
                unreadable,
            };
            let patience = every.max(Duration::from_secs(1));
            if let Ok(answer) = forwarder.follow(&address, &request, patience).await {
                heard(&shared, &answer, unreadable);
            }
        }
        // What cannot be read is told at once: the node may stop for it soon. And a new leader hears at once whom it
        // could hand over to.
        let news = view.wait_for(|view| {
            view.plight.is_some_and(|plight| Some(plight.slot) != unreadable)
                || view.leader != leader
                || view.closed
        });
        let _ = tokio::time::timeout(every, news).await;
    }
}

fn heard(shared: &Shared, answer: &FollowResponse, unreadable: Option<Txid>) {
    if answer.role != Role::Leader {
        // It has let go: who has the lease now?
        shared.tell_election(Event::Look);
        return;
    }
    let now = clock::now();
    if answer.confirmed.txid > shared.view.borrow().applied.txid {
        shared.see(|view| view.behind_since = view.behind_since.or(Some(now)));
        // Who cannot read on looks in its own time.
        if unreadable.is_none() {
            shared.look_at_the_log();
        }
    }
    shared.see(|view| {
        if let Some(plight) = view.plight.as_mut().filter(|plight| Some(plight.slot) == unreadable) {
            plight.answer = Some((answer.covers, now));
        }
    });
}
