//! The one way to speak HTTP and TLS: every client and every server of this crate is made here.

mod client;
mod long_poll;
mod masked;
mod store_client;
pub(crate) mod store_wire;
mod tls;

pub(crate) use client::http_client;
pub(crate) use long_poll::LongPoll;
pub(crate) use masked::masked;
pub(crate) use store_client::{StoreAnswer, StoreClient, StoreRequest};
#[cfg(feature = "nats")]
pub(crate) use tls::client_tls_trusting;
pub(crate) use tls::server_tls;
