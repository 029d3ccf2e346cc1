use bytes::Bytes;
use std::time::Duration;

use super::{Body, Bucket, Key, Object, Put, PutMode, PutOptions, Range, Version, join_all};
use crate::types::{Error, ErrorKind, Result};

const RACERS: usize = 8;
const ROUNDS: usize = 3;

/// How often a call is made before its error counts, and the pause before the second; it doubles.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Tries out whether the store keeps the promises that the log stands on, with objects of its own below
/// `root` that it deletes at the end. A crash leaves a few small objects below `_probe/`.
///
/// Fails with `StoreUnfit` if the store broke a promise, and with the store's own error if it did not
/// answer. Whoever calls remembers a good result.
pub async fn probe(bucket: &dyn Bucket, root: &str) -> Result<()> {
    let probe = Probe::new(bucket, root);
    let result = probe.promises().await;
    let cleaned = probe.clean_up().await;
    result.and(cleaned)
}

/// What a log can stand on in a bucket.
#[derive(Debug)]
pub(crate) enum Fitness {
    /// On its conditional writes.
    Conditional,
    /// Only on a manifest elsewhere: the store reads back what was written, and breaks this promise.
    Plain(Error),
}

/// As [`probe`], for a log that may get a manifest. `StoreUnfit` if the store is of no use even so.
pub(crate) async fn fitness(bucket: &dyn Bucket, root: &str) -> Result<Fitness> {
    let probe = Probe::new(bucket, root);
    let result = match probe.promises().await {
        Ok(()) => Ok(Fitness::Conditional),
        Err(broken) if broken.kind() == ErrorKind::StoreUnfit => {
            probe.simple_promises().await.map(|()| Fitness::Plain(broken))
        }
        Err(error) => Err(error),
    };
    let cleaned = probe.clean_up().await;
    result.and_then(|fitness| cleaned.map(|()| fitness))
}

/// So often a listing is looked at that may lag.
const LISTINGS: u32 = 6;

struct Probe<'a> {
    bucket: &'a dyn Bucket,
    root: &'a str,
    run: String,
}

