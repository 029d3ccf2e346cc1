use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::types::Progress;

/// How often a line on a terminal is drawn anew.
const DRAWN_EVERY: Duration = Duration::from_millis(120);

const BAR: &str = "{wide_bar} {bytes}/{total_bytes} {eta}";

/// A line on the standard error that says what goes on; nothing if that is no terminal. It goes with this value.
pub(super) struct Spinner(ProgressBar);

impl Spinner {
    pub(super) fn start() -> Spinner {
        let line = on_stderr();
        line.set_style(ProgressStyle::default_spinner());
        line.enable_steady_tick(DRAWN_EVERY);
        Spinner(line)
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

/// The same, for what has a known end.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn start() -> Bar {
        let bar = on_stderr();
        bar.set_style(ProgressStyle::with_template(BAR).expect("BUG: the bar's template is fixed"));
        Bar(bar)
    }

    /// What a tool of the library is to call.
    pub(super) fn teller(&self) -> impl Fn(Progress) + Send + Sync + 'static {
        let bar = self.0.clone();
        move |progress| {
            bar.set_length(progress.bytes);
            bar.set_position(progress.bytes_done);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn on_stderr() -> ProgressBar {
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
}
