//! Leases and manifests over HTTP: the client against our server, in this process or as a program, and against others.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "tests wait in real time, and spawn")]

mod answers;
mod limits;
mod nodes;
#[cfg(feature = "cli")]
mod program;
mod raw;
mod server;
