use std::fmt::Display;

use rusqlite::ffi;

use crate::types::{Error, ErrorKind};

/// The error for a result code of a file method.
pub(super) fn code_error(doing: impl Display, code: i32) -> Error {
    let kind = match code & 0xff {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => ErrorKind::Busy,
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => ErrorKind::Corrupt,
        ffi::SQLITE_FULL | ffi::SQLITE_IOERR | ffi::SQLITE_CANTOPEN | ffi::SQLITE_READONLY => ErrorKind::Io,
        _ => ErrorKind::Sql,
    };
    let text = ffi::code_to_str(code);
    Error::new(kind, format!("{doing}: {text} (code {code})")).with_sqlite_code(code)
}

/// The error for what a statement on one of our own connections met.
pub(super) fn statement_error(doing: impl Display, error: rusqlite::Error) -> Error {
    match error.sqlite_error() {
        Some(cause) => {
            let code = cause.extended_code;
            code_error(doing, code).with_source(error)
        }
        None => Error::new(ErrorKind::Sql, format!("{doing}: {error}")).with_source(error),
    }
}
