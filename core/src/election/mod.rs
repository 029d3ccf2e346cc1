//! Who leads: the lease logic as a state machine without I/O, clock or randomness.
//!
//! The driver owns one [`Election`] per open database and does five things with it:
//!
//! 1. `Election::new(config)` once, with a session id that no other opening ever had, then an
//!    [`Event::Timer`] to set it off.
//! 2. `handle(now, event)` for whatever happened, from one task, with `now` read from the boot clock just
//!    before the call.
//! 3. Perform the returned effects in their order. [`Effect::Read`], [`Effect::Create`] and
//!    [`Effect::Replace`] are operations on the register: there is never more than one under way, and each
//!    is answered exactly once ([`Event::ReadDone`] or [`Event::SwapDone`]), at the latest when its timeout
//!    is over, and then with an error. Everything else is done at once; work that takes long
//!    ([`Effect::Promote`], [`Effect::Demote`]) is started, and reports back as an event with its tenure.
//! 4. Sleep until `wake_at()` (asked anew after each `handle`), or until the next event.
//! 5. Stop after [`Effect::Closed`] or [`Effect::Failed`].
//!
//! What makes it safe: a leader counts its lease from before it *sent* the renewal and closes its gate a
//! margin before the end; a challenger counts from when it *had* the answer that first showed a record, and
//! waits for the whole time to live and a margin. The leader's count starts before the challenger's, so only
//! clocks that run apart by two margins within one TTL can make both believe. Even then no confirmed write
//! is at stake: the log fences.

mod config;
mod effect;
mod event;
mod following;
mod holding;
mod machine;
mod record;
mod releasing;

#[cfg(test)]
mod simulation_tests;
#[cfg(test)]
mod transcript_tests;

pub(crate) use config::ElectionConfig;
pub(crate) use effect::{Effect, Reason};
pub(crate) use event::{Event, Found, SwapOutcome, Tenure, Version};
pub(crate) use machine::Election;
pub(crate) use record::LeaseRecord;
