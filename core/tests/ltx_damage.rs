//! Damaged log files are recognised, whatever the damage, and never take more than an error.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod ltx_support;

use haqlite::ltx::{Decoder, IndexEntry, PageIndex, Tail, decode_frame};
use haqlite::types::{Chain, ErrorKind};
use ltx_support::{Pages, content, decode, encode, page, size, slot};
use proptest::prelude::{any, prop, proptest};

fn small_file() -> (Vec<u8>, Pages) {
    let pages = Pages::from([(1, content(512, 1, 1)), (2, content(512, 2, 2)), (3, content(512, 0, 3))]);
    let (bytes, _) = encode(slot(1, 512, 3, Chain::of(b"genesis")), &pages).unwrap();
    (bytes, pages)
}

/// The same rules hold for the form of older Litestreams.
const FRAME_FORM: &[u8] = include_bytes!("ltx_fixtures/frame_form_1.ltx");

/// LZ4 has more than one way to write some contents: such a change within a compressed page changes
/// nothing that is read, and the chain value tells. No other byte can change unnoticed.
#[test]
fn no_flipped_bit_changes_what_is_read() {
    for (bytes, bits_a_byte) in [(&small_file().0[..], 8), (FRAME_FORM, 1)] {
        let (header, pages, whole) = decode(bytes).unwrap();
        let Tail::Index(index) = PageIndex::from_tail(bytes, bytes.len() as u64).unwrap() else {
            panic!("the whole file holds the whole index");
        };
        let is_compressed = |offset| {
            let frame = |entry: &IndexEntry| entry.offset + 6..entry.offset + u64::from(entry.size);
            index.entries().iter().any(|entry| frame(entry).contains(&(offset as u64)))
        };
        for offset in 0..bytes.len() {
            for bit in (offset..offset + bits_a_byte).map(|bit| bit % 8) {
                let mut broken = bytes.to_vec();
                broken[offset] ^= 1 << bit;
                match decode(&broken) {
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {offset} bit {bit}"),
                    Ok((found, found_pages, decoded)) => {
                        assert!(found == header && found_pages == pages, "byte {offset} bit {bit}");
                        assert_ne!(decoded.chain, whole.chain);
                        assert!(is_compressed(offset), "byte {offset} bit {bit}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_file_cut_off_anywhere_is_corrupt() {
    for bytes in [&small_file().0, FRAME_FORM] {
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]).unwrap_err().kind(), ErrorKind::Corrupt, "{length} bytes");
        }
    }
}

#[test]
fn a_file_that_goes_on_is_corrupt() {
    let (mut bytes, _) = small_file();
    bytes.push(0);
    assert_eq!(decode(&bytes).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn pages_are_given_before_the_damage_and_an_error_ever_after() {
    let (mut bytes, _) = small_file();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let mut decoder = Decoder::new(bytes.as_slice()).unwrap();
    let mut data = Vec::new();
    for number in 1..=3 {
        assert_eq!(decoder.next_page(&mut data).unwrap(), Some(page(number)));
    }
    assert_eq!(decoder.next_page(&mut data).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(decoder.next_page(&mut data).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(decoder.whole().is_none());
    assert_eq!(decoder.finish().unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_length_that_no_page_can_have_is_refused_before_it_is_read() {
    let (mut bytes, _) = small_file();
    bytes[106..110].copy_from_slice(&u32::MAX.to_be_bytes());
    let error = decode(&bytes).unwrap_err();
    assert!(error.message().contains("compressed to 4294967295"), "{error}");
}

/// Whoever reads single pages has no checksum: what is caught is what breaks the index's own order. The
/// numbers of the pages are taken as they are.
#[test]
fn a_damaged_index_is_refused_or_leads_to_the_same_frames() {
    let (bytes, _) = small_file();
    let size = bytes.len() as u64;
    let Tail::Index(index) = PageIndex::from_tail(&bytes, size).unwrap() else {
        panic!("the whole file holds the whole index");
    };
    let places = |index: &PageIndex| index.entries().iter().map(|e| (e.offset, e.size)).collect::<Vec<_>>();
    let length = usize::from(bytes[bytes.len() - 17]);
    for offset in bytes.len() - 24 - length..bytes.len() - 16 {
        for bit in 0..8 {
            let mut broken = bytes.clone();
            broken[offset] ^= 1 << bit;
            match PageIndex::from_tail(&broken, size) {
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
                Ok(Tail::Index(found)) => {
                    assert_ne!(found, index);
                    assert_eq!(places(&found), places(&index), "byte {offset} bit {bit}");
                }
                Ok(Tail::Needs(length)) => panic!("the file has no {length} bytes"),
            }
            assert_eq!(decode(&broken).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}

proptest! {
    #[test]
    fn garbage_is_corrupt(bytes in prop::collection::vec(any::<u8>(), 0..400), prefix in 0usize..200) {
        let (good, _) = small_file();
        let mut file = good[..prefix].to_vec();
        file.extend_from_slice(&bytes);
        assert_eq!(decode(&file).unwrap_err().kind(), ErrorKind::Corrupt);
        if let Ok(Tail::Needs(length)) = PageIndex::from_tail(&bytes, 400) {
            assert!(length <= 400);
        }
        let mut data = Vec::new();
        let page_size = size(512);
        if let Err(error) = decode_frame(&bytes, page_size, &mut data) {
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }
}
