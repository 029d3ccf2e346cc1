//! A database of more than a gigabyte has a page that no file holds. The pages before it are skipped
//! here by pretending.

use super::{Decoder, Encoder, Header, Origin};
use crate::types::{Chain, Epoch, ErrorKind, PageNumber, PageSize, SessionId, Txid};

fn number(number: u32) -> PageNumber {
    PageNumber::new(number).unwrap()
}

fn first_slot(page_size: PageSize, commit: u32) -> Header {
    let origin = Origin::new(Epoch::new(1).unwrap(), Chain::ZERO, SessionId::default());
    Header::slot(Txid::new(1), page_size, number(commit), 0, origin)
}

#[test]
fn a_file_from_slot_1_goes_on_after_the_lock_page() {
    for bytes in (9..=16).map(|shift| 1 << shift) {
        let page_size = PageSize::new(bytes).unwrap();
        let lock = page_size.lock_page().get();
        let data = vec![7; page_size.bytes()];
        let mut file = Vec::new();
        let mut encoder = Encoder::new(&mut file, first_slot(page_size, lock + 1)).unwrap();
        encoder.pretend(number(lock - 2));
        assert_eq!(encoder.page(number(lock), &data).unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(encoder.page(number(lock + 1), &data).unwrap_err().kind(), ErrorKind::InvalidArgument);
        encoder.page(number(lock - 1), &data).unwrap();
        assert_eq!(encoder.page(number(lock), &data).unwrap_err().kind(), ErrorKind::InvalidArgument);
        encoder.page(number(lock + 1), &data).unwrap();
        let encoded = encoder.finish().unwrap();

        let mut decoder = Decoder::new(file.as_slice()).unwrap();
        decoder.pretend(number(lock - 2));
        let mut data = Vec::new();
        assert_eq!(decoder.next_page(&mut data).unwrap(), Some(number(lock - 1)));
        assert_eq!(decoder.next_page(&mut data).unwrap(), Some(number(lock + 1)));
        assert_eq!(decoder.next_page(&mut data).unwrap(), None);
        assert_eq!(decoder.finish().unwrap().chain, encoded.chain);

        let mut gap = Decoder::new(file.as_slice()).unwrap();
        gap.pretend(number(lock - 3));
        assert_eq!(gap.next_page(&mut data).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_file_from_slot_1_that_ends_at_the_lock_page_lacks_nothing() {
    let page_size = PageSize::new(65536).unwrap();
    let lock = page_size.lock_page().get();
    for (commit, missing) in [(lock - 1, false), (lock, false), (lock + 1, true)] {
        let mut encoder = Encoder::new(Vec::new(), first_slot(page_size, commit)).unwrap();
        encoder.pretend(number(lock - 1));
        assert_eq!(encoder.finish().is_err(), missing, "{commit} pages");
    }
}
