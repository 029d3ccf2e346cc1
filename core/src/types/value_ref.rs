use super::SqlValue;

/// A value of SQLite, borrowed from where it lies.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ValueRef<'a> {
    /// `NULL`.
    Null,
    /// A 64-bit signed integer.
    Integer(i64),
    /// A double.
    Real(f64),
    /// Text in UTF-8.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

impl ValueRef<'_> {
    /// The same value, owned.
    #[inline]
    pub fn to_owned(self) -> SqlValue {
        match self {
            ValueRef::Null => SqlValue::Null,
            ValueRef::Integer(value) => SqlValue::Integer(value),
            ValueRef::Real(value) => SqlValue::Real(value),
            ValueRef::Text(value) => SqlValue::Text(value.to_owned()),
            ValueRef::Blob(value) => SqlValue::Blob(value.to_vec()),
        }
    }

    /// The name of its type, as SQLite's `typeof` gives it.
    pub fn type_name(self) -> &'static str {
        match self {
            ValueRef::Null => "null",
            ValueRef::Integer(_) => "integer",
            ValueRef::Real(_) => "real",
            ValueRef::Text(_) => "text",
            ValueRef::Blob(_) => "blob",
        }
    }
}

/// A Rust type that a borrowed value can be read as without loss; `&str` and `&[u8]` copy nothing.
pub trait FromColumn<'a>: Sized {
    /// The value as this type, `None` if it is of another one.
    fn from_column(value: ValueRef<'a>) -> Option<Self>;
}

impl<'a> FromColumn<'a> for ValueRef<'a> {
    fn from_column(value: ValueRef<'a>) -> Option<ValueRef<'a>> {
        Some(value)
    }
}

impl FromColumn<'_> for SqlValue {
    fn from_column(value: ValueRef<'_>) -> Option<SqlValue> {
        Some(value.to_owned())
    }
}

macro_rules! from_integer {
    ($($type:ty),*) => {$(
        impl FromColumn<'_> for $type {
            #[inline]
            fn from_column(value: ValueRef<'_>) -> Option<$type> {
                match value {
                    ValueRef::Integer(integer) => integer.try_into().ok(),
                    _ => None,
                }
            }
        }
    )*};
}

from_integer!(i8, i16, i32, i64, u8, u16, u32, u64, usize);

impl FromColumn<'_> for bool {
    fn from_column(value: ValueRef<'_>) -> Option<bool> {
        match value {
            ValueRef::Integer(integer) => Some(integer != 0),
            _ => None,
        }
    }
}

impl FromColumn<'_> for f64 {
    fn from_column(value: ValueRef<'_>) -> Option<f64> {
        match value {
            ValueRef::Real(real) => Some(real),
            ValueRef::Integer(integer) => Some(integer as f64),
            _ => None,
        }
    }
}

impl<'a> FromColumn<'a> for &'a str {
    fn from_column(value: ValueRef<'a>) -> Option<&'a str> {
        match value {
            ValueRef::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl FromColumn<'_> for String {
    fn from_column(value: ValueRef<'_>) -> Option<String> {
        <&str>::from_column(value).map(str::to_owned)
    }
}

impl<'a> FromColumn<'a> for &'a [u8] {
    fn from_column(value: ValueRef<'a>) -> Option<&'a [u8]> {
        match value {
            ValueRef::Blob(blob) => Some(blob),
            _ => None,
        }
    }
}

impl FromColumn<'_> for Vec<u8> {
    fn from_column(value: ValueRef<'_>) -> Option<Vec<u8>> {
        <&[u8]>::from_column(value).map(<[u8]>::to_vec)
    }
}

impl<'a, T: FromColumn<'a>> FromColumn<'a> for Option<T> {
    fn from_column(value: ValueRef<'a>) -> Option<Option<T>> {
        match value {
            ValueRef::Null => Some(None),
            other => T::from_column(other).map(Some),
        }
    }
}
