use crate::types::{Chain, Epoch, Error, PageNumber, PageSize, Result, SessionId, Txid};

/// The size of a header in bytes.
pub(super) const HEADER_SIZE: usize = 100;

const MAGIC: [u8; 4] = *b"LTX1";
/// The file carries no rolling checksums of the database. Litestream sets it in every file, and its
/// restore fails on files without it.
const NO_CHECKSUM: u32 = 0x2;

/// What stands at the beginning of a log file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// The size of the database's pages.
    pub page_size: PageSize,
    /// The last page of the database after this file: its size in pages.
    pub commit: PageNumber,
    /// The first slot that the file covers.
    pub min: Txid,
    /// The last slot that the file covers.
    pub max: Txid,
    /// When the last of the commits was captured, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Where in the WAL the pages stood.
    pub wal: WalRange,
    /// Who wrote the file and what it follows; `None` if another tool wrote it.
    pub origin: Option<Origin>,
}

/// The bytes of a WAL that a file was made from. Litestream goes on from their end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WalRange {
    /// The offset of the first byte, 0 if the file does not come from a WAL.
    pub offset: u64,
    /// How many bytes.
    pub size: u64,
    /// The salts of the WAL's header.
    pub salts: [u32; 2],
}

impl WalRange {
    /// The empty range behind the WAL's header: `litestream replicate` finds a newest slot with it and
    /// begins with a full image of its own. It refuses to start behind any other empty range.
    pub const HANDOVER: WalRange = WalRange { offset: 32, size: 0, salts: [0, 0] };
    /// No range: for files that are merged from others.
    pub const NONE: WalRange = WalRange { offset: 0, size: 0, salts: [0, 0] };
}

/// What our files say of themselves in 28 bytes that other tools ignore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The epoch of the leader that wrote the (last) slot. Never zero.
    pub epoch: Epoch,
    /// The chain value before the file's first slot: the hash of the previous slot's file.
    pub previous: Chain,
    /// The beginning of the writer's [`SessionId`].
    pub session: [u8; 6],
}

impl Origin {
    /// The origin of a file that a session writes.
    pub fn new(epoch: Epoch, previous: Chain, session: SessionId) -> Origin {
        Origin { epoch, previous, session: session.short() }
    }
}

impl Header {
    /// Its size in bytes.
    pub const SIZE: usize = HEADER_SIZE;

    /// The header of the file that is slot `txid`, made so that `litestream` can take the log over.
    pub fn slot(
        txid: Txid,
        page_size: PageSize,
        commit: PageNumber,
        timestamp_ms: i64,
        origin: Origin,
    ) -> Header {
        Header {
            page_size,
            commit,
            min: txid,
            max: txid,
            timestamp_ms,
            wal: WalRange::HANDOVER,
            origin: Some(origin),
        }
    }

    /// Whether another tool wrote the file: nothing proves which history it belongs to.
    pub fn is_foreign(&self) -> bool {
        self.origin.is_none()
    }

    /// Whether the file starts at slot 1, and therefore holds every page.
    pub fn is_complete(&self) -> bool {
        self.min.get() == 1
    }

    /// The header in 100 bytes. `Corrupt` if it breaks a rule of the format.
    pub fn to_bytes(&self) -> Result<[u8; HEADER_SIZE]> {
        self.validate()?;
        let mut bytes = [0; HEADER_SIZE];
        let mut put =
            |offset: usize, field: &[u8]| bytes[offset..offset + field.len()].copy_from_slice(field);
        put(0, &MAGIC);
        put(4, &NO_CHECKSUM.to_be_bytes());
        put(8, &self.page_size.get().to_be_bytes());
        put(12, &self.commit.get().to_be_bytes());
        put(16, &self.min.get().to_be_bytes());
        put(24, &self.max.get().to_be_bytes());
        put(32, &self.timestamp_ms.to_be_bytes());
        put(48, &self.wal.offset.to_be_bytes());
        put(56, &self.wal.size.to_be_bytes());
        put(64, &self.wal.salts[0].to_be_bytes());
        put(68, &self.wal.salts[1].to_be_bytes());
        if let Some(origin) = &self.origin {
            put(72, &origin.epoch.to_bytes());
            put(78, &origin.previous.to_bytes());
            put(94, &origin.session);
        }
        Ok(bytes)
    }

