//! The one place that spawns tasks and threads and reads the clock: it performs what the pure floors decide.
//!
//! A node has one *lease task* (drives the election, opens and shuts the gate), one *replicator* thread (owns
//! the local replica: follows, promotes, ships), one *checkpoint* thread, and the server's tasks.

mod adopt;
mod apply;
mod assemble;
mod at_boundary;
mod blocking;
mod checkpoints;
mod clock;
mod compact;
mod complete;
mod confirmations;
#[cfg(test)]
mod confirmations_tests;
mod damage;
mod draft;
mod draft_ahead;
#[cfg(feature = "cli")]
mod end_request;
mod events;
mod examine;
mod file_reader;
mod follow;
mod footing;
mod forward;
mod found;
mod ground;
mod heartbeat;
mod journal_file;
mod keeper;
mod lead;
mod lease;
mod local_files;
mod log;
mod lookup;
mod manifest_hint;
mod moments;
mod node;
mod object_reader;
#[cfg(test)]
mod object_reader_tests;
mod outage;
mod own_snapshot;
mod owners;
mod page_writer;
mod pass_damage;
mod patience;
mod peers;
mod promote;
mod publish;
mod read_only;
mod relay;
mod replica;
mod replicator;
mod restore;
mod restore_database;
mod restore_target;
mod retain;
mod rewind;
mod role_events;
mod roster;
mod scratch;
mod service;
mod settle;
mod shared;
mod spool;
mod stamps;
mod start;
mod succession;
mod survey;
#[cfg(test)]
mod test_world;
mod upkeep;
#[cfg(test)]
mod upkeep_damage_tests;
#[cfg(test)]
mod upkeep_life_tests;
#[cfg(test)]
mod upkeep_own_tests;
#[cfg(test)]
mod upkeep_tests;
mod verify;
mod verify_task;

pub(crate) use blocking::run_blocking;
pub(crate) use clock::{now as boot_clock, wall_ms};
pub(crate) use complete::complete;
pub(crate) use confirmations::LocalReader;
#[cfg(feature = "cli")]
pub(crate) use end_request::EndRequest;
pub use events::Subscription;
pub(crate) use footing::{bucket_of_log, bucket_of_log_later};
pub(crate) use forward::moved_away;
pub(crate) use log::Log;
pub(crate) use node::{Node, NodeOptions, lease_key, manifest_key};
pub(crate) use read_only::{ReadOnlyOptions, ReadOnlyView, meet};
pub(crate) use restore::{RestoreRequest, Until};
pub(crate) use restore_database::{RestoreOptions, restore_database};
pub use role_events::RoleEvents;
pub(crate) use scratch::Scratch;
pub(crate) use shared::Settings;
pub(crate) use survey::{Survey, survey};
pub(crate) use verify::{VerifyOptions, verify_log};
