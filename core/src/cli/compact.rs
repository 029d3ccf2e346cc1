use super::arguments::CompactArguments;
use super::exit_code::ExitCode;
use super::failure::Failure;
use super::output::Output;
use super::snapshot::tell;
use super::which_log::{WhichLog, tool_for};
use crate::database::LogTools;

pub(super) fn run(arguments: &CompactArguments, output: &Output) -> Result<ExitCode, Failure> {
    let log = arguments.log.complete(None)?;
    let tools = tool_for!(LogTools, &log);
    let made = tools.compact(arguments.level)?;
    tell(tools.describe()?, made, output)
}
