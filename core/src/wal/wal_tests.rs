use super::*;
use crate::types::{ErrorKind, PageNumber, PageSize};

fn header(order: ByteOrder) -> WalHeader {
    let page_size = PageSize::new(512).unwrap();
    WalHeader { order, page_size, sequence: 7, salts: Salts([1, 2, 3, 4, 5, 6, 7, 8]) }
}

type Bytes = ([u8; 24], Vec<u8>);

fn frames(order: ByteOrder, list: &[(u32, u32)]) -> (WalPoint, Vec<Bytes>) {
    let mut cursor = FrameCursor::new(order, header(order).point());
    let frames = list
        .iter()
        .map(|&(page, commit)| {
            let data = vec![page as u8; 512];
            (cursor.seal(Frame { page: PageNumber::new(page).unwrap(), commit }, &data), data)
        })
        .collect();
    (cursor.point(), frames)
}

fn scan(list: &[(u32, u32)]) -> Scan {
    let (to, frames) = frames(ByteOrder::Little, list);
    let mut scanner = Scanner::new(ByteOrder::Little, header(ByteOrder::Little).point(), 9);
    for (header, data) in &frames {
        assert!(scanner.push(header, data));
    }
    scanner.finish(&to).unwrap()
}

fn pages(scan: &Scan) -> Vec<(u32, u32)> {
    scan.pages.iter().map(|(page, frame)| (page.get(), *frame)).collect()
}

#[test]
fn the_checksum_is_the_one_of_the_documentation() {
    // s0 += x0 + s1; s1 += x1 + s0, twice, by hand.
    let bytes = [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0];
    assert_eq!(checksum(ByteOrder::Little, (0, 0), &bytes), (7, 14));
    let bytes = [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4];
    assert_eq!(checksum(ByteOrder::Big, (0, 0), &bytes), (7, 14));
}

#[test]
fn a_header_survives_its_bytes_and_no_flipped_bit() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let bytes = header(order).encode();
        assert_eq!(WalHeader::decode(&bytes), Some(header(order)));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(WalHeader::decode(&damaged), None, "bit {bit}");
        }
    }
}

#[test]
fn a_frame_with_a_flipped_bit_does_not_continue_the_wal() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let (_, frames) = frames(order, &[(3, 9)]);
        let start = FrameCursor::new(order, header(order).point());
        let (head, data) = &frames[0];
        assert!(start.clone().verify(head, data).is_some());
        for bit in 0..(head.len() + data.len()) * 8 {
            let (mut head, mut data) = (*head, data.clone());
            match bit / 8 {
                at if at < 24 => head[at] ^= 1 << (bit % 8),
                at => data[at - 24] ^= 1 << (bit % 8),
            }
            assert_eq!(start.clone().verify(&head, &data), None, "bit {bit}");
        }
    }
}

#[test]
fn the_newest_frame_of_a_page_wins_and_pages_beyond_the_end_are_dropped() {
    let scan = scan(&[(1, 0), (5, 0), (1, 9), (9, 9), (2, 4)]);
    assert_eq!(pages(&scan), [(1, 3), (2, 5)]);
    assert_eq!((scan.db_size, scan.smallest_db_size, scan.commits), (4, 4, 3));
}

#[test]
fn a_shrink_between_two_growths_is_remembered() {
    let scan = scan(&[(1, 9), (1, 3), (1, 12)]);
    assert_eq!((scan.db_size, scan.smallest_db_size, scan.commits), (12, 3, 3));
}

#[test]
fn a_scan_never_ends_in_a_transaction_or_at_another_point() {
    let (to, frames) = frames(ByteOrder::Little, &[(1, 9), (2, 0)]);
    let taken = |count: usize| {
        let mut scanner = Scanner::new(ByteOrder::Little, header(ByteOrder::Little).point(), 9);
        for (header, data) in &frames[..count] {
            assert!(scanner.push(header, data));
        }
        scanner
    };
    assert_eq!(taken(2).finish(&to).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(taken(1).finish(&to).unwrap_err().kind(), ErrorKind::Corrupt);
    let committed = taken(1).point();
    assert_eq!(taken(1).finish(&committed).unwrap().to, committed);
    let other = WalPoint { checksum: (1, 1), ..committed };
    assert_eq!(taken(1).finish(&other).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn an_index_header_survives_its_bytes_for_every_page_size() {
    for size in [512, 1024, 4096, 32768, 65536] {
        let header = IndexHeader {
            change: 3,
            order: ByteOrder::Big,
            page_size: Some(PageSize::new(size).unwrap()),
            last_frame: 77,
            db_size: 12,
            checksum: (5, 6),
            salts: Salts([9; 8]),
        };
        assert_eq!(IndexHeader::decode(&header.encode()).unwrap(), Some(header));
    }
    assert_eq!(IndexHeader::decode(&[0; 48]).unwrap(), None);
}

#[test]
fn frames_have_their_places_where_sqlite_looks_for_them() {
    let at = |frame| (IndexPlace::of(frame).region, IndexPlace::of(frame).place);
    assert_eq!(at(1), (0, 1));
    assert_eq!(at(4062), (0, 4062));
    assert_eq!(at(4063), (1, 1));
    assert_eq!(at(4062 + 4096), (1, 4096));
    assert_eq!(at(4062 + 4096 + 1), (2, 1));
    for frame in [1, 4062, 4063, 8158, 8159, 100_000] {
        let place = IndexPlace::of(frame);
        assert_eq!(IndexPlace::frames_before(place.region) + place.place, frame);
        assert!(place.place <= IndexPlace::capacity(place.region));
    }
}
