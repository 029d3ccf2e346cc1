use axum::http::StatusCode;

use crate::net::store_wire::{OUTRANKED, Reason, Refused, to_json};
use crate::types::{Error, ErrorKind};

/// An answer to what was not done.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    kind: &'static str,
    message: String,
    epoch: Option<u64>,
}

impl Refusal {
    /// With this status, because of the request.
    pub(super) fn of(status: StatusCode, message: &str) -> Refusal {
        let kind = match status {
            StatusCode::NOT_FOUND => "NotFound",
            StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => "Conflict",
            StatusCode::UNAUTHORIZED => ErrorKind::Unauthorized.name(),
            StatusCode::PAYLOAD_TOO_LARGE => ErrorKind::LimitExceeded.name(),
            StatusCode::SERVICE_UNAVAILABLE => ErrorKind::Busy.name(),
            StatusCode::REQUEST_TIMEOUT => ErrorKind::Timeout.name(),
            _ => ErrorKind::InvalidArgument.name(),
        };
        Refusal { status, kind, message: message.to_owned(), epoch: None }
    }

    /// Of a put whose epoch is below this one.
    pub(super) fn outranked(epoch: u64) -> Refusal {
        let message = format!("what is there has epoch {epoch}");
        Refusal { status: StatusCode::CONFLICT, kind: OUTRANKED, message, epoch: Some(epoch) }
    }

    /// The body of the answer.
    pub(super) fn body(&self) -> Vec<u8> {
        let error = Reason { kind: self.kind.to_owned(), message: self.message.clone() };
        to_json(&Refused { error, epoch: self.epoch })
    }
}

impl From<Error> for Refusal {
    /// A failure of the storage.
    fn from(error: Error) -> Refusal {
        let status = match error.kind() {
            ErrorKind::LimitExceeded => StatusCode::INSUFFICIENT_STORAGE,
            ErrorKind::Corrupt | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            tracing::warn!(%error, "a request failed");
        }
        // Where the folder is is nobody's business but the operator's.
        let message = match error.kind() {
            ErrorKind::Io => "the disk failed; try again".to_owned(),
            ErrorKind::Corrupt => "the value is damaged; the server's log says where".to_owned(),
            _ => error.message().to_owned(),
        };
        Refusal { status, kind: error.kind().name(), message, epoch: None }
    }
}
