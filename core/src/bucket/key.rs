use crate::types::{Chain, Epoch, Txid};

/// What the name of a log file ends in, in a bucket and beside a database.
pub(crate) const LOG_FILE_SUFFIX: &str = ".ltx";

/// How log files are named in a store: Litestream has two ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// `0000/<min>-<max>.ltx`, the level in four hexadecimal digits: S3.
    S3,
    /// `ltx/0/<min>-<max>.ltx`, the level in decimal: directories and everything else.
    Directory,
}

/// Every object that a log's root can hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Key {
    /// Who this log is. Created once, never changed, never deleted.
    Genesis,
    /// Slots up to the floor's do not exist for readers. Only ever raised.
    Floor,
    /// The lease record, where the lease is kept in the bucket.
    Lease,
    /// The manifest, where it is kept in the bucket.
    Manifest,
    /// A file of the log that covers slots `min` to `max`. Level 0 holds the slots themselves, 9 the
    /// snapshots.
    File {
        /// 0 to 9.
        level: u8,
        /// The first slot.
        min: Txid,
        /// The last slot.
        max: Txid,
    },
    /// What is kept beside a compacted file or a snapshot: its hash and its links.
    Facts {
        /// 1 to 9.
        level: u8,
        /// The first slot.
        min: Txid,
        /// The last slot.
        max: Txid,
    },
    /// Says that this log is fenced by a manifest: who has none must not touch it.
    Fence,
    /// Slot `txid` as the leader of `epoch` wrote it, in a log that is fenced by a manifest.
    FencedSlot {
        /// The slot.
        txid: Txid,
        /// Who wrote it.
        epoch: Epoch,
    },
    /// A file of level 1 or above by its content, in a log that is fenced by a manifest.
    FencedFile {
        /// 1 to 9.
        level: u8,
        /// The first slot.
        min: Txid,
        /// The last slot.
        max: Txid,
        /// The hash of its bytes.
        hash: Chain,
    },
    /// What is kept beside such a file.
    FencedFacts {
        /// 1 to 9.
        level: u8,
        /// The first slot.
        min: Txid,
        /// The last slot.
        max: Txid,
        /// The hash of the file's bytes.
        hash: Chain,
    },
    /// What the probe of a store writes and deletes.
    Probe(String),
}

/// Those of which there is one.
const FIXED: [Key; 5] = [Key::Genesis, Key::Floor, Key::Lease, Key::Manifest, Key::Fence];

impl Key {
    /// The file that is slot `txid`.
    pub fn slot(txid: Txid) -> Key {
        Key::File { level: 0, min: txid, max: txid }
    }

    /// The key below `root`, which is empty or ends in a slash.
    pub fn path(&self, root: &str, layout: Layout) -> String {
        match self {
            Key::Genesis => format!("{root}_genesis"),
            Key::Floor => format!("{root}_floor"),
            Key::Lease => format!("{root}_lease"),
            Key::Manifest => format!("{root}_manifest"),
            Key::File { level, min, max } => {
                format!(
                    "{}{:016x}-{:016x}.ltx",
                    Key::level_prefix(*level, root, layout),
                    min.get(),
                    max.get()
                )
            }
            Key::Facts { level, min, max } => {
                format!("{}{level:04x}/{:016x}-{:016x}.json", Key::facts_prefix(root), min.get(), max.get())
            }
            Key::Fence => format!("{root}_fence"),
            Key::FencedSlot { txid, epoch } => {
                format!("{}{:016x}-{:012x}.ltx", Key::fenced_prefix(root), txid.get(), epoch.get())
            }
            Key::FencedFile { level, min, max, .. } | Key::FencedFacts { level, min, max, .. } => {
                let (level, min, max) = (*level, *min, *max);
                let (name, kind) = match self {
                    Key::FencedFile { .. } => (Key::File { level, min, max }.path(root, layout), ".ltx"),
                    _ => (Key::Facts { level, min, max }.path(root, layout), ".json"),
                };
                let name = name.strip_suffix(kind).unwrap_or(&name);
                format!("{name}-{}{kind}", self.hash().unwrap_or_default())
            }
            Key::Probe(name) => format!("{root}_probe/{name}"),
        }
    }

    /// The content that the key is named after.
    fn hash(&self) -> Option<Chain> {
        match self {
            Key::FencedFile { hash, .. } | Key::FencedFacts { hash, .. } => Some(*hash),
            _ => None,
        }
    }

    /// What the keys of all slots begin with, in a log that is fenced by a manifest.
    pub fn fenced_prefix(root: &str) -> String {
        format!("{root}log/")
    }

    /// What the keys of all versions of a file, or of its facts, begin with, in a log that is fenced by a
    /// manifest; `None` for a key that has none.
    pub(crate) fn copies_prefix(&self, root: &str, layout: Layout) -> Option<String> {
        let path = self.path(root, layout);
        match self {
            Key::File { level: 1..=9, .. } => {
                path.strip_suffix(LOG_FILE_SUFFIX).map(|name| format!("{name}-"))
            }
            Key::Facts { .. } => path.strip_suffix(".json").map(|name| format!("{name}-")),
            _ => None,
        }
    }

