//! The one place that spawns tasks and threads and reads the clock: it performs what the pure floors decide.

mod apply;
mod clock;
mod draft;
mod journal_file;
mod local_files;
mod log;
mod replica;
mod restore;
mod rewind;
mod settle;
mod blocking;
mod clock;

pub(crate) use blocking::run_blocking;
pub(crate) use clock::now as boot_clock;
