use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::thread;

use parking_lot::{Condvar, Mutex};

use crate::types::{Error, Event, Result};

/// Tells applications what happens, on a thread of its own: a slow or panicking subscriber delays other
/// subscribers, never the node.
#[derive(Clone)]
pub(crate) struct Events(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    queue: VecDeque<Event>,
    subscribers: Vec<(u64, Callback)>,
    next: u64,
    running: bool,
    closed: bool,
}

type Callback = Arc<dyn Fn(Event) + Send + Sync>;

/// A subscription: events stop when it is dropped.
#[must_use = "events stop when the subscription is dropped"]
pub struct Subscription {
    events: Weak<Inner>,
    number: u64,
}

/// At so many undelivered events the oldest that is not a lost tail is dropped. The newest role is always
/// among them.
const QUEUE: usize = 1024;

impl Events {
    /// Nobody listens yet.
    pub(crate) fn new() -> Events {
        let state =
            State { queue: VecDeque::new(), subscribers: Vec::new(), next: 0, running: false, closed: false };
        Events(Arc::new(Inner { state: Mutex::new(state), work: Condvar::new() }))
    }

    /// Calls `callback` for every event from now on.
    pub(crate) fn subscribe(&self, callback: Callback) -> Result<Subscription> {
        let mut state = self.0.state.lock();
        if !state.running {
            let inner = Arc::clone(&self.0);
            thread::Builder::new()
                .name("haqlite-events".into())
                .spawn(move || inner.deliver())
                .map_err(|e| Error::io("starting the events thread", e))?;
            state.running = true;
        }
        state.next += 1;
        let number = state.next;
        state.subscribers.push((number, callback));
        self.0.work.notify_one();
        Ok(Subscription { events: Arc::downgrade(&self.0), number })
    }

    /// Queues an event.
    pub(crate) fn emit(&self, event: Event) {
        let mut state = self.0.state.lock();
        // A tail may be found lost before anybody can listen: that is told to the first who does.
        let waits = matches!(event, Event::TailLost { .. });
        if state.closed || (state.subscribers.is_empty() && !waits) {
            return;
        }
        if state.queue.len() >= QUEUE {
            let droppable = state.queue.iter().position(|e| !matches!(e, Event::TailLost { .. }));
            state.queue.remove(droppable.unwrap_or(0));
        }
        state.queue.push_back(event);
        self.0.work.notify_one();
    }

    /// Delivers what is queued and ends the thread.
    pub(crate) fn close(&self) {
        self.0.state.lock().closed = true;
        self.0.work.notify_one();
    }
}

impl Inner {
    fn deliver(&self) {
        let mut state = self.state.lock();
        loop {
            let next = if state.subscribers.is_empty() { None } else { state.queue.pop_front() };
            let Some(event) = next else {
                if state.closed {
                    return;
                }
                self.work.wait(&mut state);
                continue;
            };
            let callbacks: Vec<Callback> = state.subscribers.iter().map(|(_, c)| Arc::clone(c)).collect();
            drop(state);
            for callback in callbacks {
                let event = event.clone();
                let call = std::panic::AssertUnwindSafe(|| callback(event));
                if std::panic::catch_unwind(call).is_err() {
                    tracing::error!("an event subscriber panicked");
                }
            }
            state = self.state.lock();
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(events) = self.events.upgrade() {
            events.state.lock().subscribers.retain(|(number, _)| *number != self.number);
        }
    }
}
