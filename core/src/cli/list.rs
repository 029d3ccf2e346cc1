use serde::Serialize;

use super::arguments::ListArguments;
use super::exit_code::ExitCode;
use super::failure::Failure;
use super::output::Output;
use super::text;
use super::which_log::{WhichLog, tool_for};
use crate::database::{LogFileInfo, LogTools};

#[derive(Serialize)]
struct Document {
    log: String,
    files: Vec<FileDocument>,
}

/// A file of the log.
#[derive(Serialize)]
pub(super) struct FileDocument {
    level: u8,
    min: u64,
    max: u64,
    bytes: u64,
    modified: String,
}

impl FileDocument {
    pub(super) fn of(file: &LogFileInfo) -> FileDocument {
        FileDocument {
            level: file.level,
            min: file.min.get(),
            max: file.max.get(),
            bytes: file.size,
            modified: file.modified.to_string(),
        }
    }
}

pub(super) fn run(arguments: &ListArguments, output: &Output) -> Result<ExitCode, Failure> {
    let log = arguments.log.complete(None)?;
    let tools = tool_for!(LogTools, &log);
    let mut files = tools.files()?;
    files.retain(|file| arguments.level.is_none_or(|level| level == file.level));
    let document = Document { log: tools.describe()?, files: files.iter().map(FileDocument::of).collect() };
    let mut rows = vec![["level", "from", "to", "bytes", "modified"].map(String::from).to_vec()];
    rows.extend(document.files.iter().map(|file| {
        vec![
            file.level.to_string(),
            file.min.to_string(),
            file.max.to_string(),
            file.bytes.to_string(),
            file.modified.clone(),
        ]
    }));
    output.result(&document, &text::table(&rows))?;
    Ok(ExitCode::Ok)
}
