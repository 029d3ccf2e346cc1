//! What leases and manifests look like over HTTP, for both ends. `core/FORMAT.md` has it as a table.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Where leases are.
pub(crate) const LEASE: &str = "/v1/lease";
/// Where manifests are.
pub(crate) const MANIFEST: &str = "/v1/sync/manifest";
/// Whether a server is there; needs no token.
pub(crate) const HEALTH: &str = "/v1/health";

/// The header with a manifest's epoch.
pub(crate) const EPOCH_HEADER: &str = "x-haqlite-epoch";
/// The header by which a server of this crate shows that an answer is its own, and no proxy's.
pub(crate) const STORE_HEADER: &str = "x-haqlite-store";

/// The longest key in bytes.
pub(crate) const MAX_KEY_BYTES: usize = 512;
/// The largest lease in bytes.
pub(crate) const MAX_LEASE_BYTES: usize = 64 << 10;
/// The longest that a server lets a watcher wait, in seconds.
pub(crate) const MAX_WAIT_SECONDS: u64 = 25;

/// The body of a write of a lease.
#[derive(Serialize, Deserialize)]
pub(crate) struct LeaseBody {
    /// The lease, in base64.
    pub(crate) data: String,
}

/// The answer to a write of a lease.
#[derive(Serialize, Deserialize)]
pub(crate) struct LeaseWritten {
    /// Its version from now on.
    pub(crate) fence: u64,
}

/// The answer to a read of a lease.
#[derive(Serialize, Deserialize)]
pub(crate) struct LeaseFound {
    /// Its version.
    pub(crate) fence: u64,
    /// The lease, in base64, under the name that other servers give it.
    pub(crate) holder: Option<String>,
    /// The same, under the name that it is written by.
    pub(crate) data: Option<String>,
}

/// The body of a put of a manifest.
#[derive(Serialize, Deserialize)]
pub(crate) struct ManifestBody {
    /// The epoch of who puts it.
    pub(crate) epoch: u64,
    /// The manifest, in base64.
    pub(crate) data: String,
}

/// The answer to a put of a manifest.
#[derive(Serialize, Deserialize)]
pub(crate) struct ManifestWritten {
    /// Its version from now on.
    pub(crate) version: u64,
}

/// The answer to a read of a manifest.
#[derive(Serialize, Deserialize)]
pub(crate) struct ManifestFound {
    /// Its version.
    pub(crate) version: u64,
    /// The epoch of who put it.
    pub(crate) epoch: u64,
    /// The manifest, in base64.
    pub(crate) data: String,
}

/// The answer to what was not done.
#[derive(Serialize, Deserialize)]
pub(crate) struct Refused {
    /// Why.
    pub(crate) error: Reason,
    /// The epoch that outranks that of a put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<u64>,
}

/// Why something was not done.
#[derive(Serialize, Deserialize)]
pub(crate) struct Reason {
    /// For programs: a kind of error of this crate, `NotFound`, `Conflict` or `Outranked`.
    pub(crate) kind: String,
    /// For people.
    pub(crate) message: String,
}

/// The kind of an answer to a put whose epoch is too low.
pub(crate) const OUTRANKED: &str = "Outranked";

/// The message as JSON.
pub(crate) fn to_json(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("BUG: a message always has a JSON form")
}

/// The message in JSON; `None` if it is another one.
pub(crate) fn from_json<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    serde_json::from_slice(json).ok()
}

/// Bytes as they travel.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes that travelled; `None` if they cannot have.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// The version in a header of a condition or an `ETag`, with or without quotes; `None` for what names no version.
pub(crate) fn version_in(header: &str) -> Option<u64> {
    // A proxy that compresses answers calls their tags weak.
    let tag = header.trim();
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    let number = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag);
    let version: u64 = number.parse().ok()?;
    // One version has one text.
    (version.to_string() == number).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_look_as_the_format_says() {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!(text(to_json(&LeaseBody { data: to_base64(b"\x00\xffa") })), r#"{"data":"AP9h"}"#);
        assert_eq!(text(to_json(&LeaseWritten { fence: 7 })), r#"{"fence":7}"#);
        let found = LeaseFound { fence: 7, holder: Some("YQ==".into()), data: Some("YQ==".into()) };
        assert_eq!(text(to_json(&found)), r#"{"fence":7,"holder":"YQ==","data":"YQ=="}"#);
        assert_eq!(
            text(to_json(&ManifestBody { epoch: 2, data: String::new() })),
            r#"{"epoch":2,"data":""}"#
        );
        assert_eq!(text(to_json(&ManifestWritten { version: 8 })), r#"{"version":8}"#);
        let found = ManifestFound { version: 8, epoch: 2, data: "YQ==".into() };
        assert_eq!(text(to_json(&found)), r#"{"version":8,"epoch":2,"data":"YQ=="}"#);
        let refused =
            |epoch| Refused { error: Reason { kind: OUTRANKED.into(), message: "m".into() }, epoch };
        assert_eq!(
            text(to_json(&refused(Some(3)))),
            r#"{"error":{"kind":"Outranked","message":"m"},"epoch":3}"#
        );
        assert_eq!(text(to_json(&refused(None))), r#"{"error":{"kind":"Outranked","message":"m"}}"#);
    }

    #[test]
    fn what_another_server_leaves_out_or_adds_is_no_trouble() {
        let found: LeaseFound = from_json(br#"{"fence":3,"holder":"YQ==","since":"then"}"#).unwrap();
        assert_eq!((found.fence, found.holder.as_deref(), found.data), (3, Some("YQ=="), None));
        assert!(from_json::<LeaseFound>(b"<html>").is_none() && from_json::<LeaseFound>(b"{}").is_none());
        assert!(from_json::<LeaseWritten>(br#"{"fence":-1}"#).is_none());
    }

    #[test]
    fn a_version_has_one_text_with_or_without_quotes() {
        for text in ["17", "\"17\"", " \"17\" ", "W/\"17\""] {
            assert_eq!(version_in(text), Some(17), "{text}");
        }
        for text in ["", "*", "017", "+17", "-1", "17a", "\"17", "\"\"", "18446744073709551616", "1, 2"] {
            assert_eq!(version_in(text), None, "{text}");
        }
        assert_eq!(version_in("18446744073709551615"), Some(u64::MAX));
    }

    #[test]
    fn bytes_come_through_and_nonsense_does_not() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(from_base64(&to_base64(&all)), Some(all));
        assert!(from_base64("a").is_none() && from_base64("@@@@").is_none());
    }
}
