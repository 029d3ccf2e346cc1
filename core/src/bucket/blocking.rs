use crate::types::{Error, ErrorKind, Result};

/// Runs file work where it may block. A cancelled caller does not cancel it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::new(ErrorKind::Closed, "the runtime is shutting down")),
    }
}
