use std::convert::Infallible;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::clock;
use super::shared::{Message, Shared, View};
use crate::manifest_store::{Manifest, ManifestPlace, ManifestPut, ManifestVersion};
use crate::replication::{Hint, ManifestWord, poll_after};
use crate::types::{Error, ErrorKind, Event, Result, Role, Txid};

/// The shortest time between two hints of a leader, where followers watch the store.
const BETWEEN_HINTS: Duration = Duration::from_millis(200);

/// The shortest time between two looks of a follower at the manifest.
const BETWEEN_READS: Duration = Duration::from_millis(50);

/// The longest between two tries at a store that fails, or that tells of changes which are none.
const MOST_BETWEEN_TRIES: Duration = Duration::from_secs(30);

/// How long the store may take for one request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long a watch may take to tell of what is already there.
const WATCH_TIMEOUT: Duration = Duration::from_secs(2);

/// What the manifest says to a follower.
#[derive(Default)]
pub(super) struct Told(Mutex<Word>);

#[derive(Default)]
struct Word {
    /// Up to which slot it says that the log goes; `None` while it says nothing.
    txid: Option<Txid>,
    /// Whether a look at the log was asked for and has not begun.
    asked: bool,
}

impl Told {
    /// A look at the log begins: what is heard from now on asks for another.
    pub(super) fn looks(&self) {
        self.0.lock().asked = false;
    }

    fn forget(&self) {
        *self.0.lock() = Word::default();
    }
}

/// How much longer than usual the replicator may wait for its next look.
pub(super) fn spared(shared: &Shared) -> Duration {
    let (caught_up, applied) = {
        let view = shared.view.borrow();
        (view.caught_up, view.applied.txid)
    };
    let told = shared.told.0.lock().txid.filter(|_| caught_up);
    let pull = shared.timing.pull;
    poll_after(pull, told, applied).saturating_sub(pull)
}

/// Keeps the log's manifest a hint, where it is nothing more: while this node leads it is told how far the log is,
/// otherwise it is watched, and followers look at the log as soon as it names a slot that they do not have.
///
/// Nothing waits for any of this and nothing depends on it. A manifest that is late, lost, older or a lie can only
/// make a follower look in vain, or not before its own poll, which stays bounded (`poll_after`); what it then
/// applies it has read from the log. A manifest that is the log's commit point is watched, and never written.
pub(super) async fn run(shared: Arc<Shared>, place: ManifestPlace) {
    let mut view = shared.view.subscribe();
    loop {
        let leads = {
            let view = view.borrow_and_update();
            if view.closed {
                return;
            }
            view.role == Role::Leader
        };
        let over = view.wait_for(|view| view.closed || (view.role == Role::Leader) != leads);
        let work = async {
            match leads {
                true => tell(&shared, &place).await,
                false => listen(&shared, &place).await,
            }
        };
        tokio::select! {
            _ = over => {}
            never = work => match never {},
        }
        shared.told.forget();
        shared.see(|view| view.manifest_error = None);
    }
}

/// Tells how far the log is, whenever it is farther, one put at a time.
async fn tell(shared: &Shared, place: &ManifestPlace) -> Infallible {
    let mut view = shared.view.subscribe();
    let mut teller = Teller { place, state: State::Unknown, told: None };
    let mut pace = None;
    let mut pause = BETWEEN_HINTS;
    loop {
        let told = teller.told;
        let farther = view.wait_for(|view| Some(hint_of(view)) > told).await.map(|view| hint_of(&view));
        let Ok(hint) = farther else { return pending().await };
        match teller.tell(hint).await {
            Ok(Answer::Done) => {
                recovered(shared);
                pause = BETWEEN_HINTS;
                let pace = match pace {
                    Some(pace) => pace,
                    None => *pace.insert(pace_of(shared, place).await),
                };
                tokio::time::sleep(pace).await;
                continue;
            }
            Ok(Answer::NotOurs) => return pending().await,
            Ok(Answer::Again) => {}
            Err(error) => degraded(shared, error),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MOST_BETWEEN_TRIES);
    }
}

/// How far apart the puts of this leadership are. Where nobody can watch the store, a follower learns of them no
/// sooner than it would of the slots.
async fn pace_of(shared: &Shared, place: &ManifestPlace) -> Duration {
    // A store that can watch tells at once that there is something.
    match tokio::time::timeout(WATCH_TIMEOUT, place.store.changed(&place.key, None)).await {
        Ok(()) => BETWEEN_HINTS,
        Err(_) => shared.timing.pull.max(BETWEEN_HINTS),
    }
}

