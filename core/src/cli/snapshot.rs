use serde::Serialize;

use super::arguments::SnapshotArguments;
use super::exit_code::ExitCode;
use super::failure::Failure;
use super::list::FileDocument;
use super::output::Output;
use super::text;
use super::which_log::{WhichLog, tool_for};
use crate::database::{LogFileInfo, LogTools};

#[derive(Serialize)]
struct Document {
    log: String,
    made: Option<FileDocument>,
}

pub(super) fn run(arguments: &SnapshotArguments, output: &Output) -> Result<ExitCode, Failure> {
    let log = arguments.log.complete(None)?;
    let tools = tool_for!(LogTools, &log);
    let made = tools.snapshot()?;
    tell(tools.describe()?, made, output)
}

/// Tells what was made of other files.
pub(super) fn tell(log: String, made: Option<LogFileInfo>, output: &Output) -> Result<ExitCode, Failure> {
    let text = match &made {
        Some(file) => format!(
            "made a file at level {} of slots {} to {}, {}",
            file.level,
            file.min,
            file.max,
            text::bytes(file.size)
        ),
        None => "there is nothing new to make a file of".to_owned(),
    };
    output.result(&Document { log, made: made.as_ref().map(FileDocument::of) }, &text)?;
    Ok(ExitCode::Ok)
}
