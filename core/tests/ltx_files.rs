//! One log file: what is written is read again, and what the format forbids is refused.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod ltx_support;

use std::io::{self, Read, Write};

use haqlite::ltx::{Decoder, Encoder, Header, PageIndex, Tail, WalRange, decode_frame};
use haqlite::types::{Chain, Epoch, ErrorKind, Txid};
use ltx_support::{PAGE_SIZES, Pages, content, decode, encode, origin, page, size, slot};
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

/// A page size, a number of pages, and for some of the pages what they hold.
fn sparse_files() -> impl Strategy<Value = (u32, u32, Vec<(u32, u8, u64)>)> {
    (prop::sample::select(PAGE_SIZES.to_vec()), 1u32..u32::MAX).prop_flat_map(|(page_size, commit)| {
        let most = if page_size > 8192 { 4 } else { 12 };
        let pages = prop::collection::vec((1..=commit, any::<u8>(), any::<u64>()), 1..most);
        pages.prop_map(move |pages| (page_size, commit, pages))
    })
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_encoded_is_decoded((page_size, commit, pages) in sparse_files()) {
        let lock = size(page_size).lock_page().get();
        let pages: Pages = pages
            .into_iter()
            .filter(|&(number, ..)| number != lock)
            .map(|(number, kind, seed)| (number, content(page_size, kind, seed)))
            .collect();
        let header = slot(7, page_size, commit, Chain::of(b"slot 6"));
        let (bytes, encoded) = encode(header.clone(), &pages).unwrap();
        prop_assert_eq!(encoded.size, bytes.len() as u64);
        prop_assert_eq!(encoded.chain, Chain::of(&bytes));

        let (found, decoded_pages, decoded) = decode(&bytes).unwrap();
        prop_assert_eq!(&found, &header);
        prop_assert!(decoded_pages == pages);
        prop_assert_eq!((decoded.size, decoded.chain), (encoded.size, encoded.chain));

        let Tail::Index(index) = PageIndex::from_tail(&bytes, encoded.size).unwrap() else {
            panic!("the whole file holds the whole index");
        };
        prop_assert_eq!(index.entries().len(), pages.len());
        let mut data = Vec::new();
        for (&number, expected) in &pages {
            let entry = index.get(page(number)).unwrap();
            let frame = &bytes[entry.offset as usize..][..entry.size as usize];
            prop_assert_eq!(decode_frame(frame, size(page_size), &mut data).unwrap(), page(number));
            prop_assert!(&data == expected);
        }
    }

    #[test]
    fn headers_survive_the_round_trip(
        min in 1..=u64::MAX,
        more in any::<u64>(),
        commit in 1..=u32::MAX,
        page_size in prop::sample::select(PAGE_SIZES.to_vec()),
        timestamp_ms in any::<i64>(),
        wal in (1..=i64::MAX as u64, 0..=i64::MAX as u64, any::<[u32; 2]>()),
        epoch in 1..=Epoch::MAX.get(),
        ours in any::<bool>(),
    ) {
        let header = Header {
            page_size: size(page_size),
            commit: page(commit),
            min: Txid::new(min),
            max: Txid::new(min.saturating_add(more)),
            timestamp_ms,
            wal: WalRange { offset: wal.0, size: wal.1, salts: wal.2 },
            origin: ours.then(|| origin(epoch, Chain::of(&commit.to_be_bytes()))),
        };
        let bytes = header.to_bytes().unwrap();
        prop_assert_eq!(bytes[72..].iter().all(|&byte| byte == 0), header.is_foreign());
        prop_assert_eq!(Header::from_bytes(&bytes).unwrap(), header);
    }
}

