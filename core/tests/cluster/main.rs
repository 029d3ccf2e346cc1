//! Nodes of one process on one bucket: what a cluster promises, seen from outside.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(unreachable_pub, reason = "modules of a test")]

mod basics;
mod support;
