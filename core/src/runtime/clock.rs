use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::types::Monotonic;

/// Now on the boot clock, which goes on while the machine sleeps: a lease must not live longer because
/// its holder was suspended.
pub(crate) fn now() -> Monotonic {
    #[cfg(target_os = "linux")]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    // On macOS the monotonic clock counts sleep.
    #[cfg(not(target_os = "linux"))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(CLOCK);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Monotonic::from_boot(Duration::new(seconds, nanoseconds))
}

/// Milliseconds since 1970, for the timestamps of log files: shown to people, never relied on.
#[expect(clippy::disallowed_methods, reason = "the runtime is where the clock is read")]
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
