use std::ffi::CStr;
use std::os::raw::c_int;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rusqlite::ffi;

use super::failure::last_error;
use super::policy::Needs;
use super::row::LocalRow;
use crate::types::{Error, ErrorKind, Params, Result, SqlValue};

/// One compiled statement and what is known of it. It belongs to a [`super::Connection`], which never
/// lets it out and drops it before the connection closes.
pub(super) struct Prepared {
    raw: NonNull<ffi::sqlite3_stmt>,
    db: *mut ffi::sqlite3,
    parameters: usize,
    readonly: bool,
    pub(super) needs: Needs,
    columns: Arc<[String]>,
    /// How often SQLite compiled it anew: after that the columns may have other names.
    recompiled: c_int,
    /// Whether it gave a row since the last reset. SQLite compiles anew only before a run's first row.
    running: bool,
    /// When the cache saw it last.
    pub(super) used: u64,
    /// How many rows its last run gave.
    pub(super) usual_rows: usize,
}

/// What a compiled text was.
pub(super) enum Compiled<'s> {
    /// A statement, and the text behind it.
    Statement(Prepared, &'s str),
    /// Nothing but blanks, comments and semicolons.
    Nothing,
}

impl Prepared {
    /// Compiles the first statement of `sql`.
    ///
    /// # Safety
    /// `db` is an open connection that no other thread uses, and outlives the statement.
    pub(super) unsafe fn compile(db: *mut ffi::sqlite3, sql: &str) -> Result<Compiled<'_>> {
        if sql.as_bytes().contains(&0) {
            return Err(Error::new(ErrorKind::InvalidArgument, "the SQL text contains a NUL character"));
        }
        let text = skip_blank(sql);
        if text.is_empty() {
            return Ok(Compiled::Nothing);
        }
        let length = c_int::try_from(text.len()).map_err(|_| {
            Error::new(ErrorKind::LimitExceeded, "the SQL text is longer than SQLite can take")
        })?;
        let (mut raw, mut tail) = (ptr::null_mut(), ptr::null());
        // SAFETY: the text is valid for `length` bytes, and both out pointers live until the call returns.
        let code = unsafe {
            let flags = ffi::SQLITE_PREPARE_PERSISTENT;
            ffi::sqlite3_prepare_v3(db, text.as_ptr().cast(), length, flags as _, &mut raw, &mut tail)
        };
        if code != ffi::SQLITE_OK {
            // SAFETY: the caller vouches for `db`.
            return Err(unsafe { last_error(db, code) });
        }
        let Some(raw) = NonNull::new(raw) else { return Ok(Compiled::Nothing) };
        let consumed = (tail as usize).saturating_sub(text.as_ptr() as usize).min(text.len());
        // SAFETY: the statement has just been compiled and is not running.
        let (parameters, readonly) = unsafe {
            let parameters = ffi::sqlite3_bind_parameter_count(raw.as_ptr());
            (parameters.max(0) as usize, ffi::sqlite3_stmt_readonly(raw.as_ptr()) != 0)
        };
        let mut prepared = Prepared {
            raw,
            db,
            parameters,
            readonly,
            needs: Needs::NOTHING,
            columns: Arc::from([]),
            recompiled: 0,
            running: false,
            used: 0,
            usual_rows: 0,
        };
        prepared.columns = prepared.read_columns();
        Ok(Compiled::Statement(prepared, text.get(consumed..).unwrap_or("")))
    }

    /// Whether it leaves the database as it is. Reading the journal mode counts as that.
    pub(super) fn is_readonly(&self) -> bool {
        self.readonly || self.needs.contains(Needs::JOURNAL_MODE_READ)
    }

    /// Binds the parameters and gives what runs the statement.
    pub(super) fn start<'s>(&'s mut self, params: &'s Params<'_>) -> Result<Run<'s>> {
        let mut run = Run { statement: self };
        run.bind(params, ffi::SQLITE_STATIC())?;
        Ok(run)
    }

    /// Binds copies of the parameters, for a statement that is run in several pieces.
    pub(super) fn bind_copies(&mut self, params: &Params<'_>) -> Result<()> {
        let mut run = Run { statement: self };
        run.bind(params, ffi::SQLITE_TRANSIENT())?;
        std::mem::forget(run);
        Ok(())
    }

    /// The next row, `false` at the end.
    pub(super) fn step(&mut self) -> Result<bool> {
        // SAFETY: the statement belongs to the open connection `db`, which only this thread uses.
        let code = unsafe { ffi::sqlite3_step(self.raw.as_ptr()) };
        if code == ffi::SQLITE_ROW {
            if !self.running {
                self.running = true;
                self.columns();
            }
            return Ok(true);
        }
        self.running = false;
        match code {
            ffi::SQLITE_DONE => Ok(false),
            // SAFETY: as above.
            code => Err(unsafe { last_error(self.db, code) }),
        }
    }

    /// The names of the columns, as of the last compilation.
    pub(super) fn columns(&mut self) -> &Arc<[String]> {
        // SAFETY: the statement is alive.
        let recompiled =
            unsafe { ffi::sqlite3_stmt_status(self.raw.as_ptr(), ffi::SQLITE_STMTSTATUS_REPREPARE, 0) };
        if recompiled != self.recompiled {
            self.recompiled = recompiled;
            self.columns = self.read_columns();
        }
        &self.columns
    }

    /// The row on which the statement stands. Only after [`Prepared::step`] said that there is one.
    #[inline]
    pub(super) fn row(&self) -> LocalRow<'_> {
        debug_assert!(self.running, "BUG: there is no row");
        LocalRow::new(self.raw, &self.columns)
    }

    /// Ends the run: locks are released, parameters forgotten.
    pub(super) fn reset(&mut self) {
        self.running = false;
        // SAFETY: the statement is alive; both calls are allowed in any state of it.
        unsafe {
            ffi::sqlite3_reset(self.raw.as_ptr());
            if self.parameters > 0 {
                ffi::sqlite3_clear_bindings(self.raw.as_ptr());
            }
        }
    }

    fn read_columns(&self) -> Arc<[String]> {
        // SAFETY: the statement is alive; each name is copied before the next call.
        unsafe {
            let count = ffi::sqlite3_column_count(self.raw.as_ptr());
            let name = |index| {
                let name = ffi::sqlite3_column_name(self.raw.as_ptr(), index);
                if name.is_null() {
                    return String::new();
                }
                CStr::from_ptr(name).to_string_lossy().into_owned()
            };
            (0..count).map(name).collect()
        }
    }

    /// The name of a parameter with its prefix; `None` for `?`.
    fn parameter_name(&self, index: usize) -> Option<&str> {
        // SAFETY: the name lives as long as the statement and is UTF-8, as the text that it stands in.
        unsafe {
            let name = ffi::sqlite3_bind_parameter_name(self.raw.as_ptr(), index as c_int);
            if name.is_null() { None } else { CStr::from_ptr(name).to_str().ok() }
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // SAFETY: the connection is still open, and this is the only owner.
        unsafe { ffi::sqlite3_finalize(self.raw.as_ptr()) };
    }
}

