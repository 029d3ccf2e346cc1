use std::fs::File;
use std::path::Path;

use rusqlite::OpenFlags;
use rusqlite::backup::{Backup, StepResult};

use super::connection::Connection;
use super::failure::{from_rusqlite, kind_of};
use crate::types::{Error, ErrorKind, Result};

/// Copies the database of `source`, as of one moment, to a new file: page by page, so that rowids stay.
///
/// The copy is made beside `target`, synced, and then given the name: a crash leaves a file called
/// `<target>.partial` and never half a copy under the name. `InUse` if there is a file with the name.
pub(crate) fn backup(source: &Connection, target: &Path) -> Result<()> {
    let taken = || {
        let message = format!("{} exists: a backup goes to a new file", target.display());
        Error::new(ErrorKind::InUse, message)
    };
    if target.symlink_metadata().is_ok() {
        return Err(taken());
    }
    let mut name = target.as_os_str().to_owned();
    name.push(".partial");
    let partial = Path::new(&name);
    remove_if_there(partial)?;
    let copied = copy(source, partial).and_then(|()| {
        sync(partial)?;
        // A link and not a rename, which would replace a file that has come there meanwhile.
        std::fs::hard_link(partial, target).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => taken(),
            _ => Error::io(format_args!("naming the backup {}", target.display()), error),
        })
    });
    remove_if_there(partial)?;
    copied?;
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync(folder.unwrap_or(Path::new(".")))
}

fn copy(source: &Connection, partial: &Path) -> Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut target = rusqlite::Connection::open_with_flags(partial, flags).map_err(from_rusqlite)?;
    let backup = Backup::new(source.inner(), &mut target).map_err(from_rusqlite)?;
    // All at once: in pieces, every commit between two of them would start it over.
    match backup.step(-1).map_err(from_rusqlite)? {
        StepResult::Done => Ok(()),
        other => {
            let kind = kind_of(rusqlite::ffi::SQLITE_BUSY);
            Err(Error::new(kind, format!("the database could not be copied: {other:?}")))
        }
    }
}

fn sync(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| Error::io(format_args!("syncing {}", path.display()), error))
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format_args!("removing {}", path.display()), error))
        }
        _ => Ok(()),
    }
}
