use serde::Serialize;

use super::arguments::RestoreArguments;
use super::exit_code::ExitCode;
use super::failure::Failure;
use super::output::Output;
use super::which_log::{WhichLog, tool_for};
use crate::database::Restore;

#[derive(Serialize)]
struct Document {
    path: String,
    txid: u64,
    epoch: u64,
    pages: u32,
    written_by_another_tool: bool,
}

pub(super) fn run(arguments: RestoreArguments, output: &Output) -> Result<ExitCode, Failure> {
    let log = arguments.log.complete(Some(&arguments.output))?;
    let restored = tool_for!(Restore, &log).txid(arguments.txid).run(&arguments.output)?;
    let document = Document {
        path: restored.path.display().to_string(),
        txid: restored.position.txid.get(),
        epoch: restored.position.epoch.get(),
        pages: restored.pages,
        written_by_another_tool: restored.written_by_another_tool,
    };
    let text = format!("{} is the log at slot {}, {} pages", document.path, document.txid, document.pages);
    output.result(&document, &text)?;
    Ok(ExitCode::Ok)
}