    /// The header in these bytes. `Corrupt` if they break a rule of the format.
    pub fn from_bytes(bytes: &[u8; HEADER_SIZE]) -> Result<Header> {
        if bytes[0..4] != MAGIC {
            return Err(Error::corrupt("not a log file: it does not begin with LTX1"));
        }
        let flags = u32_at(bytes, 4);
        if flags != NO_CHECKSUM {
            let message = format!("flags {flags:#x}: only files without rolling checksums (0x2) can be read");
            return Err(Error::corrupt(message));
        }
        if u64_at(bytes, 40) != 0 {
            return Err(Error::corrupt("a checksum before the file in a file without checksums"));
        }
        let page_size = PageSize::new(u32_at(bytes, 8)).map_err(|e| Error::corrupt(e.message()))?;
        let commit = PageNumber::new(u32_at(bytes, 12))
            .ok_or_else(|| Error::corrupt("the database has no pages after the file"))?;
        let header = Header {
            page_size,
            commit,
            min: Txid::new(u64_at(bytes, 16)),
            max: Txid::new(u64_at(bytes, 24)),
            timestamp_ms: i64::from_be_bytes(array_at(bytes, 32)),
            wal: WalRange {
                offset: u64_at(bytes, 48),
                size: u64_at(bytes, 56),
                salts: [u32_at(bytes, 64), u32_at(bytes, 68)],
            },
            origin: parse_origin(bytes),
        };
        header.validate()?;
        Ok(header)
    }

    /// Whether `page` may follow `last` in the file; the error says why not.
    pub(super) fn check_page(&self, last: Option<PageNumber>, page: PageNumber) -> Result<(), String> {
        if page > self.commit {
            return Err(format!("page {page} is beyond the database's {} pages", self.commit));
        }
        if page == self.page_size.lock_page() {
            return Err(format!("page {page} is the lock page"));
        }
        match (last, self.next_page(last)) {
            (Some(last), _) if page <= last => Err(format!("page {page} comes after page {last}")),
            (_, Some(next)) if page != next => Err(format!("page {page} comes where page {next} must be")),
            _ => Ok(()),
        }
    }

    /// The page that must follow `last`, if the file must hold every page and that is not all.
    pub(super) fn next_page(&self, last: Option<PageNumber>) -> Option<PageNumber> {
        if self.is_complete() { page_after(last, self.page_size, self.commit) } else { None }
    }

    fn validate(&self) -> Result<()> {
        let wal = &self.wal;
        let broken = if self.min == Txid::ZERO || self.max < self.min {
            "the slots that it covers"
        } else if wal.offset > i64::MAX as u64 || wal.size > i64::MAX as u64 {
            "a negative range of the WAL"
        } else if wal.offset == 0 && (wal.size != 0 || wal.salts != [0, 0]) {
            "a range of the WAL without an offset"
        } else if self.origin.is_some_and(|origin| origin.epoch == Epoch::ZERO) {
            "an origin without an epoch"
        } else {
            return Ok(());
        };
        Err(Error::corrupt(format!("the header of log file {}-{} has {broken}", self.min, self.max)))
    }
}

/// The page of a database of `commit` pages that comes after `last`, without the lock page.
pub(super) fn page_after(
    last: Option<PageNumber>,
    page_size: PageSize,
    commit: PageNumber,
) -> Option<PageNumber> {
    let after = |page: PageNumber| page.get().checked_add(1).and_then(PageNumber::new);
    let mut next = last.map_or(Some(PageNumber::FIRST), after);
    if next == Some(page_size.lock_page()) {
        next = next.and_then(after);
    }
    next.filter(|&next| next <= commit)
}

fn parse_origin(bytes: &[u8; HEADER_SIZE]) -> Option<Origin> {
    if bytes[72..].iter().all(|&byte| byte == 0) {
        return None;
    }
    Some(Origin {
        epoch: Epoch::from_bytes(array_at(bytes, 72)),
        previous: Chain::from_bytes(array_at(bytes, 78)),
        session: array_at(bytes, 94),
    })
}

fn array_at<const N: usize>(bytes: &[u8; HEADER_SIZE], offset: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[offset..offset + N]);
    field
}

fn u32_at(bytes: &[u8; HEADER_SIZE], offset: usize) -> u32 {
    u32::from_be_bytes(array_at(bytes, offset))
}

fn u64_at(bytes: &[u8; HEADER_SIZE], offset: usize) -> u64 {
    u64::from_be_bytes(array_at(bytes, offset))
}
