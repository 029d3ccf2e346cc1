use std::collections::BTreeMap;
use std::io::Read;

use super::fenced_bucket::{FencedBucket, unexpected};
use crate::bucket::{
    Body, Bucket, Delete, Key, Listed, Listing, Object, Put, PutMode, PutOptions, Range, blocking,
};
use crate::replication::Facts;
use crate::types::{Chain, Error, Result, Txid};

/// So many files are remembered by what they are shown as.
const MOST_KNOWN: usize = 16_384;

/// Level, first and last slot.
type Name = (u8, Txid, Txid);

impl FencedBucket {
    /// The file of level 1 or above by this name, or the facts of the one that is shown.
    pub(super) async fn get_copy(&self, key: &Key, range: Range) -> Result<Option<Object>> {
        let Some(name) = name_of(key) else { return Err(unexpected("a key without a name")) };
        let known = self.state.lock().copies.get(&name).copied();
        if let Some(hash) = known
            && let Some(object) = self.inner.get(&self.copy_key(key, name, hash), range).await?
        {
            return Ok(Some(object));
        }
        // It was not listed yet, or is gone: perhaps there is another one. Facts may be there before their file.
        let found = match self.newest(&file_key(name)).await? {
            None if matches!(key, Key::Facts { .. }) => self.newest(key).await?,
            found => found,
        };
        let Some((_, hash)) = found else { return Ok(None) };
        self.inner.get(&self.copy_key(key, name, hash), range).await
    }

    /// Puts a file of level 1 or above, unless there is one by its name; facts always, for their key is that of the
    /// one file that they are about.
    pub(super) async fn put_copy(&self, key: &Key, body: Body, options: PutOptions) -> Result<Put> {
        let Some(name) = name_of(key) else { return Err(unexpected("a key without a name")) };
        let hash = match (key, &body) {
            (Key::Facts { .. }, Body::Bytes(bytes)) => Facts::decode(bytes)?.file,
            _ => hash_of(&body).await?,
        };
        if matches!(key, Key::File { .. })
            && let Some((there, _)) = self.newest(key).await?
            && !self.state.lock().given_up.contains(&there)
        {
            return Ok(Put::Refused);
        }
        let path = self.copy_key(key, name, hash);
        let put = self.inner.put(&path, body, PutOptions { mode: PutMode::Overwrite, ..options }).await?;
        if matches!(key, Key::File { .. }) {
            let mut state = self.state.lock();
            let prefix = key.copies_prefix(&self.root, self.layout).unwrap_or_default();
            state.given_up.retain(|path| !path.starts_with(&prefix));
            if state.copies.len() >= MOST_KNOWN {
                state.copies.clear();
            }
            state.copies.insert(name, hash);
        }
        Ok(put)
    }

    /// The file is damaged: it may be written again. It is not deleted, for the deletion could come after that.
    pub(super) async fn give_up(&self, key: &Key) -> Result<Delete> {
        if let Some((there, _)) = self.newest(key).await? {
            self.state.lock().given_up.insert(there);
        }
        Ok(Delete::Gone)
    }

    /// Deletes all that has this name.
    pub(super) async fn delete_copies(&self, key: &Key) -> Result<Delete> {
        for (path, ..) in self.copies(key).await? {
            self.inner.delete(&path, None).await?;
        }
        if let Some(name) = name_of(key).filter(|_| matches!(key, Key::File { .. })) {
            self.state.lock().copies.remove(&name);
        }
        Ok(Delete::Gone)
    }