#[test]
fn fields_are_where_the_format_has_them() {
    let header = slot(0x0102, 4096, 3, Chain::from_bytes([0xcc; 16]));
    let bytes = header.to_bytes().unwrap();
    assert_eq!(&bytes[..4], b"LTX1");
    assert_eq!(bytes[4..12], [0, 0, 0, 2, 0, 0, 0x10, 0]);
    assert_eq!(bytes[12..16], [0, 0, 0, 3]);
    assert_eq!(bytes[16..24], [0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(bytes[24..32], [0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(bytes[40..48], [0; 8], "no checksum before");
    assert_eq!(bytes[48..56], [0, 0, 0, 0, 0, 0, 0, 32], "behind the WAL's header");
    assert_eq!(bytes[56..72], [0; 16]);
    assert_eq!(bytes[72..78], [0, 0, 0, 0, 0, 1], "the epoch");
    assert_eq!(bytes[78..94], [0xcc; 16], "the chain value before");
    assert_eq!(bytes[94..100], [0x5e; 6], "the session");
}

#[test]
fn headers_that_break_a_rule_are_neither_written_nor_read() {
    let good = slot(5, 4096, 3, Chain::of(b""));
    let refused = |header: Header| assert_eq!(header.to_bytes().unwrap_err().kind(), ErrorKind::Corrupt);
    refused(Header { min: Txid::ZERO, ..good.clone() });
    refused(Header { max: Txid::new(4), ..good.clone() });
    refused(Header { wal: WalRange { offset: 0, size: 1, salts: [0, 0] }, ..good.clone() });
    refused(Header { wal: WalRange { offset: 0, size: 0, salts: [0, 1] }, ..good.clone() });
    refused(Header { wal: WalRange { offset: 1 << 63, size: 0, salts: [0, 0] }, ..good.clone() });
    let no_epoch = haqlite::ltx::Origin { epoch: Epoch::ZERO, previous: Chain::ZERO, session: [1; 6] };
    refused(Header { origin: Some(no_epoch), ..good.clone() });

    let bytes = good.to_bytes().unwrap();
    for (offset, value) in [
        (0, b'X'),  // magic
        (7, 0),     // flags: with rolling checksums
        (7, 3),     // flags: unknown
        (11, 1),    // page size
        (15, 0),    // no pages
        (23, 6),    // min above max
        (23, 0),    // min zero
        (40, 0x80), // checksum before
        (47, 1),
        (48, 0x80), // negative offset
        (55, 0),    // the WAL range's offset, with salts below
    ] {
        let mut broken = bytes;
        broken[71] = 1;
        assert!(Header::from_bytes(&broken).is_ok());
        broken[offset] = value;
        let error = Header::from_bytes(&broken).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {offset} = {value}");
    }
}

#[test]
fn pages_out_of_order_are_refused_and_leave_the_file_as_it_was() {
    let zeros = vec![0; 512];
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, slot(2, 512, 9, Chain::ZERO)).unwrap();
    encoder.page(page(4), &zeros).unwrap();
    for (number, data) in [(4, &zeros[..]), (3, &zeros), (10, &zeros), (5, &zeros[..511]), (5, &[])] {
        let error = encoder.page(page(number), data).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "page {number}");
    }
    encoder.page(page(9), &zeros).unwrap();
    encoder.finish().unwrap();
    let (_, pages, _) = decode(&bytes).unwrap();
    assert_eq!(pages.into_keys().collect::<Vec<_>>(), [4, 9]);
}

#[test]
fn a_file_from_slot_1_holds_every_page() {
    let zeros = vec![0; 512];
    let begin = || Encoder::new(Vec::new(), slot(1, 512, 3, Chain::ZERO)).unwrap();
    let mut late = begin();
    assert_eq!(late.page(page(2), &zeros).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let mut gap = begin();
    gap.page(page(1), &zeros).unwrap();
    assert_eq!(gap.page(page(3), &zeros).unwrap_err().kind(), ErrorKind::InvalidArgument);
    gap.page(page(2), &zeros).unwrap();
    assert_eq!(gap.finish().unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(begin().finish().unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn no_file_holds_the_lock_page() {
    for page_size in PAGE_SIZES {
        let lock = size(page_size).lock_page();
        let mut encoder = Encoder::new(Vec::new(), slot(2, page_size, lock.get() + 9, Chain::ZERO)).unwrap();
        let data = vec![1; page_size as usize];
        assert_eq!(encoder.page(lock, &data).unwrap_err().kind(), ErrorKind::InvalidArgument);
        encoder.page(page(lock.get() + 1), &data).unwrap();
        encoder.finish().unwrap();
    }
}

#[test]
fn the_index_of_a_long_file_says_how_much_of_the_tail_it_needs() {
    let pages: Pages = (2..2000).map(|number| (number, content(512, 1, u64::from(number)))).collect();
    let (bytes, encoded) = encode(slot(2, 512, 2000, Chain::ZERO), &pages).unwrap();
    let tail = |length: usize| PageIndex::from_tail(&bytes[bytes.len() - length..], encoded.size);
    assert_eq!(tail(0).unwrap(), Tail::Needs(24));
    assert_eq!(tail(23).unwrap(), Tail::Needs(24));
    let Tail::Needs(needed) = tail(24).unwrap() else { panic!("24 bytes hold no index") };
    assert_eq!(tail(needed as usize - 1).unwrap(), Tail::Needs(needed));
    let Tail::Index(index) = tail(needed as usize).unwrap() else { panic!("it said that this is enough") };
    assert_eq!(index.entries().len(), 1998);
    assert!(index.get(page(1)).is_none() && index.get(page(2)).is_some());
}

/// Gives one byte at a time, and an interruption before each.
struct Trickle<'a>(&'a [u8], bool);

impl Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 { Err(io::ErrorKind::Interrupted.into()) } else { self.0.read(&mut out[..1]) }
    }
}

#[test]
fn a_reader_may_give_as_little_as_it_likes() {
    let pages = Pages::from([(2, content(512, 2, 1)), (3, content(512, 1, 1))]);
    let (bytes, encoded) = encode(slot(2, 512, 3, Chain::ZERO), &pages).unwrap();
    let decoded = Decoder::new(Trickle(&bytes, false)).unwrap().finish().unwrap();
    assert_eq!(decoded.chain, encoded.chain);
}

/// A disk that is full after so many bytes, and a connection that breaks there.
struct Broken(usize);

impl Write for Broken {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

#[test]
fn failures_of_the_reader_and_the_writer_are_no_corruption() {
    let noise = content(65536, 2, 5);
    let mut encoder = Encoder::new(Broken(70_000), slot(2, 65536, 3, Chain::ZERO)).unwrap();
    encoder.page(page(1), &noise).unwrap();
    assert_eq!(encoder.page(page(2), &noise).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(encoder.page(page(3), &noise).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(encoder.finish().unwrap_err().kind(), ErrorKind::Io);

    let (bytes, _) = encode(slot(2, 512, 3, Chain::ZERO), &Pages::from([(2, vec![0; 512])])).unwrap();
    for length in [0, 50, 100, 120, bytes.len() - 1] {
        let outcome = Decoder::new(bytes[..length].chain(Broken(0))).and_then(Decoder::finish);
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Io, "after {length} bytes");
    }
}
