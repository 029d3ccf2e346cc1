use crate::types::Txid;

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
    /// What the probe of a store writes and deletes.
    Probe(String),
}

/// Those of which there is one.
const FIXED: [Key; 4] = [Key::Genesis, Key::Floor, Key::Lease, Key::Manifest];

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
            Key::Probe(name) => format!("{root}_probe/{name}"),
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
        file.or_else(fixed).or_else(facts).or_else(probe)
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
