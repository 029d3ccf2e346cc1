use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::types::{Error, Result};

/// Whether somebody asked this process to end: by Ctrl-C (SIGINT) or SIGTERM.
pub(crate) struct EndRequest(Arc<AtomicBool>);

/// Signals so soon after the first are the same wish.
const ECHO: Duration = Duration::from_millis(500);

impl EndRequest {
    /// Listens from now on, for as long as the process lives. Who asks a second time, half a second later or
    /// more, ends it at once with status 130.
    pub(crate) fn listen() -> Result<EndRequest> {
        let failed = |e| Error::io("listening to signals", e);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let listening = {
            let _inside = runtime.enter();
            let asked = signal(SignalKind::interrupt());
            asked.and_then(|asked| Ok((asked, signal(SignalKind::terminate())?)))
        };
        let (mut interrupt, mut terminate) = listening.map_err(failed)?;
        let requested = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&requested);
        let listen = move || {
            runtime.block_on(async move {
                next(&mut interrupt, &mut terminate).await;
                told.store(true, Ordering::Release);
                // Whoever passes signals on may send one twice.
                let pause = tokio::time::sleep(ECHO);
                tokio::pin!(pause);
                loop {
                    tokio::select! {
                        () = &mut pause => break,
                        () = next(&mut interrupt, &mut terminate) => {}
                    }
                }
                next(&mut interrupt, &mut terminate).await;
            });
            std::process::exit(130);
        };
        thread::Builder::new().name("haqlite-signals".into()).spawn(listen).map_err(failed)?;
        Ok(EndRequest(requested))
    }

    /// Whether that has happened.
    pub(crate) fn is_made(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
