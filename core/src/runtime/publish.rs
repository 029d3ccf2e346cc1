use super::compact::Built;
use super::log::Log;
use super::patience::{limited, limited_for};
use crate::bucket::{Body, Key, Put, PutMode, PutOptions, Range, Version};
use crate::ltx::Decoder;
use crate::replication::{Facts, LogFile};
use crate::types::{Chain, Error, ErrorKind, Result};

/// What an object of a level above 0 turned out to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Its facts vouch for every byte.
    Whole(Facts),
    /// It is not what its facts say, or cannot be read, or nobody vouches for it: this version.
    Damaged(Version, String),
    /// There is no such object.
    Missing,
}

/// How often something that others change at the same time is looked at again.
const TRIES: u32 = 5;

impl Log {
    /// Puts a file in the bucket: what vouches for it first, so that there is never a file that is right and
    /// that nobody knows. If one is there already, it is read: if it is whole, it is as good.
    ///
    /// A damaged one gives way, by its version, now that its replacement is at hand. Only a file for whose
    /// bytes nobody ever vouched is taken for damaged, because hashes are added before the file is created and
    /// are never removed, and facts are read after the file. So what another session has verified, and has
    /// deleted slots for, is never deleted here, however late this happens.
    pub(super) async fn publish(&self, level: u8, built: &Built) -> Result<LogFile> {
        let facts = &built.facts;
        let file = LogFile { level, min: facts.min, max: facts.max, size: built.size, modified_ms: 0 };
        self.vouch(level, facts).await?;
        let key = self.file_key(&file);
        for _ in 0..TRIES {
            let body = Body::File(built.staged.path().to_path_buf());
            let timestamp_ms = Some(built.timestamp_ms);
            let options = PutOptions { mode: PutMode::Create, timestamp_ms, in_parts: false };
            match limited_for(built.size, self.bucket().put(&key, body, options)).await? {
                Put::Stored(_) => return Ok(file),
                Put::Refused => {}
            }
            match self.verify(&file).await? {
                Verdict::Whole(_) => return Ok(file),
                Verdict::Missing => {}
                Verdict::Damaged(version, why) => {
                    tracing::warn!(key, why, "a damaged file of the log is replaced");
                    limited(self.bucket().delete(&key, Some(&version))).await?;
                }
            }
        }
        Err(busy(&key))
    }

    /// Makes sure that the facts beside a file vouch for these bytes.
    async fn vouch(&self, level: u8, facts: &Facts) -> Result<()> {
        let key = self.key(&Key::Facts { level, min: facts.min, max: facts.max });
        let put = |facts: &Facts, mode| {
            let body = Body::Bytes(facts.encode().into());
            let key = key.clone();
            async move { limited(self.bucket().put(&key, body, PutOptions::new(mode))).await }
        };
        for _ in 0..TRIES {
            if let Put::Stored(_) = put(facts, PutMode::Create).await? {
                return Ok(());
            }
            let Some(there) = limited(self.bucket().get(&key, Range::Whole)).await? else { continue };
            let wanted = match Facts::decode(&there.body) {
                Ok(known) => known.with(facts).map_err(|e| e.context(&key))?,
                // Nobody can be told what these said: what is verified now counts.
                Err(_) => Some(facts.clone()),
            };
            let Some(wanted) = wanted else { return Ok(()) };
            if let Put::Stored(_) = put(&wanted, PutMode::Replace(there.version)).await? {
                return Ok(());
            }
        }
        Err(busy(&key))
    }

    /// Reads a file of level 1 or above from its first byte to its last, and then what vouches for it.
    ///
    /// A file that seems damaged is read once more, for a fault on the way is none of the file's. An error
    /// means that the bucket did not answer.
    pub(super) async fn verify(&self, file: &LogFile) -> Result<Verdict> {
        match self.inspect(file).await? {
            Verdict::Damaged(..) => self.inspect(file).await,
            verdict => Ok(verdict),
        }
    }

    async fn inspect(&self, file: &LogFile) -> Result<Verdict> {
        let key = self.file_key(file);
        let first = Range::Part { offset: 0, length: 1 };
        let Some(object) = limited(self.bucket().get(&key, first)).await? else {
            return Ok(Verdict::Missing);
        };
        // Its version is asked for before it is read: if it changes meanwhile, the deletion is refused.
        let file = LogFile { size: object.size, ..*file };
        let hash = match self.hash(&file).await {
            Ok(hash) => hash,
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                return Ok(Verdict::Damaged(object.version, error.to_string()));
            }
            Err(error) => return Err(error),
        };
        let damaged = |why: &str| Ok(Verdict::Damaged(object.version.clone(), why.to_owned()));
        match self.facts(&file).await {
            Ok(Some(facts)) if facts.vouches_for(hash) => Ok(Verdict::Whole(facts)),
            Ok(Some(_)) => damaged("its facts do not vouch for its bytes"),
            Ok(None) => damaged("it has no facts beside it"),
            Err(error) if error.kind() == ErrorKind::Corrupt => damaged("its facts are damaged"),
            Err(error) => Err(error),
        }
    }

    /// The hash of a file that is whole and covers what its name says. `Corrupt` if it does not.
    pub(super) async fn hash(&self, file: &LogFile) -> Result<Chain> {
        let reader = self.open_slowly(file)?;
        let (min, max) = (file.min, file.max);
        let read = move || {
            let decoder = Decoder::new(reader)?;
            if (decoder.header().min, decoder.header().max) != (min, max) {
                return Err(Error::corrupt("it holds other slots than its name says"));
            }
            Ok(decoder.finish()?.chain)
        };
        tokio::task::spawn_blocking(read)
            .await
            .map_err(|e| Error::new(ErrorKind::Internal, format!("a read ended early: {e}")))?
            .map_err(|e| e.context(self.file_key(file)))
    }

    /// Deletes a file of level 1 or above, and then what vouches for it; a slot.
    ///
    /// Whoever calls has verified what stands for it. It does not matter when it takes place, how often, and
    /// by whom: what it stands for is never needed again.
    pub(super) async fn delete_file(&self, file: &LogFile) -> Result<()> {
        limited(self.bucket().delete(&self.file_key(file), None)).await?;
        if file.level > 0 {
            self.delete_facts(file).await?;
        }
        Ok(())
    }

    /// Deletes what vouches for a file of level 1 or above that is not there, or that nobody needs.
    pub(super) async fn delete_facts(&self, file: &LogFile) -> Result<()> {
        let key = self.key(&Key::Facts { level: file.level, min: file.min, max: file.max });
        limited(self.bucket().delete(&key, None)).await.map(drop)
    }
}

fn busy(key: &str) -> Error {
    Error::new(ErrorKind::StoreUnavailable, format!("others change {key} at the same time"))
}
