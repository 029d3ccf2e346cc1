//! An index that is kept elsewhere while a file is written.

use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::encode::INDEX_IN_MEMORY;
use super::{Decoder, Encoded, Encoder, Header, IndexStore, Origin};
use crate::types::{Chain, Epoch, ErrorKind, PageNumber, PageSize, Result, SessionId, Txid};

fn encoder(file: &mut Vec<u8>, page_size: PageSize) -> Encoder<&mut Vec<u8>> {
    let origin = Origin::new(Epoch::new(1).unwrap(), Chain::ZERO, SessionId::default());
    let commit = PageNumber::new(u32::MAX).unwrap();
    Encoder::new(file, Header::slot(Txid::new(2), page_size, commit, 0, origin)).unwrap()
}

/// Adds so many pages, far from each other, and ends the file.
fn write(mut encoder: Encoder<&mut Vec<u8>>, page_size: PageSize, pages: u32) -> Result<Encoded> {
    let lock = page_size.lock_page().get();
    let mut data = vec![0; page_size.bytes()];
    for n in 1..=pages {
        let page = n * 9_001;
        data[..4].copy_from_slice(&n.to_le_bytes());
        encoder.page(PageNumber::new(page + u32::from(page == lock)).unwrap(), &data)?;
    }
    encoder.finish()
}

/// A store in memory that counts what is written to it and fails when it is told to.
struct Store {
    bytes: Cursor<Vec<u8>>,
    written: Arc<AtomicUsize>,
    fails: Fails,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fails {
    Never,
    ToOpen,
    ToWrite,
    ToSeek,
    ToRead,
    /// It has lost its end.
    ToKeep,
}

impl Store {
    fn open(fails: Fails, written: Arc<AtomicUsize>) -> io::Result<Box<dyn IndexStore>> {
        Store::check(fails != Fails::ToOpen)?;
        Ok(Box::new(Store { bytes: Cursor::default(), written, fails }))
    }

    fn check(well: bool) -> io::Result<()> {
        if well { Ok(()) } else { Err(io::Error::other("the disk is broken")) }
    }
}

impl Write for Store {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Store::check(self.fails != Fails::ToWrite)?;
        self.written.fetch_add(bytes.len(), Ordering::SeqCst);
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Store {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        Store::check(self.fails != Fails::ToSeek)?;
        if self.fails == Fails::ToKeep {
            self.bytes.get_mut().pop();
        }
        self.bytes.seek(to)
    }
}

impl Read for Store {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Store::check(self.fails != Fails::ToRead)?;
        // As much as it likes.
        let most = into.len().min(1_000);
        self.bytes.read(&mut into[..most])
    }
}

/// The file with its index in memory up to a limit, and how many bytes of the index were spilled.
fn spilled(page_size: PageSize, pages: u32, limit: usize) -> (Vec<u8>, Encoded, usize) {
    let mut file = Vec::new();
    let written = Arc::new(AtomicUsize::new(0));
    let store = Arc::clone(&written);
    let mut encoder = encoder(&mut file, page_size).spill_index(move || Store::open(Fails::Never, store));
    encoder.index_in_memory(limit);
    let encoded = write(encoder, page_size, pages).unwrap();
    (file, encoded, written.load(Ordering::SeqCst))
}

#[test]
fn a_file_whose_index_was_spilled_is_byte_for_byte_the_one_whose_index_was_not() {
    const PAGES: u32 = 40;
    for page_size in (9..=16).map(|shift| PageSize::new(1 << shift).unwrap()) {
        let mut plain = Vec::new();
        let expected = write(encoder(&mut plain, page_size), page_size, PAGES).unwrap();
        // The index without the zero at its end, as the file tells its length.
        let length = u64::from_be_bytes(plain[plain.len() - 24..plain.len() - 16].try_into().unwrap());
        let length = length as usize - 1;
        for limit in [1, 100, length / 2, length - 1, length, length + 1] {
            let (file, encoded, stored) = spilled(page_size, PAGES, limit);
            assert!(file == plain && encoded == expected, "{page_size}: {length} bytes of {limit}");
            assert!(
                length - stored < limit,
                "{stored} of {length} bytes are elsewhere, and {limit} may stay"
            );
            assert_eq!(stored > 0, limit <= length, "{stored} of {length} bytes are elsewhere");
        }
        Decoder::new(&plain[..]).unwrap().finish().unwrap();
    }
}

#[test]
fn an_index_of_a_mebibyte_and_more_is_kept_elsewhere() {
    const PAGES: u32 = 130_000;
    let page_size = PageSize::new(512).unwrap();
    let (file, encoded, stored) = spilled(page_size, PAGES, INDEX_IN_MEMORY);
    assert!((INDEX_IN_MEMORY..INDEX_IN_MEMORY + 100).contains(&stored), "{stored}");
    let mut plain = Vec::new();
    let expected = write(encoder(&mut plain, page_size), page_size, PAGES).unwrap();
    assert!(file == plain && encoded == expected);
}

#[test]
fn a_store_of_the_index_that_fails_fails_the_file() {
    let page_size = PageSize::new(512).unwrap();
    for fails in [Fails::ToOpen, Fails::ToWrite, Fails::ToSeek, Fails::ToRead, Fails::ToKeep] {
        let mut file = Vec::new();
        let mut encoder =
            encoder(&mut file, page_size).spill_index(move || Store::open(fails, Arc::default()));
        encoder.index_in_memory(100);
        assert_eq!(write(encoder, page_size, 40).unwrap_err().kind(), ErrorKind::Io, "{fails:?}");
        let decoded = Decoder::new(&file[..]).and_then(Decoder::finish);
        assert!(decoded.is_err(), "{fails:?}: what is left was taken for a file");
    }
}

#[test]
fn an_encoder_whose_index_could_not_be_kept_takes_nothing_any_more() {
    let page_size = PageSize::new(512).unwrap();
    let data = vec![0; page_size.bytes()];
    let mut file = Vec::new();
    let mut encoder =
        encoder(&mut file, page_size).spill_index(|| Store::open(Fails::ToWrite, Arc::default()));
    encoder.index_in_memory(1);
    for page in 1..=2 {
        let error = encoder.page(PageNumber::new(page).unwrap(), &data).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "page {page}");
    }
    assert_eq!(encoder.finish().unwrap_err().kind(), ErrorKind::Io);
}
