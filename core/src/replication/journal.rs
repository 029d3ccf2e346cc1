use crate::types::{Chain, Epoch, Error, Position, Result, SessionId, Txid};
use crate::wal::{Salts, WalPoint};

/// The local journal: what this node knew about its own WAL and the log, oldest first.
///
/// The journal proves nothing by itself. A record counts only as far as the WAL that SQLite recovered
/// proves its point; what the file holds and the WAL does not is a memory of frames that are gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    records: Vec<Record>,
}

/// One entry: 96 bytes, little-endian, the last 8 of them a hash of the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    /// What it says.
    pub(crate) kind: RecordKind,
    /// A point of the WAL.
    pub(crate) point: WalPoint,
    /// A position of the log.
    pub(crate) position: Position,
}

/// What a record says of its point and position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RecordKind {
    /// The database at the point is the log at the position.
    Boundary,
    /// The frames up to the point were about to be sent as the position's slot by this session: if the
    /// log has that slot with that chain, the point is a boundary.
    Intent(SessionId),
    /// From here on the node follows: later frames come from the log.
    Following,
    /// From here on the node leads with the position's epoch: later frames are its own commits.
    Leading,
    /// The node was closed cleanly at the point, with this main file: any change of it voids the proof.
    Closed(MainFile),
    /// The database at the point is the log at the position as soon as the log has the spool's slots up to
    /// it: a boundary that the log may yet refuse.
    Spooled,
    /// The log has the spool's slots up to the position. Says nothing of the point, which is the spool's end.
    Confirmed,
    /// As `Closed`, and the position is that of the spool's end, as of `Spooled`.
    SpooledClosed(MainFile),
}

/// What tells a main file that somebody changed from the one that was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MainFile {
    /// Bytes.
    pub(crate) size: u64,
    /// The file's number in its file system.
    pub(crate) inode: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub(crate) modified_ns: i64,
}

/// The length of a record in the file, in bytes.
pub(crate) const RECORD_BYTES: usize = 96;

impl Journal {
    /// The journal in these bytes. What follows the first damaged or incomplete record is ignored: it
    /// was being written when the machine stopped.
    pub(crate) fn decode(bytes: &[u8]) -> Journal {
        let records =
            bytes.chunks_exact(RECORD_BYTES).map_while(|chunk| Record::decode(chunk).ok()).collect();
        Journal { records }
    }

    /// Adds a record that was written to the file.
    pub(crate) fn push(&mut self, record: Record) {
        self.records.push(record);
    }

    /// All records, oldest first.
    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    /// The points that a WAL may be asked to prove, oldest first, with what each would mean.
    pub(crate) fn points(&self) -> Vec<Record> {
        self.records.iter().filter(|r| r.kind.tells_the_state()).copied().collect()
    }

    /// Whether the journal says that the log is at the position, or was. What the spool holds is not in it yet.
    pub(crate) fn knows(&self, position: &Position) -> bool {
        self.records.iter().rev().any(|r| r.kind.tells_the_log() && r.position == *position)
    }

    /// Whether slots were spooled beyond the record's position after it was written: then it is not the last
    /// word, even if it is all that the WAL proves.
    pub(crate) fn spooled_beyond(&self, record: &Record) -> bool {
        let after = self.records.iter().rposition(|r| r == record).map_or(0, |at| at + 1);
        let beyond =
            |r: &Record| r.kind.tells_the_state() && !r.kind.tells_the_log() && r.position != record.position;
        self.records[after..].iter().any(beyond)
    }

    /// The intents for the slot after `txid`, newest first.
    pub(crate) fn intents_after(&self, txid: Txid) -> Vec<Record> {
        let is_next = |r: &&Record| matches!(r.kind, RecordKind::Intent(_)) && r.position.txid == txid.next();
        self.records.iter().rev().filter(is_next).copied().collect()
    }

    /// The newest position that the node ever recorded.
    pub(crate) fn newest_position(&self) -> Option<Position> {
        self.records.iter().rev().find(|r| r.kind.tells_the_log()).map(|record| record.position)
    }

    /// Whether the node led when it stopped: frames without a record are then its own commits.
    pub(crate) fn was_leading(&self) -> bool {
        self.records
            .iter()
            .rev()
            .find_map(|r| match r.kind {
                RecordKind::Leading => Some(true),
                RecordKind::Following => Some(false),
                _ => None,
            })
            .unwrap_or(true)
    }

    /// The main file of a clean close, if that was the last thing that happened.
    pub(crate) fn closed(&self) -> Option<MainFile> {
        match self.records.last()?.kind {
            RecordKind::Closed(main) | RecordKind::SpooledClosed(main) => Some(main),
            _ => None,
        }
    }