    /// What the keys of all files of a level begin with.
    pub fn level_prefix(level: u8, root: &str, layout: Layout) -> String {
        match layout {
            Layout::S3 => format!("{root}{level:04x}/"),
            Layout::Directory => format!("{root}ltx/{level}/"),
        }
    }

    /// What the keys of all facts begin with.
    pub fn facts_prefix(root: &str) -> String {
        format!("{root}_facts/")
    }

    /// The object of a log whose key this is; `None` for any other.
    pub fn parse(key: &str, root: &str, layout: Layout) -> Option<Key> {
        let file = (0..=9).find_map(|level| Key::parse_file(key, level, root, layout));
        let fixed = || FIXED.into_iter().find(|k| k.path(root, layout) == key);
        let rest = key.strip_prefix(root)?;
        let facts = || {
            let (level, name) = rest.strip_prefix("_facts/")?.split_once('/')?;
            let (min, max) = name.strip_suffix(".json")?.split_once('-')?;
            let level = u8::from_str_radix(level, 16).ok().filter(|level| (1..=9).contains(level))?;
            Some(Key::Facts { level, min: parse_txid(min)?, max: parse_txid(max)? })
        };
        let probe = || Some(Key::Probe(rest.strip_prefix("_probe/")?.to_owned()));
        let fenced = || Key::parse_fenced(key, root, layout);
        file.or_else(fixed).or_else(facts).or_else(fenced).or_else(probe)
    }

    /// The object whose key this is, if it is a slot, a file or facts of a log that is fenced by a manifest.
    pub(crate) fn parse_fenced(key: &str, root: &str, layout: Layout) -> Option<Key> {
        if let Some(name) = key.strip_prefix(&Key::fenced_prefix(root)) {
            let (txid, epoch) = name.strip_suffix(LOG_FILE_SUFFIX)?.split_once('-')?;
            let epoch = Some(epoch).filter(|epoch| epoch.len() == 12)?;
            let epoch = Epoch::new(u64::from_str_radix(epoch, 16).ok()?)?;
            let found = Key::FencedSlot { txid: parse_txid(txid)?, epoch };
            return (found.path(root, layout) == key).then_some(found);
        }
        let (name, kind) = key.rsplit_once('.')?;
        let (name, hash) = name.rsplit_once('-')?;
        let hash = Chain::from_hex(hash)?;
        let found = match Key::parse(&format!("{name}.{kind}"), root, layout)? {
            Key::File { level: level @ 1..=9, min, max } => Key::FencedFile { level, min, max, hash },
            Key::Facts { level, min, max } => Key::FencedFacts { level, min, max, hash },
            _ => return None,
        };
        (found.path(root, layout) == key).then_some(found)
    }

    /// The file whose key this is, if it is one at that level; any other object is `None`.
    pub fn parse_file(key: &str, level: u8, root: &str, layout: Layout) -> Option<Key> {
        let name =
            key.strip_prefix(&Key::level_prefix(level, root, layout))?.strip_suffix(LOG_FILE_SUFFIX)?;
        let (min, max) = name.split_once('-')?;
        Some(Key::File { level, min: parse_txid(min)?, max: parse_txid(max)? })
    }
}

fn parse_txid(digits: &str) -> Option<Txid> {
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if digits.len() != 16 || !digits.bytes().all(lower_hex) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok().map(Txid::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_recognised_and_nothing_else_is() {
        let (min, max) = (Txid::new(2), Txid::new(0xabc));
        for layout in [Layout::S3, Layout::Directory] {
            for root in ["", "haqlite/app/"] {
                let mut keys = FIXED.to_vec();
                keys.push(Key::Probe("x".to_owned()));
                keys.extend((0..=9).map(|level| Key::File { level, min, max }));
                keys.extend((1..=9).map(|level| Key::Facts { level, min, max }));
                let hash = Chain::of(b"x");
                keys.extend((1..=9).map(|level| Key::FencedFile { level, min, max, hash }));
                keys.extend((1..=9).map(|level| Key::FencedFacts { level, min, max, hash }));
                keys.push(Key::FencedSlot { txid: max, epoch: Epoch::MAX });
                for key in keys {
                    let path = key.path(root, layout);
                    assert_eq!(Key::parse(&path, root, layout), Some(key), "{path}");
                    assert_eq!(
                        Key::parse(&format!("{path}.old"), root, layout)
                            .filter(|k| !matches!(k, Key::Probe(_))),
                        None,
                        "{path}"
                    );
                }
                for other in ["notes.txt", "ltx/0/1-1.ltx", "_facts/0000/x.json", "ltx/12/a.ltx"] {
                    assert_eq!(Key::parse(&format!("{root}{other}"), root, layout), None);
                }
            }
        }
    }
}
