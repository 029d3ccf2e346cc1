//! What a node keeps when its process is killed, stopped or shadowed, seen from outside: nodes are other
//! processes (this test binary once more), on a bucket in a folder.

#![allow(clippy::unwrap_used, reason = "a test fails by it, in its helpers too")]

mod child;
mod process;
mod support;

mod closing;
mod cloud;
mod first_contact;
mod foreign_sqlite;
mod kill_points;
mod lost_tail;
mod one_file;
mod outage;
mod random_kills;
mod spool;
mod suspended;
mod upkeep;
