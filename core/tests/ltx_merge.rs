//! Merges of log files, held against applying the files one after another.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod ltx_support;

use std::io::Cursor;

use haqlite::ltx::{After, Base, Decoder, Header, Merge, Merged, Source, WalRange, write_database};
use haqlite::types::{Chain, Epoch, ErrorKind, Position, Result, Txid};
use ltx_support::{Pages, content, decode, encode, origin, page, size, slot};
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

/// A log in memory: each slot's file and its chain value.
struct Log {
    page_size: u32,
    files: Vec<Vec<u8>>,
    chain: Chain,
    pages: Pages,
}

impl Log {
    fn new(page_size: u32) -> Log {
        Log { page_size, files: Vec::new(), chain: Chain::of(b"genesis"), pages: Pages::new() }
    }

    /// Adds the slot that sets the database's size and writes pages; pages that it grew by are written.
    fn add(&mut self, commit: u32, writes: &[(u32, u8, u64)]) {
        let before = self.pages.len() as u32;
        let grown = (before + 1..=commit).map(|number| (number, 1, u64::from(number)));
        let written = writes.iter().copied().filter(|&(number, ..)| number <= commit);
        let changed: Pages = grown
            .chain(written)
            .map(|(number, kind, seed)| (number, content(self.page_size, kind, seed)))
            .collect();
        let txid = self.files.len() as u64 + 1;
        let (bytes, encoded) = encode(slot(txid, self.page_size, commit, self.chain), &changed).unwrap();
        self.pages.extend(changed);
        self.pages.retain(|&number, _| number <= commit);
        self.files.push(bytes);
        self.chain = encoded.chain;
    }

    fn sources(&self, from: usize) -> Vec<Source<&[u8]>> {
        sources(&self.files[from..])
    }

    fn position(&self) -> Position {
        Position {
            txid: Txid::new(self.files.len() as u64),
            chain: self.chain,
            epoch: Epoch::new(1).unwrap(),
        }
    }
}

fn sources(files: &[Vec<u8>]) -> Vec<Source<&[u8]>> {
    files.iter().map(|file| source(file)).collect()
}

fn source(file: &[u8]) -> Source<&[u8]> {
    Source { decoder: Decoder::new(file).unwrap(), after: After::OwnHash }
}

/// Pages in the order in which they came.
type Sequence = Vec<(u32, Vec<u8>)>;

fn merge(base: Base, sources: Vec<Source<&[u8]>>) -> Result<(Header, Sequence, Merged)> {
    let mut merge = Merge::new(base, sources)?;
    let header = merge.header();
    let mut pages = Vec::new();
    let mut data = Vec::new();
    while let Some(page) = merge.next_page(&mut data)? {
        pages.push((page.get(), data.clone()));
    }
    Ok((header, pages, merge.finish()?))
}

fn corrupt<T>(result: Result<T>, about: &str) {
    let error = result.err().expect("it is corrupt");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.message().contains(about), "{error}");
}

/// The size of the database in pages after a slot, and the pages that the slot writes.
type Slot = (u32, Vec<(u32, u8, u64)>);

