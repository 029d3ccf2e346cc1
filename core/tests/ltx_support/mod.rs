//! What the tests of log files share.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;

use haqlite::ltx::{Decoded, Decoder, Encoded, Encoder, Header, Origin};
use haqlite::types::{Chain, Epoch, PageNumber, PageSize, Result, SessionId, Txid};

/// Pages by number.
pub(crate) type Pages = BTreeMap<u32, Vec<u8>>;

pub(crate) const PAGE_SIZES: [u32; 8] = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

pub(crate) fn page(number: u32) -> PageNumber {
    PageNumber::new(number).unwrap()
}

pub(crate) fn size(bytes: u32) -> PageSize {
    PageSize::new(bytes).unwrap()
}

pub(crate) fn origin(epoch: u64, previous: Chain) -> Origin {
    Origin::new(Epoch::new(epoch).unwrap(), previous, SessionId::from_bytes([0x5e; 16]))
}

/// The header of a slot in epoch 1.
pub(crate) fn slot(txid: u64, page_size: u32, commit: u32, previous: Chain) -> Header {
    Header::slot(
        Txid::new(txid),
        size(page_size),
        page(commit),
        1_790_000_000_000 + txid as i64,
        origin(1, previous),
    )
}

/// Content of a page: by its kind zeros, text, noise, or half of each.
pub(crate) fn content(page_size: u32, kind: u8, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut noise = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..page_size)
        .map(|i| match kind % 4 {
            0 => 0,
            1 => b"a row of a table "[(i as u64 + seed) as usize % 17],
            2 => noise(),
            _ if i % 64 < 32 => noise(),
            _ => seed as u8,
        })
        .collect()
}

pub(crate) fn encode(header: Header, pages: &Pages) -> Result<(Vec<u8>, Encoded)> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, header)?;
    for (&number, data) in pages {
        encoder.page(page(number), data)?;
    }
    let encoded = encoder.finish()?;
    Ok((bytes, encoded))
}

pub(crate) fn decode(bytes: &[u8]) -> Result<(Header, Pages, Decoded)> {
    let mut decoder = Decoder::new(bytes)?;
    let header = decoder.header().clone();
    let mut pages = Pages::new();
    let mut data = Vec::new();
    while let Some(page) = decoder.next_page(&mut data)? {
        pages.insert(page.get(), data.clone());
    }
    Ok((header, pages, decoder.finish()?))
}
