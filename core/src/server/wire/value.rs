//! Values and parameters.
//!
//! A typed value keeps every bit that SQLite keeps: `{"type":"null"}`, `{"type":"integer","value":"-1"}`
//! (a string, because JSON readers round beyond 2^53), `{"type":"real","value":1.5}` (`"nan"`, `"inf"`,
//! `"-inf"` for what JSON has no number for), `{"type":"text","value":"a"}`,
//! `{"type":"blob","base64":"AQI="}`.
//!
//! A plain value is JSON's own: null, number, string, `true` and `false` as 1 and 0; where JSON has nothing
//! of its own, it is a typed value.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::{Params, SqlValue};

/// The largest integer that every reader of JSON numbers keeps exactly.
const MAX_EXACT: i64 = (1 << 53) - 1;

/// A value in its typed form, to be written.
pub(super) struct TypedRef<'a>(pub(super) &'a SqlValue);

/// A value that was read in its typed form.
pub(super) struct Typed(pub(super) SqlValue);

/// A value in its plain form, to be written.
pub(super) struct PlainRef<'a>(pub(super) &'a SqlValue);

/// A value that was read in its plain form.
pub(super) struct Plain(pub(super) SqlValue);

/// Parameters to be written: an array of typed values by position, an object by name.
pub(super) struct ParamsRef<'a>(pub(super) &'a Params<'static>);

/// Parameters that were read, with values in the form `V`.
pub(super) struct ParamsOf<V> {
    pub(super) params: Params<'static>,
    form: PhantomData<V>,
}

impl<V> Default for ParamsOf<V> {
    fn default() -> ParamsOf<V> {
        ParamsOf { params: Params::none(), form: PhantomData }
    }
}

impl Serialize for TypedRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", self.0.type_name())?;
        match self.0 {
            SqlValue::Null => {}
            SqlValue::Integer(integer) => map.serialize_entry("value", &format_args!("{integer}"))?,
            SqlValue::Real(real) if real.is_finite() => map.serialize_entry("value", real)?,
            SqlValue::Real(real) => map.serialize_entry("value", not_finite(*real))?,
            SqlValue::Text(text) => map.serialize_entry("value", text)?,
            SqlValue::Blob(blob) => {
                map.serialize_entry("base64", &format_args!("{}", Base64Display::new(blob, &STANDARD)))?;
            }
        }
        map.end()
    }
}

impl Serialize for PlainRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            SqlValue::Null => serializer.serialize_unit(),
            SqlValue::Integer(integer) if (-MAX_EXACT..=MAX_EXACT).contains(integer) => {
                serializer.serialize_i64(*integer)
            }
            SqlValue::Real(real) if real.is_finite() => serializer.serialize_f64(*real),
            SqlValue::Text(text) => serializer.serialize_str(text),
            SqlValue::Integer(_) | SqlValue::Real(_) | SqlValue::Blob(_) => {
                TypedRef(self.0).serialize(serializer)
            }
        }
    }
}

impl Serialize for ParamsRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Params::Positional(values) => {
                let mut seq = serializer.serialize_seq(Some(values.len()))?;
                values.iter().try_for_each(|value| seq.serialize_element(&TypedRef(value)))?;
                seq.end()
            }
            Params::Named(pairs) => {
                let mut map = serializer.serialize_map(Some(pairs.len()))?;
                pairs.iter().try_for_each(|(name, value)| map.serialize_entry(name, &TypedRef(value)))?;
                map.end()
            }
            Params::OwnedNamed(pairs) => {
                let mut map = serializer.serialize_map(Some(pairs.len()))?;
                pairs.iter().try_for_each(|(name, value)| map.serialize_entry(name, &TypedRef(value)))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Typed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Typed, D::Error> {
        Fields::deserialize(deserializer)?.into_value().map(Typed).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Plain, D::Error> {
        deserializer.deserialize_any(PlainVisitor).map(Plain)
    }
}

impl<'de, V> Deserialize<'de> for ParamsOf<V>
where
    V: Deserialize<'de> + Into<SqlValue>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ParamsOf<V>, D::Error> {
        let params = deserializer.deserialize_any(ParamsVisitor::<V>(PhantomData))?;
        Ok(ParamsOf { params, form: PhantomData })
    }
}

impl From<Typed> for SqlValue {
    fn from(typed: Typed) -> SqlValue {
        typed.0
    }
}