/// One leadership's word to the manifest.
struct Teller<'a> {
    place: &'a ManifestPlace,
    state: State,
    /// What the manifest is known to say of this leadership.
    told: Option<Hint>,
}

/// What the manifest is, for the next put.
enum State {
    /// To be read: nothing is known, or a put had no definite answer.
    Unknown,
    /// There is none, or a hint of this version.
    Hint(Option<ManifestVersion>),
}

enum Answer {
    Done,
    /// Somebody else wrote it meanwhile, or an earlier put of our own took place late.
    Again,
    /// It is the log's commit point, or a later leader's.
    NotOurs,
}

impl Teller<'_> {
    async fn tell(&mut self, hint: Hint) -> Result<Answer> {
        let ManifestPlace { store, key } = self.place;
        let version = match std::mem::replace(&mut self.state, State::Unknown) {
            State::Hint(version) => version,
            State::Unknown => match limited(store.read(key)).await? {
                None => None,
                Some(manifest) => {
                    if manifest.epoch > hint.epoch || ManifestWord::decode(&manifest.body)?.is_commit_point {
                        return Ok(Answer::NotOurs);
                    }
                    Some(manifest.version)
                }
            },
        };
        let body = hint.encode();
        Ok(match limited(store.put(key, hint.epoch, &body, version.as_ref())).await? {
            ManifestPut::Done(version) => {
                self.state = State::Hint(Some(version));
                self.told = Some(hint);
                Answer::Done
            }
            ManifestPut::Lost => Answer::Again,
            ManifestPut::Outranked { .. } => Answer::NotOurs,
        })
    }
}

/// Watches the manifest, and has the replicator look at the log when it tells of something new.
async fn listen(shared: &Shared, place: &ManifestPlace) -> Infallible {
    let mut known: Option<ManifestVersion> = None;
    let mut pause = BETWEEN_READS;
    loop {
        place.store.changed(&place.key, known.as_ref()).await;
        let found = limited(place.store.read(&place.key)).await.and_then(|manifest| {
            let version = manifest.as_ref().map(|manifest| manifest.version.clone());
            let is_new = version != known;
            known = version;
            hear(shared, manifest.as_ref()).map(|()| is_new)
        });
        // A watch that ends without a change, as one does that is cut off, must not keep the store busy.
        pause = match found {
            Ok(true) => BETWEEN_READS,
            Ok(false) | Err(_) => (pause * 2).min(MOST_BETWEEN_TRIES),
        };
        match found {
            Ok(_) => recovered(shared),
            Err(error) => {
                shared.told.forget();
                degraded(shared, error);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Takes the manifest's word for a reason to look, and for nothing else.
fn hear(shared: &Shared, manifest: Option<&Manifest>) -> Result<()> {
    let word = manifest.map(|manifest| ManifestWord::decode(&manifest.body)).transpose()?;
    let hint = word.as_ref().and_then(|word| word.hint);
    let applied = shared.view.borrow().applied.txid;
    let may_be_new = match (word, hint) {
        (_, Some(hint)) => hint.txid > applied,
        (Some(word), None) => word.is_commit_point,
        (None, None) => false,
    };
    let asks = {
        let mut told = shared.told.0.lock();
        told.txid = hint.map(|hint| hint.txid);
        let was_asked = told.asked;
        told.asked |= may_be_new;
        may_be_new && !was_asked
    };
    if asks {
        let now = clock::now();
        shared.see(|view| view.behind_since = view.behind_since.or(Some(now)));
        shared.tell_replicator(Message::Look);
    }
    Ok(())
}

fn hint_of(view: &View) -> Hint {
    Hint { epoch: view.confirmed.epoch, txid: view.confirmed.txid }
}

async fn limited<T>(request: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(result) => result,
        Err(_) => {
            let message = format!("no answer within {TIMEOUT:?}");
            Err(Error::new(ErrorKind::StoreUnavailable, message))
        }
    }
}

/// The manifest store fails and is asked again; told once.
fn degraded(shared: &Shared, error: Error) {
    let error = error.context("the manifest store");
    let kind = error.kind();
    if shared.view.borrow().manifest_error.is_none() {
        tracing::warn!(kind = kind.name(), "{error}");
        shared.see(|view| view.manifest_error = Some((kind, error.to_string())));
        shared.events.emit(Event::Degraded(kind));
    }
}

/// The manifest store works again.
fn recovered(shared: &Shared) {
    if shared.view.borrow().manifest_error.is_some() {
        shared.see(|view| view.manifest_error = None);
        shared.events.emit(Event::Recovered);
    }
}
