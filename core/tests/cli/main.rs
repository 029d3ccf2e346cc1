//! The command line: the real binary against the log of a real node, in a folder or on a server.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod failures;
mod follow;
mod help;
mod look;
mod restore;
mod store_server;
mod support;
mod upkeep;

#[cfg(feature = "s3")]
mod s3;
