use std::io::Write;

use serde::Serialize;

use super::exit_code::ExitCode;
use super::failure::Failure;
use crate::types::Error;

/// Where results and errors go, and in which form.
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Output {
        Output { json }
    }

    /// The result of a command: as a JSON document, or as text for people. Also one line of a stream.
    pub(super) fn result(&self, json: &impl Serialize, text: &str) -> Result<(), Failure> {
        if self.json { self.json(json) } else { self.text(text) }
    }

    /// Whether people read it.
    pub(super) fn is_for_people(&self) -> bool {
        !self.json
    }

    /// What only JSON has a line for.
    pub(super) fn json_only(&self, json: &impl Serialize) -> Result<(), Failure> {
        if self.json { self.json(json) } else { Ok(()) }
    }

    /// Text for people; nothing for an empty one.
    pub(super) fn text(&self, text: &str) -> Result<(), Failure> {
        let text = text.trim_end();
        if text.is_empty() { Ok(()) } else { self.line(text) }
    }

    fn json(&self, json: &impl Serialize) -> Result<(), Failure> {
        self.line(&serde_json::to_string(json).expect("BUG: a result always has a JSON form"))
    }

    fn line(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
        written.map_err(|e| Error::io("writing the result", e).into())
    }

    /// Tells of a failure: a line on the standard error, and with JSON a document on the standard output.
    pub(super) fn failure(&self, failure: &Failure) -> ExitCode {
        // Nobody is left to be told if these fail.
        let _ = self.json_only(&failure.document());
        let _ = writeln!(std::io::stderr().lock(), "{}", failure.line());
        failure.code
    }
}
