//! Leases and manifests over HTTP: the client against our server, in this process or as a program, and against others.

mod answers;
mod limits;
#[cfg(feature = "cli")]
mod program;
mod raw;
mod server;
