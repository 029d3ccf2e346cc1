//! Three nodes and one register in simulated time: requests and answers are delayed, lost and applied late,
//! nodes are stopped, killed and cut off. One seed replays one history.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{
    Effect, Election, ElectionConfig, Event, Found, LeaseRecord, Reason, SwapOutcome, Tenure, Version,
};
use crate::types::{Epoch, Error, ErrorKind, LeaseConfig, Monotonic, SessionId};

const NODES: usize = 3;
const TTL: u64 = 1_000;
/// Until then everything goes wrong; after it nothing does.
const STORM: u64 = 15 * TTL;
/// Longer than a lease, a back-off and a hand-over take together.
const CALM: u64 = 8 * TTL;

#[test]
fn no_two_gates_are_ever_open_and_somebody_leads_in_the_end() {
    let seeds = std::env::var("PROPTEST_CASES").map_or(1_000, |cases| cases.parse().unwrap()).max(100);
    let mut leaderships = 0;
    let mut demotions = 0;
    for seed in 0..seeds {
        let mut world = World::new(seed, Weather::Storm);
        world.run_until(STORM);
        world.weather = Weather::Calm;
        world.run_until(STORM + CALM);
        let leading: Vec<usize> = (0..NODES).filter(|&n| world.gate_is_open(n)).collect();
        assert_eq!(leading.len(), 1, "seed {seed}: {leading:?} lead in the end");
        leaderships += world.leaderships;
        demotions += world.demotions;
    }
    assert!(
        leaderships > 3 * seeds && demotions > 2 * seeds,
        "{leaderships} leaderships, {demotions} demotions"
    );
}

#[test]
fn a_killed_leader_is_replaced_within_ttl_poll_and_two_margins() {
    for seed in 0..200 {
        let mut world = World::new(seed, Weather::Calm);
        world.run_until(3 * TTL + seed * 7 % TTL);
        let leader = world.leader().expect("somebody leads");
        let killed = world.now;
        world.nodes[leader].alive = false;
        world.close_gate(leader);
        let config = world.config(leader);
        let limit = config.ttl + config.poll_interval + config.margin * 2;
        while world.leader().is_none() {
            world.step();
            assert!(
                ms(world.now - killed) <= limit,
                "seed {seed}: nobody leads {} ms later",
                world.now - killed
            );
        }
    }
}

#[test]
fn a_released_lease_is_taken_by_the_named_node_within_a_poll() {
    for seed in 0..200 {
        let mut world = World::new(seed, Weather::Calm);
        world.run_until(3 * TTL + seed * 7 % TTL);
        let leader = world.leader().expect("somebody leads");
        let next = (leader + 1 + seed as usize % 2) % NODES;
        let released = world.now;
        world.deliver(leader, Event::Handoff { to: Some(format!("n{next}").into()) });
        world.deliver(leader, Event::Release);
        while world.leader().is_none() {
            world.step();
            let limit = world.config(leader).poll_interval * 2;
            assert!(ms(world.now - released) <= limit, "seed {seed}: nobody leads");
        }
        assert_eq!(world.leader(), Some(next), "seed {seed}");
    }
}

#[test]
fn a_leader_that_is_cut_off_stops_within_its_ttl() {
    for seed in 0..200 {
        let mut world = World::new(seed, Weather::Calm);
        world.run_until(3 * TTL + seed * 7 % TTL);
        let leader = world.leader().expect("somebody leads");
        let cut = world.now;
        world.nodes[leader].cut_until = u64::MAX;
        while world.nodes[leader].gate.is_some() {
            world.step();
            assert!(world.now - cut < TTL, "seed {seed}: the gate is open {} ms later", world.now - cut);
        }
        world.run_until(cut + 4 * TTL);
        assert!(world.leader().is_some_and(|other| other != leader), "seed {seed}: another one leads");
    }
}