    /// One page of anything but slots. Of several files by one name, one is shown.
    pub(super) async fn list_copies(&self, prefix: &str, start_after: Option<&str>) -> Result<Listing> {
        // The hash follows a dash, which comes before the dot that a name without one has there: what begins after a
        // name begins after all that have it.
        let page = self.inner.list(prefix, start_after).await?;
        let (mut shown, mut others): (BTreeMap<String, (Listed, Chain)>, Vec<Listed>) = Default::default();
        let mut files: BTreeMap<Name, Chain> = BTreeMap::new();
        for object in page.objects {
            let parsed = Key::parse_fenced(&object.key, &self.root, self.layout);
            let Some((key, hash)) = parsed.as_ref().and_then(plain_key) else {
                others.push(object);
                continue;
            };
            let path = self.key(&key);
            let object = Listed { key: path.clone(), ..object };
            let newest = shown.get(&path).is_none_or(|(there, other)| {
                (there.last_modified_ms, other.to_bytes()) < (object.last_modified_ms, hash.to_bytes())
            });
            if newest {
                if let (Key::File { .. }, Some(name)) = (&key, name_of(&key)) {
                    files.insert(name, hash);
                }
                shown.insert(path, (object, hash));
            }
        }
        let mut state = self.state.lock();
        if state.copies.len() + files.len() > MOST_KNOWN {
            state.copies.clear();
        }
        state.copies.extend(files);
        drop(state);
        let mut objects: Vec<Listed> = shown.into_values().map(|(object, _)| object).chain(others).collect();
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Listing { objects, more: page.more })
    }

    /// The newest of those that have this name, and its hash.
    async fn newest(&self, key: &Key) -> Result<Option<(String, Chain)>> {
        let copies = self.copies(key).await?;
        let newest = copies.into_iter().max_by_key(|(_, hash, modified)| (*modified, hash.to_bytes()));
        let Some((path, hash, _)) = newest else { return Ok(None) };
        if let Some(name) = name_of(key).filter(|_| matches!(key, Key::File { .. })) {
            self.state.lock().copies.insert(name, hash);
        }
        Ok(Some((path, hash)))
    }

    /// All that has this name: keys, hashes, times. A page, which is more than anybody makes.
    async fn copies(&self, key: &Key) -> Result<Vec<(String, Chain, i64)>> {
        let prefix = key.copies_prefix(&self.root, self.layout);
        let prefix = prefix.ok_or_else(|| unexpected("a key without a name"))?;
        let page = self.inner.list(&prefix, None).await?;
        let copies = page.objects.into_iter().filter_map(|object| {
            let parsed = Key::parse_fenced(&object.key, &self.root, self.layout)?;
            let (_, hash) = plain_key(&parsed)?;
            Some((object.key, hash, object.last_modified_ms))
        });
        Ok(copies.collect())
    }

    fn copy_key(&self, key: &Key, (level, min, max): Name, hash: Chain) -> String {
        match key {
            Key::Facts { .. } => self.key(&Key::FencedFacts { level, min, max, hash }),
            _ => self.key(&Key::FencedFile { level, min, max, hash }),
        }
    }
}

fn name_of(key: &Key) -> Option<Name> {
    match key {
        Key::File { level, min, max } | Key::Facts { level, min, max } => Some((*level, *min, *max)),
        _ => None,
    }
}

fn file_key((level, min, max): Name) -> Key {
    Key::File { level, min, max }
}

/// The name that the log knows an object by, and its hash.
fn plain_key(key: &Key) -> Option<(Key, Chain)> {
    match *key {
        Key::FencedFile { level, min, max, hash } => Some((Key::File { level, min, max }, hash)),
        Key::FencedFacts { level, min, max, hash } => Some((Key::Facts { level, min, max }, hash)),
        _ => None,
    }
}

async fn hash_of(body: &Body) -> Result<Chain> {
    match body {
        Body::Bytes(bytes) => Ok(Chain::of(bytes)),
        Body::File(path) => {
            let path = path.clone();
            blocking(move || {
                let doing = |e| Error::io("reading a staged file", e);
                let mut file = std::fs::File::open(&path).map_err(doing)?;
                let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; 1 << 16]);
                loop {
                    match file.read(&mut buffer).map_err(doing)? {
                        0 => return Ok(Chain::from_hash(hasher.finalize())),
                        length => {
                            hasher.update(&buffer[..length]);
                        }
                    }
                }
            })
            .await
        }
    }
}
