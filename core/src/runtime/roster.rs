use std::time::Duration;

use super::clock;
use super::node::Node;
use super::shared::Shared;
use crate::client::SendError;
use crate::election::Event;
use crate::types::{Error, ErrorKind, NodeInfo, Result, Role};

/// A follower that stopped reporting is listed for so many of the lease's times to live, and not longer than this: a
/// minute, unless the lease is shorter than the default.
const REMEMBERED: (u32, Duration) = (12, Duration::from_secs(60));

/// How long a node looks for a leader that answers.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long one leader may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// How long to wait for another leader to be known.
const PAUSE: Duration = Duration::from_millis(200);

/// Who is in the cluster that this node leads: itself, and who reported to it, by name.
pub(super) fn list(shared: &Shared) -> Vec<NodeInfo> {
    let mut leader = NodeInfo::new(shared.node.clone(), Role::Leader, shared.view.borrow().confirmed.txid);
    leader.address = Some(shared.address.clone());
    let remembered = REMEMBERED.1.min(shared.timing.ttl * REMEMBERED.0);
    let followers = shared.peers.known(clock::now(), remembered).into_iter();
    let followers = followers.filter(|(node, _, _)| *node != shared.node).map(|(node, peer, last_seen)| {
        let mut follower = NodeInfo::new(node, Role::Follower, peer.position.txid);
        follower.address = Some(peer.address);
        follower.last_seen = last_seen;
        follower
    });
    std::iter::once(leader).chain(followers).collect()
}

impl Node {
    /// Who is in the cluster, by the leader's word. `LeaderUnavailable` if none answers in time.
    pub(crate) fn nodes(&self) -> Result<Vec<NodeInfo>> {
        self.connections()?;
        let deadline = clock::now() + PATIENCE.min(self.forward_timeout);
        let mut view = self.shared.view.subscribe();
        let mut last: Option<Error> = None;
        loop {
            if self.leads() {
                return Ok(list(&self.shared));
            }
            let (leader, closed) = {
                let view = view.borrow_and_update();
                (view.leader.clone().filter(|leader| *leader != self.shared.address), view.closed)
            };
            if closed {
                return Err(Error::new(ErrorKind::Closed, "the database handle was closed"));
            }
            let left = deadline.since(clock::now());
            if left.is_zero() {
                let error = Error::new(ErrorKind::LeaderUnavailable, "no leader says who is in the cluster");
                return Err(match last {
                    Some(last) => error.with_source(last),
                    None => error,
                });
            }
            if let Some(leader) = leader {
                let forwarder = self.forwarder.clone();
                let asked = self.block_on(async move { forwarder.nodes(&leader, ANSWER.min(left)).await });
                match asked {
                    Ok(nodes) => return Ok(nodes),
                    Err(failure) if is_final(&failure) => return Err(failure.into_error()),
                    Err(failure) => last = Some(failure.into_error()),
                }
            }
            // Somebody may lead by now; the election limits how often it really asks.
            self.shared.tell_election(Event::Look);
            let mut view = view.clone();
            let pause = PAUSE.min(left);
            self.block_on(async move {
                let _ = tokio::time::timeout(pause, view.changed()).await;
            });
        }
    }
}

/// Whether another leader would say the same.
fn is_final(failure: &SendError) -> bool {
    let kind = failure.error().kind();
    kind == ErrorKind::Unauthorized
        || matches!(failure, SendError::Answered(_)) && kind != ErrorKind::Internal
}
