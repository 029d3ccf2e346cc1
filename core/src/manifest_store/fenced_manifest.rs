use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::fenced_bucket::{FencedBucket, TRIES};
use super::{ManifestPut, ManifestVersion};
use crate::bucket::{Key, Range};
use crate::replication::{Claim, LogManifest, Mine};
use crate::types::{Chain, Epoch, Error, ErrorKind, Result, Txid};

/// What a session knows of a fenced log.
#[derive(Default)]
pub(super) struct State {
    /// Its claim that has not started, as far as it knows.
    pub(super) mine: Option<Mine>,
    /// Whether the end was looked for, and found, for the start that `mine` has begun.
    pub(super) looked: bool,
    /// The newest manifest that it has seen.
    pub(super) seen: Option<Seen>,
    /// A slot that was not there when the manifest was linearizably this one: looked for again, it costs no second
    /// look at the manifest.
    pub(super) absent: Option<(Txid, Arc<LogManifest>)>,
    /// The last slot that it sent: never with other bytes.
    pub(super) sent: Option<(Txid, Epoch, Vec<u8>)>,
    /// How often in a row a slot's fate could not be told.
    pub(super) doubts: (Txid, u32),
    /// Slots of nobody below the floor, to be deleted at some time.
    pub(super) junk: BTreeSet<String>,
    /// Which version of a file is shown, by level, first and last slot.
    pub(super) copies: BTreeMap<(u8, Txid, Txid), Chain>,
    /// Files that are damaged, and are to be written again.
    pub(super) given_up: BTreeSet<String>,
}

/// A manifest as it was read.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) manifest: Arc<LogManifest>,
    pub(super) version: ManifestVersion,
}

impl FencedBucket {
    /// The manifest, perhaps not the newest; `None` if there never was one. `Corrupt` if it is older than one that
    /// this session has seen, or gone.
    pub(super) async fn read(&self) -> Result<Option<Seen>> {
        let before = self.state.lock().seen.as_ref().map(|seen| seen.manifest.newest());
        let Some(found) = self.place.store.read(&self.place.key).await? else {
            return match before {
                None => Ok(None),
                Some(_) => Err(self.lost("it is not there any more")),
            };
        };
        let manifest = LogManifest::decode(&found.body).map_err(|e| e.context(&self.place.key))?;
        if before.is_some_and(|before| manifest.newest() < before) {
            return Err(self.lost("it is older than it was"));
        }
        let seen = Seen { manifest: Arc::new(manifest), version: found.version };
        self.state.lock().seen = Some(seen.clone());
        Ok(Some(seen))
    }

    /// As [`FencedBucket::read`], where there must be one.
    pub(super) async fn must_read(&self) -> Result<Seen> {
        let unclaimed = || Error::new(ErrorKind::Internal, "a log is written before an epoch was claimed");
        self.read().await?.ok_or_else(unclaimed)
    }

    /// Stores the next manifest, if the one that was seen is still there. `Lost` may be said of a swap that took
    /// place after all, when a client repeated it: read again.
    pub(super) async fn swap(&self, seen: Option<&Seen>, next: &LogManifest) -> Result<ManifestPut> {
        let expected = seen.map(|seen| &seen.version);
        let put = self.place.store.put(&self.place.key, next.newest(), &next.encode(), expected).await?;
        if let ManifestPut::Done(version) = &put {
            let seen = Seen { manifest: Arc::new(next.clone()), version: version.clone() };
            self.state.lock().seen = Some(seen);
        }
        Ok(put)
    }

    /// Whether, at some moment from now on, the manifest is what was seen: a linearizable look.
    pub(super) async fn still(&self, seen: &Seen) -> Result<bool> {
        let mut version = seen.version.clone();
        for _ in 0..TRIES {
            if let Some(version) = self.place.store.confirm(&self.place.key, &version).await? {
                let manifest = Arc::clone(&seen.manifest);
                self.state.lock().seen = Some(Seen { manifest, version });
                return Ok(true);
            }
            // The look of another session may have given it another version, and changed nothing.
            let now = self.must_read().await?;
            if now.manifest != seen.manifest {
                return Ok(false);
            }
            version = now.version;
        }
        Err(self.busy())
    }

    pub(super) fn mine(&self) -> Option<Mine> {
        self.state.lock().mine
    }

