use std::time::Duration;

use crate::types::{Monotonic, NodeId};

/// What a leader does whose bucket gives it no definite answers while its lease holds: it looks for a follower
/// that can write to the bucket, ships through it, and hands over to it.
///
/// - Nothing is done before a slot has been without a definite answer for the *patience*, three TTL and what its
///   bytes take on the slowest link.
/// - A follower is relied on only after it has created an object below the log's root, and the lease is released
///   to it only if it did so within the last TTL, counted from before it was asked.
/// - What the leader ships goes through that follower first, while writers go on. When little is left the gate
///   is shut, the rest goes the same way, and only when nothing is left the lease is released.
/// - If the follower fails before that, the gate opens again: nobody was told anything that is not so.
/// - One try per *window*, whatever becomes of it.
/// - Who closes the leader, and so waits for everything to be shipped, gets the follower's help after one TTL; the
///   lease is then released as it is by any close.
/// - Without such a follower a leader goes on, unless nobody can be told anything before a slot is confirmed:
///   then it releases the lease to whoever comes.
///
/// None of it is part of the safety argument: who carries a slot's bytes to its key does not matter, and a new
/// leader reads the log and fences as after any other release.
#[derive(Debug)]
pub(crate) struct HandOver {
    limits: HandOverLimits,
    state: State,
    /// Nobody is asked before this moment.
    not_before: Monotonic,
    /// Somebody else waits for everything to be shipped, and will release the lease himself.
    draining: bool,
    /// Whose help came to nothing the last time: another one is preferred.
    disappointed: Option<NodeId>,
}

/// The spans.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HandOverLimits {
    /// For so long the bucket gives no definite answer before anything is done, and for so long a follower may
    /// bring nothing forward before it is given up.
    pub(crate) patience: Duration,
    /// For so long a proof counts, and for so long the answers to a question are waited for.
    pub(crate) proof: Duration,
    /// Between two tries.
    pub(crate) window: Duration,
    /// Without a follower that can write the lease is released: nothing is acknowledged before it is confirmed.
    pub(crate) releases: bool,
}

