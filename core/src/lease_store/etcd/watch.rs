use std::time::Duration;

use reqwest::Response;
use tokio::time::{Instant, sleep, sleep_until};

use super::failure::is_about_token;
use super::gateway::MAX_ANSWER_BYTES;
use super::message::{self, Line};
use super::version::Version;
use super::{EtcdLeaseStore, LeaseVersion};

/// How long one watch is trusted. A member that hangs, or that is cut off from the others, sends nothing, as one does
/// where nothing happens: after this time the key is read, by consensus, and another watch begins.
const TRUSTED: Duration = Duration::from_secs(10);

/// How long nothing is tried after a failure: from the first to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How many watches wait for their next caller at most.
const MAX_KEPT: usize = 16;

/// The stream of what happens to one key, over one connection.
pub(super) struct Watch {
    key: String,
    /// The first revision that was not delivered.
    next: i64,
    response: Response,
    /// What came and was not read yet.
    buffer: Vec<u8>,
    /// So much of it has no end of a line.
    searched: usize,
    /// How long it is trusted.
    until: Instant,
}

/// What came of watching.
#[derive(PartialEq, Eq, Debug)]
enum Ended {
    /// The key was written, or may have been.
    Changed,
    /// It is time to look.
    Due,
    /// The stream broke.
    Broken,
    /// etcd does not let this user watch, or does not know any more who it is.
    Refused,
}

/// The caller looks again and again, each time for a short while. So a watch outlives the call: it is put back when
/// the call is dropped, and the next one goes on with it. One that nobody came for is dropped by the next write to its
/// key, or for another one's room.
struct Borrowed<'a> {
    store: &'a EtcdLeaseStore,
    watch: Option<Watch>,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.take() {
            let mut kept = self.store.watches.lock();
            kept.retain(|other| other.key != watch.key);
            if kept.len() == MAX_KEPT {
                kept.remove(0);
            }
            kept.push(watch);
        }
    }
}

impl EtcdLeaseStore {
    /// See [`crate::lease_store::LeaseStore::changed`]. Nothing is missed: a watch begins with the revision after the
    /// version's own, or after that of a read which found the version, however long ago that was. If etcd has compacted
    /// what came after it, the read tells.
    pub(super) async fn wait_for_change(&self, key: &str, version: Option<&LeaseVersion>) {
        let known = match version.map(Version::parse) {
            Some(Some(known)) => Some(known),
            // Nothing has ever had such a version.
            Some(None) => return,
            None => None,
        };
        let mut since = known.as_ref().map(|version| version.revision);
        let mut pause = PAUSES.0;
        loop {
            let after = match since.take() {
                Some(revision) => revision,
                None => match self.look(key).await {
                    Ok((found, _)) if found != known => return,
                    Ok((_, revision)) => revision,
                    Err(_) => {
                        // Whoever polls beside us meets the error.
                        sleep(pause).await;
                        pause = PAUSES.1.min(pause * 2);
                        continue;
                    }
                },
            };
            match self.watch(key, after).await {
                Ended::Changed => return,
                Ended::Due => pause = PAUSES.0,
                ended => {
                    if ended == Ended::Refused {
                        self.gateway.forget_token();
                    }
                    sleep(pause).await;
                    pause = PAUSES.1.min(pause * 2);
                }
            }
        }
    }

    /// Waits until something happens to the key after this revision.
    async fn watch(&self, key: &str, after: i64) -> Ended {
        let kept = self.kept_watch(key, after);
        let mut borrowed = Borrowed { store: self, watch: kept };
        if borrowed.watch.is_none() {
            let request = message::watch(&self.full(key), after + 1);
            let Ok(response) = self.gateway.watch(&request).await else { return Ended::Broken };
            let until = sleep(TRUSTED).deadline();
            let (key, next, buffer) = (key.to_owned(), after + 1, Vec::new());
            borrowed.watch = Some(Watch { key, next, response, buffer, searched: 0, until });
        }
        let Some(watch) = &mut borrowed.watch else { return Ended::Broken };
        let ended = watch.next_event(after).await;
        if ended != Ended::Changed || watch.buffer.len() > MAX_ANSWER_BYTES {
            borrowed.watch = None;
        }
        ended
    }

    /// A watch that still waits for what happens to the key after this revision.
    fn kept_watch(&self, key: &str, after: i64) -> Option<Watch> {
        let mut kept = self.watches.lock();
        let at = kept.iter().position(|watch| watch.key == key)?;
        Some(kept.remove(at)).filter(|watch| watch.next <= after + 1)
    }

    /// Ends the watch of a key that nobody watches while this store writes to it.
    pub(super) fn drop_watch(&self, key: &str) {
        self.watches.lock().retain(|watch| watch.key != key);
    }
}

impl Watch {
    /// Reads on until there is an event after this revision. May be dropped at any moment, and called again.
    async fn next_event(&mut self, after: i64) -> Ended {
        loop {
            while let Some(end) = self.buffer[self.searched..].iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=self.searched + end).collect();
                self.searched = 0;
                if let Some(ended) = self.heard(&line, after) {
                    return ended;
                }
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > MAX_ANSWER_BYTES {
                // Nothing but an event is that long.
                return Ended::Changed;
            }
            tokio::select! {
                chunk = self.response.chunk() => match chunk {
                    Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                    Ok(None) | Err(_) => return Ended::Broken,
                },
                () = sleep_until(self.until) => return Ended::Due,
            }
        }
    }

    fn heard(&mut self, line: &[u8], after: i64) -> Option<Ended> {
        if line.trim_ascii().is_empty() {
            return None;
        }
        let Ok(Line { result: Some(watched) }) = serde_json::from_slice(line) else {
            return Some(Ended::Broken);
        };
        for event in &watched.events {
            self.next = self.next.max(event.kv.mod_revision + 1);
        }
        if self.next > after + 1 {
            return Some(Ended::Changed);
        }
        // Canceled for another reason: compacted, or the member ends.
        let why = &watched.cancel_reason;
        let refused = why.contains("permission denied") || is_about_token(why);
        watched.canceled.then_some(if refused { Ended::Refused } else { Ended::Broken })
    }
}
