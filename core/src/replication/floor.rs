use serde::{Deserialize, Serialize};

use crate::types::{Error, Result, Txid};

/// The slot up to which level 0 does not exist for readers. Raised before anything is deleted, never
/// lowered; a log without the object has floor 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Floor(pub(crate) Txid);

#[derive(Serialize, Deserialize)]
struct Wire {
    floor: u64,
}

impl Floor {
    /// The bytes of the object.
    pub(crate) fn encode(self) -> Vec<u8> {
        serde_json::to_vec(&Wire { floor: self.0.get() }).expect("BUG: a floor is always valid JSON")
    }

    /// The floor in these bytes; `Corrupt` if they are none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Floor> {
        let wire: Wire = serde_json::from_slice(bytes)
            .map_err(|e| Error::corrupt(format!("the floor object is damaged: {e}")).with_source(e))?;
        Ok(Floor(Txid::new(wire.floor)))
    }

    /// Whether the slot is at or below the floor, where it can never be believed.
    pub(crate) fn covers(self, slot: Txid) -> bool {
        slot <= self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_covers_what_is_not_above_it() {
        let floor = Floor::decode(&Floor(Txid::new(3)).encode()).unwrap();
        assert!(floor.covers(Txid::new(3)));
        assert!(!floor.covers(Txid::new(4)));
        assert!(Floor::decode(b"3").is_err());
    }
}
