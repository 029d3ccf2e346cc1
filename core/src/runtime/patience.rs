use std::future::Future;
use std::time::Duration;

use crate::bucket::Body;
use crate::types::{Error, ErrorKind, Result};

/// Answers of the bucket are waited for so long, then the request counts as failed.
const ANSWER: Duration = Duration::from_secs(60);
/// And for what a body takes at so many bytes a second: slower is no link to live on.
const SLOWEST: u64 = 1 << 20;

/// How long so many bytes may be on their way.
pub(super) fn transfer_time(bytes: u64) -> Duration {
    Duration::from_secs(bytes.div_ceil(SLOWEST))
}

/// The bytes of a body; those of a file that cannot be looked at are 0, the request will say why.
pub(super) fn body_bytes(body: &Body) -> u64 {
    match body {
        Body::Bytes(bytes) => bytes.len() as u64,
        Body::File(path) => std::fs::metadata(path).map_or(0, |file| file.len()),
    }
}

/// Waits for an answer without a body to speak of. `StoreUnavailable` if it does not come.
pub(super) async fn limited<T>(request: impl Future<Output = Result<T>>) -> Result<T> {
    limited_for(0, request).await
}

/// As [`limited`], for a request or an answer of at most so many bytes.
pub(super) async fn limited_for<T>(bytes: u64, request: impl Future<Output = Result<T>>) -> Result<T> {
    let limit = ANSWER + transfer_time(bytes);
    tokio::time::timeout(limit, request).await.unwrap_or_else(|_| {
        let message = format!("the bucket did not answer within {limit:?}");
        Err(Error::new(ErrorKind::StoreUnavailable, message))
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::bucket::{Body, Call, Fault, FaultyBucket, MemoryBucket};
    use crate::replication::PutAnswer;
    use crate::runtime::log::Log;
    use crate::types::{ErrorKind, Txid};

    use super::*;

    /// Runs it in a time of its own, which goes on when everybody waits.
    fn in_no_time<T>(future: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().start_paused(true).build().unwrap().block_on(future)
    }

    /// The log in a bucket of which every answer takes so long.
    fn log(delay: Duration) -> Log {
        let slow = FaultyBucket::new(MemoryBucket::new(), move |_: &Call<'_>| Fault::Delay(delay));
        Log::new(std::sync::Arc::new(slow), "app/".into(), std::env::temp_dir())
    }

    fn create(delay_s: u64, body: Body) -> (PutAnswer, Option<ErrorKind>) {
        let (answer, error) =
            in_no_time(log(Duration::from_secs(delay_s)).create_slot(Txid::new(1), body, 0));
        (answer, error.map(|error| error.kind()))
    }

    #[test]
    fn an_upload_has_the_time_that_its_size_takes() {
        let small = || Body::Bytes(Bytes::from_static(b"a slot"));
        assert_eq!(create(60, small()), (PutAnswer::Stored, None));
        assert_eq!(create(62, small()), (PutAnswer::Ambiguous, Some(ErrorKind::StoreUnavailable)));
        let large = || Body::Bytes(vec![0; 40 << 20].into());
        assert_eq!(create(99, large()), (PutAnswer::Stored, None));
        assert_eq!(create(101, large()), (PutAnswer::Ambiguous, Some(ErrorKind::StoreUnavailable)));
    }

    #[test]
    fn a_files_size_counts_as_that_of_bytes_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slot");
        std::fs::File::create(&path).unwrap().set_len(20 << 20).unwrap();
        assert_eq!(create(79, Body::File(path.clone())), (PutAnswer::Stored, None));
        assert_eq!(create(82, Body::File(path)).0, PutAnswer::Ambiguous);
    }

    #[test]
    fn an_answer_with_a_body_has_its_time_too() {
        let slot = |delay_s| in_no_time(log(Duration::from_secs(delay_s)).slot(Txid::new(1)));
        assert!(slot(67).unwrap().is_none());
        assert_eq!(slot(69).unwrap_err().kind(), ErrorKind::StoreUnavailable);
    }
}