    /// What a shorter journal must keep: everything about the newest two generations of the WAL, the newest
    /// word on the role, and the newest on where the log is, to which the spool goes back.
    pub(crate) fn compacted(&self) -> Journal {
        let mut generations: Vec<Salts> = Vec::new();
        for record in self.records.iter().rev() {
            if !generations.contains(&record.point.salts) {
                generations.push(record.point.salts);
            }
        }
        generations.truncate(2);
        let role =
            self.records.iter().rposition(|r| matches!(r.kind, RecordKind::Leading | RecordKind::Following));
        let log = self.records.iter().rposition(|r| r.kind.tells_the_log());
        let newest_of = |salts: Salts| {
            let is_boundary = |kind| matches!(kind, RecordKind::Boundary | RecordKind::Spooled);
            self.records.iter().rposition(|r| r.point.salts == salts && is_boundary(r.kind))
        };
        let newest: Vec<(Salts, usize)> =
            generations.iter().filter_map(|salts| Some((*salts, newest_of(*salts)?))).collect();
        // Of each generation the newest boundary, what was recorded after it, and some before it, which
        // matter when a power cut took the frames that the newest one names.
        const KEEP_BEFORE: usize = 256;
        let keep = |i: usize, r: &Record| {
            let near = |(salts, at): &(Salts, usize)| *salts == r.point.salts && i + KEEP_BEFORE > *at;
            Some(i) == role || Some(i) == log || newest.iter().any(near)
        };
        let records = self.records.iter().enumerate().filter(|(i, r)| keep(*i, r)).map(|(_, r)| *r).collect();
        Journal { records }
    }

    /// The bytes of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        self.records.iter().flat_map(|r| r.encode()).collect()
    }
}

impl RecordKind {
    /// Whether a WAL that proves the point proves what the database is.
    fn tells_the_state(self) -> bool {
        match self {
            RecordKind::Boundary | RecordKind::Closed(_) => true,
            RecordKind::Spooled | RecordKind::SpooledClosed(_) => true,
            RecordKind::Intent(_) | RecordKind::Following | RecordKind::Leading | RecordKind::Confirmed => {
                false
            }
        }
    }

    /// Whether the position is one that the log has reached.
    fn tells_the_log(self) -> bool {
        match self {
            RecordKind::Boundary | RecordKind::Closed(_) | RecordKind::Confirmed => true,
            RecordKind::Intent(_) | RecordKind::Following | RecordKind::Leading => false,
            RecordKind::Spooled | RecordKind::SpooledClosed(_) => false,
        }
    }
}

impl MainFile {
    fn encode(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.size.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.inode.to_le_bytes());
        bytes[16..].copy_from_slice(&self.modified_ns.to_le_bytes());
        bytes
    }
}

impl Record {
    /// The record's bytes in the file.
    pub(crate) fn encode(&self) -> [u8; RECORD_BYTES] {
        let (kind, extra) = match self.kind {
            RecordKind::Boundary => (1, [0; 24]),
            RecordKind::Intent(session) => {
                let mut extra = [0; 24];
                extra[..16].copy_from_slice(&session.to_bytes());
                (2, extra)
            }
            RecordKind::Following => (3, [0; 24]),
            RecordKind::Leading => (4, [0; 24]),
            RecordKind::Closed(main) => (5, main.encode()),
            RecordKind::Spooled => (6, [0; 24]),
            RecordKind::Confirmed => (7, [0; 24]),
            RecordKind::SpooledClosed(main) => (8, main.encode()),
        };
        let mut bytes = [0; RECORD_BYTES];
        bytes[0] = kind;
        bytes[8..16].copy_from_slice(&self.position.txid.get().to_le_bytes());
        bytes[16..24].copy_from_slice(&self.position.epoch.get().to_le_bytes());
        bytes[24..40].copy_from_slice(&self.position.chain.to_bytes());
        bytes[40..48].copy_from_slice(&self.point.salts.0);
        bytes[48..52].copy_from_slice(&self.point.frame.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.point.checksum.0.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.point.checksum.1.to_le_bytes());
        bytes[64..88].copy_from_slice(&extra);
        let hash = blake3::hash(&bytes[..88]);
        bytes[88..].copy_from_slice(&hash.as_bytes()[..8]);
        bytes
    }

    /// The record in these bytes; `Corrupt` if they are none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Record> {
        let damaged = || Error::corrupt("a record of the local journal is damaged");
        if bytes.len() != RECORD_BYTES || blake3::hash(&bytes[..88]).as_bytes()[..8] != bytes[88..] {
            return Err(damaged());
        }
        let u64_at = |at: usize| u64::from_le_bytes(array(&bytes[at..at + 8]));
        let u32_at = |at: usize| u32::from_le_bytes(array(&bytes[at..at + 4]));
        let main = || MainFile {
            size: u64_at(64),
            inode: u64_at(72),
            modified_ns: i64::from_le_bytes(array(&bytes[80..88])),
        };
        let kind = match bytes[0] {
            1 => RecordKind::Boundary,
            2 => RecordKind::Intent(SessionId::from_bytes(array(&bytes[64..80]))),
            3 => RecordKind::Following,
            4 => RecordKind::Leading,
            5 => RecordKind::Closed(main()),
            6 => RecordKind::Spooled,
            7 => RecordKind::Confirmed,
            8 => RecordKind::SpooledClosed(main()),
            _ => return Err(damaged()),
        };
        Ok(Record {
            kind,
            point: WalPoint {
                salts: Salts(array(&bytes[40..48])),
                frame: u32_at(48),
                checksum: (u32_at(52), u32_at(56)),
            },
            position: Position {
                txid: Txid::new(u64_at(8)),
                epoch: Epoch::new(u64_at(16)).ok_or_else(damaged)?,
                chain: Chain::from_bytes(array(&bytes[24..40])),
            },
        })
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}
