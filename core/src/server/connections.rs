use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::ServerLimits;
use super::stall::StallGuard;

/// Serves what comes in at the listener, by TLS if there is an acceptor, until `shutdown` is done; then takes no more,
/// lets the requests in progress end within the drain time, and cuts what is left.
///
/// Every connection is a task that this future owns: when it is dropped, all of them end. It must run on a tokio
/// runtime with time and I/O.
pub(crate) async fn serve_connections(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: &ServerLimits,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let (closing, is_closing) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < limits.connections => {
                match accepted {
                    Ok((stream, _)) => {
                        let connection =
                            connection(stream, tls.clone(), router.clone(), limits.clone(), is_closing.clone());
                        connections.spawn(connection);
                    }
                    Err(error) => recover_from_accept(&error).await,
                }
            }
        }
    }
    drop(listener);
    closing.send_replace(true);
    let drained =
        tokio::time::timeout(limits.drain, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::warn!(connections = connections.len(), "requests in progress were cut at the shutdown");
        connections.shutdown().await;
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: ServerLimits,
    mut is_closing: watch::Receiver<bool>,
) {
    // Answers are small and somebody waits for them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection went away before it was served");
        return;
    }
    let stream = StallGuard::new(stream, limits.write_stall);
    let Some(acceptor) = tls else { return speak(stream, router, &limits, is_closing).await };
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(limits.head, Box::pin(acceptor.accept(stream))) => shaken,
        () = async { drop(is_closing.wait_for(|closing| *closing).await) } => return,
    };
    match shaken {
        Ok(Ok(stream)) => speak(stream, router, &limits, is_closing).await,
        Ok(Err(error)) => tracing::debug!(%error, "a connection did not come to speak TLS"),
        Err(_) => tracing::debug!("a connection was too slow to speak TLS"),
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    limits: &ServerLimits,
    mut is_closing: watch::Receiver<bool>,
) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let result = tokio::select! {
        result = &mut serving => result,
        () = async { drop(is_closing.wait_for(|closing| *closing).await) } => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Out of descriptors: wait for some to be closed. Anything else concerns one connection only.
async fn recover_from_accept(error: &io::Error) {
    tracing::debug!(%error, "a connection could not be accepted");
    let connection_only = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    );
    if !connection_only {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
