use serde::{Deserialize, Serialize};

use crate::types::{Chain, DatabaseId, Error, PageSize, Result};

/// Who a log is: the object that is created once, before slot 1, and never changed.
///
/// `chain(0)` is the hash of its bytes, so every later chain value depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Genesis {
    /// The database's identity, random.
    pub(crate) database: DatabaseId,
    /// The page size of all files of the log.
    pub(crate) page_size: PageSize,
    /// BLAKE3 over the pages of the base state, in order.
    pub(crate) base: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct Wire {
    haqlite: u32,
    database: String,
    page_size: u32,
    base: String,
}

impl Genesis {
    /// The bytes of the object.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let wire = Wire {
            haqlite: 1,
            database: self.database.to_string(),
            page_size: self.page_size.get(),
            base: self.base.iter().map(|b| format!("{b:02x}")).collect(),
        };
        serde_json::to_vec(&wire).expect("BUG: a genesis is always valid JSON")
    }

    /// The genesis in these bytes; `Corrupt` if they are none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Genesis> {
        let wire: Wire = serde_json::from_slice(bytes)
            .map_err(|e| Error::corrupt(format!("the genesis object is damaged: {e}")).with_source(e))?;
        if wire.haqlite != 1 {
            return Err(Error::corrupt(format!(
                "the genesis object has format {}, this version knows 1",
                wire.haqlite
            )));
        }
        let base = hex32(&wire.base).ok_or_else(|| Error::corrupt("the genesis object's base is no hash"))?;
        let database = DatabaseId::from_hex(&wire.database)
            .ok_or_else(|| Error::corrupt("the genesis object's database is no id"))?;
        Ok(Genesis { database, page_size: PageSize::new(wire.page_size)?, base })
    }

    /// `chain(0)`.
    pub(crate) fn chain(&self) -> Chain {
        Chain::of(&self.encode())
    }
}

fn hex32(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let (high, low) = text.split_at_checked(32)?;
    bytes[..16].copy_from_slice(&Chain::from_hex(high)?.to_bytes());
    bytes[16..].copy_from_slice(&Chain::from_hex(low)?.to_bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_genesis_survives_its_bytes() {
        let genesis = Genesis {
            database: DatabaseId::from_bytes([7; 16]),
            page_size: PageSize::DEFAULT,
            base: [0xab; 32],
        };
        assert_eq!(Genesis::decode(&genesis.encode()).unwrap(), genesis);
    }

    #[test]
    fn what_is_no_genesis_is_refused() {
        for bytes in [&b""[..], b"{}", b"{\"haqlite\":2,\"database\":\"\",\"page_size\":1,\"base\":\"\"}"] {
            assert!(Genesis::decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
