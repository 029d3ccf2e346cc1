//! What a node says of itself to whoever watches it.

use serde::Serialize;

use crate::types::Status;

use super::position::{WirePosition, role_name};
use super::to_json;

/// What `/haqlite/status` gives: the fields of [`Status`], spans in milliseconds.
pub(crate) fn encode_status(status: &Status) -> Vec<u8> {
    to_json(&StatusOut {
        role: role_name(status.role),
        epoch: status.epoch.get(),
        leader: status.leader.as_deref(),
        committed: status.committed.get(),
        confirmed: WirePosition::from(&status.confirmed),
        applied: status.applied.get(),
        lag_ms: status.lag.as_millis().try_into().unwrap_or(u64::MAX),
        lag_bytes: status.lag_bytes,
        spool_bytes: status.spool_bytes,
        last_error: status
            .last_error
            .as_ref()
            .map(|(kind, message)| LastErrorOut { kind: kind.name(), message }),
        lost_tails: status.lost_tails.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
    })
}

/// What `/haqlite/health` gives, to anybody.
pub(crate) fn encode_health(status: &Status) -> Vec<u8> {
    to_json(&HealthOut { status: "ok", role: role_name(status.role) })
}

#[derive(Serialize)]
struct StatusOut<'a> {
    role: &'static str,
    epoch: u64,
    leader: Option<&'a str>,
    committed: u64,
    confirmed: WirePosition,
    applied: u64,
    lag_ms: u64,
    lag_bytes: u64,
    spool_bytes: u64,
    last_error: Option<LastErrorOut<'a>>,
    lost_tails: Vec<String>,
}

#[derive(Serialize)]
struct LastErrorOut<'a> {
    kind: &'static str,
    message: &'a str,
}

#[derive(Serialize)]
struct HealthOut {
    status: &'static str,
    role: &'static str,
}
