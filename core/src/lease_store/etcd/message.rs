//! What goes over the wire: etcd's JSON gateway, as its `rpc.proto` and `kv.proto` say. Numbers of 64 bits are strings
//! there, bytes are base64, and fields with the default value are missing. Names of fields are those of the proto
//! files, which every version of the gateway takes and 3.4 to 3.6 give.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::version::Version;

/// `RangeRequest` for one key. Without `serializable` it is linearizable.
pub(super) fn range(key: &str) -> Value {
    json!({ "key": base64(key) })
}

/// `TxnRequest` that puts a value if there is nothing at the key.
pub(super) fn create(key: &str, value: &[u8]) -> Value {
    let compare = json!([
        { "key": base64(key), "target": "CREATE", "result": "EQUAL", "create_revision": "0" },
    ]);
    put_if(compare, key, value)
}

/// `TxnRequest` that puts a value if the one that is there has this version: this revision, and a value that begins
/// with this mark and a line feed. (Bytes are compared in their order, so all texts that begin with `mark\n` and no
/// others lie between `mark` and `mark\x0b`.)
pub(super) fn replace(key: &str, value: &[u8], version: &Version) -> Value {
    let below = format!("{}\x0b", version.mark);
    let compare = json!([
        { "key": base64(key), "target": "MOD", "result": "EQUAL", "mod_revision": version.revision.to_string() },
        { "key": base64(key), "target": "VALUE", "result": "GREATER", "value": base64(&version.mark) },
        { "key": base64(key), "target": "VALUE", "result": "LESS", "value": base64(below) },
    ]);
    put_if(compare, key, value)
}

fn put_if(compare: Value, key: &str, value: &[u8]) -> Value {
    let put = json!({ "request_put": { "key": base64(key), "value": base64(value) } });
    json!({ "compare": compare, "success": [put] })
}

/// `AuthenticateRequest`.
pub(super) fn authenticate(user: &str, password: &str) -> Value {
    json!({ "name": user, "password": password })
}

/// `WatchRequest` for one key from this revision on. Large answers come in parts.
pub(super) fn watch(key: &str, from: i64) -> Value {
    json!({ "create_request": { "key": base64(key), "start_revision": from.to_string(), "fragment": true } })
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// `ResponseHeader`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Header {
    /// The newest of the whole store.
    #[serde(deserialize_with = "int64")]
    pub(super) revision: i64,
}

/// `RangeResponse`.
#[derive(Deserialize)]
pub(super) struct Ranged {
    pub(super) header: Header,
    #[serde(default)]
    pub(super) kvs: Vec<KeyValue>,
}

/// `KeyValue`.
#[derive(Deserialize)]
pub(super) struct KeyValue {
    #[serde(default, deserialize_with = "int64")]
    pub(super) mod_revision: i64,
    #[serde(default)]
    pub(super) value: String,
}

impl KeyValue {
    /// The value's bytes; `None` if this is no base64.
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.value).ok()
    }
}

/// `TxnResponse`.
#[derive(Deserialize)]
pub(super) struct Done {
    pub(super) header: Header,
    #[serde(default)]
    pub(super) succeeded: bool,
}

/// `AuthenticateResponse`.
#[derive(Deserialize)]
pub(super) struct Authenticated {
    pub(super) token: String,
}

/// A line of a watch.
#[derive(Deserialize)]
pub(super) struct Line {
    /// There is an `error` instead if the stream ends.
    pub(super) result: Option<Watched>,
}

/// `WatchResponse`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Watched {
    pub(super) canceled: bool,
    pub(super) cancel_reason: String,
    pub(super) events: Vec<Happened>,
}

/// `Event`: a put or a delete, which are the same to us.
#[derive(Deserialize)]
pub(super) struct Happened {
    pub(super) kv: Key,
}

/// Of a `KeyValue`, when it was changed.
#[derive(Deserialize)]
pub(super) struct Key {
    #[serde(default, deserialize_with = "int64")]
    pub(super) mod_revision: i64,
}

/// What the gateway says instead of an answer. Version 3.6 has no `error`, and others may have no `message`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Refusal {
    pub(super) code: i64,
    pub(super) message: String,
    pub(super) error: Value,
}

impl Refusal {
    /// What it says, for people.
    pub(super) fn text(&self) -> &str {
        if self.message.is_empty() { self.error.as_str().unwrap_or_default() } else { &self.message }
    }
}

/// A string of digits, or a number.
fn int64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Int64 {
        Text(String),
        Number(i64),
    }
    match Int64::deserialize(deserializer)? {
        Int64::Text(text) => text.parse().map_err(serde::de::Error::custom),
        Int64::Number(number) => Ok(number),
    }
}
