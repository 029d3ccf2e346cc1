//! Databases from a bucket alone: up to every slot and moment, past damage and a store that fails, in place of
//! what is there; and the verification of a log.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(unreachable_pub, reason = "modules of a test")]

#[path = "../ltx_support/mod.rs"]
mod ltx_support;

mod damage;
mod places;
mod store_faults;
mod targets;
mod verify;
mod written;
