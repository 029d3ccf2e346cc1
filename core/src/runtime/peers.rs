use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::types::{Monotonic, NodeId, Position, SessionId};

/// Who follows this leader, kept in memory only: followers report, and are forgotten when they stop.
#[derive(Default)]
pub(crate) struct Peers(Mutex<BTreeMap<NodeId, Peer>>);

/// A follower as it last reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Peer {
    pub(crate) session: SessionId,
    /// Whether it can be handed anything over to.
    pub(crate) can_lead: bool,
    pub(crate) address: String,
    pub(crate) position: Position,
    pub(crate) seen: Monotonic,
}

/// Followers that are remembered; of more, the ones that reported last.
const LIMIT: usize = 256;

impl Peers {
    /// Notes a report. It takes the place of an earlier one of the node, also of another session.
    pub(crate) fn report(&self, node: NodeId, peer: Peer) {
        let mut peers = self.0.lock();
        if peers.len() >= LIMIT && !peers.contains_key(&node) {
            let oldest = peers.iter().min_by_key(|(_, peer)| peer.seen).map(|(node, _)| node.clone());
            if let Some(oldest) = oldest {
                peers.remove(&oldest);
            }
        }
        peers.insert(node, peer);
    }

    /// The followers that reported within `remembered`, by name, and for how long each has not. The others are
    /// forgotten.
    pub(crate) fn known(&self, now: Monotonic, remembered: Duration) -> Vec<(NodeId, Peer, Duration)> {
        let mut peers = self.0.lock();
        peers.retain(|_, peer| now.since(peer.seen) <= remembered);
        peers.iter().map(|(node, peer)| (node.clone(), peer.clone(), now.since(peer.seen))).collect()
    }

    /// The followers that can lead and reported within `fresh`, the furthest first; no more than `most`.
    pub(crate) fn fresh(&self, now: Monotonic, fresh: Duration, most: usize) -> Vec<(NodeId, Peer)> {
        let peers = self.0.lock();
        let mut followers: Vec<(NodeId, Peer)> = peers
            .iter()
            .filter(|(_, peer)| peer.can_lead && now.since(peer.seen) <= fresh)
            .map(|(node, peer)| (node.clone(), peer.clone()))
            .collect();
        followers.sort_by_key(|(_, peer)| std::cmp::Reverse((peer.position.txid, peer.seen)));
        followers.truncate(most);
        followers
    }

    /// The follower to hand over to: the named one, or the one that is furthest, among those that can lead and
    /// reported within `fresh`.
    pub(crate) fn successor(
        &self,
        named: Option<&NodeId>,
        now: Monotonic,
        fresh: Duration,
    ) -> Option<(NodeId, Peer)> {
        let peers = self.0.lock();
        let able = |peer: &Peer| peer.can_lead && now.since(peer.seen) <= fresh;
        let candidates =
            peers.iter().filter(|(node, peer)| able(peer) && named.is_none_or(|named| named == *node));
        candidates
            .max_by_key(|(_, peer)| (peer.position.txid, peer.seen))
            .map(|(node, peer)| (node.clone(), peer.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Txid;

    fn peer(txid: u64, seen: u64) -> Peer {
        Peer {
            session: SessionId::default(),
            can_lead: true,
            address: String::new(),
            position: Position { txid: Txid::new(txid), ..Position::default() },
            seen: Monotonic::from_boot(Duration::from_secs(seen)),
        }
    }

    #[test]
    fn the_furthest_fresh_follower_succeeds() {
        let peers = Peers::default();
        peers.report(NodeId::new("a"), peer(5, 100));
        peers.report(NodeId::new("b"), peer(9, 50));
        peers.report(NodeId::new("c"), peer(7, 101));
        peers.report(NodeId::new("d"), Peer { can_lead: false, ..peer(8, 101) });
        let now = Monotonic::from_boot(Duration::from_secs(102));
        let fresh = Duration::from_secs(5);
        let of = |named: Option<&str>| {
            peers.successor(named.map(NodeId::new).as_ref(), now, fresh).map(|(node, _)| node.to_string())
        };
        assert_eq!(of(None).as_deref(), Some("c"));
        assert_eq!(of(Some("a")).as_deref(), Some("a"));
        assert_eq!((of(Some("b")), of(Some("d"))), (None, None));
        let able = |most| -> Vec<String> {
            peers.fresh(now, fresh, most).into_iter().map(|(node, _)| node.to_string()).collect()
        };
        assert_eq!((able(9), able(1)), (vec!["c".into(), "a".into()], vec!["c".into()]));
    }

    #[test]
    fn a_follower_is_known_for_a_while_after_its_last_report() {
        let peers = Peers::default();
        let at = |seconds| Monotonic::from_boot(Duration::from_secs(seconds));
        peers.report(NodeId::new("a"), peer(5, 100));
        peers.report(NodeId::new("b"), peer(6, 130));
        let session = SessionId::from_bytes([7; 16]);
        peers.report(NodeId::new("b"), Peer { session, ..peer(2, 131) });
        let known = |now: u64| -> Vec<(String, u64, u64)> {
            let known = peers.known(at(now), Duration::from_secs(60)).into_iter();
            known
                .map(|(node, peer, age)| (node.to_string(), peer.position.txid.get(), age.as_secs()))
                .collect()
        };
        assert_eq!(known(160), [("a".into(), 5, 60), ("b".into(), 2, 29)], "with its newest session");
        assert_eq!(known(161), [("b".into(), 2, 30)]);
        assert_eq!(known(192), []);
    }

    #[test]
    fn the_table_is_bounded() {
        let peers = Peers::default();
        for i in 0..1000 {
            peers.report(NodeId::new(format!("n{i}")), peer(i, i));
        }
        assert_eq!(peers.0.lock().len(), LIMIT);
    }
}
