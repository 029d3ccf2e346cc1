//! What a node answers over HTTP.

mod connections;
mod http;
mod limits;
mod routes;
mod secret;
mod service;
mod stall;
pub(crate) mod wire;

#[cfg(test)]
mod auth_tests;
#[cfg(test)]
mod http_tests;
#[cfg(test)]
pub(crate) mod test_service;

pub(crate) use connections::serve_connections;
pub(crate) use http::{Listen, Server};
pub(crate) use limits::{MAX_ANSWER_BYTES, MAX_REQUEST_BYTES, ServerLimits};
pub(crate) use secret::Secret;
pub(crate) use service::Service;
