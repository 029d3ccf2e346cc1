use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use super::ManifestPut;
use super::fenced_bucket::{FencedBucket, TRIES, unexpected};
use super::fenced_manifest::Seen;
use crate::bucket::{
    Body, Delete, Key, Listed, Listing, Object, Put, PutMode, PutOptions, Range, Version, blocking,
};
use crate::ltx::Header;
use crate::replication::{Claim, End, Mine, Shown, Standing};
use crate::types::{Epoch, Error, ErrorKind, Outcome, Result, Txid};

/// So often in a row a slot's fate may be untold. Then whoever leads should look for it as a follower, and claim
/// another epoch: the session that stands in the way may be dead.
const MOST_DOUBTS: u32 = 8;
/// So many slots of nobody are remembered, to be deleted.
const MOST_JUNK: usize = 256;

/// For so long who has time waits for a take-over to end.
const MOST_WAITS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(250);

/// What the look for the end of the log has shown.
enum Look {
    /// The slot is free, and the one before it is the last.
    Free,
    /// The slot is there.
    Taken,
    /// Another look is needed.
    Unclear,
}

impl FencedBucket {
    /// The slot, linearizably. `LeaderUnavailable` while it cannot be told whether what is there is the slot.
    pub(super) async fn get_slot(&self, txid: Txid, range: Range) -> Result<Option<Object>> {
        for _ in 0..TRIES {
            let Some(seen) = self.read().await? else { return Ok(None) };
            let (epoch, is_settled) = match seen.manifest.shown(txid, self.mine()) {
                Shown::Nothing => (None, false),
                Shown::Settled(epoch) => (Some(epoch), true),
                Shown::Open(epoch) | Shown::Contested(epoch) => (Some(epoch), false),
            };
            let found = match epoch {
                Some(epoch) => self.inner.get(&self.slot_key(txid, epoch), range).await?,
                None => None,
            };
            // A settled slot never changes its owner. It may have been deleted.
            if is_settled {
                return Ok(found);
            }
            let Some(object) = found else {
                // Its owner at some moment during this call has no such object.
                if self.is_absent(txid, &seen).await? {
                    return Ok(None);
                }
                continue;
            };
            if !self.still(&seen).await? {
                continue;
            }
            // Judged now, and not before: our own claim may have begun to start.
            return match seen.manifest.shown(txid, self.mine()) {
                Shown::Open(_) => Ok(Some(object)),
                _ => Err(untold(txid)),
            };
        }
        Err(self.busy())
    }

    /// Whether the manifest was what was seen at some moment from this call's begin on, or was so when the slot was
    /// missed the last time: then a read of the manifest, which is at least as new, is enough.
    async fn is_absent(&self, txid: Txid, seen: &Seen) -> Result<bool> {
        let known = self.state.lock().absent.clone();
        if known.is_some_and(|(slot, manifest)| slot == txid && manifest == seen.manifest) {
            return Ok(true);
        }
        let is_still = self.still(seen).await?;
        if is_still {
            self.state.lock().absent = Some((txid, Arc::clone(&seen.manifest)));
        }
        Ok(is_still)
    }

    /// Creates the slot, for the epoch that its header names.
    ///
    /// `Stored`: it is the log's for ever. `Refused`: there is a slot, perhaps this one: read it. An error leaves its
    /// fate open; with `Fenced` nobody is there who would settle it.
    pub(super) async fn put_slot(&self, txid: Txid, body: Body, options: PutOptions) -> Result<Put> {
        let print = fingerprint(&body).await?;
        let epoch = epoch_of(&print, txid)?;
        // What a manifest that was read before allows is judged after the PUT anyway.
        let (mine, known) = {
            let state = self.state.lock();
            (state.mine, state.seen.clone())
        };
        let known = known.filter(|seen| seen.manifest.standing(epoch, txid, mine) == Standing::Open);
        let mut seen = match known {
            Some(seen) => seen,
            None => self.must_read().await?,
        };
        match seen.manifest.standing(epoch, txid, self.mine()) {
            Standing::Claimed => {
                if !self.start(txid, Claim { epoch, session: self.session }).await? {
                    return Ok(Put::Refused);
                }
                seen = self.must_read().await?;
            }
            Standing::Open | Standing::Contested => {}
            Standing::Settled | Standing::Superseded => return self.refuse(txid).await,
            Standing::Unheard => return Err(self.unheard(epoch, &seen).await?),
        }
        self.never_other_bytes(txid, epoch, print)?;
        let key = self.slot_key(txid, epoch);
        let options = PutOptions { mode: PutMode::Overwrite, ..options };
        match self.inner.put(&key, body, options).await? {
            Put::Stored(version) => self.judge(txid, epoch, version, seen).await,
            Put::Refused => Err(unexpected("a refused overwrite")),
        }
    }

