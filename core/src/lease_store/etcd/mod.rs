mod failure;
mod gateway;
mod message;
mod url;
mod version;
mod watch;

use std::fmt;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::Value;

use self::gateway::{Does, Gateway, RANGE, TXN};
use self::message::{Done, Ranged};
use self::version::{Version, marked, unmarked};
use self::watch::Watch;
use super::{LeaseStore, LeaseVersion, Register, Swap};
use crate::types::{Error, ErrorKind, Outcome, Result};

/// A larger body is refused here. etcd takes requests of 1.5 MiB, unless `--max-request-bytes` says otherwise.
const MAX_BODY_BYTES: usize = 1_500_000;

/// Registers in etcd 3.4 or later: a register is a key, which is replaced by a transaction on its `mod_revision`.
///
/// It speaks to the JSON gateway that every member of etcd has beside its gRPC port. The usual client is gRPC, and needs
/// the compiler of Protocol Buffers to be installed wherever an application is built; the gateway needs nothing.
///
/// What etcd acknowledged is on the disks of a majority of its members, which fsync before they answer, and reads are
/// made by consensus. So it may also keep a manifest ([`crate::manifest_store::RegisterManifestStore`]) that the log
/// stands on; a cluster that runs with `--unsafe-no-fsync` may not.
///
/// A member that does not answer is passed over: with all members in the URL the register is there as long as etcd has a
/// majority. A write that may have arrived is not sent to another member. etcd's own leases are not used, since the time
/// after which a lease is void is judged by who challenges it.
pub struct EtcdLeaseStore {
    gateway: Gateway,
    prefix: String,
    /// Streams that wait for the next [`LeaseStore::changed`] of their key.
    watches: Mutex<Vec<Watch>>,
}

impl EtcdLeaseStore {
    /// The registers of the cluster that this URL names:
    ///
    /// `etcd://user:password@host1:2379,host2:2379,host3:2379?prefix=haqlite/&tls=true`
    ///
    /// - One host is enough; several must be members of one cluster. The port is 2379 if there is none.
    /// - User and password are needed if etcd has authentication enabled, and ignored if not. Characters with a meaning
    ///   in URLs are written with a percent sign (`%40` for `@`). The role needs to read and write the keys that begin
    ///   with the prefix.
    /// - `prefix` is put before every key; `haqlite/` if it is not there, nothing if it is empty.
    /// - `tls=true`: by HTTPS, trusting what the system trusts or `SSL_CERT_FILE` names. Clients' certificates are not
    ///   supported.
    ///
    /// Anything else is `InvalidConfig`. Nothing is asked of a server yet.
    pub fn from_url(url: &str) -> Result<EtcdLeaseStore> {
        let mut settings = url::parse(url)?;
        let prefix = std::mem::take(&mut settings.prefix);
        Ok(EtcdLeaseStore { gateway: Gateway::new(settings)?, prefix, watches: Mutex::default() })
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The version of what is at the key now, and the revision of the store at which it was.
    async fn look(&self, key: &str) -> Result<(Option<Version>, i64)> {
        let (found, revision) = self.range(key).await?;
        Ok((found.map(|(version, _)| version), revision))
    }

    async fn range(&self, key: &str) -> Result<(Option<(Version, Vec<u8>)>, i64)> {
        let found: Ranged = self.gateway.call(RANGE, &message::range(&self.full(key)), Does::Read).await?;
        let Some(kv) = found.kvs.first() else { return Ok((None, found.header.revision)) };
        let value = kv.bytes();
        let Some((mark, body)) = value.as_deref().and_then(unmarked) else {
            let message = format!("{}: what is at {} is not haqlite's", self.describe(), self.full(key));
            return Err(Error::corrupt(message));
        };
        let version = Version { revision: kv.mod_revision, mark };
        Ok((Some((version, body.to_vec())), found.header.revision))
    }

    async fn swap(&self, key: &str, body: &[u8], request: impl Fn(&[u8]) -> Value) -> Result<Swap> {
        if body.len() > MAX_BODY_BYTES {
            let message = format!("a value of {} bytes: etcd takes at most {MAX_BODY_BYTES}", body.len());
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        self.drop_watch(key);
        let mark = Version::new_mark();
        let done: Done = self.gateway.call(TXN, &request(&marked(&mark, body)), Does::Write).await?;
        if !done.succeeded {
            return Ok(Swap::Lost);
        }
        if done.header.revision <= 0 {
            let message = format!("{} stored a value without a revision", self.describe());
            return Err(Error::new(ErrorKind::StoreUnavailable, message).with_outcome(Outcome::Unknown));
        }
        Ok(Swap::Done(Version { revision: done.header.revision, mark }.into()))
    }
}

impl fmt::Debug for EtcdLeaseStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EtcdLeaseStore").field(&self.describe()).finish()
    }
}

#[async_trait]
impl LeaseStore for EtcdLeaseStore {
    fn describe(&self) -> String {
        let tls = if self.gateway.is_tls() { "&tls=true" } else { "" };
        format!("etcd://{}?prefix={}{tls}", self.gateway.hosts(), self.prefix)
    }

    async fn read(&self, key: &str) -> Result<Option<Register>> {
        let (found, _) = self.range(key).await?;
        Ok(found.map(|(version, body)| Register { body, version: version.into() }))
    }

    async fn create(&self, key: &str, body: &[u8]) -> Result<Swap> {
        let full = self.full(key);
        self.swap(key, body, |value| message::create(&full, value)).await
    }

    async fn replace(&self, key: &str, body: &[u8], version: &LeaseVersion) -> Result<Swap> {
        // Nothing has ever had a version that no write of ours makes.
        let Some(version) = Version::parse(version) else { return Ok(Swap::Lost) };
        let full = self.full(key);
        self.swap(key, body, |value| message::replace(&full, value, &version)).await
    }

    async fn changed(&self, key: &str, version: Option<&LeaseVersion>) {
        self.wait_for_change(key, version).await;
    }
}
