//! How a node asks another over HTTP.

mod address;
mod forwarder;
mod retry;
mod send_error;

#[cfg(test)]
mod forwarder_tests;
#[cfg(test)]
mod retry_tests;

pub(crate) use address::{advertised_address, host_name, parse_address};
pub(crate) use forwarder::Forwarder;
pub(crate) use retry::{Next, Repeat, Retry, RetryLimits};
pub(crate) use send_error::SendError;
