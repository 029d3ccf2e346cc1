use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use std::error::Error as StdError;

use super::{Bucket, Put, PutMode, S3Bucket};
use crate::types::{Error, ErrorKind, Outcome, Result};

/// Most causes of an error that are told.
const CAUSES: usize = 6;

/// An answer that is no success, or none at all.
pub(super) struct Failure {
    /// The HTTP status, if there was an answer.
    pub(super) status: Option<u16>,
    /// S3's word for it.
    pub(super) code: Option<String>,
    message: String,
    kind: ErrorKind,
}

impl Failure {
    pub(super) fn of<E>(error: SdkError<E, HttpResponse>) -> Failure
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let code = error.code().map(str::to_owned);
        let message = match (&error, error.message()) {
            (SdkError::ServiceError(_), Some(message)) => message.to_owned(),
            (SdkError::ServiceError(_), None) => String::new(),
            // No more of the SDK's error than its words: its `Debug` shows headers, and with them tokens.
            _ => chain(&error),
        };
        let kind = match &error {
            SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) if lacks_credentials(&error) => {
                ErrorKind::Unauthorized
            }
            SdkError::ConstructionFailure(_) => ErrorKind::InvalidConfig,
            _ => kind(status, code.as_deref()),
        };
        Failure { status, code, message, kind }
    }

    /// What a conditional write makes of it: a broken condition is an answer.
    ///
    /// 412 is. So is 404 `NoSuchKey` to the replacement of what is not there. 409 is not: two writes ran
    /// into one another, and none may have won.
    pub(super) fn refused(self, bucket: &S3Bucket, verb: &str, key: &str, mode: &PutMode) -> Result<Put> {
        let absent = self.status == Some(404) && self.code.as_deref() == Some("NoSuchKey");
        match mode {
            PutMode::Create | PutMode::Replace(_) if self.status == Some(412) => Ok(Put::Refused),
            PutMode::Replace(_) if absent => Ok(Put::Refused),
            PutMode::Create | PutMode::Replace(_) | PutMode::Overwrite => Err(self.error(bucket, verb, key)),
        }
    }

    pub(super) fn error(self, bucket: &S3Bucket, verb: &str, key: &str) -> Error {
        let store = bucket.describe();
        let words = [self.status.map(|status| status.to_string()), self.code, Some(self.message)];
        let words: Vec<String> = words.into_iter().flatten().filter(|word| !word.is_empty()).collect();
        Error::new(self.kind, format!("{verb} {key} in {store}: {}", words.join(" ")))
    }
}

/// The error of a call whose answer is missing or broken.
pub(super) fn unanswered(bucket: &S3Bucket, verb: &str, key: &str, what: &str) -> Error {
    let store = bucket.describe();
    Error::new(ErrorKind::StoreUnavailable, format!("{verb} {key} in {store}: {what}"))
}

/// The same error, of a write: whether it took place is open.
pub(super) fn open_outcome(error: Error) -> Error {
    error.with_outcome(Outcome::Unknown)
}

/// The words of an error and of its causes.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    let words: Vec<String> = causes(error).map(ToString::to_string).collect();
    words.join(": ")
}

fn lacks_credentials(error: &(dyn StdError + 'static)) -> bool {
    use aws_credential_types::provider::error::CredentialsError;

    causes(error).any(|cause| cause.is::<CredentialsError>())
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source()).take(CAUSES)
}

fn kind(status: Option<u16>, code: Option<&str>) -> ErrorKind {
    match (status, code) {
        (_, Some("NoSuchBucket" | "PermanentRedirect" | "AuthorizationHeaderMalformed")) => {
            ErrorKind::InvalidConfig
        }
        (_, Some("RequestTimeout" | "SlowDown" | "InternalError" | "NoSuchUpload")) => {
            ErrorKind::StoreUnavailable
        }
        (Some(401 | 403), _) => ErrorKind::Unauthorized,
        (Some(301 | 307 | 308 | 400), _) => ErrorKind::InvalidConfig,
        (Some(405 | 501), _) => ErrorKind::StoreUnfit,
        _ => ErrorKind::StoreUnavailable,
    }
}
