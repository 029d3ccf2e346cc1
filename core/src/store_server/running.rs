use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::StoreServer;
use super::routes::Gate;
use super::storage::Storage;
use crate::net::server_tls;
use crate::runtime::wall_ms;
use crate::server::{Secret, serve_connections};
use crate::types::{Error, ErrorKind, Result};

/// A [`StoreServer`] that runs. It stops when this value goes.
#[derive(Debug)]
pub struct RunningStoreServer {
    address: SocketAddr,
    speaks_tls: bool,
    stopping: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl RunningStoreServer {
    /// Where it listens, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients on this machine reach it, without a token.
    pub fn url(&self) -> String {
        let scheme = if self.speaks_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Takes no more requests, answers those that wait at once, lets the others end within the drain time (5 s), and
    /// gives the folder back. Blocks until that is done.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stopping.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store server panicked");
        }
    }
}

impl Drop for RunningStoreServer {
    fn drop(&mut self) {
        self.end();
    }
}

pub(super) fn start(server: StoreServer) -> Result<RunningStoreServer> {
    let StoreServer { folder, listen, tokens, tls, limits } = server;
    let tokens = tokens.into_iter().map(Secret::new).collect::<Result<Vec<_>>>()?;
    refuse_open_door(listen, !tokens.is_empty())?;
    let tls = tls.map(|(certificates, key)| server_tls(&certificates, &key)).transpose()?;
    let speaks_tls = tls.is_some();
    let storage = match folder {
        Some(folder) => Storage::open(&folder, limits.of_storage(), wall_ms)?,
        None => Storage::in_memory(limits.of_storage(), wall_ms),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("haqlite-store")
        .enable_all()
        .build()
        .map_err(|e| Error::io("starting the server's threads", e))?;
    let listener = TcpListener::bind(listen).map_err(|error| bind_error(listen, error))?;
    listener.set_nonblocking(true).map_err(|e| Error::io("preparing a socket", e))?;
    let address = listener.local_addr().map_err(|e| Error::io("asking for the address of a socket", e))?;
    let (stopping, is_stopping) = watch::channel(false);
    let router = Gate::new(Arc::new(storage), tokens, &limits, is_stopping.clone()).router();
    let mut asked = is_stopping;
    let serve = move || {
        let shutdown = async move { drop(asked.wait_for(|stopping| *stopping).await) };
        let tls = tls.map(TlsAcceptor::from);
        runtime.block_on(async {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    serve_connections(listener, tls, router, &limits.of_connections(), shutdown).await;
                }
                Err(error) => tracing::error!(%error, "the store server cannot listen"),
            }
        });
        // A write that is under way keeps the folder until it is done.
        runtime.shutdown_timeout(limits.drain);
    };
    let thread = std::thread::Builder::new().name("haqlite-store-server".into()).spawn(serve);
    let thread = Some(thread.map_err(|e| Error::io("starting the server's thread", e))?);
    Ok(RunningStoreServer { address, speaks_tls, stopping, thread })
}

fn refuse_open_door(address: SocketAddr, has_token: bool) -> Result<()> {
    if has_token || address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let message = format!(
        "refusing to listen on {address} without a token: anybody who reaches it could take every lease; set a \
         token, or listen on 127.0.0.1"
    );
    Err(Error::new(ErrorKind::InvalidConfig, message))
}

fn bind_error(address: SocketAddr, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            Error::new(ErrorKind::InUse, format!("the address {address} is in use")).with_source(error)
        }
        io::ErrorKind::AddrNotAvailable => {
            let message = format!("{address} is not an address of this machine: {error}");
            Error::new(ErrorKind::InvalidConfig, message).with_source(error)
        }
        _ => Error::io(format_args!("listening on {address}"), error),
    }
}
