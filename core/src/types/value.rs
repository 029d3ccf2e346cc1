use std::borrow::Cow;

/// A value of SQLite.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum SqlValue {
    /// `NULL`.
    #[default]
    Null,
    /// A 64-bit signed integer.
    Integer(i64),
    /// A double. SQLite stores NaN as `NULL`.
    Real(f64),
    /// Text in UTF-8.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl SqlValue {
    /// Whether it is `NULL`.
    pub fn is_null(&self) -> bool {
        matches!(self, SqlValue::Null)
    }

    /// The integer, if it is one.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            SqlValue::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// The double, if it is one.
    pub fn as_real(&self) -> Option<f64> {
        match self {
            SqlValue::Real(value) => Some(*value),
            _ => None,
        }
    }

    /// The text, if it is text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            SqlValue::Text(value) => Some(value),
            _ => None,
        }
    }

    /// The bytes, if it is a blob.
    pub fn as_blob(&self) -> Option<&[u8]> {
        match self {
            SqlValue::Blob(value) => Some(value),
            _ => None,
        }
    }

    /// The name of its type, as SQLite's `typeof` gives it.
    pub fn type_name(&self) -> &'static str {
        match self {
            SqlValue::Null => "null",
            SqlValue::Integer(_) => "integer",
            SqlValue::Real(_) => "real",
            SqlValue::Text(_) => "text",
            SqlValue::Blob(_) => "blob",
        }
    }
}

macro_rules! from_value {
    ($($from:ty => $variant:ident),* $(,)?) => {$(
        impl From<$from> for SqlValue {
            fn from(value: $from) -> SqlValue {
                SqlValue::$variant(value.into())
            }
        }
    )*};
}

from_value! {
    i8 => Integer, i16 => Integer, i32 => Integer, i64 => Integer,
    u8 => Integer, u16 => Integer, u32 => Integer, bool => Integer,
    f32 => Real, f64 => Real,
    String => Text, &str => Text,
    Vec<u8> => Blob, &[u8] => Blob,
}

impl<T: Into<SqlValue>> From<Option<T>> for SqlValue {
    fn from(value: Option<T>) -> SqlValue {
        value.map_or(SqlValue::Null, Into::into)
    }
}

/// The parameters of a statement: by position (`?`, `?1`) or by name (`:a`, `@a`, `$a`).
#[derive(Clone, PartialEq, Debug)]
pub enum Params<'a> {
    /// The first value is for `?1`.
    Positional(Cow<'a, [SqlValue]>),
    /// Names with or without their prefix.
    Named(Cow<'a, [(&'a str, SqlValue)]>),
    /// Names that the value owns: what [`Params::into_owned`] makes of named ones.
    OwnedNamed(Vec<(String, SqlValue)>),
}

impl<'a> Params<'a> {
    /// Parameters by name.
    pub fn named(pairs: &'a [(&'a str, SqlValue)]) -> Params<'a> {
        Params::Named(Cow::Borrowed(pairs))
    }

    /// No parameters.
    pub const fn none() -> Params<'static> {
        Params::Positional(Cow::Borrowed(&[]))
    }

    /// The same parameters without borrows.
    pub fn into_owned(self) -> Params<'static> {
        match self {
            Params::Positional(values) => Params::Positional(Cow::Owned(values.into_owned())),
            Params::Named(pairs) => Params::OwnedNamed(
                pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            ),
            Params::OwnedNamed(pairs) => Params::OwnedNamed(pairs),
        }
    }
}

impl<'a, const N: usize> From<&'a [SqlValue; N]> for Params<'a> {
    fn from(values: &'a [SqlValue; N]) -> Params<'a> {
        Params::Positional(Cow::Borrowed(values))
    }
}

impl<'a> From<&'a [SqlValue]> for Params<'a> {
    fn from(values: &'a [SqlValue]) -> Params<'a> {
        Params::Positional(Cow::Borrowed(values))
    }
}

impl<'a> From<&'a Vec<SqlValue>> for Params<'a> {
    fn from(values: &'a Vec<SqlValue>) -> Params<'a> {
        Params::Positional(Cow::Borrowed(values))
    }
}

impl From<Vec<SqlValue>> for Params<'_> {
    fn from(values: Vec<SqlValue>) -> Self {
        Params::Positional(Cow::Owned(values))
    }
}
