use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::types::{Error, ErrorKind, Result};

/// Threads at most: each may wait for a lock of the database, and who holds that must find one too.
const THREADS: usize = 512;
/// Calls that wait for a thread; one more is refused.
const QUEUE: usize = 16_384;
/// After how long a thread without work ends.
const IDLE: Duration = Duration::from_secs(10);

/// Runs `work` on a thread of this library when the future is first polled, under any executor.
///
/// Dropping the future afterwards does not stop the work; its result is lost. `LimitExceeded` if too much
/// waits already, `Internal` if the work panicked.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = oneshot::channel();
    POOL.submit(Box::new(move || {
        // Nobody may be waiting any more.
        let _ = sender.send(work());
    }))?;
    let panicked = |_| Error::new(ErrorKind::Internal, "a call panicked on its thread");
    receiver.await.map_err(panicked)?
}

type Job = Box<dyn FnOnce() + Send>;

static POOL: Pool =
    Pool { state: Mutex::new(State { jobs: VecDeque::new(), threads: 0, idle: 0 }), work: Condvar::new() };

/// Threads that come when there is work and go when there is none for a while.
struct Pool {
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl Pool {
    fn submit(&'static self, job: Job) -> Result<()> {
        let mut state = self.state.lock();
        if state.jobs.len() >= QUEUE {
            let message = format!("{QUEUE} calls wait for a thread already");
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        state.jobs.push_back(job);
        if state.idle >= state.jobs.len() || state.threads == THREADS {
            self.work.notify_one();
            return Ok(());
        }
        let spawned = thread::Builder::new().name("haqlite-call".into()).spawn(|| self.serve());
        match spawned {
            Ok(_) => state.threads += 1,
            Err(error) if state.threads == 0 => {
                state.jobs.pop_back();
                return Err(Error::io("starting a thread", error));
            }
            // The threads that run will come to it.
            Err(_) => {}
        }
        Ok(())
    }

    fn serve(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // The caller hears of the panic by the sender that is dropped.
                let _ = catch_unwind(AssertUnwindSafe(job));
                state = self.state.lock();
                continue;
            }
            state.idle += 1;
            let timed_out = self.work.wait_for(&mut state, IDLE).timed_out();
            state.idle -= 1;
            if timed_out && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;

    fn wait<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn work_runs_on_another_thread_and_its_panic_is_an_error() {
        let here = thread::current().id();
        assert_ne!(wait(run_blocking(|| Ok(thread::current().id()))).unwrap(), here);
        let panicked = wait(run_blocking::<()>(|| panic!("on purpose"))).unwrap_err();
        assert_eq!(panicked.kind(), ErrorKind::Internal);
        assert_eq!(wait(run_blocking(|| Ok(7))).unwrap(), 7);
    }

    #[test]
    fn calls_that_wait_for_each_other_all_find_a_thread() {
        let barrier = std::sync::Arc::new(std::sync::Barrier::new(40));
        wait(async {
            let mut calls = tokio::task::JoinSet::new();
            for _ in 0..40 {
                let barrier = std::sync::Arc::clone(&barrier);
                calls.spawn(run_blocking(move || {
                    barrier.wait();
                    Ok(())
                }));
            }
            while let Some(done) = calls.join_next().await {
                done.unwrap().unwrap();
            }
        });
    }
}
