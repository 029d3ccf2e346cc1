use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::clock;
use super::patience::transfer_time;
use super::relay::Road;
use super::replicator::{Replicator, State};
use super::shared::Message;
use super::succession;
use crate::client::Forwarder;
use crate::election::Event;
use crate::replication::{
    HandOver, HandOverEffect, HandOverEvent, HandOverLimits, Proof, PutAnswer, ShipperEvent,
};
use crate::server::wire::ProveRequest;
use crate::types::{Durability, Error, ErrorKind, Monotonic, Result, Role};

/// The leader's part in an outage of its bucket: performs what [`HandOver`] decides.
pub(super) struct Outage {
    hand_over: HandOver,
    forwarder: Forwarder,
    /// Counts the tombstones that were written or given up.
    released: watch::Receiver<u64>,
    /// When the gate is shut for a hand-over: what is told when everything is shipped.
    drained: Drained,
    /// When the PUT under way was sent, if it went through a follower.
    sent: Option<Monotonic>,
    /// Whether the last PUT through the follower created its object.
    stored: bool,
}

enum Drained {
    No,
    Waiting(oneshot::Receiver<Result<()>>),
    Yes,
}

/// So many followers are asked at most.
const MOST_ASKED: usize = 8;
/// For so long the successor's address waits for the tombstone.
const RELEASE_PATIENCE: Duration = Duration::from_secs(10);

impl Outage {
    pub(super) fn new(
        ttl: Duration,
        durability: Durability,
        forwarder: Forwarder,
        released: watch::Receiver<u64>,
    ) -> Outage {
        let limits = HandOverLimits::new(ttl, durability == Durability::Cloud);
        let hand_over = HandOver::new(limits);
        Outage { hand_over, forwarder, released, drained: Drained::No, sent: None, stored: false }
    }

    /// The leadership is over.
    pub(super) fn ended(&mut self) {
        self.hand_over.handle(clock::now(), HandOverEvent::Ended);
        self.drained = Drained::No;
    }

    /// A PUT is sent.
    pub(super) fn sends(&mut self, road: &Road) {
        self.sent = (!road.is_direct()).then(clock::now);
        self.stored = false;
    }

    /// What was asked of the bucket through a follower was answered.
    pub(super) fn answered(&mut self, event: &ShipperEvent) {
        self.stored |= *event == ShipperEvent::Put(PutAnswer::Stored);
    }
}

impl Replicator {
    /// Looks how long the bucket has been silent, and how far a hand-over is.
    pub(super) fn watch_outage(&mut self) {
        let State::Leading(leading) = &self.state else { return };
        if leading.over {
            return;
        }
        let open = self.shared.gate.is_open();
        let in_flight = leading.prepared.as_ref().map_or(0, |prepared| prepared.size());
        let look = HandOverEvent::Look {
            stuck_since: leading.shipper.stuck_since(),
            transfer: transfer_time(in_flight.saturating_sub(1 << 20)),
            backlog: self.shared.view.borrow().unshipped_bytes,
            open,
            draining: !leading.drains.is_empty() && !self.outage.hand_over.is_closing(),
        };
        self.hand_over(look);
        // A gate that only its deadline has shut may open again: the election's word is waited for.
        let shut = !open && self.shared.view.borrow().role != Role::Leader;
        if self.outage.hand_over.is_closing() && shut {
            self.drain_for_hand_over();
        }
    }

    /// These followers can write.
    pub(super) fn proven(&mut self, proofs: Vec<Proof>) {
        match &self.state {
            State::Leading(leading) if !leading.over => self.hand_over(HandOverEvent::Proofs(proofs)),
            State::Leading(_) | State::Following | State::Stopped => {}
        }
    }

    /// A slot was confirmed.
    pub(super) fn confirmed_on(&mut self, direct: bool) {
        if !direct {
            let stored = self.outage.sent.filter(|_| self.outage.stored);
            self.hand_over(HandOverEvent::Relayed { stored });
        }
    }

