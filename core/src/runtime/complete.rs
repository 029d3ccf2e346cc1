use std::future::Future;
use std::thread;

use crate::types::{Error, ErrorKind, Result};

/// Runs a future to its end on a thread and a runtime of its own: allowed on any thread, also one of another
/// runtime. For what happens once, before there is a node.
pub(crate) fn complete<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Result<T> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.map(|runtime| runtime.block_on(future)).map_err(|e| Error::io("starting a runtime", e))
    };
    thread::spawn(run).join().map_err(|_| Error::new(ErrorKind::Internal, "a task panicked"))?
}
