use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::types::{Error, Result};

/// A folder that nobody else knows or may read, gone with this value.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A new one below a folder that exists.
    pub(crate) fn below(folder: &Path) -> Result<Scratch> {
        let path = folder.join(format!("haqlite-{}", uuid::Uuid::new_v4()));
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|e| Error::io(format_args!("creating {}", path.display()), e))?;
        Ok(Scratch(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is in a folder for what nobody misses.
        let _ = fs::remove_dir_all(&self.0);
    }
}
