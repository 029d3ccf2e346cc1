use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::{Manifest, ManifestPut, ManifestStore, ManifestVersion, check_size};
use crate::lease_store::{LeaseStore, LeaseVersion, Register, Swap};
use crate::types::{Epoch, Error, ErrorKind, Result};

/// Manifests in any compare-and-swap register: S3, NATS, etcd, a folder, memory.
///
/// The register holds the manifest with its epoch and a number that counts its writes, so that no two are equal. By
/// that number a manifest that is older than one that was read or written here before is known, and refused with
/// `StoreUnavailable`: a register whose reads are not linearizable may answer so for a while, one that lost writes
/// does so for ever.
pub struct RegisterManifestStore<L> {
    register: L,
    /// The number of the newest manifest that was read or written, by key.
    newest: Mutex<BTreeMap<String, u64>>,
}

/// What is in the register, as JSON.
#[derive(Serialize, Deserialize)]
struct Envelope {
    /// Of this format: 1.
    format: u32,
    /// The manifest's epoch.
    epoch: u64,
    /// How many manifests there were before at this key.
    number: u64,
    /// The manifest, in base64.
    data: String,
}

const FORMAT: u32 = 1;

impl<L: LeaseStore> RegisterManifestStore<L> {
    /// Manifests in the registers of this store. The keys are used as they are: they must not be a lease's.
    pub fn new(register: L) -> RegisterManifestStore<L> {
        RegisterManifestStore { register, newest: Mutex::default() }
    }

    async fn present(&self, key: &str) -> Result<Option<(Register, Envelope)>> {
        // What is noted while the read is on its way may rightly be newer than its answer.
        let noted = self.newest.lock().get(key).copied();
        let found = self.register.read(key).await?;
        let found = match found {
            None => None,
            Some(register) => {
                let envelope = decode(&register.body).map_err(|e| e.context(self.name(key)))?;
                Some((register, envelope))
            }
        };
        let number = found.as_ref().map(|(_, envelope)| envelope.number);
        if number < noted {
            let message = "an older manifest was read than before; the store may have lost writes";
            return Err(Error::new(ErrorKind::StoreUnavailable, message).context(self.name(key)));
        }
        if let Some(number) = number {
            self.note(key, number);
        }
        Ok(found)
    }

    fn note(&self, key: &str, number: u64) {
        let mut newest = self.newest.lock();
        let noted = newest.entry(key.to_owned()).or_default();
        *noted = (*noted).max(number);
    }

    fn name(&self, key: &str) -> String {
        format!("the manifest {key} in {}", self.register.describe())
    }
}

fn decode(body: &[u8]) -> Result<Envelope> {
    let envelope: Envelope = serde_json::from_slice(body)
        .map_err(|e| Error::corrupt("what is there is no manifest").with_source(e))?;
    if envelope.format != FORMAT {
        return Err(Error::corrupt(format!(
            "it has format {}, which this version cannot read",
            envelope.format
        )));
    }
    Ok(envelope)
}

fn epoch_of(envelope: &Envelope) -> Result<Epoch> {
    Epoch::new(envelope.epoch).ok_or_else(|| Error::corrupt("its epoch is too large"))
}

fn encode(epoch: Epoch, number: u64, data: String) -> Result<Vec<u8>> {
    let envelope = Envelope { format: FORMAT, epoch: epoch.get(), number, data };
    serde_json::to_vec(&envelope)
        .map_err(|e| Error::new(ErrorKind::Internal, "a manifest cannot be written").with_source(e))
}

#[async_trait]
impl<L: LeaseStore> ManifestStore for RegisterManifestStore<L> {
    fn describe(&self) -> String {
        self.register.describe()
    }

    async fn read(&self, key: &str) -> Result<Option<Manifest>> {
        let Some((register, envelope)) = self.present(key).await? else { return Ok(None) };
        let body = STANDARD
            .decode(&envelope.data)
            .map_err(|e| Error::corrupt("its data is no base64").with_source(e).context(self.name(key)))?;
        let epoch = epoch_of(&envelope).map_err(|e| e.context(self.name(key)))?;
        Ok(Some(Manifest { epoch, body, version: ManifestVersion(register.version.0) }))
    }

