use std::path::Path;
use std::sync::mpsc::{Sender, SyncSender, TrySendError, sync_channel};
use std::thread;

use super::shared::Message;
use crate::sqlite::Checkpointer;
use crate::types::{Error, Result};

/// Runs checkpoints on a thread of its own, so that their fsyncs delay neither capture nor commits.
pub(crate) struct Checkpoints {
    ask: SyncSender<()>,
    thread: thread::JoinHandle<()>,
}

impl Checkpoints {
    /// Starts the thread; it tells the replicator of every checkpoint that ended. It ends with this value.
    pub(crate) fn start(database: &Path, replicator: Sender<Message>) -> Result<Checkpoints> {
        let mut checkpointer = Checkpointer::open(database)?;
        let (ask, asked) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("haqlite-checkpoint".into())
            .spawn(move || {
                while let Ok(()) = asked.recv() {
                    if replicator.send(Message::Checkpointed(checkpointer.passive())).is_err() {
                        return;
                    }
                }
            })
            .map_err(|e| Error::io("starting the checkpoint thread", e))?;
        Ok(Checkpoints { ask, thread })
    }

    /// Ends the thread after the checkpoint that runs.
    pub(crate) fn stop(self) {
        drop(self.ask);
        if self.thread.join().is_err() {
            tracing::error!("the checkpoint thread panicked");
        }
    }

    /// Asks for a checkpoint. `false` if one is asked for already.
    pub(crate) fn ask(&self) -> bool {
        !matches!(self.ask.try_send(()), Err(TrySendError::Full(())))
    }
}
