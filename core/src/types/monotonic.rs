use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment on this machine's boot clock, which goes on while the machine sleeps (`CLOCK_BOOTTIME`).
///
/// It has no meaning on another machine or after a reboot. Pure code is handed it; only the runtime
/// reads the clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Monotonic(Duration);

impl Monotonic {
    /// The moment so long after the boot.
    pub const fn from_boot(since_boot: Duration) -> Monotonic {
        Monotonic(since_boot)
    }

    /// How long after the boot.
    pub const fn since_boot(self) -> Duration {
        self.0
    }

    /// How long ago `earlier` was; zero if it is later than this.
    pub const fn since(self, earlier: Monotonic) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Monotonic {
    type Output = Monotonic;

    fn add(self, span: Duration) -> Monotonic {
        Monotonic(self.0.saturating_add(span))
    }
}

impl Sub<Duration> for Monotonic {
    type Output = Monotonic;

    fn sub(self, span: Duration) -> Monotonic {
        Monotonic(self.0.saturating_sub(span))
    }
}
