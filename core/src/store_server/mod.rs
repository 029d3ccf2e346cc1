//! A server for leases and manifests: the other end of [`HttpLeaseStore`](crate::lease_store::HttpLeaseStore) and
//! [`HttpManifestStore`](crate::manifest_store::HttpManifestStore).

mod disk;
mod limits;
mod question;
mod record;
mod refusal;
mod routes;
mod running;
mod storage;
#[cfg(test)]
mod storage_tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::types::Result;
pub use limits::StoreServerLimits;
pub use running::RunningStoreServer;

/// Serves leases and manifests over HTTP, from a folder or from memory. The command line has it as
/// `haqlite store-server`.
///
/// In a folder, a value is on the disk before its write is answered, and versions survive everything that the disk
/// does. One server at a time has a folder. In memory all is lost with the server: for tests, and for leases where an
/// election after a restart is no harm. All keys are one space: whoever has a token may write all of them.
///
/// ```
/// # fn main() -> haqlite::Result<()> {
/// use haqlite::StoreServer;
/// use haqlite::lease_store::HttpLeaseStore;
///
/// let server = StoreServer::in_memory().listen(([127, 0, 0, 1], 0).into()).token("secret").start()?;
/// let leases = HttpLeaseStore::new(&server.url(), Some("secret"))?;
/// # drop(leases);
/// server.stop();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct StoreServer {
    folder: Option<PathBuf>,
    listen: SocketAddr,
    tokens: Vec<String>,
    tls: Option<(PathBuf, PathBuf)>,
    limits: StoreServerLimits,
}

impl StoreServer {
    /// A server whose values are in this folder, which is made if it is not there.
    pub fn in_folder(folder: impl Into<PathBuf>) -> StoreServer {
        StoreServer { folder: Some(folder.into()), ..StoreServer::in_memory() }
    }

    /// A server whose values go with it.
    pub fn in_memory() -> StoreServer {
        StoreServer {
            folder: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            tokens: Vec::new(),
            tls: None,
            limits: StoreServerLimits::default(),
        }
    }

    /// Where it listens: 127.0.0.1:8080. With port 0 the system chooses. Without a token only loopback is allowed.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> StoreServer {
        self.listen = address;
        self
    }

    /// A token that clients may show, of 1 to 512 visible ASCII characters; also several, so that one can be changed
    /// for another without a pause.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> StoreServer {
        self.tokens.push(token.into());
        self
    }

    /// Speaks TLS, with the certificates in one file and their private key in another (PEM both).
    #[must_use]
    pub fn tls(mut self, certificates: impl Into<PathBuf>, key: impl Into<PathBuf>) -> StoreServer {
        self.tls = Some((certificates.into(), key.into()));
        self
    }

    /// How much it takes.
    #[must_use]
    pub fn limits(mut self, limits: StoreServerLimits) -> StoreServer {
        self.limits = limits;
        self
    }

    /// Starts it, on threads of its own; it listens when this returns. `InUse` if another server has the folder or
    /// the address, `InvalidConfig` for what makes no sense, as an address that others reach without a token.
    pub fn start(self) -> Result<RunningStoreServer> {
        running::start(self)
    }
}
