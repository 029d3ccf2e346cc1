use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, whenever asked.
pub(super) type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The clock of a store that lives in this process. It stamps objects as a server would; nothing in this
/// library decides by it.
pub(super) fn process_clock() -> Clock {
    Arc::new(|| {
        #[allow(clippy::disallowed_methods, reason = "a store has a clock of its own")]
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_millis() as i64)
    })
}