fn logs() -> impl Strategy<Value = (u32, Vec<Slot>)> {
    let write = (1u32..16, any::<u8>(), any::<u64>());
    let slot = (1u32..16, prop::collection::vec(write, 1..6));
    (prop::sample::select(vec![512, 4096]), prop::collection::vec(slot, 1..8))
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn a_merge_leaves_what_the_files_leave_one_by_one((page_size, slots) in logs(), split in any::<prop::sample::Index>()) {
        let mut log = Log::new(page_size);
        let mut at_split = (log.position(), Pages::new());
        let split = split.index(slots.len());
        for (commit, writes) in &slots {
            if log.files.len() == split {
                at_split = (log.position(), log.pages.clone());
            }
            log.add(*commit, writes);
        }

        let (_, pages, merged) = merge(Base::Empty, log.sources(0)).unwrap();
        prop_assert!(pages.iter().map(|(number, _)| number).eq(log.pages.keys()));
        prop_assert!(pages.into_iter().collect::<Pages>() == log.pages);
        prop_assert_eq!(merged.position(), Some(log.position()));
        prop_assert!(!merged.foreign);

        // The same, of a database that stands somewhere on the way.
        let (position, mut database) = at_split;
        let (_, pages, merged) = merge(Base::Position(position), log.sources(split)).unwrap();
        prop_assert!(pages.is_sorted_by_key(|(number, _)| *number));
        database.extend(pages);
        database.retain(|&number, _| number <= merged.commit.get());
        prop_assert!(database == log.pages);
        prop_assert_eq!(merged.position(), Some(log.position()));

        // The same, by way of one file that covers the later slots.
        let (header, pages, merged) = merge(Base::Anything, log.sources(split)).unwrap();
        prop_assert_eq!(header.origin.unwrap().previous, position.chain);
        let (compacted, _) = encode(header, &pages.into_iter().collect()).unwrap();
        let mut files = log.sources(0);
        files.truncate(split);
        files.push(Source { after: After::Known(merged.chain.unwrap()), ..source(&compacted) });
        let mut file = Cursor::new(Vec::new());
        let merged = write_database(Merge::new(Base::Empty, files).unwrap(), &mut file).unwrap();
        prop_assert_eq!(merged.position(), Some(log.position()));
        prop_assert!(file.into_inner() == log.pages.into_values().collect::<Vec<_>>().concat());
    }
}

fn three_slots() -> Log {
    let mut log = Log::new(512);
    log.add(3, &[]);
    log.add(5, &[(1, 2, 2)]);
    log.add(4, &[(1, 2, 3), (2, 2, 3)]);
    log
}

#[test]
fn a_page_that_was_cut_off_does_not_come_back() {
    let mut log = Log::new(512);
    log.add(5, &[]);
    log.add(2, &[(1, 2, 2)]);
    let cut = log.chain;
    log.add(1, &[(1, 2, 3)]);
    log.files.pop();
    // Another tool's file grows the database to five pages and holds only the last.
    let grown = Pages::from([(1, content(512, 2, 4)), (5, content(512, 2, 5))]);
    let (bytes, _) = encode(slot(3, 512, 5, cut), &grown).unwrap();
    log.files.push(bytes);
    let (_, pages, _) = merge(Base::Anything, sources(&log.files[1..])).unwrap();
    assert_eq!(pages.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 5]);
    corrupt(merge(Base::Empty, log.sources(0)), "no page before page 5");
    let grown = Pages::from([(1, content(512, 2, 4)), (3, content(512, 2, 5))]);
    let (bytes, _) = encode(slot(3, 512, 5, cut), &grown).unwrap();
    *log.files.last_mut().unwrap() = bytes;
    corrupt(merge(Base::Empty, log.sources(0)), "page 4 is in none");
}

