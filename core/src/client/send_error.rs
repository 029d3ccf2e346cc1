use crate::types::{Error, Outcome};

/// Why a request has no good answer, and what can be true of it.
#[derive(Debug)]
pub(crate) enum SendError {
    /// Nobody has acted on it and nobody will: no connection, or a node that turned it away at the door.
    /// Another try, here or elsewhere, is safe.
    NotProcessed(Error),
    /// It may have left this node, and what became of it is not known. Another try with the same request
    /// id is safe.
    Lost(Error),
    /// The node that was asked carried it out and says how it failed.
    Answered(Error),
}

impl SendError {
    /// The error behind it.
    pub(crate) fn error(&self) -> &Error {
        match self {
            SendError::NotProcessed(error) | SendError::Lost(error) | SendError::Answered(error) => error,
        }
    }

    /// The error behind it.
    pub(crate) fn into_error(self) -> Error {
        match self {
            SendError::NotProcessed(error) | SendError::Lost(error) | SendError::Answered(error) => error,
        }
    }

    /// Whether the request may have taken effect, or may still.
    pub(crate) fn may_have_run(&self) -> bool {
        match self {
            SendError::NotProcessed(_) => false,
            SendError::Lost(_) => true,
            SendError::Answered(error) => error.outcome() != Outcome::NotCommitted,
        }
    }
}
