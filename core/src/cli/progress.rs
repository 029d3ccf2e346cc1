use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a line on a terminal is drawn anew.
const DRAWN_EVERY: Duration = Duration::from_millis(120);

/// A line on the standard error that says what goes on; nothing if that is no terminal. It goes with this value.
pub(super) struct Spinner(ProgressBar);

impl Spinner {
    pub(super) fn start() -> Spinner {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::default_spinner());
        bar.enable_steady_tick(DRAWN_EVERY);
        Spinner(bar)
    }

    pub(super) fn say(&self, text: &str) {
        self.0.set_message(text.to_owned());
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
