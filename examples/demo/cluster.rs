use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use haqlite::Bookmark;
use haqlite::types::Epoch;

use super::ledger::{Ledger, Rows, Write};
use super::process::{Heard, Process};
use super::timeline::Timeline;
use super::{NAMES, Place, Result};

/// The three nodes as the demo sees them: it hears what they say and tells them what to do.
pub(crate) struct Cluster {
    pub(crate) ledger: Ledger,
    /// The files with lost commits that nodes have reported.
    pub(crate) lost: BTreeSet<PathBuf>,
    pub(crate) timeline: Timeline,
    place: Place,
    nodes: [Node; 3],
    inbox: Receiver<Heard>,
    heard: Sender<Heard>,
    replies: HashMap<Call, Result<(), String>>,
    calls: u64,
    /// What the leader is being asked to confirm.
    confirming: Option<(Call, Bookmark)>,
    next_report: Duration,
}

#[derive(Default)]
struct Node {
    process: Option<Process>,
    ready: bool,
    leads: bool,
    epoch: Epoch,
    /// The slot up to which it has the log.
    slot: u64,
    /// Whether its end is no surprise.
    may_end: bool,
    ended: Option<ExitStatus>,
}

/// Something that a node was told, and who it was.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Call {
    node: usize,
    number: u64,
}

const REPORT_EVERY: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);

impl Cluster {
    /// No node runs yet.
    pub(crate) fn new(place: Place, timeline: Timeline) -> Cluster {
        let (heard, inbox) = mpsc::channel();
        Cluster {
            ledger: Ledger::default(),
            lost: BTreeSet::new(),
            timeline,
            place,
            nodes: Default::default(),
            inbox,
            heard,
            replies: HashMap::new(),
            calls: 0,
            confirming: None,
            next_report: REPORT_EVERY,
        }
    }

    /// Starts the node's process, and does not wait.
    pub(crate) fn start(&mut self, node: usize) -> Result<()> {
        let process = Process::start(node, &self.place, self.timeline, self.heard.clone())?;
        self.nodes[node] = Node { process: Some(process), ..Node::default() };
        Ok(())
    }

    /// Waits until the node's database is open.
    pub(crate) fn wait_ready(&mut self, node: usize) -> Result<()> {
        self.until(&format!("{} is open", NAMES[node]), |cluster| cluster.nodes[node].ready)
    }

    /// Lets the node write, from a row on that it has not written yet.
    pub(crate) fn write(&mut self, node: usize) -> Result<()> {
        let first = self.ledger.next_number(node);
        let call = self.call(node, &format!("write {first}"))?;
        self.answer(call)
    }

    /// Kills the node and hears what it had said.
    pub(crate) fn kill(&mut self, node: usize) -> Result<()> {
        self.nodes[node].may_end = true;
        self.process(node)?.kill()?;
        self.wait_gone(node)
    }

    /// Waits until a closed node's process has ended; an end with an error is one here.
    pub(crate) fn wait_end(&mut self, node: usize, closing: Call) -> Result<()> {
        self.answer(closing)?;
        self.wait_gone(node)?;
        match self.nodes[node].ended {
            Some(status) if !status.success() => Err(format!("{} ended with {status}", NAMES[node]).into()),
            _ => Ok(()),
        }
    }

    /// Tells the node something.
    pub(crate) fn call(&mut self, node: usize, what: &str) -> Result<Call> {
        self.calls += 1;
        let call = Call { node, number: self.calls };
        self.nodes[node].may_end |= what == "close";
        self.process(node)?.tell(&format!("{} {what}", call.number))?;
        Ok(call)
    }

    /// Waits until the node has done what it was told; its error is the demo's.
    pub(crate) fn answer(&mut self, call: Call) -> Result<()> {
        self.until(&format!("{} has answered", NAMES[call.node]), |cluster| {
            cluster.replies.contains_key(&call)
        })?;
        let reply = self.replies.remove(&call).unwrap_or(Ok(()));
        reply.map_err(|why| format!("{}: {why}", NAMES[call.node]).into())
    }

    /// The leader and its epoch.
    pub(crate) fn leader(&self) -> Option<(usize, Epoch)> {
        let leaders = (0..NAMES.len()).filter(|&node| self.nodes[node].leads);
        leaders.map(|node| (node, self.nodes[node].epoch)).max_by_key(|(_, epoch)| *epoch)
    }

    /// Waits until a node leads an epoch after this one, and says so.
    pub(crate) fn wait_leader_after(&mut self, epoch: Epoch) -> Result<(usize, Epoch)> {
        let newer = move |cluster: &Cluster| cluster.leader().filter(|(_, now)| *now > epoch);
        self.until("another node leads", |cluster| newer(cluster).is_some())?;
        newer(self).ok_or_else(|| "the leader went away".into())
    }

    /// Listens for so long.
    pub(crate) fn run_for(&mut self, span: Duration) -> Result<()> {
        let end = self.timeline.now() + span;
        while self.timeline.now() < end {
            self.hear(end)?;
        }
        Ok(())
    }

