//! Damaged log files are recognised, whatever the damage, and never take more than an error.

mod ltx_support;

use haqlite::ltx::{Decoder, PageIndex, Tail, decode_frame};
use haqlite::types::{Chain, ErrorKind};
use ltx_support::{Pages, content, decode, encode, page, size, slot};
use proptest::prelude::{any, prop, proptest};

fn small_file() -> (Vec<u8>, Pages) {
    let pages = Pages::from([(1, content(512, 1, 1)), (2, content(512, 2, 2)), (3, content(512, 0, 3))]);
    let (bytes, _) = encode(slot(1, 512, 3, Chain::of(b"genesis")), &pages).unwrap();
    (bytes, pages)
}

/// There are two bytes of one content where LZ4 has two ways to write it; the chain value tells them
/// apart. No other byte can change unnoticed.
#[test]
fn no_flipped_bit_changes_what_is_read() {
    let (bytes, pages) = small_file();
    let (header, _, whole) = decode(&bytes).unwrap();
    let mut unnoticed = Vec::new();
    for offset in 0..bytes.len() {
        for bit in 0..8 {
            let mut broken = bytes.clone();
            broken[offset] ^= 1 << bit;
            match decode(&broken) {
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {offset} bit {bit}"),
                Ok((found, found_pages, decoded)) => {
                    assert!(found == header && found_pages == pages, "byte {offset} bit {bit}");
                    assert_ne!(decoded.chain, whole.chain);
                    unnoticed.push(offset);
                }
            }
        }
    }
    let Tail::Index(index) = PageIndex::from_tail(&bytes, bytes.len() as u64).unwrap() else {
        panic!("the whole file holds the whole index");
    };
    for offset in unnoticed {
        let in_block = |entry: &haqlite::ltx::IndexEntry| {
            let block = entry.offset as usize + 10..(entry.offset + u64::from(entry.size)) as usize;
            block.contains(&offset)
        };
        assert!(index.entries().iter().any(in_block), "byte {offset} is outside of the compressed pages");
    }
}

#[test]
fn a_file_cut_off_anywhere_is_corrupt() {
    let (bytes, _) = small_file();
    for length in 0..bytes.len() {
        assert_eq!(decode(&bytes[..length]).unwrap_err().kind(), ErrorKind::Corrupt, "{length} bytes");
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

#[test]
fn a_damaged_index_is_refused() {
    let (bytes, _) = small_file();
    let size = bytes.len() as u64;
    let entries = bytes.len() - 24 - usize::from(bytes[bytes.len() - 17])..bytes.len() - 16;
    for offset in entries {
        for bit in 0..8 {
            let mut broken = bytes.clone();
            broken[offset] ^= 1 << bit;
            match PageIndex::from_tail(&broken, size) {
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
                // The number of the last page can be one that is not in use.
                Ok(Tail::Index(index)) => {
                    assert_eq!(index.entries().len(), 3);
                    assert!(
                        index.get(page(1)).is_none()
                            || index.entries()[2].page != page(3)
                            || index.entries()[1].page != page(2)
                    );
                }
                Ok(Tail::Needs(length)) => panic!("{length} bytes are more than the file has"),
            }
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
