use std::ops::Index;
use std::sync::Arc;

use super::{Error, ErrorKind, Result, SqlValue};

/// The rows that a query gave.
#[derive(Clone, PartialEq, Debug)]
pub struct Rows {
    /// The names of the columns, in order; two columns may share a name.
    pub columns: Arc<[String]>,
    /// The rows, in order.
    pub rows: Vec<Row>,
}

impl Rows {
    /// Rows without columns: what a statement gives that returns nothing.
    pub fn empty() -> Rows {
        Rows { columns: Arc::from([]), rows: Vec::new() }
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Row> {
        self.rows.iter()
    }
}

impl Default for Rows {
    fn default() -> Rows {
        Rows::empty()
    }
}

impl IntoIterator for Rows {
    type Item = Row;
    type IntoIter = std::vec::IntoIter<Row>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter()
    }
}

impl<'a> IntoIterator for &'a Rows {
    type Item = &'a Row;
    type IntoIter = std::slice::Iter<'a, Row>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.iter()
    }
}

/// One row: its values, and the names of its columns.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<SqlValue>,
}

impl Row {
    /// The row with these columns and as many values.
    pub fn new(columns: Arc<[String]>, values: Vec<SqlValue>) -> Row {
        debug_assert_eq!(columns.len(), values.len());
        Row { columns, values }
    }

    /// The value of a column as a Rust type. `InvalidArgument` if there is no such column or its value
    /// is of another type.
    pub fn get<T: FromValue>(&self, index: impl RowIndex) -> Result<T> {
        let position = index.position(&self.columns)?;
        let value = &self.values[position];
        T::from_value(value).ok_or_else(|| {
            let name = &self.columns[position];
            let message =
                format!("column {name:?} holds {}, not {}", value.type_name(), std::any::type_name::<T>());
            Error::new(ErrorKind::InvalidArgument, message)
        })
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The values, in the order of the columns.
    pub fn values(&self) -> &[SqlValue] {
        &self.values
    }

    /// The values, in the order of the columns.
    pub fn into_values(self) -> Vec<SqlValue> {
        self.values
    }

    /// How many columns.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no columns.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl Index<usize> for Row {
    type Output = SqlValue;

    fn index(&self, index: usize) -> &SqlValue {
        &self.values[index]
    }
}

/// What names a column: its index from 0, or its name.
pub trait RowIndex {
    /// The index of the column. `InvalidArgument` if there is none.
    fn position(&self, columns: &[String]) -> Result<usize>;
}

impl RowIndex for usize {
    fn position(&self, columns: &[String]) -> Result<usize> {
        if *self < columns.len() {
            return Ok(*self);
        }
        let message = format!("there is no column {self}: the row has {}", columns.len());
        Err(Error::new(ErrorKind::InvalidArgument, message))
    }
}

impl RowIndex for &str {
    fn position(&self, columns: &[String]) -> Result<usize> {
        columns
            .iter()
            .position(|name| name == self)
            .or_else(|| columns.iter().position(|name| name.eq_ignore_ascii_case(self)))
            .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, format!("there is no column {self:?}")))
    }
}

/// A Rust type that a value of SQLite can be read as without loss.
pub trait FromValue: Sized {
    /// The value as this type, `None` if it is of another one.
    fn from_value(value: &SqlValue) -> Option<Self>;
}

impl FromValue for SqlValue {
    fn from_value(value: &SqlValue) -> Option<SqlValue> {
        Some(value.clone())
    }
}

macro_rules! from_integer {
    ($($type:ty),*) => {$(
        impl FromValue for $type {
            fn from_value(value: &SqlValue) -> Option<$type> {
                value.as_integer().and_then(|integer| integer.try_into().ok())
            }
        }
    )*};
}

from_integer!(i8, i16, i32, i64, u8, u16, u32, u64, usize);

impl FromValue for bool {
    fn from_value(value: &SqlValue) -> Option<bool> {
        value.as_integer().map(|integer| integer != 0)
    }
}

impl FromValue for f64 {
    fn from_value(value: &SqlValue) -> Option<f64> {
        match value {
            SqlValue::Real(real) => Some(*real),
            SqlValue::Integer(integer) => Some(*integer as f64),
            _ => None,
        }
    }
}

impl FromValue for String {
    fn from_value(value: &SqlValue) -> Option<String> {
        value.as_text().map(str::to_owned)
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: &SqlValue) -> Option<Vec<u8>> {
        value.as_blob().map(<[u8]>::to_vec)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &SqlValue) -> Option<Option<T>> {
        match value {
            SqlValue::Null => Some(None),
            other => T::from_value(other).map(Some),
        }
    }
}