    /// Listens until it is so; an error after 30 s.
    pub(crate) fn until(&mut self, what: &str, test: impl Fn(&Cluster) -> bool) -> Result<()> {
        let end = self.timeline.now() + PATIENCE;
        while !test(self) {
            if self.timeline.now() >= end {
                return Err(format!("waited {PATIENCE:?} in vain until {what}").into());
            }
            self.hear(end)?;
        }
        Ok(())
    }

    fn hear(&mut self, until: Duration) -> Result<()> {
        self.report();
        self.confirm()?;
        let left = until.saturating_sub(self.timeline.now()).min(Duration::from_millis(20));
        match self.inbox.recv_timeout(left) {
            Ok(Heard { node, at, line: Some(line) }) => self.understand(node, at, &line),
            Ok(Heard { node, line: None, .. }) => self.ended(node),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err("BUG: the demo holds a sender itself".into()),
        }
    }

    fn ended(&mut self, node: usize) -> Result<()> {
        self.confirming.take_if(|(call, _)| call.node == node);
        let gone = std::mem::take(&mut self.nodes[node]);
        if !gone.may_end {
            return Err(format!("{} has ended by itself", NAMES[node]).into());
        }
        if let Some(mut process) = gone.process {
            self.nodes[node].ended = Some(process.wait()?);
        }
        Ok(())
    }

    fn understand(&mut self, node: usize, at: Duration, line: &str) -> Result<()> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.splitn(3, ' ').collect();
        match (verb, words.as_slice()) {
            ("acknowledged", [first, bookmark]) => {
                let rows = Rows { node, first: first.parse()? };
                let bookmark = bookmark.parse()?;
                self.ledger.acknowledged.push(Write { rows, at, bookmark, confirmed: false });
            }
            ("failed", [first, outcome, why]) => {
                let rows = Rows { node, first: first.parse()? };
                self.timeline.say(format_args!("{}: a write failed ({outcome}), {why}", NAMES[node]));
                let list = if *outcome == "NotCommitted" {
                    &mut self.ledger.refused
                } else {
                    &mut self.ledger.unknown
                };
                list.push(rows);
            }
            ("state", [role, epoch, slot]) => {
                let node = &mut self.nodes[node];
                node.leads = *role == "Leader";
                node.epoch = Epoch::new(epoch.parse()?).unwrap_or_default();
                node.slot = slot.parse()?;
            }
            ("lost", _) => drop(self.lost.insert(rest.into())),
            ("ready", _) => self.nodes[node].ready = true,
            ("reply", [number, "ok", ..]) => self.replied(Call { node, number: number.parse()? }, Ok(())),
            ("reply", [number, "error", why]) => {
                self.replied(Call { node, number: number.parse()? }, Err((*why).to_owned()));
            }
            _ => return Err(format!("{} said {line:?}", NAMES[node]).into()),
        }
        Ok(())
    }

    fn replied(&mut self, call: Call, reply: Result<(), String>) {
        match self.confirming.take_if(|(confirming, _)| *confirming == call) {
            Some((_, bookmark)) if reply.is_ok() => self.ledger.confirm(&bookmark),
            // The leader has changed: these rows are not confirmed.
            Some(_) => {}
            None => drop(self.replies.insert(call, reply)),
        }
    }

    /// Asks the leader whether the slot of the newest write of its epoch is confirmed.
    fn confirm(&mut self) -> Result<()> {
        let Some((leader, epoch)) = self.leader().filter(|_| self.confirming.is_none()) else {
            return Ok(());
        };
        if self.nodes[leader].may_end {
            return Ok(());
        }
        if let Some(bookmark) = self.ledger.to_confirm(epoch) {
            self.confirming = Some((self.call(leader, &format!("durable {bookmark}"))?, bookmark));
        }
        Ok(())
    }

    fn report(&mut self) {
        if self.timeline.now() < self.next_report {
            return;
        }
        self.next_report += REPORT_EVERY;
        let leads = match self.leader() {
            Some((node, epoch)) => format!("{} leads epoch {epoch}", NAMES[node]),
            None => "nobody leads".to_owned(),
        };
        let (acknowledged, confirmed) = self.ledger.counts();
        let slots: Vec<String> = (0..NAMES.len())
            .filter(|&node| self.nodes[node].ready)
            .map(|node| format!("{} {}", NAMES[node], self.nodes[node].slot))
            .collect();
        self.timeline.say(format_args!(
            "  {leads:<17} {acknowledged:>5} rows acknowledged, {confirmed:>5} confirmed; at slot: {}",
            slots.join(", ")
        ));
    }

    fn process(&mut self, node: usize) -> Result<&mut Process> {
        self.nodes[node].process.as_mut().ok_or_else(|| format!("{} does not run", NAMES[node]).into())
    }

    fn wait_gone(&mut self, node: usize) -> Result<()> {
        self.until(&format!("{} is gone", NAMES[node]), |cluster| cluster.nodes[node].process.is_none())
    }
}