    async fn put(
        &self,
        key: &str,
        epoch: Epoch,
        body: &[u8],
        expected: Option<&ManifestVersion>,
    ) -> Result<ManifestPut> {
        check_size(body)?;
        let present = self.present(key).await?;
        if let Some((_, envelope)) = &present {
            let newest = epoch_of(envelope)?;
            if newest > epoch {
                return Ok(ManifestPut::Outranked { epoch: newest });
            }
        }
        let data = STANDARD.encode(body);
        let number = present.as_ref().map_or(0, |(_, envelope)| envelope.number + 1);
        let swap = match (&present, expected) {
            // The register compares, also where the answer can be foreseen: so a probe finds out one that does not.
            (_, None) => self.register.create(key, &encode(epoch, number, data)?).await?,
            (Some(_), Some(expected)) => {
                let expected = LeaseVersion(expected.0.clone());
                self.register.replace(key, &encode(epoch, number, data)?, &expected).await?
            }
            (None, Some(_)) => Swap::Lost,
        };
        Ok(match swap {
            Swap::Done(version) => {
                self.note(key, number);
                ManifestPut::Done(ManifestVersion(version.0))
            }
            Swap::Lost => ManifestPut::Lost,
        })
    }

    async fn confirm(&self, key: &str, version: &ManifestVersion) -> Result<Option<ManifestVersion>> {
        let Some((register, envelope)) = self.present(key).await? else { return Ok(None) };
        if register.version.0 != version.0 {
            return Ok(None);
        }
        if self.register.reads_are_linearizable() {
            return Ok(Some(version.clone()));
        }
        let number = envelope.number + 1;
        let body = encode(epoch_of(&envelope)?, number, envelope.data)?;
        Ok(match self.register.replace(key, &body, &register.version).await? {
            Swap::Done(version) => {
                self.note(key, number);
                Some(ManifestVersion(version.0))
            }
            Swap::Lost => None,
        })
    }

    async fn changed(&self, key: &str, version: Option<&ManifestVersion>) {
        let version = version.map(|version| LeaseVersion(version.0.clone()));
        self.register.changed(key, version.as_ref()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::laws::{laws, watch_laws};
    use super::*;
    use crate::bucket::MemoryBucket;
    use crate::lease_store::{BucketLeaseStore, MemoryLeaseStore};
    use std::sync::Arc;

    #[tokio::test]
    async fn manifests_in_memory_keep_the_laws() {
        let store = RegisterManifestStore::new(MemoryLeaseStore::new());
        laws(&store, "m/").await;
        watch_laws(&store, "w/").await;
    }

    #[tokio::test]
    async fn a_manifest_that_is_older_than_one_before_is_refused() {
        let register = Arc::new(Stale { register: MemoryLeaseStore::new(), stale: Mutex::default() });
        let (ours, others) = (
            RegisterManifestStore::new(Arc::clone(&register)),
            RegisterManifestStore::new(Arc::clone(&register)),
        );
        let epoch = Epoch::new(1).unwrap();
        let ManifestPut::Done(first) = others.put("k", epoch, b"1", None).await.unwrap() else { panic!() };
        let old = register.register.read("k").await.unwrap();
        *register.stale.lock() = Some(old.clone());
        assert_eq!(ours.read("k").await.unwrap().unwrap().body, b"1", "nothing newer was seen here");
        let ManifestPut::Done(second) = others.put("k", epoch, b"2", Some(&first)).await.unwrap() else {
            panic!()
        };
        // Who wrote the second one hears nothing of the first any more; who did not, may.
        assert_eq!(ours.read("k").await.unwrap().unwrap().version, first);
        for stale in [old, None] {
            *register.stale.lock() = Some(stale);
            assert_eq!(others.read("k").await.unwrap_err().kind(), ErrorKind::StoreUnavailable);
            let put = others.put("k", epoch, b"3", Some(&first)).await;
            assert_eq!(put.unwrap_err().kind(), ErrorKind::StoreUnavailable);
        }
        *register.stale.lock() = None;
        let third = others.confirm("k", &second).await.unwrap().unwrap();
        assert_ne!(third, second, "it was written again");
        assert_eq!(others.read("k").await.unwrap().unwrap().version, third);
    }

    /// A register that may answer with something old.
    struct Stale {
        register: MemoryLeaseStore,
        stale: Mutex<Option<Option<Register>>>,
    }

    #[async_trait]
    impl LeaseStore for Stale {
        fn describe(&self) -> String {
            self.register.describe()
        }
        async fn read(&self, key: &str) -> Result<Option<Register>> {
            let stale = self.stale.lock().clone();
            match stale {
                Some(stale) => Ok(stale),
                None => self.register.read(key).await,
            }
        }
        fn reads_are_linearizable(&self) -> bool {
            false
        }
        async fn create(&self, key: &str, body: &[u8]) -> Result<Swap> {
            self.register.create(key, body).await
        }
        async fn replace(&self, key: &str, body: &[u8], version: &LeaseVersion) -> Result<Swap> {
            self.register.replace(key, body, version).await
        }
    }

    #[tokio::test]
    async fn manifests_in_a_bucket_keep_the_laws() {
        laws(&RegisterManifestStore::new(BucketLeaseStore::new(MemoryBucket::new())), "m/").await;
    }
}
