use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::header::{HeaderValue, IF_NONE_MATCH};
use reqwest::{Method, StatusCode};
use tokio::runtime::{Handle, Id};

use super::store_client::{StoreAnswer, StoreClient, StoreRequest};

/// How long the server is asked to wait, in seconds: below the patience of most proxies.
const WAIT_SECONDS: u64 = 20;

/// The least time between two looks, for a server that does not wait, or answers with errors.
const PAUSE: Duration = Duration::from_secs(1);

/// The most, after several errors.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Watches keys of a store by requests that the server answers when there is something new.
///
/// Whoever waits may stop and begin again at any moment, as somebody does who polls as well: the request that is on
/// its way is kept for the next time, so that it costs no connection each time.
pub(crate) struct LongPoll {
    client: Arc<StoreClient>,
    path: &'static str,
    version_of: fn(&StoreAnswer) -> Option<u64>,
    /// The newest watch that was left; one, so that nothing piles up.
    parked: Mutex<Option<Watch>>,
}

/// A watch of a key, from a version on.
struct Watch {
    key: String,
    version: Option<String>,
    /// Its timers live as long as this runtime.
    runtime: Id,
    heard: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl LongPoll {
    /// Watches what is at `path`; `version_of` finds the version in an answer with status 200.
    pub(crate) fn new(
        client: Arc<StoreClient>,
        path: &'static str,
        version_of: fn(&StoreAnswer) -> Option<u64>,
    ) -> LongPoll {
        LongPoll { client, path, version_of, parked: Mutex::new(None) }
    }

    /// Returns when the key may have another version than `version`. Errors are waited out, with pauses.
    pub(crate) async fn changed(&self, key: &str, version: Option<&str>) {
        let runtime = Handle::current().id();
        let is_same = |watch: &Watch| {
            watch.key == key && watch.version.as_deref() == version && watch.runtime == runtime
        };
        let parked = self.parked.lock().take().filter(is_same);
        let watch = parked.unwrap_or_else(|| {
            let (key, version) = (key.to_owned(), version.map(str::to_owned));
            let (client, path, version_of) = (Arc::clone(&self.client), self.path, self.version_of);
            let heard = Box::pin(watch(client, path, version_of, key.clone(), version.clone()));
            Watch { key, version, runtime, heard }
        });
        Held { parking: &self.parked, watch: Some(watch) }.await;
    }
}

/// A watch that is parked when whoever waits for it stops.
struct Held<'a> {
    parking: &'a Mutex<Option<Watch>>,
    watch: Option<Watch>,
}

impl Future for Held<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(watch) = &mut self.watch else { return Poll::Ready(()) };
        let polled = watch.heard.as_mut().poll(cx);
        if polled.is_ready() {
            self.watch = None;
        }
        polled
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.take() {
            let before = self.parking.lock().replace(watch);
            drop(before);
        }
    }
}

async fn watch(
    client: Arc<StoreClient>,
    path: &'static str,
    version_of: fn(&StoreAnswer) -> Option<u64>,
    key: String,
    version: Option<String>,
) {
    let known = version.as_deref();
    let condition = known.and_then(|version| HeaderValue::from_str(&format!("\"{version}\"")).ok());
    let mut pause = PAUSE;
    loop {
        // Its time runs from here on.
        let round = tokio::time::sleep(PAUSE);
        let asked = client.send(StoreRequest {
            method: Method::GET,
            path,
            key: &key,
            condition: condition.clone().map(|value| (IF_NONE_MATCH, value)),
            body: None,
            wait: Some(WAIT_SECONDS),
        });
        match asked.await {
            Ok(answer) => {
                let found = match answer.status {
                    StatusCode::OK => version_of(&answer).map(|version| version.to_string()),
                    StatusCode::NOT_FOUND => None,
                    _ => version.clone(),
                };
                if found.as_deref() != known {
                    return;
                }
                pause = PAUSE;
                round.await;
            }
            Err(_) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}