    /// What became of a slot whose PUT has ended.
    async fn judge(&self, txid: Txid, epoch: Epoch, version: Version, mut seen: Seen) -> Result<Put> {
        for _ in 0..TRIES {
            match seen.manifest.standing(epoch, txid, self.mine()) {
                Standing::Open if self.still(&seen).await? => {
                    // Judged with what this session is about now.
                    if seen.manifest.standing(epoch, txid, self.mine()) == Standing::Open {
                        self.state.lock().doubts = (txid, 0);
                        return Ok(Put::Stored(version));
                    }
                    return Err(self.doubt(txid));
                }
                Standing::Open => {}
                Standing::Settled | Standing::Superseded => return self.refuse(txid).await,
                Standing::Contested if self.still(&seen).await? => return Err(self.doubt(txid)),
                Standing::Contested => {}
                Standing::Claimed => return Err(self.doubt(txid)),
                Standing::Unheard => return Err(self.unheard(epoch, &seen).await?),
            }
            seen = self.must_read().await?;
        }
        Err(self.busy())
    }

    /// The log has gone on: what is there decides, once it can be read.
    async fn refuse(&self, txid: Txid) -> Result<Put> {
        match self.get_slot(txid, Range::Part { offset: 0, length: 1 }).await {
            Ok(Some(_)) => Ok(Put::Refused),
            Ok(None) => Err(self.doubt(txid)),
            Err(error) if error.kind() == ErrorKind::LeaderUnavailable => Err(self.doubt(txid)),
            Err(error) => Err(error),
        }
    }

    /// Starts our claimed epoch at the slot, if the log ends right before it; `false` if the slot is there.
    ///
    /// From the first moment on, this session shows nothing that its look might miss. If the swap is not answered,
    /// the claim is good for nothing but the same start, once more.
    async fn start(&self, slot: Txid, claim: Claim) -> Result<bool> {
        let resumed = {
            let mut state = self.state.lock();
            let mine = state.mine.filter(|mine| mine.claim == claim);
            match mine.map(|mine| mine.starting) {
                None => return Err(fenced(claim.epoch, "another claim took its place")),
                Some(Some(other)) if other != slot => {
                    return Err(fenced(claim.epoch, "its start at another slot was never answered"));
                }
                Some(starting) => {
                    state.mine = Some(Mine { claim, starting: Some(slot) });
                    starting.is_some() && state.looked
                }
            }
        };
        self.state.lock().looked = resumed;
        for _ in 0..TRIES {
            let seen = self.must_read().await?;
            if seen.manifest.is_started_by(claim, slot) {
                return Ok(true);
            }
            let Some(next) = seen.manifest.with_start(claim, slot) else {
                return Err(fenced(claim.epoch, "another claim took its place"));
            };
            // The floor may have risen over the slot since it was missed.
            match seen.manifest.end_before(slot) {
                End::Beyond => {
                    self.stop_starting(claim);
                    return Ok(false);
                }
                End::Deleted => return Err(fenced(claim.epoch, "the log has gone on and was compacted")),
                End::Empty | End::Probe(..) | End::Nowhere => {}
            }
            if !self.state.lock().looked {
                match self.look(&seen, slot).await? {
                    Look::Free => self.state.lock().looked = true,
                    Look::Unclear => continue,
                    Look::Taken => {
                        self.stop_starting(claim);
                        return Ok(false);
                    }
                }
            }
            if let ManifestPut::Done(_) = self.swap(Some(&seen), &next).await? {
                return Ok(true);
            }
        }
        Err(self.busy())
    }

    /// No start was sent, or it cannot take place any more: the claim is as it was.
    fn stop_starting(&self, claim: Claim) {
        let mut state = self.state.lock();
        if state.mine.is_some_and(|mine| mine.claim == claim) {
            (state.mine, state.looked) = (Some(Mine { claim, starting: None }), false);
        }
    }