    /// Claims an epoch, at least this one and above every other: who could start before can no more. From now on this
    /// session reads the log to its end, and its first slot starts the epoch there. Gives the epoch.
    ///
    /// `Corrupt` if the manifest has lost data, or the log is not fenced by one.
    pub(crate) async fn claim(&self, at_least: Epoch) -> Result<Epoch> {
        let mut first = None;
        for _ in 0..TRIES {
            let seen = self.read().await?;
            let manifest = match &seen {
                Some(seen) => LogManifest::clone(&seen.manifest),
                None => {
                    self.refuse_loss().await?;
                    LogManifest::default()
                }
            };
            // Who was overtaken has lost its lease, as it seems: it must not put an end to a leader that has begun.
            if *first.get_or_insert(manifest.newest()) < manifest.newest() {
                return Err(Error::new(ErrorKind::Fenced, "another node claimed the log at the same time"));
            }
            let is_new = manifest.genesis().is_none();
            if is_new {
                self.refuse_plain().await?;
            }
            if let Some(seen) = &seen
                && !self.knows_every_epoch(seen).await?
            {
                continue;
            }
            // Before the manifest says so, and again in case that did not come to its end.
            self.mark(&manifest).await?;
            let above = manifest.newest().next().ok_or_else(no_epochs)?;
            let claim = Claim { epoch: at_least.max(above), session: self.session };
            let next = manifest.with_claim(claim)?;
            {
                let mut state = self.state.lock();
                (state.mine, state.looked) = (None, false);
            }
            let answer = self.swap(seen.as_ref(), &next).await;
            let done = matches!(answer, Ok(ManifestPut::Done(_)))
                || self.read().await?.is_some_and(|seen| seen.manifest.is_claimed_by(claim));
            if done {
                if is_new {
                    // Whoever began the log without a manifest at the same time looks for the mark.
                    self.refuse_plain().await?;
                }
                self.state.lock().mine = Some(Mine { claim, starting: None });
                return Ok(claim.epoch);
            }
            answer?;
        }
        Err(self.busy())
    }

    /// Refuses to fence a log that was begun without a manifest, by us or by another tool.
    pub(super) async fn refuse_plain(&self) -> Result<()> {
        let genesis = self.inner.get(&self.key(&Key::Genesis), Range::Whole).await?;
        let slots = Key::level_prefix(0, &self.root, self.layout);
        if genesis.is_none() && self.inner.list(&slots, None).await?.objects.is_empty() {
            return Ok(());
        }
        let message = format!(
            "the log at {:?} of {} was begun without a manifest, and cannot get one: choose another prefix or name, \
             and start it from a restore",
            self.root,
            self.inner.describe()
        );
        Err(Error::new(ErrorKind::StoreUnfit, message))
    }

    /// Looks for slots of epochs that the manifest does not know. `false` if the manifest has changed meanwhile,
    /// `Corrupt` if it has lost data. A listing may lag: what it does not show proves nothing.
    async fn knows_every_epoch(&self, seen: &Seen) -> Result<bool> {
        let prefix = Key::fenced_prefix(&self.root);
        let from = seen.manifest.open_from().previous().unwrap_or_default();
        let mut after = Some(self.key(&Key::FencedSlot { txid: from, epoch: Epoch::MAX }));
        loop {
            let page = self.inner.list(&prefix, after.as_deref()).await?;
            for object in &page.objects {
                if self.is_unheard_of(&object.key, seen).is_some() {
                    return self.must_have_changed(seen, &object.key).await.map(|()| false);
                }
            }
            after = page.objects.last().map(|object| object.key.clone());
            if !page.more || after.is_none() {
                return Ok(true);
            }
        }
    }

    /// The epoch of a slot's object, if the manifest does not know that it may have one.
    pub(super) fn is_unheard_of(&self, key: &str, seen: &Seen) -> Option<Epoch> {
        match Key::parse_fenced(key, &self.root, self.layout)? {
            Key::FencedSlot { epoch, .. } => {
                Some(epoch).filter(|epoch| !seen.manifest.may_have_written(*epoch))
            }
            _ => None,
        }
    }

    /// There is an object of an epoch that the manifest, as it was seen, does not know: either it has changed, or it
    /// has lost data, which is `Corrupt`.
    pub(super) async fn must_have_changed(&self, seen: &Seen, key: &str) -> Result<()> {
        if self.still(seen).await? {
            return Err(self.lost(&format!(
                "{key} is of an epoch that has not started, of {} that it knows",
                seen.manifest.newest()
            )));
        }
        Ok(())
    }
}

fn no_epochs() -> Error {
    Error::new(ErrorKind::LimitExceeded, "there are no epochs left")
}
