use std::sync::Arc;

use super::shared::Shared;
use super::verify::{VerifyOptions, verify_log};
use crate::types::{ErrorKind, Event, Result, Role, VerifyReport};

/// Reads the whole log at the application's interval while this node leads, one request at a time, and reports
/// what is wrong. Ends when the node is closed, in the middle of a verification too.
pub(super) async fn run(shared: Arc<Shared>) {
    let Some(interval) = shared.settings.verify_interval else { return };
    let mut closing = shared.closing.subscribe();
    loop {
        let verification = async {
            tokio::time::sleep(interval).await;
            if shared.view.borrow().role == Role::Leader {
                let options = VerifyOptions { slowly: true, ..VerifyOptions::default() };
                report(&shared, verify_log(&shared.log, options).await);
            }
        };
        tokio::select! {
            () = verification => {}
            _ = closing.wait_for(|closing| *closing) => return,
        }
    }
}

fn report(shared: &Shared, verified: Result<VerifyReport>) {
    let problems = match verified {
        Ok(report) => report.problems,
        Err(error) => {
            // It is tried again, and what keeps the store away is reported by those who need it.
            tracing::warn!(kind = error.kind().name(), "the log was not verified: {error}");
            return;
        }
    };
    for problem in &problems {
        tracing::error!("the log is damaged: {problem}");
    }
    let was = shared.view.borrow().verify_error.is_some();
    let now = problems.first().map(|first| {
        let others =
            if problems.len() > 1 { format!(" (and {} more)", problems.len() - 1) } else { String::new() };
        (ErrorKind::Corrupt, format!("the log is damaged: {first}{others}"))
    });
    let is = now.is_some();
    shared.see(|view| view.verify_error = now);
    match (was, is) {
        (false, true) => shared.events.emit(Event::Degraded(ErrorKind::Corrupt)),
        (true, false) => shared.events.emit(Event::Recovered),
        (true, true) | (false, false) => {}
    }
}