    /// Looks whether the log ends right before the slot, by exact keys. Whoever lists may miss something.
    async fn look(&self, seen: &Seen, slot: Txid) -> Result<Look> {
        let (epoch, previous) = match seen.manifest.end_before(slot) {
            End::Empty => return Ok(Look::Free),
            End::Beyond | End::Deleted => return Ok(Look::Taken),
            End::Probe(epoch, previous) => (epoch, previous),
            End::Nowhere => return Err(Error::corrupt(format!("slot {slot} follows no slot of the log"))),
        };
        if self.is_there(slot, epoch).await? {
            return Ok(Look::Taken);
        }
        let Some(previous) = previous else { return Ok(Look::Free) };
        if self.is_there(previous, epoch).await? {
            return Ok(Look::Free);
        }
        if self.still(seen).await? {
            return Err(Error::corrupt(format!(
                "slot {previous} is missing from the log, before slot {slot}"
            )));
        }
        Ok(Look::Unclear)
    }

    async fn is_there(&self, txid: Txid, epoch: Epoch) -> Result<bool> {
        let first = Range::Part { offset: 0, length: 1 };
        Ok(self.inner.get(&self.slot_key(txid, epoch), first).await?.is_some())
    }

    /// The slots of the log, as far as a listing shows them.
    pub(super) async fn list_slots(&self, start_after: Option<&str>) -> Result<Listing> {
        let prefix = Key::fenced_prefix(&self.root);
        let mut after = start_after.and_then(|key| match Key::parse(key, &self.root, self.layout)? {
            Key::File { min, .. } => Some(self.slot_key(min, Epoch::MAX)),
            _ => None,
        });
        let (mut failures, mut waits) = (0, if self.is_patient { MOST_WAITS } else { 0 });
        while failures < TRIES {
            let Some(seen) = self.read().await? else {
                self.refuse_loss().await?;
                return Ok(Listing { objects: Vec::new(), more: false });
            };
            let page = self.inner.list(&prefix, after.as_deref()).await?;
            if let Some(strange) = page.objects.iter().find(|o| self.is_unheard_of(&o.key, &seen).is_some()) {
                self.must_have_changed(&seen, &strange.key).await?;
                failures += 1;
                continue;
            }
            let last = page.objects.last().map(|object| object.key.clone());
            let (objects, open) = self.owned(page.objects, &seen);
            if let Some(first) = open {
                if !self.still(&seen).await? {
                    failures += 1;
                    continue;
                }
                if !matches!(seen.manifest.shown(first, self.mine()), Shown::Open(_)) {
                    if waits == 0 {
                        return Err(untold(first));
                    }
                    waits -= 1;
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            }
            if !objects.is_empty() || !page.more || last.is_none() {
                return Ok(Listing { objects, more: page.more });
            }
            after = last;
        }
        Err(self.busy())
    }

    /// Those objects that are slots of the log, by their names there, and the first that is not settled.
    fn owned(&self, page: Vec<Listed>, seen: &Seen) -> (Vec<Listed>, Option<Txid>) {
        let mut open = None;
        let objects = page.into_iter().filter_map(|object| {
            let Key::FencedSlot { txid, epoch } = Key::parse_fenced(&object.key, &self.root, self.layout)?
            else {
                return None;
            };
            let shown = seen.manifest.shown(txid, self.mine());
            let is_settled = matches!(shown, Shown::Settled(_));
            match shown {
                Shown::Settled(owner) | Shown::Open(owner) | Shown::Contested(owner) if owner == epoch => {
                    if !is_settled {
                        open.get_or_insert(txid);
                    }
                    Some(Listed { key: self.key(&Key::slot(txid)), ..object })
                }
                _ => {
                    let mut state = self.state.lock();
                    if seen.manifest.floor().covers(txid) && state.junk.len() < MOST_JUNK {
                        state.junk.insert(object.key);
                    }
                    None
                }
            }
        });
        let objects = objects.collect();
        (objects, open)
    }

    /// Deletes a slot that the floor covers, and what others left below the floor.
    pub(super) async fn delete_slot(&self, txid: Txid) -> Result<Delete> {
        let seen = self.must_read().await?;
        if !seen.manifest.floor().covers(txid) {
            return Err(unexpected("the deletion of a slot above the floor"));
        }
        if let Shown::Settled(epoch) = seen.manifest.shown(txid, None) {
            self.inner.delete(&self.slot_key(txid, epoch), None).await?;
        }
        let junk = self.state.lock().junk.pop_first();
        if let Some(key) = junk {
            self.inner.delete(&key, None).await?;
        }
        Ok(Delete::Gone)
    }

    fn slot_key(&self, txid: Txid, epoch: Epoch) -> String {
        self.key(&Key::FencedSlot { txid, epoch })
    }

    /// Refuses to send a slot with other bytes than before: its key would not have one content any more.
    fn never_other_bytes(&self, txid: Txid, epoch: Epoch, print: Vec<u8>) -> Result<()> {
        let mut state = self.state.lock();
        if let Some((slot, by, before)) = &state.sent
            && (*slot, *by) == (txid, epoch)
            && *before != print
        {
            return Err(unexpected("a slot that was sent before with other bytes"));
        }
        state.sent = Some((txid, epoch, print));
        Ok(())
    }

    /// The slot's fate cannot be told.
    fn doubt(&self, txid: Txid) -> Error {
        let mut state = self.state.lock();
        let count = if state.doubts.0 == txid { state.doubts.1 + 1 } else { 1 };
        state.doubts = (txid, count);
        drop(state);
        let error = untold(txid).with_outcome(Outcome::Unknown);
        if count < MOST_DOUBTS {
            return error;
        }
        Error::new(ErrorKind::Fenced, error.message()).with_outcome(Outcome::Unknown)
    }

    /// The manifest, as it was seen, is of a lower epoch than a slot that is to be created: it may have been an old
    /// one. `Corrupt` if it was not.
    async fn unheard(&self, epoch: Epoch, seen: &Seen) -> Result<Error> {
        if self.still(seen).await? {
            return Ok(self.lost(&format!("it knows of no epoch {epoch}")));
        }
        Ok(self.busy())
    }
}

fn untold(txid: Txid) -> Error {
    let message = format!(
        "another session has begun to take the log over, and has not said from which slot on: slot {txid} may be \
         its own"
    );
    Error::new(ErrorKind::LeaderUnavailable, message)
}

fn fenced(epoch: Epoch, why: &str) -> Error {
    Error::new(ErrorKind::Fenced, format!("epoch {epoch} cannot start: {why}")).with_outcome(Outcome::Unknown)
}

/// What tells two files of one slot apart: size, header, and the end, which holds the checksum of all of it.
async fn fingerprint(body: &Body) -> Result<Vec<u8>> {
    let print = |size: u64, head: &[u8], tail: &[u8]| [&size.to_be_bytes()[..], head, tail].concat();
    let short = || Error::corrupt("a slot's file is cut off");
    match body {
        Body::Bytes(bytes) => {
            let head = bytes.get(..Header::SIZE).ok_or_else(short)?;
            let tail = bytes.get(bytes.len() - 16..).ok_or_else(short)?;
            Ok(print(bytes.len() as u64, head, tail))
        }
        Body::File(path) => {
            let path = path.clone();
            blocking(move || {
                let doing = |e| Error::io("reading a staged slot", e);
                let mut file = std::fs::File::open(&path).map_err(doing)?;
                let (mut head, mut tail) = ([0; Header::SIZE], [0; 16]);
                file.read_exact(&mut head).map_err(doing)?;
                let size = file.seek(SeekFrom::End(-16)).map_err(doing)? + 16;
                file.read_exact(&mut tail).map_err(doing)?;
                Ok(print(size, &head, &tail))
            })
            .await
        }
    }
}

/// The epoch in a slot's header.
fn epoch_of(print: &[u8], txid: Txid) -> Result<Epoch> {
    let head = print.get(8..8 + Header::SIZE).and_then(|head| head.try_into().ok());
    let header = Header::from_bytes(head.ok_or_else(|| Error::corrupt("a slot's file is cut off"))?)?;
    let origin = header.origin.filter(|_| header.min == txid && header.max == txid);
    origin.map(|origin| origin.epoch).ok_or_else(|| Error::corrupt(format!("it is no file of slot {txid}")))
}
