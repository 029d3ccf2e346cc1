use serde::Serialize;

use super::arguments::VerifyArguments;
use super::exit_code::ExitCode;
use super::failure::Failure;
use super::output::Output;
use super::progress::Bar;
use super::restore::ProblemDocument;
use super::text;
use super::which_log::{WhichLog, tool_for};
use crate::database::{LogTools, Verify};
use crate::types::{ErrorKind, VerifyReport};

#[derive(Serialize)]
struct Document {
    log: String,
    txid: u64,
    epoch: u64,
    slots: u64,
    compactions: u64,
    snapshots: u64,
    bytes: u64,
    restored: bool,
    problems: Vec<ProblemDocument>,
    unexplained: Vec<String>,
}

pub(super) fn run(arguments: VerifyArguments, output: &Output) -> Result<ExitCode, Failure> {
    let log = arguments.log.complete(None)?;
    let name = tool_for!(LogTools, &log).describe()?;
    let bar = Bar::start();
    let mut verify = tool_for!(Verify, &log).progress(bar.teller());
    if let Some(folder) = arguments.restore_in {
        verify = verify.restore_in(folder);
    }
    let report = verify.run();
    drop(bar);
    let report = report?;
    let files = report.slots + report.compactions + report.snapshots;
    if files == 0 && report.is_healthy() {
        // A name that was mistyped must not look like a log that is whole.
        return Err(Failure::told(ErrorKind::InvalidArgument, &format!("{name} holds no log")));
    }
    output.result(&document(name, &report), &for_people(&report))?;
    Ok(if report.is_healthy() { ExitCode::Ok } else { ExitCode::Damaged })
}

fn document(log: String, report: &VerifyReport) -> Document {
    Document {
        log,
        txid: report.end.txid.get(),
        epoch: report.end.epoch.get(),
        slots: report.slots,
        compactions: report.compactions,
        snapshots: report.snapshots,
        bytes: report.bytes,
        restored: report.restored,
        problems: report.problems.iter().map(ProblemDocument::of).collect(),
        unexplained: report.unexplained.clone(),
    }
}

fn for_people(report: &VerifyReport) -> String {
    let mut said = format!(
        "read {}, {} and {}, {}, up to slot {}\n",
        text::count(report.slots, "slot"),
        text::count(report.compactions, "compaction"),
        text::count(report.snapshots, "snapshot"),
        text::bytes(report.bytes),
        report.end.txid
    );
    if report.restored {
        said.push_str("the restored database passes SQLite's integrity_check\n");
    }
    for key in &report.unexplained {
        said.push_str(&format!("not needed, and harmless: {key}\n"));
    }
    for problem in &report.problems {
        said.push_str(&format!("DAMAGE {problem}\n"));
    }
    said.push_str(if report.is_healthy() { "the log is whole\n" } else { "the log is damaged\n" });
    said
}