impl<'a> Probe<'a> {
    fn new(bucket: &'a dyn Bucket, root: &'a str) -> Probe<'a> {
        Probe { bucket, root, run: uuid::Uuid::new_v4().simple().to_string() }
    }

    async fn promises(&self) -> Result<()> {
        let key = self.key("a");
        let first = self.expect_stored(&key, "first", PutMode::Create, false, "a create").await?;
        self.expect_content(&key, "first", &first).await?;

        let promise = "a create of a key that exists is refused (If-None-Match: *)";
        self.expect_refused(&key, "again", PutMode::Create, false, promise).await?;
        self.expect_content(&key, "first", &first).await?;

        let replace = PutMode::Replace(first.clone());
        let second =
            self.expect_stored(&key, "second", replace.clone(), false, "a conditional replace").await?;
        self.expect_content(&key, "second", &second).await?;

        let promise = "a replace of a version that is no longer there is refused (If-Match)";
        self.expect_refused(&key, "stale", replace, false, promise).await?;
        self.expect_content(&key, "second", &second).await?;

        let promise =
            "the completion of a multipart upload to a key that exists is refused (If-None-Match: *)";
        self.expect_refused(&key, "in parts", PutMode::Create, true, promise).await?;
        self.expect_content(&key, "second", &second).await?;

        for round in 0..ROUNDS {
            self.race(&self.key(&format!("race-{round}"))).await?;
        }
        Ok(())
    }

    /// What a log needs that is fenced by a manifest: a read of one object sees the last write that ended, also a
    /// second one and a deletion, and a listing shows it at some time.
    async fn simple_promises(&self) -> Result<()> {
        let key = self.key("plain");
        for body in ["one", "two", "two", "three"] {
            let version = self.expect_stored(&key, body, PutMode::Overwrite, false, "a write").await?;
            self.expect_content(&key, body, &version).await?;
        }
        let mut pause = FIRST_PAUSE;
        for look in 1..=LISTINGS {
            let page = self.repeat(async || self.bucket.list(&key, None).await).await?;
            if page.objects.iter().any(|object| object.key == key) {
                break;
            }
            if look == LISTINGS {
                return Err(self.unfit("a listing shows what was written"));
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.repeat(async || self.bucket.delete(&key, None).await).await?;
        match self.read(&key).await? {
            None => Ok(()),
            Some(_) => Err(self.unfit("a read does not see what was deleted")),
        }
    }

    /// Several create one key at once: one is told that it did, and its body is there.
    async fn race(&self, key: &str) -> Result<()> {
        let body = |racer: usize| format!("racer {racer}");
        let racers = (0..RACERS)
            .map(|racer| async move { self.write(key, &body(racer), PutMode::Create, false).await });
        let answers = join_all(racers).await.into_iter().collect::<Result<Vec<_>>>()?;
        let winners: Vec<usize> = (0..RACERS).filter(|&racer| answers[racer].is_some()).collect();
        let content = self.read(key).await?.map(|object| object.body);
        match winners[..] {
            [winner] if content.as_deref() == Some(body(winner).as_bytes()) => Ok(()),
            _ => Err(self.unfit(&format!(
                "of {RACERS} that create one key at once exactly one wins ({} did)",
                winners.len()
            ))),
        }
    }

    async fn expect_stored(
        &self,
        key: &str,
        body: &str,
        mode: PutMode,
        in_parts: bool,
        what: &str,
    ) -> Result<Version> {
        let stored = self.write(key, body, mode, in_parts).await?;
        stored.ok_or_else(|| self.unfit(&format!("{what} whose condition holds is accepted")))
    }

    async fn expect_refused(
        &self,
        key: &str,
        body: &str,
        mode: PutMode,
        in_parts: bool,
        promise: &str,
    ) -> Result<()> {
        match self.write(key, body, mode, in_parts).await? {
            None => Ok(()),
            Some(_) => Err(self.unfit(promise)),
        }
    }

    async fn expect_content(&self, key: &str, body: &str, version: &Version) -> Result<()> {
        match self.read(key).await? {
            Some(object) if object.body == body.as_bytes() && object.version == *version => Ok(()),
            _ => Err(self.unfit("a read sees the last write that was accepted, and no other")),
        }
    }

    /// Writes until the answer is definite; `None` if it was refused. A refusal after an error is looked
    /// into: the try that failed may have been stored.
    async fn write(&self, key: &str, body: &str, mode: PutMode, in_parts: bool) -> Result<Option<Version>> {
        let mut failed = false;
        let answer = self
            .repeat(async || {
                let options = PutOptions { in_parts, ..PutOptions::new(mode.clone()) };
                let bytes = Body::Bytes(Bytes::copy_from_slice(body.as_bytes()));
                self.bucket.put(key, bytes, options).await.inspect_err(|_| failed = true)
            })
            .await?;
        match answer {
            Put::Stored(version) => Ok(Some(version)),
            Put::Refused if failed => {
                let found = self.read(key).await?;
                Ok(found.filter(|object| object.body == body.as_bytes()).map(|object| object.version))
            }
            Put::Refused => Ok(None),
        }
    }

    async fn read(&self, key: &str) -> Result<Option<Object>> {
        self.repeat(async || self.bucket.get(key, Range::Whole).await).await
    }

    async fn clean_up(&self) -> Result<()> {
        let races = (0..ROUNDS).map(|round| format!("race-{round}"));
        for name in ["a", "plain"].map(str::to_owned).into_iter().chain(races) {
            let key = self.key(&name);
            self.repeat(async || self.bucket.delete(&key, None).await).await?;
        }
        Ok(())
    }

    /// Makes the call again while its error is one that may pass.
    async fn repeat<T>(&self, mut call: impl AsyncFnMut() -> Result<T>) -> Result<T> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            match call().await {
                Err(error) if matches!(error.kind(), ErrorKind::StoreUnavailable | ErrorKind::Timeout) => {
                    tracing::debug!(%error, "the store did not answer a probe");
                }
                answer => return answer,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        call().await
    }

    fn key(&self, name: &str) -> String {
        Key::Probe(format!("{}-{name}", self.run)).path(self.root, self.bucket.layout())
    }

    fn unfit(&self, promise: &str) -> Error {
        let store = self.bucket.describe();
        Error::new(
            ErrorKind::StoreUnfit,
            format!("{store} cannot keep the log: it breaks the promise that {promise}"),
        )
    }
}
