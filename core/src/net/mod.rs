//! The one way to speak HTTP and TLS: every client and every server of this crate is made here.

mod client;
mod tls;

pub(crate) use client::http_client;
#[cfg(feature = "nats")]
pub(crate) use tls::client_tls;