    fn hand_over(&mut self, event: HandOverEvent) {
        let Some(effect) = self.outage.hand_over.handle(clock::now(), event) else { return };
        let State::Leading(leading) = &self.state else { return };
        let tenure = leading.tenure;
        match effect {
            HandOverEffect::Ask => self.ask_for_proofs(),
            HandOverEffect::Relay(by) => {
                tracing::warn!(through = %by.node, "the bucket gives no answers: shipping through a follower");
                self.take_road(Road::Through(self.outage.forwarder.clone(), by));
            }
            HandOverEffect::Direct => self.take_road(Road::Direct(self.shared.log.clone())),
            HandOverEffect::Shut(by) => {
                tracing::warn!(to = %by.node, "the bucket gives no answers: handing over");
                self.outage.drained = Drained::No;
                self.shared.tell_election(Event::Handoff { to: Some(by.node) });
            }
            HandOverEffect::Release(by) => self.release_to(by),
            HandOverEffect::Resume(by) => {
                tracing::warn!(to = %by.node, "the follower cannot write any more: leading on");
                self.take_road(Road::Direct(self.shared.log.clone()));
                self.outage.drained = Drained::No;
                self.shared.tell_election(Event::Resume { tenure, to: by.node });
            }
            HandOverEffect::GiveUp => {
                let message = "the bucket gives no answers, and no follower can write to it";
                self.stand_down(&Error::new(ErrorKind::StoreUnavailable, message));
            }
        }
    }

    /// Asks the followers that could lead to create an object, all at once. Who does not answer within half a
    /// TTL is left out, so that the others' proofs are fresh.
    fn ask_for_proofs(&self) {
        let State::Leading(leading) = &self.state else { return };
        let ttl = self.shared.timing.ttl;
        let asked = clock::now();
        let followers = self.shared.peers.fresh(asked, ttl * 3, MOST_ASKED);
        let request = ProveRequest { epoch: leading.epoch, from: self.shared.node.clone() };
        let (shared, forwarder) = (Arc::clone(&self.shared), self.outage.forwarder.clone());
        let tokio = self.tokio.clone();
        self.tokio.spawn(async move {
            let mut answers = Vec::new();
            for (node, peer) in followers {
                let (forwarder, request) = (forwarder.clone(), request.clone());
                let proof = Proof { node, address: peer.address, asked };
                answers.push(tokio.spawn(async move {
                    let answer = forwarder.prove(&proof.address, &request, ttl / 2).await;
                    answer.map(|()| proof)
                }));
            }
            let mut proofs = Vec::new();
            for answer in answers {
                match answer.await {
                    Ok(Ok(proof)) => proofs.push(proof),
                    Ok(Err(failure)) => tracing::debug!(error = %failure.error(), "a follower cannot write"),
                    Err(_) => {}
                }
            }
            shared.tell_replicator(Message::Proven(proofs));
        });
    }

    /// From now on the bucket is asked on this road; what was under way is asked again there.
    fn take_road(&mut self, road: Road) {
        let State::Leading(leading) = &mut self.state else { return };
        leading.road = road;
        // An answer that comes on the old road finds a later operation.
        self.operation += 1;
        let effect = leading.shipper.handle(clock::now(), ShipperEvent::Reroute);
        self.follow_through(effect);
    }

    /// The gate is shut: waits until what has passed it is shipped.
    fn drain_for_hand_over(&mut self) {
        match &mut self.outage.drained {
            Drained::No => {
                let (reply, drained) = oneshot::channel();
                self.outage.drained = Drained::Waiting(drained);
                self.drain(reply);
            }
            Drained::Waiting(drained) => match drained.try_recv() {
                Ok(Ok(())) => {
                    self.outage.drained = Drained::Yes;
                    self.hand_over(HandOverEvent::Drained);
                }
                Err(oneshot::error::TryRecvError::Empty) => {}
                Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => self.outage.drained = Drained::No,
            },
            Drained::Yes => self.hand_over(HandOverEvent::Drained),
        }
    }

    /// Everything is in the log: the tombstone names the follower, and when it is written the follower is told.
    fn release_to(&mut self, by: Proof) {
        let State::Leading(leading) = &mut self.state else { return };
        leading.over = true;
        let shared = Arc::clone(&self.shared);
        let forwarder = self.outage.forwarder.clone();
        let mut released = self.outage.released.clone();
        let before = *released.borrow_and_update();
        succession::announce(&self.tokio, &shared, &forwarder, &by.address);
        self.shared.tell_election(Event::Release);
        self.tokio.spawn(async move {
            let waited = released.wait_for(|n| *n > before);
            if tokio::time::timeout(RELEASE_PATIENCE, waited).await.is_ok() {
                succession::call(&shared, &forwarder, &by.address, true).await;
            }
        });
    }
}
