use std::time::Duration;

use super::storage::StorageLimits;
use crate::manifest_store::MAX_MANIFEST_BYTES;
use crate::server::ServerLimits;

/// How much of everything a [`StoreServer`](super::StoreServer) takes, and for how long. Constructible with
/// `..Default::default()`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreServerLimits {
    /// Keys, with those that were deleted: 100,000. One more is answered with 507.
    pub keys: usize,
    /// All values and keys together, which are also kept in memory: 256 MiB. More is answered with 507.
    pub bytes: usize,
    /// Open connections: 1024. More wait until one is closed.
    pub connections: usize,
    /// Requests that wait for a change: 768. One more is answered with 503. Should be less than the connections, so
    /// that watchers do not keep writers out.
    pub waits: usize,
    /// Requests in progress that do not wait: 256. One more is answered with 503.
    pub requests: usize,
    /// For a request's head to arrive whole, for the handshake of TLS, and for an idle connection: 30 s.
    pub head: Duration,
    /// For a request's body to arrive whole: 10 s.
    pub body: Duration,
    /// For a client to take in the next piece of an answer: 10 s.
    pub write_stall: Duration,
    /// For requests in progress to end when the server stops: 5 s.
    pub drain: Duration,
}

/// A manifest of the largest size in base64, and room around it.
pub(super) const MAX_BODY_BYTES: usize = MAX_MANIFEST_BYTES.div_ceil(3) * 4 + 1024;

impl Default for StoreServerLimits {
    fn default() -> StoreServerLimits {
        StoreServerLimits {
            keys: 100_000,
            bytes: 256 << 20,
            connections: 1024,
            waits: 768,
            requests: 256,
            head: Duration::from_secs(30),
            body: Duration::from_secs(10),
            write_stall: Duration::from_secs(10),
            drain: Duration::from_secs(5),
        }
    }
}

impl StoreServerLimits {
    pub(super) fn of_storage(&self) -> StorageLimits {
        StorageLimits { keys: self.keys, bytes: self.bytes }
    }

    /// What of it concerns connections.
    pub(super) fn of_connections(&self) -> ServerLimits {
        ServerLimits {
            connections: self.connections,
            head: self.head,
            write_stall: self.write_stall,
            drain: self.drain,
            ..ServerLimits::default()
        }
    }
}