#[test]
fn files_that_do_not_follow_one_another_are_refused() {
    let log = three_slots();
    let pick = |picked: &[usize]| picked.iter().map(|&i| source(&log.files[i])).collect::<Vec<_>>();
    corrupt(merge(Base::Empty, pick(&[0, 2])), "log file 3-3: the file does not go on from slot 1");
    corrupt(merge(Base::Empty, pick(&[1, 2])), "does not go on from slot 0");
    corrupt(merge(Base::Empty, pick(&[0, 1, 1])), "does not go on from slot 2");
    corrupt(merge(Base::Empty, pick(&[1, 0])), "does not go on");
    corrupt(merge(Base::Position(log.position()), pick(&[2])), "does not go on from slot 3");
    let nothing = merge(Base::Empty, Vec::new()).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn files_of_another_history_are_refused() {
    let log = three_slots();
    let mut other = Log::new(512);
    other.add(3, &[(2, 2, 99)]);
    other.add(5, &[(1, 2, 2)]);

    let forked = [log.files[0].clone(), other.files[1].clone()];
    corrupt(merge(Base::Empty, sources(&forked)), "log file 2-2: the file follows another history");

    let mut position = other.position();
    corrupt(merge(Base::Position(position), log.sources(2)), "log file 3-3: the file follows another");
    position.chain = Decoder::new(log.files[1].as_slice()).unwrap().finish().unwrap().chain;
    merge(Base::Position(position), log.sources(2)).unwrap();
}

#[test]
fn a_file_of_several_slots_is_held_against_the_chain_value_that_is_kept_beside_it() {
    let log = three_slots();
    let (header, pages, merged) = merge(Base::Anything, log.sources(0)).unwrap();
    assert_eq!(header.wal, WalRange::NONE);
    let (compacted, _) = encode(header, &pages.into_iter().collect()).unwrap();
    let next = encode(slot(4, 512, 4, log.chain), &Pages::from([(1, vec![4; 512])])).unwrap().0;
    let with = |after| vec![Source { after, ..source(&compacted) }, source(&next)];
    merge(Base::Empty, with(After::Known(merged.chain.unwrap()))).unwrap();
    merge(Base::Empty, with(After::Unknown)).unwrap();
    let other = After::Known(Chain::of(b"?"));
    corrupt(merge(Base::Empty, with(other)), "log file 4-4: the file follows another");
    corrupt(merge(Base::Empty, with(After::OwnHash)), "log file 1-3: the file is not one slot");
    let alone = vec![Source { after: After::Unknown, ..source(&compacted) }];
    assert_eq!(merge(Base::Empty, alone).unwrap().2.position(), None);
}

#[test]
fn epochs_never_go_down() {
    let at = |txid, epoch, previous| {
        let header = Header { origin: Some(origin(epoch, previous)), ..slot(txid, 512, 1, previous) };
        encode(header, &Pages::from([(1, vec![txid as u8; 512])])).unwrap().0
    };
    let first = at(1, 7, Chain::of(b"genesis"));
    let lower = at(2, 6, Chain::of(&first));
    let equal = at(2, 7, Chain::of(&first));
    corrupt(merge(Base::Empty, vec![source(&first), source(&lower)]), "log file 2-2: epoch 6 after epoch 7");
    merge(Base::Empty, vec![source(&first), source(&equal)]).unwrap();
    let position = Position { txid: Txid::new(1), chain: Chain::of(&first), epoch: Epoch::new(8).unwrap() };
    corrupt(merge(Base::Position(position), vec![source(&equal)]), "epoch 7 after epoch 8");
}

#[test]
fn files_of_other_tools_are_merged_and_reported() {
    let log = three_slots();
    let foreign = Header { origin: None, ..slot(4, 512, 4, Chain::ZERO) };
    let (bytes, encoded) = encode(foreign, &Pages::from([(1, vec![4; 512])])).unwrap();
    let mut files = log.sources(0);
    files.push(source(&bytes));
    let (header, _, merged) = merge(Base::Empty, files).unwrap();
    assert!(merged.foreign && header.is_foreign());
    assert_eq!(merged.chain, Some(encoded.chain));
    assert_eq!(merged.epoch, Epoch::new(1).unwrap());
}

#[test]
fn damage_is_known_before_the_end_of_the_merge() {
    let log = three_slots();
    for broken in 0..3 {
        for cut in [true, false] {
            let mut files = log.files.clone();
            let last = files[broken].len() - 1;
            files[broken][last] ^= 1;
            files[broken].truncate(if cut { last } else { last + 1 });
            let name = format!("log file {0}-{0}", broken + 1);
            corrupt(merge(Base::Empty, sources(&files)), &name);
            let unread = Merge::new(Base::Empty, sources(&files)).and_then(Merge::finish);
            corrupt(unread, &name);
        }
    }
}

#[test]
fn page_sizes_do_not_mix() {
    let log = three_slots();
    let (bytes, _) = encode(slot(4, 1024, 1, log.chain), &Pages::from([(1, vec![0; 1024])])).unwrap();
    let mut files = log.sources(0);
    files.push(source(&bytes));
    corrupt(merge(Base::Empty, files), "pages of 1024 bytes after pages of 512");
}

#[test]
fn only_files_from_slot_1_make_a_database() {
    let log = three_slots();
    let later = Merge::new(Base::Anything, log.sources(1)).unwrap();
    let error = write_database(later, &mut Cursor::new(Vec::new())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_merge_of_one_file_is_that_file() {
    let log = three_slots();
    let (_, expected, _) = decode(&log.files[1]).unwrap();
    let (_, pages, _) = merge(Base::Anything, vec![source(&log.files[1])]).unwrap();
    assert!(pages.into_iter().collect::<Pages>() == expected);
    let merge = Merge::new(Base::Anything, log.sources(1)).unwrap();
    assert_eq!((merge.page_size(), merge.commit()), (size(512), page(4)));
}
