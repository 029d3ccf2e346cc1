use serde::Serialize;

use super::exit_code::ExitCode;
use crate::types::{Error, ErrorKind};

/// Why a command failed, as it is told.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: ExitCode,
    /// The library's kind, or `Usage`.
    pub(super) kind: &'static str,
    /// One line.
    pub(super) reason: String,
    /// What may help.
    pub(super) hint: Option<String>,
}

/// `{"error": {...}}`, with `--json`.
#[derive(Serialize)]
pub(super) struct FailureDocument<'f> {
    error: Body<'f>,
}

#[derive(Serialize)]
struct Body<'f> {
    kind: &'f str,
    reason: &'f str,
    hint: Option<&'f str>,
    exit_code: i32,
}

impl Failure {
    /// Arguments that clap does not accept.
    pub(super) fn usage(error: &clap::Error) -> Failure {
        if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            return Failure::of_arguments("no command is given");
        }
        let text = error.to_string();
        let first = text.split("\n\n").next().unwrap_or_default();
        let reason = first.strip_prefix("error: ").unwrap_or(first);
        Failure::of_arguments(redacted(&one_line(reason)))
    }

    /// Arguments that make no sense together.
    pub(super) fn of_arguments(reason: impl Into<String>) -> Failure {
        Failure {
            code: ExitCode::Usage,
            kind: "Usage",
            reason: reason.into(),
            hint: Some("`haqlite help` and `haqlite help COMMAND` show how it is used".to_owned()),
        }
    }

    /// The document that `--json` prints.
    pub(super) fn document(&self) -> FailureDocument<'_> {
        let Failure { code, kind, reason, hint } = self;
        FailureDocument { error: Body { kind, reason, hint: hint.as_deref(), exit_code: *code as i32 } }
    }

    /// The line on the standard error.
    pub(super) fn line(&self) -> String {
        match &self.hint {
            Some(hint) => format!("error: {}; {hint}", self.reason),
            None => format!("error: {}", self.reason),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::told(error.kind(), error.message())
    }
}

impl Failure {
    /// An error of the library.
    pub(super) fn told(kind: ErrorKind, message: &str) -> Failure {
        let code = ExitCode::of(kind);
        Failure { code, kind: kind.name(), reason: one_line(message), hint: code.hint().map(str::to_owned) }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text without what a URL in it may hold: clap repeats arguments that it does not expect.
fn redacted(text: &str) -> String {
    let word = |word: &str| match word.split_once("://") {
        Some((scheme, rest)) => {
            let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
            match rest.split_once('?') {
                Some((path, _)) if word.ends_with('\'') => format!("{scheme}://{path}?...'"),
                Some((path, _)) => format!("{scheme}://{path}?..."),
                None => format!("{scheme}://{rest}"),
            }
        }
        None if word.contains("secret_access_key") || word.contains("session_token") => "...".to_owned(),
        None => word.to_owned(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_url_is_never_its_key() {
        let said = redacted("unexpected 's3://b/p?secret_access_key=hush&x=1' and 's3://me:hush@b' found");
        assert_eq!(said, "unexpected 's3://b/p?...' and 's3://b' found");
        assert!(!redacted("--x=secret_access_key=hush").contains("hush"));
    }
}
