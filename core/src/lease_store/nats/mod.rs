//! Registers in NATS JetStream.

mod api;
mod key;
mod link;
mod settings;
mod target;
mod watch;

use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::{Handle, Id};

use self::api::{Entry, GetLast, Written};
use self::key::kv_key;
use self::link::{Link, unavailable};
use self::settings::{json, open_bucket};
use self::target::Target;
use self::watch::{Known, Parked, Watcher};
use super::{LeaseStore, LeaseVersion, Register, Swap};
use crate::types::{Error, ErrorKind, Result};
pub use settings::NatsWarning;

/// How long a request may take in all, with its connection.
const LIMIT: Duration = Duration::from_secs(5);

/// A pause after a watch that could not begin.
const WATCH_AGAIN: Duration = Duration::from_millis(250);

/// How often a write is repeated that met another one on its way, and the pause before that.
const WRITE_TRIES: usize = 50;
const WRITE_AGAIN: Duration = Duration::from_millis(10);

/// How often a creation looks again at a register whose deletion it met.
const CREATE_TRIES: usize = 3;

/// Registers in a KV bucket of NATS JetStream, one per key; the version is the key's revision. Server 2.9 or newer.
///
/// A register is written by one message whose header names the revision that it replaces, and read from the stream's
/// leader (never by a direct get, which any replica may answer). A leader that was deposed and does not know it yet
/// may still answer with something old, so reads are not linearizable. Nobody may delete registers or the bucket
/// while nodes run; the mark of a deletion counts as nothing, and revisions go on after it.
///
/// **What JetStream can lose.** A server acknowledges before it syncs its disk, by default every two minutes
/// (`sync_interval`). One server, or all servers of a bucket together, that lose their power lose writes which were
/// acknowledged, and their revisions are given again. A lease does not mind: it gives liveness, the log is what makes
/// writes safe. Where a manifest is what fences the log, give the bucket three replicas on machines that do not fail
/// together, and the servers `jetstream { sync_interval: always }`. [`NatsLeaseStore::warnings`] tells what can be
/// seen of it.
///
/// A cluster whose bucket lost its leader chooses another within 4 to 10 seconds, and answers nothing until then: a
/// haqlite node that is to lead through that needs a TTL well above.
///
/// A value must be below the server's `max_payload` (1 MiB by default), else it is `LimitExceeded`.
pub struct NatsLeaseStore {
    target: Arc<Target>,
    slot: tokio::sync::Mutex<Slot>,
    parked: Parked,
    /// Whether the bucket was found and judged. It is not looked at again: while it has no leader nobody would
    /// answer. And it is not made again: who deleted it may be about to restore it.
    seen: AtomicBool,
    warnings: Mutex<Vec<NatsWarning>>,
}

/// The connection. It is made by whoever needs it first; if that caller stops waiting, the next one goes on.
enum Slot {
    Empty,
    Connecting {
        /// A connection cannot be made by one runtime for another.
        runtime: Id,
        connecting: Connecting,
    },
    Up(Arc<Link>),
}

type Connecting = Pin<Box<dyn Future<Output = Result<(Link, Option<Vec<NatsWarning>>)>> + Send>>;

