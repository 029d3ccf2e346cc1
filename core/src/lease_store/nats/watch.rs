//! Hearing of changes.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber};
use futures_core::Stream;
use parking_lot::Mutex;

use super::api::{self, ConsumerConfig, ConsumerInfo, Delivery, NewConsumer};
use super::link::{Link, unavailable};
use super::settings::json;
use crate::types::Result;

/// How often a consumer says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// A consumer that is silent for so long is not there any more.
const SILENCE: Duration = Duration::from_secs(5);

/// After this time without a listener the server forgets a consumer.
const FORGOTTEN: Duration = Duration::from_secs(5);

/// How far a consumer may be behind a read.
const LAG: Duration = Duration::from_millis(200);

/// The most messages of a watcher's life, below what its subscription holds: one that nobody asks any more ends
/// before it overflows.
const MESSAGES: u64 = 200;

/// Watchers that nobody asks at the moment.
const PARKED: usize = 256;

/// What a register is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Known {
    /// Not heard yet.
    Unheard,
    /// There is nothing, or the mark of a deletion.
    Nothing,
    /// It has this revision.
    Revision(u64),
}

/// One consumer of one key. It begins with what is newest in the bucket and gets everything after it, so nothing is
/// missed between a read and the watch, and its messages are counted, so that a hole is seen.
pub(super) struct Watcher {
    subject: String,
    link: Arc<Link>,
    messages: Subscriber,
    newest: Known,
    /// How many messages came.
    count: u64,
}

impl Watcher {
    /// A consumer of the subject in this stream.
    pub(super) async fn start(link: Arc<Link>, stream: &str, subject: &str) -> Result<Watcher> {
        let inbox = link.client.new_inbox();
        let failed = |e| unavailable("NATS takes no subscription").with_source(e);
        let mut messages = link.client.subscribe(inbox.clone()).await.map_err(|e| failed(e.to_string()))?;
        messages.unsubscribe_after(MESSAGES).await.map_err(|e| failed(e.to_string()))?;
        let nanoseconds = |span: Duration| span.as_nanos() as u64;
        let config = ConsumerConfig {
            deliver_subject: &inbox,
            filter_subject: subject,
            deliver_policy: "last_per_subject",
            ack_policy: "none",
            replay_policy: "instant",
            max_deliver: 1,
            headers_only: true,
            mem_storage: true,
            num_replicas: 1,
            idle_heartbeat: nanoseconds(HEARTBEAT),
            inactive_threshold: nanoseconds(FORGOTTEN),
        };
        let body = json(&NewConsumer { stream_name: stream, config })?;
        let create = format!("$JS.API.CONSUMER.CREATE.{stream}");
        let answer = link.ask_patiently(&create, HeaderMap::new(), body).await?;
        let info = api::answer::<ConsumerInfo>(&answer)?.map_err(api::Refusal::into_error)?;
        let newest = if info.num_pending == 0 { Known::Nothing } else { Known::Unheard };
        Ok(Watcher { subject: subject.to_owned(), link, messages, newest, count: 0 })
    }

    /// Returns `true` when the register may be another than the one that is wanted, and `false` when this watcher
    /// hears nothing more.
    pub(super) async fn differs(&mut self, wanted: Known) -> bool {
        loop {
            let patience = match (self.newest, wanted) {
                (Known::Unheard, _) => SILENCE,
                (newest, wanted) if newest == wanted => SILENCE,
                // The caller has seen something newer: that will be heard in a moment. If not, the bucket went
                // back in time.
                (Known::Revision(newest), Known::Revision(wanted)) if newest < wanted => LAG,
                (Known::Nothing, Known::Revision(_)) => LAG,
                _ => return true,
            };
            let message = tokio::select! {
                message = next(&mut self.messages) => message,
                () = self.link.over() => return false,
                () = tokio::time::sleep(patience) => return patience == LAG,
            };
            if !message.is_some_and(|message| self.take(api::delivery(&message))) {
                return false;
            }
        }
    }

    /// Whether the message is the one that had to come.
    fn take(&mut self, delivery: Delivery) -> bool {
        match delivery {
            Delivery::Heartbeat { sent } => sent == self.count,
            Delivery::Change { number, revision, deleted } => {
                self.count += 1;
                self.newest = if deleted { Known::Nothing } else { Known::Revision(revision) };
                number == self.count
            }
            Delivery::End => false,
        }
    }
}

async fn next(messages: &mut Subscriber) -> Option<Message> {
    std::future::poll_fn(|context| Pin::new(&mut *messages).poll_next(context)).await
}

/// Watchers between two questions: their callers stop and ask again at every turn, the consumer stays.
#[derive(Default)]
pub(super) struct Parked {
    watchers: Mutex<Vec<Watcher>>,
}

impl Parked {
    /// A watcher of the subject, or a place for one. It is parked again when the caller stops.
    pub(super) fn lend(&self, subject: &str) -> Lent<'_> {
        let mut watchers = self.watchers.lock();
        watchers.retain(|watcher| watcher.link.is_up());
        let found = watchers.iter().position(|watcher| watcher.subject == subject);
        Lent { parked: self, watcher: found.map(|at| watchers.swap_remove(at)) }
    }

    /// Nobody asks for this subject for now: its writer needs not to hear of itself.
    pub(super) fn forget(&self, subject: &str) {
        self.watchers.lock().retain(|watcher| watcher.subject != subject);
    }
}

pub(super) struct Lent<'a> {
    parked: &'a Parked,
    pub(super) watcher: Option<Watcher>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.take()
            && watcher.link.is_up()
        {
            let mut watchers = self.parked.watchers.lock();
            if watchers.len() < PARKED {
                watchers.push(watcher);
            }
        }
    }
}
