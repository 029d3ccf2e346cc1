use std::sync::Arc;
use std::time::Duration;

use super::clock;
use super::shared::Shared;
use crate::client::Forwarder;
use crate::election::Event;
use crate::server::wire::FollowRequest;
use crate::types::Role;

/// Reports to the leader while this node follows, so that the leader knows who is there, and whom it can hand over to;
/// what the leader answers says whether there is something to fetch.
pub(super) async fn run(shared: Arc<Shared>, forwarder: Forwarder, every: Duration, can_lead: bool) {
    let mut view = shared.view.subscribe();
    loop {
        let (follows, leader, position, closed) = {
            let view = view.borrow_and_update();
            (
                view.role != Role::Leader && view.stopped.is_none(),
                view.leader.clone(),
                view.applied,
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
            };
            let patience = every.max(Duration::from_secs(1));
            if let Ok(answer) = forwarder.follow(&address, &request, patience).await {
                if answer.role != Role::Leader {
                    // It has let go: who has the lease now?
                    shared.tell_election(Event::Look);
                } else if answer.confirmed.txid > shared.view.borrow().applied.txid {
                    let now = clock::now();
                    shared.see(|view| view.behind_since = view.behind_since.or(Some(now)));
                    shared.look_at_the_log();
                }
            }
        }
        // A new leader hears at once whom it could hand over to.
        let changed = view.wait_for(|view| view.leader != leader || view.closed);
        let _ = tokio::time::timeout(every, changed).await;
    }
}
