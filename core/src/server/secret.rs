use std::fmt;

use crate::types::{Error, ErrorKind, Result};

/// The secret that the nodes of a cluster share. It is shown nowhere, and compared in constant time.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    /// The secret with this text: 1 to 512 visible ASCII characters, because it travels in a header.
    /// `InvalidConfig` for anything else.
    pub(crate) fn new(text: impl Into<String>) -> Result<Secret> {
        let text = text.into();
        if text.is_empty() || text.len() > 512 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = "the secret must have 1 to 512 visible ASCII characters, without spaces";
            return Err(Error::new(ErrorKind::InvalidConfig, message));
        }
        Ok(Secret(text))
    }

    /// Whether the value of an `Authorization` header carries this secret. The time that it takes says
    /// nothing about the secret.
    pub(crate) fn is_in(&self, authorization: &[u8]) -> bool {
        let Some((scheme, token)) = authorization.split_at_checked(BEARER.len()) else { return false };
        // `blake3::Hash` compares in constant time.
        scheme.eq_ignore_ascii_case(BEARER) && blake3::hash(token) == blake3::hash(self.0.as_bytes())
    }

    /// The text, for the header of a request.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(...)")
    }
}

const BEARER: &[u8] = b"Bearer ";