impl NatsLeaseStore {
    /// The registers in the bucket that a URL names. Nothing is asked yet: the first use connects.
    ///
    /// ```text
    /// nats://[user:password@ or token@]host[:4222][,host[:4222]]?bucket=NAME
    /// ```
    ///
    /// - Several servers of one cluster are separated by commas; each connection begins with the next of them.
    /// - `token=`, `user=` and `password=`, or `creds=/FILE` (as `nsc` makes it; read at each connection) say who we
    ///   are, if it is not written before the host.
    /// - `tls://` or `tls=true` asks for TLS, which is also used if the server demands it. Trusted is what the system
    ///   trusts, or what `SSL_CERT_FILE` names.
    /// - `replicas=`, 1 to 5, is for a bucket that is not there yet and is made: by default 3 in a cluster and 1 on a
    ///   server alone. It is made with file storage and one version per key, and nothing in it expires. A bucket that
    ///   is there is used as it is, and refused (`StoreUnfit`) if it cannot keep registers, as with a `max_age`.
    ///
    /// Characters with a meaning in URLs are written as percent signs and digits. `InvalidConfig` for anything else;
    /// errors never have a part of the URL in them that may be secret.
    pub fn from_url(url: &str) -> Result<NatsLeaseStore> {
        Ok(NatsLeaseStore {
            target: Arc::new(Target::parse(url)?),
            slot: tokio::sync::Mutex::new(Slot::Empty),
            parked: Parked::default(),
            seen: AtomicBool::new(false),
            warnings: Mutex::default(),
        })
    }

    /// What the bucket's settings can lose; nothing before the first use. The log (`tracing`) has it as well, once.
    pub fn warnings(&self) -> Vec<NatsWarning> {
        self.warnings.lock().clone()
    }

    /// A connection that stands, to a bucket that was judged.
    async fn link(&self) -> Result<Arc<Link>> {
        let mut slot = self.slot.lock().await;
        let here = Handle::current().id();
        match &*slot {
            Slot::Up(link) if link.is_up() => return Ok(Arc::clone(link)),
            Slot::Connecting { runtime, .. } if *runtime == here => {}
            _ => {
                let (target, seen) = (Arc::clone(&self.target), self.seen.load(Ordering::Relaxed));
                let connecting = Box::pin(async move {
                    let link = Link::connect(&target).await?;
                    let warnings = match seen {
                        true => None,
                        false => Some(in_time(open_bucket(&link, &target)).await?),
                    };
                    Ok((link, warnings))
                });
                *slot = Slot::Connecting { runtime: here, connecting };
            }
        }
        let Slot::Connecting { connecting, .. } = &mut *slot else {
            return Err(Error::new(ErrorKind::Internal, "a connection was to be made"));
        };
        let made = connecting.await;
        *slot = Slot::Empty;
        let (link, warnings) = made?;
        let link = Arc::new(link);
        *slot = Slot::Up(Arc::clone(&link));
        if let Some(warnings) = warnings {
            for warning in &warnings {
                tracing::warn!(bucket = self.describe(), "the bucket can lose what was written: {warning}");
            }
            *self.warnings.lock() = warnings;
            self.seen.store(true, Ordering::Relaxed);
        }
        Ok(link)
    }

    fn subject(&self, key: &str) -> Result<String> {
        Ok(format!("$KV.{}.{}", self.target.bucket, kv_key(key)?))
    }

    /// What is newest at the key, also if it is the mark of a deletion.
    async fn entry(&self, key: &str) -> Result<Option<Entry>> {
        let link = self.link().await?;
        let get = format!("$JS.API.STREAM.MSG.GET.{}", self.target.stream());
        let body = json(&GetLast { last_by_subj: &self.subject(key)? })?;
        let answer = link.ask(&get, HeaderMap::new(), body).await?;
        api::entry(&answer)?.map_err(|refusal| match refusal.err_code {
            api::STREAM_NOT_FOUND => {
                unavailable("the bucket is gone; restore it, or make it again by `nats kv add`")
            }
            _ => refusal.into_error(),
        })
    }

    /// Writes if the newest message at the key has this revision, 0 for none; the revision of what was written.
    async fn write(&self, key: &str, body: &[u8], expected: u64) -> Result<Option<u64>> {
        let link = self.link().await?;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
        headers.insert("Nats-Expected-Stream", self.target.stream().as_str());
        let (subject, body) = (self.subject(key)?, Bytes::copy_from_slice(body));
        for _ in 0..WRITE_TRIES {
            let answer = link.ask(&subject, headers.clone(), body.clone()).await?;
            match api::written(&answer)? {
                Written::Done(revision) => return Ok(Some(revision)),
                Written::Lost => return Ok(None),
                Written::Again => tokio::time::sleep(WRITE_AGAIN).await,
            }
        }
        Err(unavailable("another write to the register is on its way, and does not arrive"))
    }