/// A statement that runs. Dropping it, also by a panic in a row's closure, resets the statement.
pub(super) struct Run<'s> {
    pub(super) statement: &'s mut Prepared,
}

impl Run<'_> {
    fn bind(&mut self, params: &Params<'_>, how: ffi::sqlite3_destructor_type) -> Result<()> {
        match params {
            Params::Positional(values) => self.bind_positional(values, how),
            Params::Named(pairs) => {
                self.bind_named(pairs.iter().map(|(name, value)| (*name, value)), pairs.len(), how)
            }
            Params::OwnedNamed(pairs) => {
                self.bind_named(pairs.iter().map(|(name, value)| (name.as_str(), value)), pairs.len(), how)
            }
        }
    }

    fn bind_positional(&mut self, values: &[SqlValue], how: ffi::sqlite3_destructor_type) -> Result<()> {
        if values.len() != self.statement.parameters {
            return Err(self.miscounted(values.len()));
        }
        (1..).zip(values).try_for_each(|(index, value)| self.bind_value(index, value, how))
    }

    fn bind_named<'v>(
        &mut self,
        pairs: impl Iterator<Item = (&'v str, &'v SqlValue)>,
        given: usize,
        how: ffi::sqlite3_destructor_type,
    ) -> Result<()> {
        let count = self.statement.parameters;
        let mut bound = vec![false; count];
        for (name, value) in pairs {
            let index = (1..=count)
                .find(|&index| self.statement.parameter_name(index).is_some_and(|own| same_name(own, name)));
            let Some(index) = index else {
                let message = format!("the statement has no parameter named {name:?}");
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            };
            if std::mem::replace(&mut bound[index - 1], true) {
                let message = format!("the parameter {name:?} was given twice");
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
            self.bind_value(index as c_int, value, how)?;
        }
        match bound.iter().position(|bound| !bound) {
            None => Ok(()),
            Some(missing) => match self.statement.parameter_name(missing + 1) {
                Some(name) => {
                    let message = format!("the parameter {name} has no value");
                    Err(Error::new(ErrorKind::InvalidArgument, message))
                }
                None => Err(self.miscounted(given)),
            },
        }
    }

    fn bind_value(
        &mut self,
        index: c_int,
        value: &SqlValue,
        how: ffi::sqlite3_destructor_type,
    ) -> Result<()> {
        let raw = self.statement.raw.as_ptr();
        // SAFETY: the statement is alive and was reset. Bytes are copied by SQLite or, if not, outlive this
        // run, whose end forgets them. An empty slice's pointer is not null, so an empty blob is no NULL.
        let code = unsafe {
            match value {
                SqlValue::Null => ffi::sqlite3_bind_null(raw, index),
                SqlValue::Integer(integer) => ffi::sqlite3_bind_int64(raw, index, *integer),
                SqlValue::Real(real) => ffi::sqlite3_bind_double(raw, index, *real),
                SqlValue::Text(text) => {
                    let utf8 = ffi::SQLITE_UTF8 as u8;
                    let (at, length) = (text.as_ptr().cast(), text.len() as u64);
                    ffi::sqlite3_bind_text64(raw, index, at, length, how, utf8)
                }
                SqlValue::Blob(blob) => {
                    let (at, length) = (blob.as_ptr().cast(), blob.len() as u64);
                    ffi::sqlite3_bind_blob64(raw, index, at, length, how)
                }
            }
        };
        // SAFETY: the statement's connection is open and used by this thread only.
        if code == ffi::SQLITE_OK { Ok(()) } else { Err(unsafe { last_error(self.statement.db, code) }) }
    }

    #[cold]
    fn miscounted(&self, given: usize) -> Error {
        let expected = self.statement.parameters;
        let parameters = if expected == 1 { "parameter" } else { "parameters" };
        let values = if given == 1 { "value was" } else { "values were" };
        let message = format!("the statement has {expected} {parameters}, {given} {values} given");
        Error::new(ErrorKind::InvalidArgument, message)
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.statement.reset();
    }
}

/// Whether `given`, with or without its prefix, names the parameter `own` (`:a`, `@a`, `$a`).
fn same_name(own: &str, given: &str) -> bool {
    own == given || own.strip_prefix([':', '@', '$']) == Some(given)
}

/// The text from its first token on: blanks, comments and semicolons before it are no statement.
pub(super) fn skip_blank(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c', ';', '\u{feff}']);
        rest = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, after)| after)
        } else {
            return rest;
        };
    }
}

#[cfg(test)]
mod tests {
    use super::skip_blank;

    #[test]
    fn blanks_comments_and_semicolons_are_no_statement() {
        for nothing in ["", " \n\t;; ", "-- end", "/* a */ ; -- b\n", "/* open", "\u{feff}"] {
            assert_eq!(skip_blank(nothing), "", "{nothing:?}");
        }
        assert_eq!(skip_blank("; -- x\n SELECT 1"), "SELECT 1");
        assert_eq!(skip_blank("/*/ */ SELECT 1"), "SELECT 1");
        assert_eq!(skip_blank("- 1"), "- 1");
    }
}
