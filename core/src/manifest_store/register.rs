use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{MAX_MANIFEST_BYTES, Manifest, ManifestPut, ManifestStore, ManifestVersion};
use crate::lease_store::{LeaseStore, LeaseVersion, Register, Swap};
use crate::types::{Epoch, Error, ErrorKind, Result};

/// Manifests in any compare-and-swap register: S3, NATS, etcd, a folder, memory.
///
/// The register holds the manifest with its epoch and a number that counts its writes, so that no two are equal.
pub struct RegisterManifestStore<L> {
    register: L,
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
        RegisterManifestStore { register }
    }

    async fn present(&self, key: &str) -> Result<Option<(Register, Envelope)>> {
        let Some(register) = self.register.read(key).await? else { return Ok(None) };
        let envelope = decode(&register.body).map_err(|e| e.context(self.name(key)))?;
        Ok(Some((register, envelope)))
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
        if body.len() > MAX_MANIFEST_BYTES {
            let message = format!("a manifest of {} bytes: at most {MAX_MANIFEST_BYTES}", body.len());
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        let present = self.present(key).await?;
        if let Some((_, envelope)) = &present {
            let newest = epoch_of(envelope)?;
            if newest > epoch {
                return Ok(ManifestPut::Outranked { epoch: newest });
            }
        }
        let data = STANDARD.encode(body);
        let swap = match (&present, expected) {
            (None, None) => self.register.create(key, &encode(epoch, 0, data)?).await?,
            (Some((register, envelope)), Some(expected)) if register.version.0 == expected.0 => {
                let body = encode(epoch, envelope.number + 1, data)?;
                self.register.replace(key, &body, &register.version).await?
            }
            _ => Swap::Lost,
        };
        Ok(match swap {
            Swap::Done(version) => ManifestPut::Done(ManifestVersion(version.0)),
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
        let body = encode(epoch_of(&envelope)?, envelope.number + 1, envelope.data)?;
        Ok(match self.register.replace(key, &body, &register.version).await? {
            Swap::Done(version) => Some(ManifestVersion(version.0)),
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

    #[tokio::test]
    async fn manifests_in_memory_keep_the_laws() {
        let store = RegisterManifestStore::new(MemoryLeaseStore::new());
        laws(&store, "m/").await;
        watch_laws(&store, "w/").await;
    }

    #[tokio::test]
    async fn manifests_in_a_bucket_keep_the_laws() {
        laws(&RegisterManifestStore::new(BucketLeaseStore::new(MemoryBucket::new())), "m/").await;
    }
}
