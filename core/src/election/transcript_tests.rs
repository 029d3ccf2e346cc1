//! Scenarios as text in `testdata/`: what happens and when, and below it, indented, what follows from it.
//! `UPDATE_TRANSCRIPTS=1 cargo test` writes the answers anew, to be reviewed as a diff.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::{
    Effect, Election, ElectionConfig, Event, Found, LeaseRecord, Reason, SwapOutcome, Tenure, Version,
};
use crate::types::{Epoch, Error, ErrorKind, LeaseConfig, Monotonic, NodeId, Role, SessionId};

#[test]
fn every_transcript_is_as_reviewed() {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the crate is"))
        .join("src/election/testdata");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "transcripts are missing");
    let mut differing = String::new();
    for file in files {
        let reviewed = std::fs::read_to_string(&file).unwrap();
        let now = Scenario::replay(&reviewed);
        if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
            std::fs::write(&file, now).unwrap();
        } else if now != reviewed {
            let name = file.file_name().unwrap().to_string_lossy();
            write!(differing, "--- {name}, reviewed\n{reviewed}\n--- {name}, now\n{now}\n").unwrap();
        }
    }
    assert!(differing.is_empty(), "{differing}");
}

/// A replay of one file by one node, called `me`, with a TTL of 5 s.
struct Scenario {
    election: Election,
    tenure: Tenure,
    written: Vec<u8>,
}

impl Scenario {
    fn replay(text: &str) -> String {
        let mut config = base_config();
        let mut scenario = None;
        let mut out = String::new();
        for line in text.lines().filter(|line| !line.starts_with(' ')) {
            writeln!(out, "{line}").unwrap();
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [] | ["#", ..] => {}
                ["config", settings @ ..] => {
                    settings.iter().for_each(|setting| configure(&mut config, setting))
                }
                [at, event @ ..] => scenario.get_or_insert_with(|| Scenario::new(config.clone())).step(
                    &mut out,
                    Monotonic::from_boot(duration(at)),
                    event,
                ),
            }
        }
        out
    }

    fn new(config: ElectionConfig) -> Scenario {
        Scenario { election: Election::new(config).unwrap(), tenure: Tenure(0), written: Vec::new() }
    }

    fn step(&mut self, out: &mut String, now: Monotonic, words: &[&str]) {
        let event = self.event(words);
        for effect in self.election.handle(now, event) {
            writeln!(out, "  {}", self.describe(&effect)).unwrap();
        }
        match self.election.wake_at() {
            Some(at) => writeln!(out, "  wake at {}", moment(at)).unwrap(),
            None => writeln!(out, "  no timer").unwrap(),
        }
    }

    fn event(&self, words: &[&str]) -> Event {
        let tenure = self.tenure;
        match words {
            ["timer"] => Event::Timer,
            ["read", "error"] => Event::ReadDone(Err(Error::new(ErrorKind::StoreUnavailable, "no answer"))),
            ["read", "nothing"] => Event::ReadDone(Ok(None)),
            ["read", version, "garbage"] => self.found(version, b"<html>".to_vec()),
            ["read", version, "ours"] => self.found(version, self.written.clone()),
            ["read", version, fields @ ..] => self.found(version, record(fields).to_bytes()),
            ["swap", "error"] => Event::SwapDone(Err(Error::new(ErrorKind::StoreUnavailable, "no answer"))),
            ["swap", "lost"] => Event::SwapDone(Ok(SwapOutcome::Lost)),
            ["swap", version] => Event::SwapDone(Ok(SwapOutcome::Done(Version((*version).into())))),
            ["settled", epoch] => Event::EpochSettled { tenure, epoch: number(epoch) },
            ["promoted"] => Event::Promoted { tenure },
            ["promoted", "late"] => Event::Promoted { tenure: Tenure(tenure.0 - 1) },
            ["promotion-failed"] => Event::PromotionFailed { tenure },
            ["stalled"] => Event::Stalled { tenure },
            ["fenced", by] => Event::Fenced { tenure, by: number(by) },
            ["look"] => Event::Look,
            ["called"] => Event::Called,
            ["handoff"] => Event::Handoff { to: None },
            ["handoff", to] => Event::Handoff { to: Some(NodeId::new(*to)) },
            ["resume", to] => Event::Resume { tenure, to: NodeId::new(*to) },
            ["release"] => Event::Release,
            ["close"] => Event::Close,
            other => panic!("no such event: {other:?}"),
        }
    }

    fn found(&self, version: &str, body: Vec<u8>) -> Event {
        Event::ReadDone(Ok(Some(Found { body, version: Version(version.into()) })))
    }

    fn describe(&mut self, effect: &Effect) -> String {
        match effect {
            Effect::Read { timeout } => format!("read within {timeout:?}"),
            Effect::Create { body, timeout } => {
                self.written.clone_from(body);
                format!("create {} within {timeout:?}", show(&LeaseRecord::parse(body).unwrap()))
            }
            Effect::Replace { body, version, timeout } => {
                self.written.clone_from(body);
                let record = show(&LeaseRecord::parse(body).unwrap());
                format!("replace {} by {record} within {timeout:?}", version.0)
            }
            Effect::Promote { tenure, epoch } => {
                self.tenure = *tenure;
                format!("PROMOTE tenure {} epoch {epoch}", tenure.0)
            }
            Effect::ExtendGate { until } => format!("GATE OPEN until {}", moment(*until)),
            Effect::CloseGate { reason } => format!("GATE CLOSED: {}", why(reason)),
            Effect::Demote { tenure, reason } => format!("DEMOTE tenure {}: {}", tenure.0, why(reason)),
            Effect::Following { leader: None } => "following nobody".into(),
            Effect::Following { leader: Some(leader) } => format!("following {}", show(leader)),
            Effect::Degraded(error) => format!("degraded: {:?}: {error}", error.kind()),
            Effect::Recovered => "recovered".into(),
            Effect::Failed(error) => format!("FAILED: {:?}: {error}", error.kind()),
            Effect::Closed => "CLOSED".into(),
        }
    }
}

