use std::fmt;

/// A key pair for S3. Its `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Credentials {
    /// Which key.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// What comes with a temporary key.
    pub session_token: Option<String>,
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}