#[test]
fn an_undisturbed_leader_leads_for_ever() {
    for seed in 0..20 {
        let mut world = World::new(seed, Weather::Calm);
        world.run_until(200 * TTL);
        assert_eq!((world.leaderships, world.demotions), (1, 0), "seed {seed}");
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Weather {
    Storm,
    Calm,
}

struct World {
    seed: u64,
    rng: u64,
    now: u64,
    weather: Weather,
    nodes: Vec<Node>,
    register: Option<(Vec<u8>, u64)>,
    versions: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    queued: u64,
    log_epoch: Epoch,
    leaderships: u64,
    demotions: u64,
}

struct Node {
    election: Election,
    alive: bool,
    life: u64,
    paused_until: u64,
    cut_until: u64,
    /// What came while the node was paused.
    inbox: VecDeque<Event>,
    /// The operation that the driver waits for.
    waiting_for: Option<u64>,
    /// Until when its gate lets writes through, by the node's own clock too.
    gate: Option<u64>,
    wake: Option<u64>,
}

#[derive(Clone)]
enum Operation {
    Read,
    Create(Vec<u8>),
    Replace(Vec<u8>, u64),
}

enum Happening {
    Wake { node: usize, life: u64 },
    Arrives { node: usize, life: u64, id: u64, operation: Operation, answer_after: Option<u64> },
    Answer { node: usize, life: u64, id: u64, event: Event },
    Deliver { node: usize, life: u64, event: Event },
    Trouble,
}

impl World {
    fn new(seed: u64, weather: Weather) -> World {
        let mut world = World {
            seed,
            rng: seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5851_f42d_4c95_7f2d,
            now: 0,
            weather,
            nodes: Vec::new(),
            register: None,
            versions: 0,
            queue: BTreeMap::new(),
            queued: 0,
            log_epoch: Epoch::ZERO,
            leaderships: 0,
            demotions: 0,
        };
        for index in 0..NODES {
            let node = Node {
                election: Election::new(config(seed, index, 0)).unwrap(),
                alive: true,
                life: 0,
                paused_until: 0,
                cut_until: 0,
                inbox: VecDeque::new(),
                waiting_for: None,
                gate: None,
                wake: None,
            };
            world.nodes.push(node);
            let start = world.below(TTL / 2);
            world.schedule(start, Happening::Deliver { node: index, life: 0, event: Event::Timer });
        }
        world.schedule(TTL, Happening::Trouble);
        world
    }

    fn config(&self, node: usize) -> ElectionConfig {
        config(self.seed, node, self.nodes[node].life)
    }

    fn run_until(&mut self, end: u64) {
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= end) {
            self.step();
        }
        self.now = end;
    }

    fn step(&mut self) {
        let ((at, _), happening) = self.queue.pop_first().expect("something always happens");
        self.now = at;
        match happening {
            Happening::Wake { node, life } => {
                if self.nodes[node].wake == Some(at) && self.nodes[node].life == life {
                    self.deliver(node, Event::Timer);
                }
            }
            Happening::Deliver { node, life, event } => {
                if self.nodes[node].life == life {
                    self.deliver(node, event);
                }
            }
            Happening::Answer { node, life, id, event } => {
                if self.nodes[node].life == life && self.nodes[node].waiting_for == Some(id) {
                    self.nodes[node].waiting_for = None;
                    self.deliver(node, event);
                }
            }
            Happening::Arrives { node, life, id, operation, answer_after } => {
                let event = self.apply(operation);
                if let Some(after) = answer_after {
                    self.schedule(after, Happening::Answer { node, life, id, event });
                }
            }
            Happening::Trouble => self.trouble(),
        }
    }

    /// One thing goes wrong, and the next is planned.
    fn trouble(&mut self) {
        let next = TTL / 4 + self.below(TTL);
        self.schedule(next, Happening::Trouble);
        if self.weather == Weather::Calm {
            return self.revive();
        }
        let node = self.below(NODES as u64) as usize;
        let span = self.below(3 * TTL);
        match self.below(9) {
            0 | 1 => self.nodes[node].paused_until = self.now + span,
            2 | 3 => self.nodes[node].cut_until = self.now + span,
            4 => {
                self.nodes[node].alive = false;
                self.close_gate(node);
            }
            5 => self.deliver(node, Event::Look),
            6 => {
                let tenure = Tenure(self.below(4));
                self.deliver(node, Event::Stalled { tenure });
            }
            7 => {
                let to: crate::types::NodeId = "n0".into();
                self.deliver(node, Event::Handoff { to: Some(to.clone()) });
                for tenure in (0..1000).map(Tenure) {
                    self.deliver(node, Event::Resume { tenure, to: to.clone() });
                }
            }
            _ => {
                self.deliver(node, Event::Handoff { to: None });
                self.deliver(node, Event::Release);
            }
        }
        if self.below(3) == 0 {
            self.revive();
        }
    }

    fn revive(&mut self) {
        for index in 0..NODES {
            if self.nodes[index].alive {
                continue;
            }
            let life = self.nodes[index].life + 1;
            let node = &mut self.nodes[index];
            node.election = Election::new(config(self.seed, index, life)).unwrap();
            (node.alive, node.life, node.waiting_for, node.wake) = (true, life, None, None);
            (node.paused_until, node.cut_until) = (0, 0);
            node.inbox.clear();
            self.deliver(index, Event::Timer);
        }
    }

    fn deliver(&mut self, index: usize, event: Event) {
        if !self.nodes[index].alive {
            return;
        }
        let resumes = self.nodes[index].paused_until;
        if resumes > self.now {
            self.nodes[index].inbox.push_back(event);
            let life = self.nodes[index].life;
            self.schedule(resumes - self.now, Happening::Deliver { node: index, life, event: Event::Timer });
            return;
        }
        while let Some(waited) = self.nodes[index].inbox.pop_front() {
            self.handle(index, waited);
        }
        self.handle(index, event);
    }

    fn handle(&mut self, index: usize, event: Event) {
        let now = self.now;
        let effects = self.nodes[index].election.handle(clock(now), event);
        for effect in effects {
            self.perform(index, effect);
        }
        let gate = self.nodes[index].gate;
        assert!(gate.is_none_or(|until| until > now), "seed {}: a gate outlived its lease", self.seed);
        let wake = self.nodes[index].election.wake_at().map(|at| millis(at).max(now));
        if wake != self.nodes[index].wake || wake == Some(now) {
            self.nodes[index].wake = wake;
            if let Some(at) = wake {
                let life = self.nodes[index].life;
                self.schedule(at - now, Happening::Wake { node: index, life });
            }
        }
    }

    fn perform(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::Read { timeout } => self.send(index, Operation::Read, timeout),
            Effect::Create { body, timeout } => self.send(index, Operation::Create(body), timeout),
            Effect::Replace { body, version, timeout } => {
                self.send(index, Operation::Replace(body, version.0.parse().unwrap()), timeout);
            }
            Effect::Promote { tenure, epoch } => self.promote(index, tenure, epoch),
            Effect::ExtendGate { until } => self.open_gate(index, millis(until)),
            Effect::CloseGate { reason } => {
                assert!(!matches!(reason, Reason::PromotionFailed), "seed {}: nothing was open", self.seed);
                self.close_gate(index);
            }
            Effect::Demote { .. } => {
                assert!(self.nodes[index].gate.is_none(), "seed {}: demoted with an open gate", self.seed);
                self.demotions += 1;
            }
            Effect::Following { leader } => {
                let own = self.config(index).session;
                assert!(
                    leader.is_none_or(|leader| leader.session != own),
                    "seed {}: follows itself",
                    self.seed
                );
            }
            Effect::Degraded(error) => assert_eq!(error.kind(), ErrorKind::StoreUnavailable),
            Effect::Recovered => {}
            Effect::Failed(error) => panic!("seed {}: {error}", self.seed),
            Effect::Closed => panic!("seed {}: nobody closed it", self.seed),
        }
    }

    fn promote(&mut self, node: usize, tenure: Tenure, epoch: Epoch) {
        let life = self.nodes[node].life;
        let settled = epoch.max(self.log_epoch.next().unwrap());
        assert!(epoch > Epoch::ZERO);
        self.log_epoch = settled;
        let (takes, fails) = match self.weather {
            Weather::Storm => (self.below(3 * TTL), self.below(6) == 0),
            Weather::Calm => (self.below(50), false),
        };
        self.schedule(
            takes / 2,
            Happening::Deliver { node, life, event: Event::EpochSettled { tenure, epoch: settled } },
        );
        let end = if fails { Event::PromotionFailed { tenure } } else { Event::Promoted { tenure } };
        self.schedule(takes, Happening::Deliver { node, life, event: end });
    }

    /// The one claim that matters.
    fn open_gate(&mut self, index: usize, until: u64) {
        for other in (0..NODES).filter(|&other| other != index) {
            assert!(
                !self.gate_is_open(other),
                "seed {}: at {} ms n{index} and n{other} both lead",
                self.seed,
                self.now
            );
        }
        let config = self.config(index);
        assert!(ms(until - self.now) <= config.ttl - config.margin, "seed {}", self.seed);
        if self.nodes[index].gate.is_none() {
            self.leaderships += 1;
        }
        self.nodes[index].gate = Some(until);
    }

    fn close_gate(&mut self, index: usize) {
        self.nodes[index].gate = None;
    }

    /// As the gate itself judges: by the clock, whether its node runs or not.
    fn gate_is_open(&self, index: usize) -> bool {
        self.nodes[index].gate.is_some_and(|until| until > self.now)
    }

    fn leader(&self) -> Option<usize> {
        (0..NODES).find(|&node| self.gate_is_open(node))
    }

    fn send(&mut self, node: usize, operation: Operation, timeout: Duration) {
        assert!(self.nodes[node].waiting_for.is_none(), "seed {}: two operations at once", self.seed);
        let (id, life) = (self.queued, self.nodes[node].life);
        self.nodes[node].waiting_for = Some(id);
        let failed = match operation {
            Operation::Read => Event::ReadDone(Err(no_answer())),
            Operation::Create(_) | Operation::Replace(..) => Event::SwapDone(Err(no_answer())),
        };
        self.schedule(timeout.as_millis() as u64, Happening::Answer { node, life, id, event: failed });
        if self.nodes[node].cut_until > self.now {
            return;
        }
        let (there, answer_after) = match self.weather {
            Weather::Calm => (self.below(10), Some(self.below(10))),
            Weather::Storm => match self.below(10) {
                0 => return,
                1 => (self.below(50), None),
                2 => (self.below(4 * TTL), None),
                3 => (self.below(TTL / 5), Some(self.below(TTL / 5))),
                _ => (self.below(30), Some(self.below(30))),
            },
        };
        self.schedule(there, Happening::Arrives { node, life, id, operation, answer_after });
    }

    fn apply(&mut self, operation: Operation) -> Event {
        let body = match operation {
            Operation::Read => {
                return Event::ReadDone(Ok(self
                    .register
                    .clone()
                    .map(|(body, version)| Found { body, version: Version(version.to_string()) })));
            }
            Operation::Create(body) if self.register.is_none() => body,
            Operation::Replace(body, over) if self.register.as_ref().is_some_and(|(_, v)| *v == over) => body,
            Operation::Create(_) | Operation::Replace(..) => return Event::SwapDone(Ok(SwapOutcome::Lost)),
        };
        let next = LeaseRecord::parse(&body).unwrap();
        if let Some((before, _)) = &self.register {
            let before = LeaseRecord::parse(before).unwrap();
            assert!(next.epoch >= before.epoch, "seed {}: the epoch went down", self.seed);
            assert!(next.renewal > before.renewal, "seed {}: a body could repeat", self.seed);
            let same = next.session == before.session && !before.released;
            assert!(same || next.epoch > before.epoch, "seed {}: two holders of one epoch", self.seed);
        }
        self.versions += 1;
        self.register = Some((body, self.versions));
        Event::SwapDone(Ok(SwapOutcome::Done(Version(self.versions.to_string()))))
    }

    fn schedule(&mut self, after: u64, happening: Happening) {
        self.queued += 1;
        self.queue.insert((self.now + after, self.queued), happening);
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.rng;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

fn config(seed: u64, node: usize, life: u64) -> ElectionConfig {
    let mut session = [0; 16];
    session[0] = node as u8;
    session[1..9].copy_from_slice(&life.to_be_bytes());
    session[15] = (seed as u8).wrapping_mul(37).wrapping_add(node as u8 * 101);
    let lease = LeaseConfig::new(format!("n{node}"), format!("http://n{node}"));
    let mut config = ElectionConfig::new(&lease, SessionId::from_bytes(session), None).with_ttl(ms(TTL));
    config.lock = Some(format!("disk of n{node}"));
    config.required_expired_reads = 1 + (seed % 2) as u32;
    config
}

fn no_answer() -> Error {
    Error::new(ErrorKind::StoreUnavailable, "no answer")
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn clock(now: u64) -> Monotonic {
    Monotonic::from_boot(ms(now))
}

/// Rounded up, as a timer does.
fn millis(at: Monotonic) -> u64 {
    at.since_boot().as_micros().div_ceil(1000) as u64
}
