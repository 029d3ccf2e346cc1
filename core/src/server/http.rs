use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::types::{Error, ErrorKind, Result};

use super::connections::serve_connections;
use super::{Secret, ServerLimits, Service, routes};

/// Where a server listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Listen {
    /// On this port; 0 lets the system choose. With a secret on all interfaces, without one on 127.0.0.1.
    Port(u16),
    /// On exactly this address.
    #[cfg_attr(not(test), expect(dead_code, reason = "the builder knows ports only"))]
    At(SocketAddr),
}

/// A port that is taken, and not served yet.
#[derive(Debug)]
pub(crate) struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    secret: Option<Secret>,
    limits: ServerLimits,
}

impl Server {
    /// Takes the port. `InUse` if somebody else has it; `InvalidConfig` for an address that others can
    /// reach without a secret, because whoever reaches the server can write to the database.
    pub(crate) async fn bind(listen: Listen, secret: Option<Secret>, limits: ServerLimits) -> Result<Server> {
        let listener = match listen {
            Listen::At(address) => {
                refuse_open_door(address, secret.is_some())?;
                TcpListener::bind(address).await.map_err(|error| bind_error(address, error))?
            }
            Listen::Port(port) if secret.is_none() => {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                TcpListener::bind(address).await.map_err(|error| bind_error(address, error))?
            }
            Listen::Port(port) => bind_all(port).await?,
        };
        let local_addr =
            listener.local_addr().map_err(|error| Error::io("asking for the address of a socket", error))?;
        Ok(Server { listener, local_addr, secret, limits })
    }

    /// Where the server listens, with the port that the system chose.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown` is done, then takes no more, lets the requests in progress end within the
    /// drain time, and cuts what is left.
    ///
    /// Every connection is a task that this future owns: when it is dropped, all of them end. It must run on
    /// a tokio runtime with time and I/O.
    pub(crate) async fn serve(
        self,
        service: Arc<dyn Service>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) {
        let router = routes::router(service, self.secret, &self.limits);
        serve_connections(self.listener, None, router, &self.limits, shutdown).await;
    }
}

async fn bind_all(port: u16) -> Result<TcpListener> {
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match TcpListener::bind(both).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(bind_error(both, error)),
        // A machine without IPv6.
        Err(_) => {
            let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            TcpListener::bind(v4).await.map_err(|error| bind_error(v4, error))
        }
    }
}

fn refuse_open_door(address: SocketAddr, has_secret: bool) -> Result<()> {
    if has_secret || address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let message = format!(
        "refusing to listen on {address} without a secret: anybody who reaches it could write to the \
         database; set a secret, or listen on 127.0.0.1"
    );
    Err(Error::new(ErrorKind::InvalidConfig, message))
}

fn bind_error(address: SocketAddr, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => Error::new(
            ErrorKind::InUse,
            format!("the address {address} is in use; set another forwarding port, or 0 for any free one"),
        )
        .with_source(error),
        io::ErrorKind::AddrNotAvailable => Error::new(
            ErrorKind::InvalidConfig,
            format!("{address} is not an address of this machine: {error}"),
        )
        .with_source(error),
        _ => Error::io(format_args!("listening on {address}"), error),
    }
}