impl From<Plain> for SqlValue {
    fn from(plain: Plain) -> SqlValue {
        plain.0
    }
}

/// A typed value as it stands in JSON.
#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "type")]
    kind: Kind,
    value: Option<Scalar>,
    base64: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Null,
    Integer,
    Real,
    Text,
    Blob,
}

impl Fields {
    fn into_value(self) -> Result<SqlValue, String> {
        match (self.kind, self.value, self.base64) {
            (Kind::Null, None, None) => Ok(SqlValue::Null),
            (Kind::Integer, Some(Scalar::Integer(integer)), None) => Ok(SqlValue::Integer(integer)),
            (Kind::Integer, Some(Scalar::Text(digits)), None) => digits
                .parse()
                .map(SqlValue::Integer)
                .map_err(|_| format!("{digits:?} is not a 64-bit integer")),
            (Kind::Real, Some(Scalar::Real(real)), None) => Ok(SqlValue::Real(real)),
            (Kind::Real, Some(Scalar::Integer(integer)), None) => Ok(SqlValue::Real(integer as f64)),
            (Kind::Real, Some(Scalar::Text(name)), None) => match name.as_str() {
                "nan" => Ok(SqlValue::Real(f64::NAN)),
                "inf" => Ok(SqlValue::Real(f64::INFINITY)),
                "-inf" => Ok(SqlValue::Real(f64::NEG_INFINITY)),
                other => Err(format!("{other:?} is not a real number")),
            },
            (Kind::Text, Some(Scalar::Text(text)), None) => Ok(SqlValue::Text(text)),
            (Kind::Blob, None, Some(text)) => STANDARD
                .decode(&text)
                .map(SqlValue::Blob)
                .map_err(|error| format!("a blob is not in base64: {error}")),
            (Kind::Null | Kind::Integer | Kind::Real | Kind::Text | Kind::Blob, _, _) => {
                Err("the type of a value and its fields do not match".to_owned())
            }
        }
    }
}

enum Scalar {
    Integer(i64),
    Real(f64),
    Text(String),
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scalar, D::Error> {
        match deserializer.deserialize_any(PlainVisitor)? {
            SqlValue::Integer(integer) => Ok(Scalar::Integer(integer)),
            SqlValue::Real(real) => Ok(Scalar::Real(real)),
            SqlValue::Text(text) => Ok(Scalar::Text(text)),
            SqlValue::Null | SqlValue::Blob(_) => Err(D::Error::custom("expected a number or a string")),
        }
    }
}

struct PlainVisitor;

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = SqlValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a boolean, a number, a string, or an object with \"type\"")
    }

    fn visit_unit<E>(self) -> Result<SqlValue, E> {
        Ok(SqlValue::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<SqlValue, E> {
        Ok(SqlValue::Integer(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<SqlValue, E> {
        Ok(SqlValue::Integer(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<SqlValue, E> {
        i64::try_from(value)
            .map(SqlValue::Integer)
            .map_err(|_| E::custom(format!("{value} does not fit into 64 bits with a sign")))
    }

    fn visit_f64<E>(self, value: f64) -> Result<SqlValue, E> {
        Ok(SqlValue::Real(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<SqlValue, E> {
        Ok(SqlValue::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<SqlValue, E> {
        Ok(SqlValue::Text(value))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SqlValue, A::Error> {
        Typed::deserialize(MapAccessDeserializer::new(map)).map(|typed| typed.0)
    }
}

struct ParamsVisitor<V>(PhantomData<V>);

impl<'de, V> Visitor<'de> for ParamsVisitor<V>
where
    V: Deserialize<'de> + Into<SqlValue>,
{
    type Value = Params<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of values or an object of names and values")
    }

    fn visit_unit<E>(self) -> Result<Params<'static>, E> {
        Ok(Params::none())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Params<'static>, A::Error> {
        let mut values: Vec<SqlValue> = Vec::new();
        while let Some(value) = seq.next_element::<V>()? {
            values.push(value.into());
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Params<'static>, A::Error> {
        let mut pairs = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, V>()? {
            pairs.push((name, value.into()));
        }
        Ok(Params::OwnedNamed(pairs))
    }
}

fn not_finite(real: f64) -> &'static str {
    if real.is_nan() {
        "nan"
    } else if real > 0.0 {
        "inf"
    } else {
        "-inf"
    }
}
