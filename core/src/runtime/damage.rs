use std::collections::BTreeMap;

use super::file_reader::Failure;
use super::log::Log;
use crate::replication::{LogFile, covers};
use crate::types::{Error, Problem, Result, Txid};

/// More damaged objects than these end a restore: each one makes it begin anew.
const MOST_DAMAGED: usize = 64;
/// So many listings that do not fit what is there, or show a hole, are taken for a race with retention.
pub(super) const LISTINGS: u32 = 3;

/// What a restore found out about files that a listing shows.
#[derive(Default)]
pub(super) struct Judged {
    /// Files that are not to be used, and why.
    excluded: BTreeMap<Name, String>,
    /// How often files were not there that had been listed.
    gone: BTreeMap<Name, u32>,
    pub(super) problems: Vec<Problem>,
    /// How many listings had a hole.
    pub(super) listings: u32,
}

type Name = (u8, Txid, Txid);

impl Judged {
    /// Whether no file was judged.
    pub(super) fn is_empty(&self) -> bool {
        self.excluded.is_empty()
    }

    pub(super) fn is_excluded(&self, file: &LogFile) -> bool {
        self.excluded.contains_key(&name(file))
    }

    /// Takes damaged files out, and those that stay away; the error if nothing can be done about it.
    pub(super) fn judge(&mut self, log: &Log, failure: Failure) -> Result<()> {
        let (files, error) = match failure {
            Failure::Other(error) => return Err(error),
            Failure::Damaged(files, error) => (files, error),
            Failure::Gone(file, error) => {
                let times = self.gone.entry(name(&file)).or_default();
                *times += 1;
                if *times < LISTINGS {
                    return Ok(());
                }
                (vec![file], error)
            }
        };
        tracing::warn!("the log is damaged: {error}");
        for file in files {
            self.note(&log.file_key(&file), error.message());
            self.excluded.insert(name(&file), error.message().to_owned());
        }
        if self.excluded.len() > MOST_DAMAGED {
            let message = format!("more than {MOST_DAMAGED} objects of the log are damaged: {error}");
            return Err(Error::corrupt(message));
        }
        Ok(())
    }

    /// Remembers what is wrong with an object.
    pub(super) fn note(&mut self, key: &str, message: &str) {
        if self.problems.iter().all(|problem| problem.key != key) {
            let message =
                message.strip_prefix(key).map_or(message, |rest| rest.trim_start_matches([':', ' ']));
            self.problems.push(Problem::new(key, message));
        }
    }

    /// The damage that ends a plan at `end`, if it is that.
    pub(super) fn cuts_off(&self, usable: &[LogFile], end: Txid) -> Option<Error> {
        let next = end.next();
        if covers(usable, next) {
            return None;
        }
        let (_, message) = self.excluded.iter().find(|((_, min, max), _)| *min <= next && next <= *max)?;
        Some(Error::corrupt(message))
    }
}

fn name(file: &LogFile) -> Name {
    (file.level, file.min, file.max)
}
