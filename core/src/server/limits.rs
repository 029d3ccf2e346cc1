use std::time::Duration;

/// The largest body of a request. A client refuses a larger one before it sends it.
pub(crate) const MAX_REQUEST_BYTES: usize = 64 << 20;

/// The largest body of an answer.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 << 20;

/// How much of everything a server takes, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct ServerLimits {
    /// The largest body of a request; a larger one is `LimitExceeded`.
    pub(crate) request_bytes: usize,
    /// The largest body of an answer; a larger one is `LimitExceeded`.
    pub(crate) answer_bytes: usize,
    /// The bodies of all requests in progress together; beyond it, `Busy`.
    pub(crate) bodies_bytes: usize,
    /// Requests in progress; one more is `Busy`.
    pub(crate) requests: usize,
    /// Open connections; more wait in the system's backlog.
    pub(crate) connections: usize,
    /// For a request's head to arrive whole, and for an idle connection.
    pub(crate) head: Duration,
    /// For a request's body to arrive whole.
    pub(crate) body: Duration,
    /// For the service to answer; then the request is dropped.
    pub(crate) work: Duration,
    /// For a client to take in the next piece of an answer.
    pub(crate) write_stall: Duration,
    /// For requests in progress to end after the shutdown; then their connections are cut.
    pub(crate) drain: Duration,
}

impl Default for ServerLimits {
    fn default() -> ServerLimits {
        ServerLimits {
            request_bytes: MAX_REQUEST_BYTES,
            answer_bytes: MAX_ANSWER_BYTES,
            bodies_bytes: 256 << 20,
            requests: 256,
            connections: 1024,
            head: Duration::from_secs(30),
            body: Duration::from_secs(60),
            work: Duration::from_secs(600),
            write_stall: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}
