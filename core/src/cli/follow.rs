use std::time::Duration;

use serde::Serialize;

use super::arguments::FollowArguments;
use super::exit_code::ExitCode;
use super::failure::Failure;
use super::output::Output;
use super::progress::Spinner;
use super::which_log::{WhichLog, tool_for};
use crate::database::{Follow, ReadReplica, ReplicaStatus};
use crate::runtime::EndRequest;

/// How soon a request to end is seen.
const WATCH: Duration = Duration::from_millis(100);

/// A line of the stream.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line<'a> {
    Following { path: String, log: String },
    Position(At),
    Trouble { kind: &'a str, reason: &'a str },
    Recovered,
    Lost { path: String },
    Ended(At),
}

#[derive(Serialize, PartialEq)]
struct At {
    txid: u64,
    epoch: u64,
    is_current: bool,
}

pub(super) fn run(arguments: &FollowArguments, output: &Output) -> Result<ExitCode, Failure> {
    if arguments.output.file_name().is_none() {
        return Err(Failure::of_arguments("--output is not the path of a file"));
    }
    let log = arguments.log.complete(Some(&arguments.output))?;
    let follow =
        tool_for!(Follow, &log).interval(Duration::from_millis(arguments.interval)).adopt(arguments.adopt);
    let end = EndRequest::listen()?;
    let replica = follow.start(&arguments.output)?;
    let path = arguments.output.display().to_string();
    let text = format!("following {} into {path}", replica.log());
    output.result(&Line::Following { path, log: replica.log() }, &text)?;
    let watched = watch(&replica, &end, arguments.once, output);
    // It is the log at some slot, however this ends.
    let closed = replica.close();
    let last = watched?;
    closed?;
    let text = format!("ended at slot {}", last.applied.txid);
    output.result(&Line::Ended(at(&last)), &text)?;
    Ok(ExitCode::Ok)
}

/// Tells what happens, until the end is asked for, or the copy is current if that is enough.
fn watch(
    replica: &ReadReplica,
    end: &EndRequest,
    once: bool,
    output: &Output,
) -> Result<ReplicaStatus, Failure> {
    let spinner = Spinner::start();
    let mut status = replica.status();
    let mut told = Teller { output, spinner: &spinner, before: None };
    loop {
        told.tell(&status)?;
        if let Some((kind, message)) = &status.stopped {
            return Err(Failure::told(*kind, message));
        }
        if end.is_made() || (once && status.is_current) {
            return Ok(status);
        }
        status = replica.wait_change(&status, WATCH);
    }
}

struct Teller<'a> {
    output: &'a Output,
    spinner: &'a Spinner,
    before: Option<ReplicaStatus>,
}

impl Teller<'_> {
    /// Tells what is new since the last time.
    fn tell(&mut self, now: &ReplicaStatus) -> Result<(), Failure> {
        let before = self.before.replace(now.clone());
        let before = before.as_ref();
        let was_lost = |path| before.is_some_and(|before| before.lost_tails.contains(path));
        for path in now.lost_tails.iter().filter(|path| !was_lost(path)) {
            let path = path.display().to_string();
            let text = format!("what was here once and not in the log is kept in {path}");
            self.output.result(&Line::Lost { path }, &text)?;
        }
        let trouble = |status: &ReplicaStatus| status.trouble.clone();
        match (before.and_then(trouble), &now.trouble) {
            (was, Some((kind, reason))) if was.as_ref().map(|(kind, _)| kind) != Some(kind) => {
                let text = format!("trouble, and another try: {reason}");
                self.output.result(&Line::Trouble { kind: kind.name(), reason }, &text)?;
            }
            (Some(_), None) => self.output.result(&Line::Recovered, "recovered")?,
            _ => {}
        }
        if before.map(at) != Some(at(now)) && now.applied.txid.get() > 0 {
            self.output.json_only(&Line::Position(at(now)))?;
            let is_news = now.is_current && !before.is_some_and(|before| before.is_current);
            if is_news && self.output.is_for_people() {
                self.output.text(&format!("current at slot {}", now.applied.txid))?;
            }
        }
        self.spinner.say(&format!("slot {}", now.applied.txid));
        Ok(())
    }
}

fn at(status: &ReplicaStatus) -> At {
    At { txid: status.applied.txid.get(), epoch: status.applied.epoch.get(), is_current: status.is_current }
}
