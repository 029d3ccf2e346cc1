use std::ptr::NonNull;
use std::sync::Arc;

use rusqlite::ffi;

use crate::types::{Error, ErrorKind, FromColumn, Result, Row, RowIndex, SqlValue, ValueRef};

/// A row that lies in SQLite's memory, seen from inside of a closure: nothing is copied that is not asked
/// for.
pub struct LocalRow<'s> {
    statement: NonNull<ffi::sqlite3_stmt>,
    columns: &'s Arc<[String]>,
}

impl<'s> LocalRow<'s> {
    pub(super) fn new(statement: NonNull<ffi::sqlite3_stmt>, columns: &'s Arc<[String]>) -> LocalRow<'s> {
        LocalRow { statement, columns }
    }

    /// The value of a column as a Rust type; `&str` and `&[u8]` point into SQLite's memory.
    /// `InvalidArgument` if there is no such column or its value is of another type.
    #[inline]
    pub fn get<'r, T: FromColumn<'r>>(&'r self, index: impl RowIndex) -> Result<T> {
        let position = index.position(self.columns)?;
        let value = self.read(position)?;
        T::from_column(value).ok_or_else(|| self.mistyped::<T>(position, value))
    }

    /// The value of a column. `InvalidArgument` if there is no such column.
    pub fn value(&self, index: impl RowIndex) -> Result<ValueRef<'_>> {
        self.read(index.position(self.columns)?)
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        self.columns
    }

    /// How many columns.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there are no columns.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// All values, copied.
    pub(crate) fn to_values(&self) -> Result<Vec<SqlValue>> {
        // Collecting results would not know how many there are, and grow.
        let mut values = Vec::with_capacity(self.columns.len());
        for position in 0..self.columns.len() {
            values.push(self.read(position)?.to_owned());
        }
        Ok(values)
    }

    /// The row, copied.
    pub(super) fn to_row(&self) -> Result<Row> {
        Ok(Row::new(Arc::clone(self.columns), self.to_values()?))
    }

    #[inline]
    fn read(&self, position: usize) -> Result<ValueRef<'_>> {
        let raw = self.statement.as_ptr();
        let index = position as i32;
        // SAFETY: the statement stands on a row, `position` is one of its columns, and the borrow of the row
        // keeps the statement from moving on, which is how long SQLite keeps text and bytes in place. Each
        // column is only ever read as the type that it has, so SQLite converts nothing in place.
        unsafe {
            Ok(match ffi::sqlite3_column_type(raw, index) {
                ffi::SQLITE_INTEGER => ValueRef::Integer(ffi::sqlite3_column_int64(raw, index)),
                ffi::SQLITE_FLOAT => ValueRef::Real(ffi::sqlite3_column_double(raw, index)),
                ffi::SQLITE_TEXT => {
                    let at = ffi::sqlite3_column_text(raw, index);
                    let length = ffi::sqlite3_column_bytes(raw, index);
                    let text =
                        std::str::from_utf8(slice(at, length)).map_err(|e| self.not_utf8(position, e))?;
                    ValueRef::Text(text)
                }
                ffi::SQLITE_BLOB => {
                    let at = ffi::sqlite3_column_blob(raw, index).cast();
                    ValueRef::Blob(slice(at, ffi::sqlite3_column_bytes(raw, index)))
                }
                _ => ValueRef::Null,
            })
        }
    }

    #[cold]
    fn mistyped<T>(&self, position: usize, value: ValueRef<'_>) -> Error {
        let (name, wanted) = (&self.columns[position], std::any::type_name::<T>());
        let message = format!("column {name:?} holds {}, not {wanted}", value.type_name());
        Error::new(ErrorKind::InvalidArgument, message)
    }

    #[cold]
    fn not_utf8(&self, position: usize, error: std::str::Utf8Error) -> Error {
        let name = &self.columns[position];
        let message = format!("column {name:?} holds text that is not UTF-8: read it as CAST(.. AS BLOB)");
        Error::new(ErrorKind::Sql, message).with_source(error)
    }
}

/// The bytes at `at`, none if SQLite gave no pointer.
///
/// # Safety
/// `at` is null or valid for `length` bytes during `'a`.
unsafe fn slice<'a>(at: *const u8, length: i32) -> &'a [u8] {
    if at.is_null() || length <= 0 {
        return &[];
    }
    // SAFETY: the caller vouches for it.
    unsafe { std::slice::from_raw_parts(at, length as usize) }
}
