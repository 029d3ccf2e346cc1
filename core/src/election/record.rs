use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::types::{Epoch, Error, NodeId, Result, SessionId};

/// What the lease register holds: who leads, since which renewal, and for how long.
///
/// It is never deleted: who releases the lease writes a tombstone (`released`), so that epochs and the
/// renewal counter never start again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LeaseRecord {
    /// The node's name.
    pub(crate) holder: NodeId,
    /// Which opening of the database by that node: the identity of the holder.
    pub(crate) session: SessionId,
    /// Where followers forward to.
    pub(crate) address: String,
    /// The epoch of the leadership; never lower than in an earlier record.
    pub(crate) epoch: Epoch,
    /// How long the lease holds after the write of this record. Whole milliseconds, more than zero.
    pub(crate) ttl: Duration,
    /// Higher in every record than in all before it, whoever wrote them: no two records are equal, and so
    /// no version comes back in a store that makes it from the content.
    pub(crate) renewal: u64,
    /// The holder has gone to sleep with the lease in its hand.
    pub(crate) sleeping: bool,
    /// Nobody leads: the lease may be taken at once.
    pub(crate) released: bool,
    /// Names the local database file that the holder has locked: whoever holds the same lock now knows that
    /// this holder is gone.
    pub(crate) lock: Option<String>,
    /// Of a tombstone: who should take over; the others wait a little.
    pub(crate) successor: Option<NodeId>,
}

/// The JSON object. Names are a promise to nodes of other versions; unknown names are skipped.
#[derive(Serialize, Deserialize)]
struct Wire {
    holder: String,
    session: String,
    address: String,
    epoch: u64,
    ttl_ms: u64,
    renewal: u64,
    #[serde(default)]
    sleeping: bool,
    #[serde(default)]
    released: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lock: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    successor: Option<String>,
}

impl LeaseRecord {
    /// The largest body that is read as a record, in bytes.
    pub(crate) const MAX_BYTES: usize = 16 << 10;
    /// The longest time to live that a record may name.
    pub(crate) const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);
    /// The highest renewal counter: what every JSON parser keeps exactly.
    pub(crate) const MAX_RENEWAL: u64 = (1 << 53) - 1;

    /// The record as the body of the register.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let wire = Wire {
            holder: self.holder.as_str().to_owned(),
            session: self.session.to_string(),
            address: self.address.clone(),
            epoch: self.epoch.get(),
            ttl_ms: u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX),
            renewal: self.renewal,
            sleeping: self.sleeping,
            released: self.released,
            lock: self.lock.clone(),
            successor: self.successor.as_ref().map(|node| node.as_str().to_owned()),
        };
        serde_json::to_vec(&wire).expect("BUG: strings and numbers always have a JSON form")
    }

    /// The record in a body. `Corrupt` for anything that no node of this or a later version wrote.
    pub(crate) fn parse(body: &[u8]) -> Result<LeaseRecord> {
        if body.len() > LeaseRecord::MAX_BYTES {
            return Err(Error::corrupt(format!("the lease record has {} bytes", body.len())));
        }
        let wire: Wire = serde_json::from_slice(body)
            .map_err(|e| Error::corrupt("the lease register does not hold a lease record").with_source(e))?;
        let ttl = Duration::from_millis(wire.ttl_ms);
        if ttl.is_zero() || ttl > LeaseRecord::MAX_TTL {
            return Err(Error::corrupt(format!("the lease record has a TTL of {} ms", wire.ttl_ms)));
        }
        if wire.renewal > LeaseRecord::MAX_RENEWAL {
            return Err(Error::corrupt(format!("the lease record has renewal {}", wire.renewal)));
        }
        let session = SessionId::from_hex(&wire.session)
            .ok_or_else(|| Error::corrupt("the lease record's session is not 32 hexadecimal digits"))?;
        let epoch = Epoch::new(wire.epoch)
            .ok_or_else(|| Error::corrupt(format!("the lease record has epoch {}", wire.epoch)))?;
        Ok(LeaseRecord {
            holder: NodeId::new(wire.holder),
            session,
            address: wire.address,
            epoch,
            ttl,
            renewal: wire.renewal,
            sleeping: wire.sleeping,
            released: wire.released,
            lock: wire.lock,
            successor: wire.successor.map(NodeId::new),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ErrorKind;

    fn record() -> LeaseRecord {
        LeaseRecord {
            holder: NodeId::new("n1"),
            session: SessionId::from_bytes([0xab; 16]),
            address: "http://n1:18080".into(),
            epoch: Epoch::new(7).unwrap(),
            ttl: Duration::from_millis(5000),
            renewal: 42,
            sleeping: false,
            released: true,
            lock: Some("host/1".into()),
            successor: Some(NodeId::new("n2")),
        }
    }

    const BODY: &str = r#"{"holder":"n1","session":"abababababababababababababababab","address":"http://n1:18080","epoch":7,"ttl_ms":5000,"renewal":42,"sleeping":false,"released":true,"lock":"host/1","successor":"n2"}"#;

    #[test]
    fn the_body_is_fixed_and_read_back() {
        assert_eq!(String::from_utf8(record().to_bytes()).unwrap(), BODY);
        assert_eq!(LeaseRecord::parse(BODY.as_bytes()).unwrap(), record());
    }

    #[test]
    fn unknown_fields_are_skipped_and_flags_may_be_missing() {
        let body = r#"{"holder":"n","session":"00000000000000000000000000000000","address":"","epoch":1,
            "ttl_ms":1,"renewal":0,"of_a_later_version":{"x":[1]}}"#;
        let record = LeaseRecord::parse(body.as_bytes()).unwrap();
        assert!(!record.released && !record.sleeping && record.lock.is_none() && record.successor.is_none());
    }

    #[test]
    fn garbage_is_corrupt() {
        let huge = format!("{}{}", BODY, " ".repeat(LeaseRecord::MAX_BYTES));
        let bad = [
            "",
            "{}",
            "null",
            "\u{0}",
            &BODY[..BODY.len() - 1],
            &BODY.replace("ababab", "abab"),
            &BODY.replace("\"epoch\":7", "\"epoch\":281474976710656"),
            &BODY.replace("\"epoch\":7", "\"epoch\":-7"),
            &BODY.replace("\"ttl_ms\":5000", "\"ttl_ms\":0"),
            &BODY.replace("\"ttl_ms\":5000", "\"ttl_ms\":86400001"),
            &BODY.replace("\"renewal\":42", "\"renewal\":9007199254740992"),
            &huge,
        ];
        for body in bad {
            let error = LeaseRecord::parse(body.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{body:.80}");
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic() {
        proptest::proptest!(|(at in 0..BODY.len(), with in proptest::prelude::any::<u8>())| {
            let mut body = BODY.as_bytes().to_vec();
            body[at] = with;
            if let Ok(record) = LeaseRecord::parse(&body) {
                assert_eq!(LeaseRecord::parse(&record.to_bytes()).unwrap(), record);
            }
        });
    }
}
