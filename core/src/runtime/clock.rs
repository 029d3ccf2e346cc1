use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::types::Monotonic;

/// A clock that goes on while the machine sleeps. On macOS, `CLOCK_MONOTONIC` is that one.
#[cfg(target_os = "linux")]
const BOOT: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const BOOT: ClockId = ClockId::Monotonic;

/// The time since this machine's boot.
pub(crate) fn boot_clock() -> Monotonic {
    let now = clock_gettime(BOOT);
    Monotonic::from_boot(Duration::new(now.tv_sec.max(0) as u64, now.tv_nsec.clamp(0, 999_999_999) as u32))
}
