//! The messages of JetStream's API that a register needs, as its servers write them (`io.nats.jetstream.api.v1`).

use async_nats::{HeaderMap, Message};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::types::{Error, ErrorKind, Result};

/// There is no such stream.
pub(super) const STREAM_NOT_FOUND: u32 = 10059;
/// A stream of this name exists, with another configuration.
pub(super) const STREAM_NAME_IN_USE: u32 = 10058;
/// Nothing was ever written to the subject.
const MESSAGE_NOT_FOUND: u32 = 10037;
/// The subject's newest message is another one.
const WRONG_LAST_SEQUENCE: u32 = 10071;
/// Another write to the subject is on its way, and nobody knows yet what becomes of it (clusters, since 2.12).
const WRITE_ON_ITS_WAY: u32 = 10164;
/// A value above the stream's limit, a full account.
const TOO_LARGE: [u32; 4] = [10054, 10002, 10028, 10047];
/// The stream could not store: it is full ("maximum bytes exceeded"), or its server has trouble.
const NOT_STORED: u32 = 10077;
/// JetStream is not enabled, at all or for this account.
const NO_JETSTREAM: [u32; 2] = [10076, 10039];
/// The message went to another stream than the bucket's.
const OTHER_STREAM: u32 = 10060;

/// Why JetStream refused.
#[derive(Deserialize, Debug)]
pub(super) struct Refusal {
    #[serde(default)]
    pub(super) err_code: u32,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct MayRefuse {
    error: Option<Refusal>,
}

/// What JetStream answered.
pub(super) fn answer<T: DeserializeOwned>(message: &Message) -> Result<Result<T, Refusal>> {
    let unreadable = |e| {
        let message = "what answered is no JetStream, or one that this version cannot read";
        Error::new(ErrorKind::StoreUnfit, message).with_source(e)
    };
    let may: MayRefuse = serde_json::from_slice(&message.payload).map_err(unreadable)?;
    match may.error {
        Some(refusal) => Ok(Err(refusal)),
        None => serde_json::from_slice(&message.payload).map(Ok).map_err(unreadable),
    }
}

impl Refusal {
    /// The refusal as an error, if it is none that the caller expects.
    pub(super) fn into_error(self) -> Error {
        let kind = match self.err_code {
            code if TOO_LARGE.contains(&code) => ErrorKind::LimitExceeded,
            NOT_STORED if self.description.starts_with("maximum") => ErrorKind::LimitExceeded,
            code if NO_JETSTREAM.contains(&code) || code == OTHER_STREAM => ErrorKind::StoreUnfit,
            _ => ErrorKind::StoreUnavailable,
        };
        Error::new(kind, format!("JetStream refuses: {} ({})", self.description, self.err_code))
    }
}

/// A stream's configuration, as far as it matters here.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct StreamConfig {
    pub(super) subjects: Vec<String>,
    pub(super) retention: String,
    pub(super) storage: String,
    pub(super) discard: String,
    pub(super) num_replicas: usize,
    pub(super) max_msgs: i64,
    pub(super) max_bytes: i64,
    /// In nanoseconds.
    pub(super) max_age: i64,
    pub(super) max_msgs_per_subject: i64,
    pub(super) sealed: bool,
    pub(super) no_ack: bool,
    pub(super) mirror: Option<serde::de::IgnoredAny>,
    pub(super) sources: Option<serde::de::IgnoredAny>,
    pub(super) persist_mode: Option<String>,
}

/// The answer to a look at a stream, and to its creation.
#[derive(Deserialize)]
pub(super) struct StreamInfo {
    pub(super) config: StreamConfig,
}

/// A stream that is to be made.
#[derive(Serialize)]
pub(super) struct NewStream {
    pub(super) name: String,
    pub(super) description: &'static str,
    pub(super) subjects: [String; 1],
    pub(super) retention: &'static str,
    pub(super) storage: &'static str,
    pub(super) discard: &'static str,
    pub(super) num_replicas: usize,
    pub(super) max_msgs_per_subject: i64,
    pub(super) max_msgs: i64,
    pub(super) max_bytes: i64,
    pub(super) max_msg_size: i64,
    pub(super) max_consumers: i64,
    pub(super) max_age: i64,
    pub(super) allow_rollup_hdrs: bool,
    pub(super) deny_delete: bool,
    pub(super) allow_direct: bool,
}

/// The answer to a message that a stream took.
#[derive(Deserialize)]
struct Stored {
    seq: u64,
}

/// What became of a write.
pub(super) enum Written {
    /// It got this revision.
    Done(u64),
    /// The register has another version than the write expected.
    Lost,
    /// Nothing was changed, and the next try may have another answer.
    Again,
}

/// Reads what became of a write.
pub(super) fn written(message: &Message) -> Result<Written> {
    match answer::<Stored>(message)? {
        Ok(stored) => Ok(Written::Done(stored.seq)),
        Err(refusal) if refusal.err_code == WRONG_LAST_SEQUENCE => Ok(Written::Lost),
        Err(refusal) if refusal.err_code == WRITE_ON_ITS_WAY => Ok(Written::Again),
        Err(refusal) => Err(refusal.into_error()),
    }
}

#[derive(Serialize)]
pub(super) struct GetLast<'a> {
    pub(super) last_by_subj: &'a str,
}

#[derive(Deserialize)]
struct Got {
    message: GotMessage,
}

#[derive(Deserialize)]
struct GotMessage {
    seq: u64,
    /// Both in base64.
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
}

/// The newest message of a subject.
pub(super) struct Entry {
    pub(super) revision: u64,
    /// `None` for the mark of a deletion.
    pub(super) body: Option<Vec<u8>>,
}

