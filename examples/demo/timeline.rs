use std::time::{Duration, Instant};

/// What the demo tells, each line with the time since the start.
#[derive(Clone, Copy)]
pub(crate) struct Timeline {
    start: Instant,
}

impl Timeline {
    /// The time begins now.
    pub(crate) fn start() -> Timeline {
        #[expect(clippy::disallowed_methods, reason = "the demo measures real time")]
        let start = Instant::now();
        Timeline { start }
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Prints a line.
    pub(crate) fn say(&self, text: impl std::fmt::Display) {
        println!("{:6.2} s  {text}", self.now().as_secs_f64());
    }
}
