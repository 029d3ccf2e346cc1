//! The one place that spawns tasks and threads and reads the clock: it performs what the pure floors decide.

mod blocking;
mod clock;

pub(crate) use blocking::run_blocking;
pub(crate) use clock::boot_clock;
