//! Decisions about the log: what the local files prove, what to fetch, when to ship, what an answer
//! means. Pure: time and the results of I/O come in as arguments, and what to do comes out.

mod barred;
mod catch_up;
#[cfg(test)]
mod catch_up_tests;
mod compaction;
mod complaints;
mod facts;
mod floor;
mod gaps;
mod genesis;
mod hand_over;
#[cfg(test)]
mod hand_over_tests;
mod hint;
mod journal;
#[cfg(test)]
mod journal_tests;
mod ledger;
mod manifest;
#[cfg(test)]
mod manifest_tests;
mod pace;
mod plan;
#[cfg(test)]
mod plan_tests;
mod retention;
mod shipper;
#[cfg(test)]
mod shipper_tests;
mod slot;
mod spool_limits;
mod timeline;
mod upkeep;
mod walk;

pub(crate) use barred::Barred;
pub(crate) use catch_up::{CatchUp, CatchUpEffect, CatchUpEvent};
pub(crate) use compaction::{
    Bounds, MOST_INPUTS, SNAPSHOTS, check_newest, plan_compaction, plan_repair, plan_snapshot,
};
pub(crate) use complaints::{Complaints, Plight};
pub(crate) use facts::Facts;
pub(crate) use floor::Floor;
pub(crate) use gaps::Gaps;
pub(crate) use genesis::Genesis;
pub(crate) use hand_over::{HandOver, HandOverEffect, HandOverEvent, HandOverLimits, Proof};
pub(crate) use hint::{Hint, ManifestWord, poll_after};
pub(crate) use journal::{Journal, MainFile, RECORD_BYTES, Record, RecordKind};
pub(crate) use ledger::{Ledger, missing_slots, out_of_reach};
pub(crate) use manifest::{Claim, End, LogManifest, Mine, Shown, Standing};
pub(crate) use pace::{Pace, Unshipped};
pub(crate) use plan::{LogFile, Plan, beyond_the_slots, covers, plan_as_far, plan_restore, plan_until};
pub(crate) use retention::{millis, plan_discard, plan_floor, plan_slots, plan_sweep};
pub(crate) use shipper::{Draft, PutAnswer, Shipper, ShipperEffect, ShipperEvent};
pub(crate) use slot::SlotFacts;
pub(crate) use spool_limits::SpoolLimits;
pub(crate) use timeline::{Owner, Timeline, newest_without_epoch};
pub(crate) use upkeep::{Chore, Known, Next, next_chore};
pub(crate) use walk::{Walk, WholeFile, check_name};
