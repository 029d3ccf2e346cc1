use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::directory::{INTERNAL, check_key, is_absent, written_ms};
use super::{Listed, Listing, PAGE};
use crate::types::{Error, Result};

/// One page of the objects below `root` whose key begins with `prefix`. Looks at every name below the
/// prefix's folder, and keeps no more than a page of them.
pub(super) fn list(root: &Path, prefix: &str, start_after: Option<&str>) -> Result<Listing> {
    let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
    if !folder.is_empty() {
        check_key(folder)?;
    }
    let mut scan = Scan { root, prefix, start_after, found: BTreeMap::new(), more: false };
    let below = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    scan.folder(&below)?;
    let objects = scan.found.into_values().collect();
    Ok(Listing { objects, more: scan.more })
}

struct Scan<'a> {
    root: &'a Path,
    prefix: &'a str,
    start_after: Option<&'a str>,
    found: BTreeMap<String, Listed>,
    more: bool,
}

impl Scan<'_> {
    /// Takes in what lies in the folder; `below` is empty or ends in a slash.
    fn folder(&mut self, below: &str) -> Result<()> {
        let path = self.root.join(below);
        let doing = |e| Error::io(format!("list {}", path.display()), e);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if is_absent(&e) => return Ok(()),
            Err(e) => return Err(doing(e)),
        };
        for entry in entries {
            let entry = entry.map_err(doing)?;
            // What is no UTF-8 is no key.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                Err(e) if is_absent(&e) => continue,
                Err(e) => return Err(doing(e)),
            };
            let key = format!("{below}{name}");
            if kind.is_file() {
                self.object(key, &entry)?;
            } else if kind.is_dir() && key != INTERNAL {
                let inside = format!("{key}/");
                if self.may_hold(&inside) {
                    self.folder(&inside)?;
                }
            }
        }
        Ok(())
    }

    fn object(&mut self, key: String, entry: &fs::DirEntry) -> Result<()> {
        if !key.starts_with(self.prefix) || self.start_after.is_some_and(|after| key.as_str() <= after) {
            return Ok(());
        }
        if self.is_beyond_page(&key) {
            self.more = true;
            return Ok(());
        }
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(e) if is_absent(&e) => return Ok(()),
            Err(e) => return Err(Error::io(format!("look at {}", entry.path().display()), e)),
        };
        let listed =
            Listed { key: key.clone(), size: metadata.len(), last_modified_ms: written_ms(&metadata) };
        self.found.insert(key, listed);
        if self.found.len() > PAGE {
            self.found.pop_last();
            self.more = true;
        }
        Ok(())
    }

    fn is_beyond_page(&self, key: &str) -> bool {
        self.found.len() == PAGE && self.found.last_key_value().is_some_and(|(last, _)| key > last.as_str())
    }

    /// Whether keys that begin with `inside` can belong to the page.
    fn may_hold(&self, inside: &str) -> bool {
        let on_the_way = inside.starts_with(self.prefix) || self.prefix.starts_with(inside);
        let behind = self.start_after.is_some_and(|after| inside < after && !after.starts_with(inside));
        on_the_way && !behind
    }
}
