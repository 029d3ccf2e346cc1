use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

use super::{LeaseStore, LeaseVersion, Register, Swap};
use crate::types::Result;

/// Registers in the memory of this process, for tests. Clones share them; a change is seen at once.
#[derive(Clone)]
pub struct MemoryLeaseStore {
    shared: Arc<Shared>,
}

struct Shared {
    registers: Mutex<BTreeMap<String, Register>>,
    /// How many writes there were.
    writes: watch::Sender<u64>,
}

impl MemoryLeaseStore {
    /// A store in which nothing is.
    pub fn new() -> MemoryLeaseStore {
        let shared = Shared { registers: Mutex::default(), writes: watch::Sender::new(0) };
        MemoryLeaseStore { shared: Arc::new(shared) }
    }

    /// Stores the body if the register has this version, or if there is none for `None`.
    fn swap(&self, key: &str, body: &[u8], expected: Option<&LeaseVersion>) -> Swap {
        let mut registers = self.shared.registers.lock();
        if registers.get(key).map(|register| &register.version) != expected {
            return Swap::Lost;
        }
        let number = *self.shared.writes.borrow() + 1;
        let version = LeaseVersion(number.to_string());
        registers.insert(key.to_owned(), Register { body: body.to_vec(), version: version.clone() });
        self.shared.writes.send_replace(number);
        Swap::Done(version)
    }
}

impl Default for MemoryLeaseStore {
    fn default() -> MemoryLeaseStore {
        MemoryLeaseStore::new()
    }
}

#[async_trait]
impl LeaseStore for MemoryLeaseStore {
    fn describe(&self) -> String {
        "memory:".to_owned()
    }

    async fn read(&self, key: &str) -> Result<Option<Register>> {
        Ok(self.shared.registers.lock().get(key).cloned())
    }

    async fn create(&self, key: &str, body: &[u8]) -> Result<Swap> {
        Ok(self.swap(key, body, None))
    }

    async fn replace(&self, key: &str, body: &[u8], version: &LeaseVersion) -> Result<Swap> {
        Ok(self.swap(key, body, Some(version)))
    }

    async fn changed(&self, key: &str, version: Option<&LeaseVersion>) {
        let mut writes = self.shared.writes.subscribe();
        loop {
            if self.shared.registers.lock().get(key).map(|register| &register.version) != version {
                return;
            }
            // The sender lives as long as we do.
            if writes.changed().await.is_err() {
                return;
            }
        }
    }
}