fn base_config() -> ElectionConfig {
    ElectionConfig::new(&LeaseConfig::new("me", "http://me"), session('e'), None)
}

fn configure(config: &mut ElectionConfig, setting: &str) {
    match setting.split_once('=').unwrap() {
        ("role", "leader") => config.role = Some(Role::Leader),
        ("role", "follower") => config.role = Some(Role::Follower),
        ("lock", token) => config.lock = Some(token.into()),
        ("required", reads) => config.required_expired_reads = reads.parse().unwrap(),
        ("ttl", ttl) => *config = config.clone().with_ttl(duration(ttl)),
        other => panic!("no such setting: {other:?}"),
    }
}

/// A record of another node (`by=a`, session of 32 times that letter) unless the fields say otherwise.
fn record(fields: &[&str]) -> LeaseRecord {
    let mut record = LeaseRecord {
        holder: NodeId::new("a"),
        session: session('a'),
        address: "http://a".into(),
        epoch: number("1"),
        ttl: Duration::from_secs(5),
        renewal: 1,
        sleeping: false,
        released: false,
        lock: None,
        successor: None,
    };
    for field in fields {
        match field.split_once('=').unwrap_or((field, "")) {
            ("by", node) => {
                record.holder = NodeId::new(node);
                record.address = format!("http://{node}");
            }
            ("session", letter) => record.session = session(letter.chars().next().unwrap()),
            ("epoch", epoch) => record.epoch = number(epoch),
            ("renewal", renewal) => record.renewal = renewal.parse().unwrap(),
            ("ttl", ttl) => record.ttl = duration(ttl),
            ("released", _) => record.released = true,
            ("successor", node) => record.successor = Some(NodeId::new(node)),
            ("lock", token) => record.lock = Some(token.into()),
            other => panic!("no such field: {other:?}"),
        }
    }
    record
}

fn show(record: &LeaseRecord) -> String {
    let mut out = format!("[{} epoch {} renewal {}", record.holder, record.epoch, record.renewal);
    if record.released {
        out.push_str(" released");
    }
    if let Some(successor) = &record.successor {
        write!(out, " successor {successor}").unwrap();
    }
    if let Some(lock) = &record.lock {
        write!(out, " lock {lock}").unwrap();
    }
    out + "]"
}

fn why(reason: &Reason) -> String {
    match reason {
        Reason::LeaseLost { to: Some(node) } => format!("lease lost to {node}"),
        Reason::LeaseLost { to: None } => "lease lost".into(),
        Reason::Fenced { by } => format!("fenced by epoch {by}"),
        other => format!("{other:?}"),
    }
}

fn session(letter: char) -> SessionId {
    SessionId::from_hex(&letter.to_string().repeat(32)).unwrap()
}

fn number(text: &str) -> Epoch {
    Epoch::new(text.parse().unwrap()).unwrap()
}

fn duration(text: &str) -> Duration {
    match text.strip_suffix("ms") {
        Some(ms) => Duration::from_millis(ms.parse().unwrap()),
        None => Duration::from_secs_f64(text.strip_suffix('s').unwrap().parse().unwrap()),
    }
}

fn moment(at: Monotonic) -> String {
    format!("{:?}", at.since_boot())
}
