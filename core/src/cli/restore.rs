use serde::Serialize;

use super::arguments::{CheckArgument, RestoreArguments};
use super::exit_code::ExitCode;
use super::failure::Failure;
use super::output::Output;
use super::progress::Bar;
use super::text;
use super::which_log::{WhichLog, tool_for};
use crate::database::{Restore, RestoredDatabase};
use crate::types::{Check, ErrorKind, Problem};

#[derive(Serialize)]
struct Document {
    path: String,
    txid: u64,
    epoch: u64,
    timestamp: String,
    pages: u32,
    files: u64,
    bytes: u64,
    written_by_another_tool: bool,
    damaged: Vec<ProblemDocument>,
    left_out: Option<String>,
}

/// What is wrong with an object of the log.
#[derive(Serialize)]
pub(super) struct ProblemDocument {
    key: String,
    reason: String,
}

impl ProblemDocument {
    pub(super) fn of(problem: &Problem) -> ProblemDocument {
        ProblemDocument { key: problem.key.clone(), reason: problem.message.clone() }
    }
}

pub(super) fn run(arguments: RestoreArguments, output: &Output) -> Result<ExitCode, Failure> {
    let log = arguments.log.complete(Some(&arguments.output))?;
    let bar = Bar::start();
    let mut restore = tool_for!(Restore, &log)
        .txid(arguments.txid)
        .replace(arguments.force)
        .check(arguments.check.into())
        .last_good(arguments.last_good)
        .progress(bar.teller());
    if let Some(moment) = arguments.timestamp {
        restore = restore.timestamp(moment);
    }
    let restored = restore.run(&arguments.output);
    drop(bar);
    let restored = restored.map_err(|error| {
        let may_replace = error.kind() == ErrorKind::InUse && !arguments.force;
        let hint = may_replace.then(|| "`--force` replaces it, if nobody has it open".to_owned());
        let failure = Failure::from(error);
        Failure { hint: hint.or(failure.hint), ..failure }
    })?;
    output.result(&document(&restored), &for_people(&restored))?;
    Ok(if restored.left_out.is_some() { ExitCode::Damaged } else { ExitCode::Ok })
}

fn document(restored: &RestoredDatabase) -> Document {
    Document {
        path: restored.path.display().to_string(),
        txid: restored.position.txid.get(),
        epoch: restored.position.epoch.get(),
        timestamp: restored.timestamp.to_string(),
        pages: restored.pages,
        files: restored.files,
        bytes: restored.bytes,
        written_by_another_tool: restored.written_by_another_tool,
        damaged: restored.damaged.iter().map(ProblemDocument::of).collect(),
        left_out: restored.left_out.clone(),
    }
}

fn for_people(restored: &RestoredDatabase) -> String {
    let mut said = format!(
        "{} is the log at slot {}, {}: {}, of {} with {}\n",
        restored.path.display(),
        restored.position.txid,
        restored.timestamp,
        text::count(restored.pages.into(), "page"),
        text::count(restored.files, "file"),
        text::bytes(restored.bytes)
    );
    for problem in &restored.damaged {
        said.push_str(&format!("damaged, and done without: {problem}\n"));
    }
    if let Some(why) = &restored.left_out {
        said.push_str(&format!("what comes after is left out: {why}\n"));
    }
    said
}

impl From<CheckArgument> for Check {
    fn from(argument: CheckArgument) -> Check {
        match argument {
            CheckArgument::None => Check::None,
            CheckArgument::Quick => Check::Quick,
            CheckArgument::Full => Check::Full,
        }
    }
}
