use super::message::Refusal;
use crate::types::{Error, ErrorKind};

/// How much of a server's words is shown.
const MAX_WORDS: usize = 200;

/// Why a request has no answer.
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) says: Says,
}

/// What a failure says of the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Says {
    /// It never left: another member may be asked.
    NotSent,
    /// It may have been carried out, or be still.
    Unknown,
    /// The cluster refused it, and every member would; nothing was changed.
    Refused,
    /// The token is missing, expired or older than the cluster's users; nothing was changed.
    TokenIsOld,
    /// There are no users in this cluster.
    NoUsers,
}

impl Failure {
    pub(super) fn new(says: Says, kind: ErrorKind, message: String) -> Failure {
        Failure { error: Error::new(kind, message), says }
    }

    /// The request may have left, but nothing came back.
    pub(super) fn of_transport(host: &str, error: reqwest::Error) -> Failure {
        let says = if error.is_connect() || error.is_builder() { Says::NotSent } else { Says::Unknown };
        let mut inner: &dyn std::error::Error = &error;
        while let Some(source) = inner.source() {
            inner = source;
        }
        let message = format!("etcd at {host} cannot be reached: {inner}");
        let failure = Failure::new(says, ErrorKind::StoreUnavailable, message);
        Failure { error: failure.error.with_source(error.without_url()), says }
    }

    /// The gateway answered with this status and these bytes instead of a 200. Its codes are gRPC's, but etcd uses a
    /// few of them for so much that only the words tell (`api/v3rpc/rpctypes/error.go` of etcd has them all).
    pub(super) fn of_answer(host: &str, status: u16, body: &[u8]) -> Failure {
        let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
        let text = refusal.text();
        let has = |words: &str| text.contains(words);
        let (says, kind) = match refusal.code {
            _ if has("request is too large") || has("message larger than max") => {
                (Says::Refused, ErrorKind::LimitExceeded)
            }
            _ if has("authentication is not enabled") => (Says::NoUsers, ErrorKind::Unauthorized),
            _ if is_about_token(text) => (Says::TokenIsOld, ErrorKind::Unauthorized),
            16 => (Says::TokenIsOld, ErrorKind::Unauthorized),
            7 => (Says::Refused, ErrorKind::Unauthorized),
            _ if has("authentication failed") => (Says::Refused, ErrorKind::Unauthorized),
            _ if has("database space exceeded") => (Says::Refused, ErrorKind::StoreUnavailable),
            _ => (Says::Unknown, ErrorKind::StoreUnavailable),
        };
        let words: String = match text {
            "" => format!("status {status}, without a reason of etcd's"),
            _ => text.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect(),
        };
        Failure::new(says, kind, format!("etcd at {host}: {words}"))
    }

    /// What answered, but not as etcd does.
    pub(super) fn unreadable(host: &str, what: impl std::fmt::Display) -> Failure {
        let message = format!("the answer of etcd at {host} cannot be read: {what}");
        Failure::new(Says::Unknown, ErrorKind::StoreUnavailable, message)
    }
}

/// Whether these words of etcd's mean that a new token would help.
pub(super) fn is_about_token(words: &str) -> bool {
    ["invalid auth token", "user name is empty", "revision of auth store is old"]
        .iter()
        .any(|known| words.contains(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers that were seen from 3.4.23 and 3.5.1, and the form of 3.6.
    #[test]
    fn answers_of_every_version_are_understood() {
        for (status, body, says, kind) in [
            (
                400,
                r#"{"error":"etcdserver: request is too large","code":3,"message":"etcdserver: request is too large"}"#,
                Says::Refused,
                ErrorKind::LimitExceeded,
            ),
            (
                429,
                r#"{"error":"grpc: received message larger than max (3000020 vs. 2097152)","code":8}"#,
                Says::Refused,
                ErrorKind::LimitExceeded,
            ),
            (
                401,
                r#"{"code":16,"message":"etcdserver: invalid auth token","details":[]}"#,
                Says::TokenIsOld,
                ErrorKind::Unauthorized,
            ),
            (
                400,
                r#"{"message":"etcdserver: user name is empty","code":3}"#,
                Says::TokenIsOld,
                ErrorKind::Unauthorized,
            ),
            (
                403,
                r#"{"message":"etcdserver: permission denied","code":7}"#,
                Says::Refused,
                ErrorKind::Unauthorized,
            ),
            (
                400,
                r#"{"message":"etcdserver: authentication failed, invalid user ID or password","code":3}"#,
                Says::Refused,
                ErrorKind::Unauthorized,
            ),
            (
                412,
                r#"{"error":"etcdserver: authentication is not enabled","code":9}"#,
                Says::NoUsers,
                ErrorKind::Unauthorized,
            ),
            (
                503,
                r#"{"error":"etcdserver: request timed out","code":14}"#,
                Says::Unknown,
                ErrorKind::StoreUnavailable,
            ),
            (
                500,
                r#"{"error":"context deadline exceeded","code":2}"#,
                Says::Unknown,
                ErrorKind::StoreUnavailable,
            ),
            (
                503,
                r#"{"error":"etcdserver: no leader","code":14}"#,
                Says::Unknown,
                ErrorKind::StoreUnavailable,
            ),
            (404, "Not Found\n", Says::Unknown, ErrorKind::StoreUnavailable),
            (502, "<html>", Says::Unknown, ErrorKind::StoreUnavailable),
            (500, r#"{"error":{"code":"x"},"code":"y"}"#, Says::Unknown, ErrorKind::StoreUnavailable),
        ] {
            let failure = Failure::of_answer("a:1", status, body.as_bytes());
            assert_eq!((failure.says, failure.error.kind()), (says, kind), "{body}");
            assert!(failure.error.message().starts_with("etcd at a:1: "), "{body}");
        }
    }
}