/// A follower that created an object below the log's root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Proof {
    /// Its name.
    pub(crate) node: NodeId,
    /// Where it answers.
    pub(crate) address: String,
    /// A moment before it was asked.
    pub(crate) asked: Monotonic,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Watching,
    /// The followers were asked.
    Asking {
        since: Monotonic,
    },
    /// Slots go through a follower, writers go on.
    Relaying {
        by: Proof,
        progress: Monotonic,
        helped: bool,
    },
    /// The gate is being shut or is shut, and the rest goes through the follower.
    Closing {
        by: Proof,
        progress: Monotonic,
        asked: Option<Monotonic>,
    },
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum HandOverEvent {
    /// How it stands; at short intervals while something is not shipped.
    Look {
        /// Since when the slot in flight has had no definite answer.
        stuck_since: Option<Monotonic>,
        /// What its bytes may take beyond the patience.
        transfer: Duration,
        /// Bytes that no confirmed slot has.
        backlog: u64,
        /// Whether commits may pass.
        open: bool,
        /// Whether somebody else waits for everything to be shipped.
        draining: bool,
    },
    /// The followers that were asked and can write, the furthest first.
    Proofs(Vec<Proof>),
    /// A slot was confirmed through the follower. `stored` if it created the object itself: a moment before it
    /// was asked to.
    Relayed { stored: Option<Monotonic> },
    /// The gate is shut, no commit is under way and every frame is in a confirmed slot.
    Drained,
    /// The leadership is over, for whatever reason.
    Ended,
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum HandOverEffect {
    /// Ask the followers that could lead to create an object: answer `Proofs`.
    Ask,
    /// Whatever is asked of the bucket from now on goes through this follower.
    Relay(Proof),
    /// It goes the direct way again.
    Direct,
    /// Shut the gate and ship the rest: answer `Drained`.
    Shut(Proof),
    /// Release the lease to it.
    Release(Proof),
    /// Open the gate again, and go the direct way.
    Resume(Proof),
    /// Shut the gate and release the lease to whoever comes.
    GiveUp,
}

/// With no more than this left, the gate is shut: the rest is a slot or two.
const LITTLE_BYTES: u64 = 4 << 20;

impl HandOverLimits {
    /// The spans for a lease of this time to live.
    pub(crate) fn new(ttl: Duration, releases: bool) -> HandOverLimits {
        HandOverLimits { patience: ttl * 3, proof: ttl, window: ttl * 2, releases }
    }
}

impl HandOver {
    /// Nothing is wrong yet.
    pub(crate) fn new(limits: HandOverLimits) -> HandOver {
        let not_before = Monotonic::default();
        HandOver { limits, state: State::Watching, not_before, draining: false, disappointed: None }
    }

    /// Whether everything has to be shipped now.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing { .. })
    }

    /// The one transition.
    pub(crate) fn handle(&mut self, now: Monotonic, event: HandOverEvent) -> Option<HandOverEffect> {
        match event {
            HandOverEvent::Look { stuck_since, transfer, backlog, open, draining } => {
                self.draining = draining;
                self.look(now, stuck_since, transfer, backlog, open)
            }
            HandOverEvent::Proofs(proofs) => self.proven(now, proofs),
            HandOverEvent::Relayed { stored } => {
                self.relayed(now, stored);
                None
            }
            HandOverEvent::Drained => self.drained(now),
            HandOverEvent::Ended => {
                if self.state != State::Watching {
                    self.rest(now);
                }
                None
            }
        }
    }

    fn look(
        &mut self,
        now: Monotonic,
        stuck_since: Option<Monotonic>,
        transfer: Duration,
        backlog: u64,
        open: bool,
    ) -> Option<HandOverEffect> {
        let proof = self.limits.proof;
        let patience = self.limits.patience + transfer;
        // A gate that is shut already belongs to a close, a hand-over by hand, or a lease that ends.
        let limit = match (open, self.draining) {
            (true, _) => Some(patience),
            (false, true) => Some(proof + transfer),
            (false, false) => None,
        };
        let stuck = limit.zip(stuck_since).is_some_and(|(limit, since)| now.since(since) >= limit);
        match &self.state {
            State::Watching => {
                if !stuck || now < self.not_before {
                    return None;
                }
                self.state = State::Asking { since: now };
                Some(HandOverEffect::Ask)
            }
            State::Asking { .. } if !stuck => {
                self.state = State::Watching;
                None
            }
            State::Asking { since } if now.since(*since) >= proof => self.alone(now),
            State::Asking { .. } => None,
            State::Relaying { by, progress, helped } => {
                if *helped && open && backlog <= LITTLE_BYTES {
                    let by = by.clone();
                    self.state = State::Closing { by: by.clone(), progress: now, asked: None };
                    return Some(HandOverEffect::Shut(by));
                }
                if now.since(*progress) < patience {
                    return None;
                }
                self.fail(now)
            }
            State::Closing { progress, .. } if now.since(*progress) >= patience => self.fail(now),
            State::Closing { .. } => None,
        }
    }

    fn proven(&mut self, now: Monotonic, proofs: Vec<Proof>) -> Option<HandOverEffect> {
        let fresh = |proof: &Proof| now.since(proof.asked) <= self.limits.proof;
        match &mut self.state {
            State::Asking { .. } => {
                let able: Vec<Proof> = proofs.into_iter().filter(fresh).collect();
                let other = |proof: &&Proof| Some(&proof.node) != self.disappointed.as_ref();
                let Some(by) = able.iter().find(other).or(able.first()).cloned() else {
                    return self.alone(now);
                };
                self.state = State::Relaying { by: by.clone(), progress: now, helped: false };
                Some(HandOverEffect::Relay(by))
            }
            State::Closing { by, asked: Some(_), .. } => {
                if let Some(again) = proofs.into_iter().find(|proof| proof.node == by.node) {
                    by.asked = again.asked;
                }
                self.drained(now)
            }
            State::Watching | State::Relaying { .. } | State::Closing { .. } => None,
        }
    }

    fn relayed(&mut self, now: Monotonic, stored: Option<Monotonic>) {
        match &mut self.state {
            State::Relaying { by, progress, helped } => {
                by.asked = stored.unwrap_or(by.asked).max(by.asked);
                *progress = now;
                *helped = true;
            }
            State::Closing { by, progress, .. } => {
                by.asked = stored.unwrap_or(by.asked).max(by.asked);
                *progress = now;
            }
            State::Watching | State::Asking { .. } => {}
        }
    }

    fn drained(&mut self, now: Monotonic) -> Option<HandOverEffect> {
        let proof = self.limits.proof;
        let State::Closing { by, asked, .. } = &mut self.state else { return None };
        if now.since(by.asked) <= proof {
            let by = by.clone();
            self.rest(now);
            self.disappointed = None;
            return Some(HandOverEffect::Release(by));
        }
        // It is long ago that it wrote something: it has to do so once more.
        if asked.is_some_and(|asked| now.since(asked) < proof) {
            return None;
        }
        *asked = Some(now);
        Some(HandOverEffect::Ask)
    }

    /// Nobody can help.
    fn alone(&mut self, now: Monotonic) -> Option<HandOverEffect> {
        self.state = State::Watching;
        if self.limits.releases && !self.draining {
            self.not_before = now + self.limits.window;
            return Some(HandOverEffect::GiveUp);
        }
        self.not_before = now + self.limits.proof;
        None
    }

    /// The follower did not help.
    fn fail(&mut self, now: Monotonic) -> Option<HandOverEffect> {
        let (by, shut) = match &self.state {
            State::Relaying { by, .. } => (by.clone(), false),
            State::Closing { by, .. } => (by.clone(), true),
            State::Watching | State::Asking { .. } => return None,
        };
        self.rest(now);
        self.disappointed = Some(by.node.clone());
        Some(match (self.limits.releases && !self.draining, shut) {
            (true, _) => HandOverEffect::GiveUp,
            (false, true) => HandOverEffect::Resume(by),
            (false, false) => HandOverEffect::Direct,
        })
    }

    fn rest(&mut self, now: Monotonic) {
        self.state = State::Watching;
        self.not_before = now + self.limits.window;
    }
}