    async fn create_once(&self, key: &str, body: &[u8]) -> Result<Swap> {
        let mut expected = 0;
        for _ in 0..CREATE_TRIES {
            if let Some(revision) = self.write(key, body, expected).await? {
                return Ok(Swap::Done(version(revision)));
            }
            expected = match self.entry(key).await? {
                Some(Entry { body: Some(_), .. }) => return Ok(Swap::Lost),
                Some(Entry { revision, .. }) => revision,
                None => 0,
            };
        }
        Err(unavailable("the register is being deleted again and again"))
    }

    /// The same future with a limit of time, and with the store's name on its errors.
    async fn limited<T>(&self, operation: impl Future<Output = Result<T>> + Send) -> Result<T> {
        in_time(operation).await.map_err(|error| error.context(self.describe()))
    }
}

#[async_trait]
impl LeaseStore for NatsLeaseStore {
    fn describe(&self) -> String {
        self.target.to_string()
    }

    async fn read(&self, key: &str) -> Result<Option<Register>> {
        let entry = self.limited(self.entry(key)).await?;
        Ok(entry.and_then(|entry| Some(Register { body: entry.body?, version: version(entry.revision) })))
    }

    /// They are not: see [`NatsLeaseStore`].
    fn reads_are_linearizable(&self) -> bool {
        false
    }

    async fn create(&self, key: &str, body: &[u8]) -> Result<Swap> {
        self.parked.forget(&self.subject(key)?);
        self.limited(self.create_once(key, body)).await
    }

    async fn replace(&self, key: &str, body: &[u8], version: &LeaseVersion) -> Result<Swap> {
        self.parked.forget(&self.subject(key)?);
        // Zero would be a creation.
        let Some(expected) = revision(version).filter(|revision| *revision > 0) else {
            return Ok(Swap::Lost);
        };
        let written = self.limited(self.write(key, body, expected)).await?;
        Ok(written.map_or(Swap::Lost, |revision| Swap::Done(self::version(revision))))
    }

    /// By a consumer that begins with the newest message of the key. The removal of a key's messages by a purge of
    /// the stream, which leaves no mark, is not heard.
    async fn changed(&self, key: &str, version: Option<&LeaseVersion>) {
        let wanted = match version.map(revision) {
            None => Known::Nothing,
            Some(Some(revision)) => Known::Revision(revision),
            Some(None) => return,
        };
        // Whoever polls beside us meets the error.
        let Ok(subject) = self.subject(key) else { return std::future::pending().await };
        let mut lent = self.parked.lend(&subject);
        loop {
            let Some(watcher) = &mut lent.watcher else {
                let start =
                    async { Watcher::start(self.link().await?, &self.target.stream(), &subject).await };
                match self.limited(start).await {
                    Ok(watcher) => lent.watcher = Some(watcher),
                    Err(_) => tokio::time::sleep(WATCH_AGAIN).await,
                }
                continue;
            };
            if watcher.differs(wanted).await {
                return;
            }
            lent.watcher = None;
        }
    }
}

async fn in_time<T>(operation: impl Future<Output = Result<T>> + Send) -> Result<T> {
    match tokio::time::timeout(LIMIT, operation).await {
        Ok(result) => result,
        Err(_) => Err(unavailable(&format!("no answer within {} s", LIMIT.as_secs()))),
    }
}

fn version(revision: u64) -> LeaseVersion {
    LeaseVersion(revision.to_string())
}

fn revision(version: &LeaseVersion) -> Option<u64> {
    version.0.parse().ok()
}

impl fmt::Debug for NatsLeaseStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NatsLeaseStore").field(&self.describe()).finish()
    }
}
