use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::{Error, Result};

/// What is kept of a key: its newest value, or that there was one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) key: String,
    /// Higher than that of every record of the key before.
    pub(super) version: u64,
    /// Of a manifest; 0 of a lease.
    pub(super) epoch: u64,
    /// `None` if it was deleted: its version must not come back.
    pub(super) body: Option<Bytes>,
}

/// What a value is. Leases and manifests of one key are apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Lease,
    Manifest,
}

/// The second line of a file.
#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    kind: Kind,
    key: String,
    version: u64,
    epoch: u64,
    /// How many bytes follow; nothing if it was deleted.
    bytes: Option<usize>,
}

const FORMAT: u32 = 1;

/// Of a hash, in hexadecimal.
const HASH: usize = 64;

impl Kind {
    /// As it stands in names and messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Lease => "lease",
            Kind::Manifest => "manifest",
        }
    }
}

impl Record {
    /// The name of the file for this key: nothing of the key itself is in it, so that no key leads elsewhere.
    pub(super) fn file_name(kind: Kind, key: &str) -> String {
        format!("{}-{}", kind.name(), blake3::hash(key.as_bytes()).to_hex())
    }

    /// The file: the BLAKE3 hash of what follows its line, a line of JSON, the value.
    pub(super) fn encode(&self) -> Vec<u8> {
        let head = Head {
            format: FORMAT,
            kind: self.kind,
            key: self.key.clone(),
            version: self.version,
            epoch: self.epoch,
            bytes: self.body.as_ref().map(Bytes::len),
        };
        let mut rest = serde_json::to_vec(&head).expect("BUG: a head always has a JSON form");
        rest.push(b'\n');
        rest.extend_from_slice(self.body.as_deref().unwrap_or_default());
        let mut file = blake3::hash(&rest).to_hex().to_string().into_bytes();
        file.push(b'\n');
        file.extend_from_slice(&rest);
        file
    }

    /// What a file says. `Corrupt` if it is not as it was written.
    pub(super) fn decode(file: &[u8]) -> Result<Record> {
        let damaged = || Error::corrupt("the file is damaged");
        let (hash, rest) = file.split_at_checked(HASH + 1).ok_or_else(damaged)?;
        if hash != format!("{}\n", blake3::hash(rest).to_hex()).as_bytes() {
            return Err(damaged());
        }
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
        let head: Head = serde_json::from_slice(&rest[..end])
            .map_err(|_| Error::corrupt("the file is of another version of haqlite"))?;
        if head.format != FORMAT {
            return Err(Error::corrupt(format!("the file has format {}, not {FORMAT}", head.format)));
        }
        let body = &rest[end + 1..];
        if head.bytes.unwrap_or(0) != body.len() {
            return Err(damaged());
        }
        let Head { kind, key, version, epoch, bytes, .. } = head;
        Ok(Record { kind, key, version, epoch, body: bytes.map(|_| Bytes::copy_from_slice(body)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(body: Option<&'static [u8]>) -> Record {
        let body = body.map(Bytes::from_static);
        Record { kind: Kind::Manifest, key: "a/ü\n".into(), version: 7, epoch: 3, body }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for body in [None, Some(&b""[..]), Some(b"\x00\n\xff")] {
            assert_eq!(Record::decode(&record(body).encode()).unwrap(), record(body));
        }
        let text = String::from_utf8(record(Some(b"v")).encode()).unwrap();
        let rest = "{\"format\":1,\"kind\":\"manifest\",\"key\":\"a/ü\\n\",\"version\":7,\"epoch\":3,\"bytes\":1}\nv";
        assert_eq!(text.split_once('\n').unwrap().1, rest);
    }

    #[test]
    fn a_damaged_file_is_told_from_a_whole_one_wherever_it_is_hurt() {
        let file = record(Some(b"value")).encode();
        for at in 0..file.len() {
            let mut hurt = file.clone();
            hurt[at] ^= 1;
            assert!(Record::decode(&hurt).is_err(), "byte {at}");
            assert!(Record::decode(&file[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_file_name_has_nothing_of_the_key() {
        let name = Record::file_name(Kind::Lease, "../../etc/passwd");
        assert!(name.starts_with("lease-") && name.len() == "lease-".len() + HASH);
        assert!(name["lease-".len()..].bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(name, Record::file_name(Kind::Lease, "../../etc/passwe"));
    }
}
