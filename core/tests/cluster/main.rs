//! Nodes of one process on one bucket: what a cluster promises, seen from outside, while things go wrong.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(unreachable_pub, reason = "modules of a test")]

mod basics;
mod checkpoint;
mod cloud;
mod damaged_slots;
mod environment;
mod fenced;
mod followers;
mod lease_faults;
mod life_cycle;
mod limits;
mod log_faults;
mod manifest_hint;
mod nodes;
mod outages;
mod outcomes;
mod read_replica;
#[cfg(feature = "s3")]
mod s3;
mod spool;
mod support;
mod upkeep;
mod world;
