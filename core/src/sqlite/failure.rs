use std::ffi::CStr;

use rusqlite::ffi;

use crate::types::{Error, ErrorKind};

/// The kind of error that a result code of SQLite, extended or not, is.
pub(super) fn kind_of(code: i32) -> ErrorKind {
    match code & 0xff {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => ErrorKind::Busy,
        ffi::SQLITE_CONSTRAINT => ErrorKind::Constraint,
        ffi::SQLITE_INTERRUPT => ErrorKind::Interrupted,
        ffi::SQLITE_READONLY => ErrorKind::ReadOnly,
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => ErrorKind::Corrupt,
        ffi::SQLITE_IOERR
        | ffi::SQLITE_CANTOPEN
        | ffi::SQLITE_FULL
        | ffi::SQLITE_PERM
        | ffi::SQLITE_PROTOCOL
        | ffi::SQLITE_NOLFS => ErrorKind::Io,
        ffi::SQLITE_TOOBIG | ffi::SQLITE_NOMEM => ErrorKind::LimitExceeded,
        ffi::SQLITE_RANGE | ffi::SQLITE_AUTH => ErrorKind::InvalidArgument,
        ffi::SQLITE_ABORT if code == ffi::SQLITE_ABORT_ROLLBACK => ErrorKind::TransactionAborted,
        ffi::SQLITE_MISUSE => ErrorKind::Internal,
        _ => ErrorKind::Sql,
    }
}

/// The error that the connection reports for the call that has just failed with `code`.
///
/// # Safety
/// `db` is an open connection that no other thread uses at the moment.
pub(super) unsafe fn last_error(db: *mut ffi::sqlite3, code: i32) -> Error {
    // SAFETY: the caller vouches for `db`; the message is copied before anything else is asked of it.
    let (reported, message) = unsafe {
        let reported = ffi::sqlite3_extended_errcode(db);
        let text = ffi::sqlite3_errmsg(db);
        (reported, CStr::from_ptr(text).to_string_lossy().into_owned())
    };
    // What a call returns is right even where the connection remembers an error of an earlier one.
    let code = if reported & 0xff == code & 0xff { reported } else { code };
    Error::new(kind_of(code), message).with_sqlite_code(code)
}

/// An error of rusqlite, which only opens and configures connections here.
pub(super) fn from_rusqlite(error: rusqlite::Error) -> Error {
    match &error {
        rusqlite::Error::SqliteFailure(failure, message) => {
            let text = message.clone().unwrap_or_else(|| failure.to_string());
            Error::new(kind_of(failure.extended_code), text).with_sqlite_code(failure.extended_code)
        }
        _ => Error::new(ErrorKind::Sql, error.to_string()),
    }
    .with_source(error)
}
