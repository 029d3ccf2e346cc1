use std::sync::Arc;
use std::time::Duration;

use super::clock;
use super::shared::{Message, Shared};
use crate::client::Forwarder;
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
        if let (true, Some(leader)) = (follows, leader)
            && leader != shared.address
        {
            let request = FollowRequest {
                node_id: shared.node.clone(),
                session: shared.session,
                can_lead,
                address: shared.address.clone(),
                position,
            };
            if let Ok(answer) = forwarder.follow(&leader, &request, every.max(Duration::from_secs(1))).await
                && answer.confirmed.txid > shared.view.borrow().applied.txid
            {
                let now = clock::now();
                shared.see(|view| view.behind_since = view.behind_since.or(Some(now)));
                shared.tell_replicator(Message::Look);
            }
        }
        tokio::time::sleep(every).await;
    }
}
