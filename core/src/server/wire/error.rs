//! Errors: `{"error":{"kind":..,"outcome":..,"sqlite_code":..,"leader":..,"message":..}}`.

use serde::{Deserialize, Serialize};

use crate::types::{Error, ErrorKind, Outcome};

use super::to_json;

#[derive(Serialize, Deserialize)]
struct Envelope {
    error: WireError,
}

#[derive(Serialize, Deserialize)]
struct WireError {
    kind: String,
    outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sqlite_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leader: Option<String>,
    message: String,
}

/// The error with everything that the other side needs; its source stays here.
pub(crate) fn encode_error(error: &Error) -> Vec<u8> {
    to_json(&Envelope {
        error: WireError {
            kind: error.kind().name().to_owned(),
            outcome: outcome_name(error.outcome()).to_owned(),
            sqlite_code: error.sqlite_code(),
            leader: error.leader().map(str::to_owned),
            message: error.message().to_owned(),
        },
    })
}

/// The error that a node sent; `None` if these bytes are no error of a node.
///
/// A kind that this version does not know becomes `Internal`, an outcome that it does not know `Unknown`.
pub(crate) fn decode_error(bytes: &[u8]) -> Option<Error> {
    let wire = serde_json::from_slice::<Envelope>(bytes).ok()?.error;
    let outcome = outcome_from_name(&wire.outcome);
    let mut error = match ErrorKind::from_name(&wire.kind) {
        Some(kind) => Error::new(kind, wire.message),
        None => Error::new(ErrorKind::Internal, format!("{}: {}", wire.kind, wire.message)),
    }
    .with_outcome(outcome);
    if let Some(code) = wire.sqlite_code {
        error = error.with_sqlite_code(code);
    }
    if let Some(leader) = wire.leader {
        error = error.with_leader(leader);
    }
    Some(error)
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotCommitted => "NotCommitted",
        Outcome::Committed => "Committed",
        Outcome::Unknown => "Unknown",
    }
}

fn outcome_from_name(name: &str) -> Outcome {
    match name {
        "NotCommitted" => Outcome::NotCommitted,
        "Committed" => Outcome::Committed,
        _ => Outcome::Unknown,
    }
}
