//! Our keys as keys of a KV bucket.

use std::fmt::Write;

use crate::types::{Error, ErrorKind, Result};

/// Bytes of a key in the bucket. A server closes connections with lines above 4096.
const MAX_KEY: usize = 1024;

/// The key in the bucket. Letters, digits, `-`, `_` and `/` stay, every other byte of the UTF-8 becomes `=` and two
/// upper-case hexadecimal digits, and the empty key is `=`: no two keys have the same, and all are legal in KV
/// (`[-/_=.a-zA-Z0-9]+` without dots at its ends, as NATS's ADR-8 has it). A key above 1024 bytes is `LimitExceeded`.
pub(super) fn kv_key(key: &str) -> Result<String> {
    let mut mapped = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'/' => mapped.push(char::from(byte)),
            other => {
                let written = write!(mapped, "={other:02X}");
                debug_assert!(written.is_ok(), "BUG: a text takes every character");
            }
        }
    }
    if mapped.is_empty() {
        mapped.push('=');
    }
    if mapped.len() > MAX_KEY {
        let message = format!("a key of {} bytes: NATS gets at most {MAX_KEY}", mapped.len());
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    Ok(mapped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn usual_keys_stay_readable() {
        assert_eq!(kv_key("haqlite/app/_lease").unwrap(), "haqlite/app/_lease");
        assert_eq!(kv_key("v1.2/my db=ä").unwrap(), "v1=2E2/my=20db=3D=C3=A4");
        assert_eq!(kv_key("").unwrap(), "=");
    }

    #[test]
    fn a_key_that_is_too_long_is_refused() {
        assert!(kv_key(&"k".repeat(1024)).is_ok());
        assert_eq!(kv_key(&".".repeat(342)).unwrap_err().kind(), ErrorKind::LimitExceeded);
    }

    proptest! {
        #[test]
        fn every_key_is_legal_and_no_two_are_the_same(keys in prop::collection::vec("[a=./ *>E2\u{0}\u{e4}]{0,6}", 0..40)) {
            let mut seen = BTreeMap::new();
            for key in keys {
                let mapped = kv_key(&key).unwrap();
                let legal = |c: char| c.is_ascii_alphanumeric() || "-/_=".contains(c);
                prop_assert!(!mapped.is_empty() && mapped.chars().all(legal), "{mapped:?}");
                let before = seen.entry(mapped).or_insert_with(|| key.clone()).clone();
                prop_assert_eq!(before, key);
            }
        }
    }
}