/// The newest message of a subject, if there is one.
pub(super) fn entry(message: &Message) -> Result<Result<Option<Entry>, Refusal>> {
    let got = match answer::<Got>(message)? {
        Ok(got) => got.message,
        Err(refusal) if refusal.err_code == MESSAGE_NOT_FOUND => return Ok(Ok(None)),
        Err(refusal) => return Ok(Err(refusal)),
    };
    let decode = |text: &str| {
        let bytes = STANDARD.decode(text);
        bytes.map_err(|e| Error::corrupt("an answer of JetStream is no base64").with_source(e))
    };
    let headers = decode(&got.hdrs)?;
    let body = match is_deletion(&String::from_utf8_lossy(&headers)) {
        true => None,
        false => Some(decode(&got.data)?),
    };
    Ok(Ok(Some(Entry { revision: got.seq, body })))
}

/// Whether these headers, as text, make a message the mark of a deletion: by a client, or by the server itself (a
/// purge, or an age).
fn is_deletion(headers: &str) -> bool {
    headers.lines().filter_map(|line| line.split_once(':')).any(|(name, value)| {
        let (name, value) = (name.trim(), value.trim());
        name.eq_ignore_ascii_case("KV-Operation") && matches!(value, "DEL" | "PURGE")
            || name.eq_ignore_ascii_case("Nats-Marker-Reason")
    })
}

/// A consumer that sends what is newest at a subject, and everything after it, without bodies.
#[derive(Serialize)]
pub(super) struct NewConsumer<'a> {
    pub(super) stream_name: &'a str,
    pub(super) config: ConsumerConfig<'a>,
}

#[derive(Serialize)]
pub(super) struct ConsumerConfig<'a> {
    pub(super) deliver_subject: &'a str,
    pub(super) filter_subject: &'a str,
    pub(super) deliver_policy: &'static str,
    pub(super) ack_policy: &'static str,
    pub(super) replay_policy: &'static str,
    pub(super) max_deliver: i64,
    pub(super) headers_only: bool,
    pub(super) mem_storage: bool,
    pub(super) num_replicas: usize,
    /// Both in nanoseconds.
    pub(super) idle_heartbeat: u64,
    pub(super) inactive_threshold: u64,
}

#[derive(Deserialize)]
pub(super) struct ConsumerInfo {
    /// How many messages it is about to send.
    #[serde(default)]
    pub(super) num_pending: u64,
}

/// What a consumer sent.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Delivery {
    /// It is alive, and has sent so many messages.
    Heartbeat { sent: u64 },
    /// Its message of this number: the subject's newest was this revision then.
    Change { number: u64, revision: u64, deleted: bool },
    /// It will send nothing more, or nothing that can be read.
    End,
}

/// Reads what a consumer sent.
pub(super) fn delivery(message: &Message) -> Delivery {
    let header = |name: &str| message.headers.as_ref().and_then(|headers| headers.get(name));
    match message.status.map(|status| status.as_u16()) {
        Some(100) => match header("Nats-Last-Consumer").and_then(|sent| sent.as_str().parse().ok()) {
            Some(sent) => Delivery::Heartbeat { sent },
            None => Delivery::End,
        },
        Some(_) => Delivery::End,
        None => match message.reply.as_ref().and_then(|reply| numbers(reply)) {
            Some((revision, number)) => {
                let deleted = message.headers.as_ref().is_some_and(has_deletion);
                Delivery::Change { number, revision, deleted }
            }
            None => Delivery::End,
        },
    }
}

fn has_deletion(headers: &HeaderMap) -> bool {
    let operation = headers.get("KV-Operation").map(|value| value.as_str());
    matches!(operation, Some("DEL" | "PURGE")) || headers.get("Nats-Marker-Reason").is_some()
}

/// The sequences in the stream and of the consumer, from the subject of an acknowledgement: `$JS.ACK.<stream>.
/// <consumer>.<tries>.<stream's>.<consumer's>.<time>.<pending>`, or since 2.8 with domain and account before the
/// stream and perhaps a token at the end.
fn numbers(reply: &str) -> Option<(u64, u64)> {
    let parts: Vec<&str> = reply.split('.').collect();
    let first = match parts.len() {
        9 => 5,
        11.. => 7,
        _ => return None,
    };
    (parts[0] == "$JS" && parts[1] == "ACK")
        .then(|| Some((parts[first].parse().ok()?, parts[first + 1].parse().ok()?)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_acknowledgement_are_read() {
        assert_eq!(numbers("$JS.ACK.KV_x.99Vss9Fa.1.5.2.1795384220835210344.0"), Some((5, 2)));
        assert_eq!(numbers("$JS.ACK.hub.ACCT.KV_x.c.1.5.2.1795384220835210344.0.token"), Some((5, 2)));
        assert_eq!(numbers("$JS.ACK._.ACCT.KV_x.c.1.5.2.1795384220835210344.0"), Some((5, 2)));
        for reply in ["", "_INBOX.a.b", "$JS.ACK.KV_x.c.1.5.2.3", "a.b.KV_x.c.1.5.2.3.0"] {
            assert_eq!(numbers(reply), None, "{reply}");
        }
    }

    #[test]
    fn the_marks_of_a_deletion_are_known() {
        assert!(is_deletion("NATS/1.0\r\nKV-Operation: DEL\r\n\r\n"));
        assert!(is_deletion("NATS/1.0\r\nNats-Rollup: sub\r\nKV-Operation: PURGE\r\n\r\n"));
        assert!(is_deletion("NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\n\r\n"));
        assert!(!is_deletion("NATS/1.0\r\nKV-Operation: PUT\r\n\r\n"));
        assert!(!is_deletion("NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: 1\r\n\r\n"));
        assert!(!is_deletion(""));
    }
}
