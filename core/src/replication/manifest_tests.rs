use super::manifest::{Claim, End, LogManifest, Mine, Shown, Standing};
use super::{Floor, Genesis};
use crate::types::{DatabaseId, Epoch, ErrorKind, PageSize, SessionId, Txid};

fn epoch(n: u64) -> Epoch {
    Epoch::new(n).unwrap()
}

fn slot(n: u64) -> Txid {
    Txid::new(n)
}

fn claim(n: u64) -> Claim {
    Claim { epoch: epoch(n), session: SessionId::from_bytes([n as u8; 16]) }
}

fn mine(n: u64) -> Option<Mine> {
    Some(Mine { claim: claim(n), starting: None })
}

/// A manifest in which these epochs started at these slots, and perhaps one is claimed.
fn manifest(started: &[(u64, u64)], claimed: Option<u64>) -> LogManifest {
    let mut manifest = LogManifest::default();
    for (number, start) in started {
        manifest = manifest.with_claim(claim(*number)).unwrap();
        manifest = manifest.with_start(claim(*number), slot(*start)).unwrap();
    }
    claimed.map_or(manifest.clone(), |number| manifest.with_claim(claim(number)).unwrap())
}

#[test]
fn a_manifest_survives_its_bytes() {
    let genesis =
        Genesis { database: DatabaseId::from_bytes([7; 16]), page_size: PageSize::DEFAULT, base: [0xab; 32] };
    let empty = LogManifest::default();
    let full =
        manifest(&[(1, 1), (4, 9)], Some(6)).with_genesis(&genesis.encode()).with_floor(Floor(slot(5)));
    for manifest in [empty, full.clone(), full.with_start(claim(6), slot(12)).unwrap()] {
        assert_eq!(LogManifest::decode(&manifest.encode()).unwrap(), manifest);
    }
    assert_eq!(full.genesis(), Some(genesis.encode().as_slice()));
}

#[test]
fn what_is_no_manifest_is_refused() {
    for text in [
        "",
        "{}",
        r#"{"haqlite":2,"epochs":[]}"#,
        r#"{"haqlite":1,"epochs":[[2,1],[1,5]]}"#,
        r#"{"haqlite":1,"epochs":[[1,5],[2,5]]}"#,
        r#"{"haqlite":1,"epochs":[[0,5]]}"#,
        r#"{"haqlite":1,"epochs":[[1,0]]}"#,
        r#"{"haqlite":1,"epochs":[[3,1]],"claimed":[3,"00000000000000000000000000000000"]}"#,
        r#"{"haqlite":1,"epochs":[],"claimed":[1,"x"]}"#,
    ] {
        assert_eq!(LogManifest::decode(text.as_bytes()).unwrap_err().kind(), ErrorKind::Corrupt, "{text}");
    }
}

#[test]
fn a_slot_belongs_to_the_newest_epoch_that_started_at_or_before_it() {
    let table = manifest(&[(1, 1), (4, 9)], None);
    assert_eq!(LogManifest::default().shown(slot(1), None), Shown::Nothing);
    assert_eq!(table.shown(slot(1), None), Shown::Settled(epoch(1)));
    assert_eq!(table.shown(slot(8), None), Shown::Settled(epoch(1)));
    assert_eq!(table.shown(slot(9), None), Shown::Open(epoch(4)));
    assert_eq!(table.with_floor(Floor(slot(10))).shown(slot(10), None), Shown::Settled(epoch(4)));
    // Epoch 4 wrote nothing: 5 started in its place.
    let table = manifest(&[(1, 1), (4, 9), (5, 9)], None);
    assert_eq!(table.shown(slot(9), None), Shown::Open(epoch(5)));
    assert_eq!(table.standing(epoch(4), slot(9), None), Standing::Superseded);
}

#[test]
fn an_open_claim_leaves_only_the_settled_slots_to_others() {
    let table = manifest(&[(1, 1), (4, 9)], Some(6));
    assert_eq!(table.shown(slot(8), None), Shown::Settled(epoch(1)));
    assert_eq!(table.shown(slot(9), None), Shown::Contested(epoch(4)));
    assert_eq!(table.shown(slot(9), mine(5)), Shown::Contested(epoch(4)));
    // Whoever claimed sees what is there, as long as its own look is still to come.
    assert_eq!(table.shown(slot(9), mine(6)), Shown::Open(epoch(4)));
    let looked = mine(6).map(|mine| Mine { starting: Some(slot(10)), ..mine });
    assert_eq!(table.shown(slot(9), looked), Shown::Contested(epoch(4)));
    // The same epoch of another session is another claim.
    let other = Claim { session: SessionId::from_bytes([9; 16]), ..claim(6) };
    assert_eq!(table.shown(slot(9), Some(Mine { claim: other, starting: None })), Shown::Contested(epoch(4)));
}

#[test]
fn what_may_become_of_a_slot_depends_on_who_started_where() {
    let table = manifest(&[(1, 1), (4, 9)], None);
    assert_eq!(table.standing(epoch(4), slot(9), None), Standing::Open);
    assert_eq!(table.standing(epoch(4), slot(8), None), Standing::Superseded);
    assert_eq!(table.standing(epoch(1), slot(9), None), Standing::Superseded);
    assert_eq!(table.standing(epoch(1), slot(8), None), Standing::Settled);
    assert_eq!(table.standing(epoch(3), slot(9), None), Standing::Superseded);
    assert_eq!(table.standing(epoch(5), slot(9), None), Standing::Unheard);
    let claimed = manifest(&[(1, 1), (4, 9)], Some(6));
    assert_eq!(claimed.standing(epoch(6), slot(12), mine(6)), Standing::Claimed);
    assert_eq!(claimed.standing(epoch(6), slot(12), None), Standing::Superseded);
    assert_eq!(claimed.standing(epoch(4), slot(12), None), Standing::Contested);
    assert_eq!(claimed.standing(epoch(4), slot(12), mine(6)), Standing::Open);
    // A claim that another took the place of never starts.
    let after = claimed.with_claim(claim(7)).unwrap();
    assert_eq!(after.standing(epoch(6), slot(12), mine(6)), Standing::Superseded);
    assert_eq!(after.with_start(claim(6), slot(12)), None);
}

#[test]
fn the_end_is_shown_by_a_slot_that_is_there_and_one_that_is_not() {
    let table = manifest(&[(1, 1), (4, 9)], Some(6));
    assert_eq!(LogManifest::default().end_before(slot(1)), End::Empty);
    assert_eq!(LogManifest::default().end_before(slot(2)), End::Nowhere);
    assert_eq!(table.end_before(slot(8)), End::Beyond);
    assert_eq!(table.end_before(slot(9)), End::Probe(epoch(4), None));
    assert_eq!(table.end_before(slot(10)), End::Probe(epoch(4), Some(slot(9))));
    let raised = table.with_floor(Floor(slot(11)));
    assert_eq!(raised.end_before(slot(11)), End::Deleted);
    assert_eq!(raised.end_before(slot(12)), End::Beyond);
    assert_eq!(raised.end_before(slot(13)), End::Probe(epoch(4), Some(slot(12))));
}

#[test]
fn epochs_only_go_up_and_so_do_the_floor_and_the_first_genesis() {
    let table = manifest(&[(1, 1), (4, 9)], Some(6));
    for number in [1, 4, 6] {
        assert_eq!(table.with_claim(claim(number)).unwrap_err().kind(), ErrorKind::Fenced);
    }
    assert_eq!(table.newest(), epoch(6));
    assert_eq!(table.with_floor(Floor(slot(5))).with_floor(Floor(slot(3))).floor(), Floor(slot(5)));
    let named = table.with_genesis(b"one");
    assert_eq!(named.with_genesis(b"two").genesis(), Some(&b"one"[..]));
}

#[test]
fn the_table_is_bounded_and_fits_into_a_manifest() {
    let mut table = LogManifest::default();
    let high = 1 << 47;
    let mut number = 0;
    let refused = loop {
        let claim = Claim { epoch: epoch(high + number), ..claim(1) };
        match table.with_claim(claim) {
            Ok(next) => table = next.with_start(claim, slot(u64::MAX / 2 + number)).unwrap(),
            Err(error) => break error,
        }
        number += 1;
    };
    assert_eq!(refused.kind(), ErrorKind::LimitExceeded);
    assert!(table.encode().len() < 512 * 1024, "{} bytes", table.encode().len());
    // With the floor above all but the last three of them, there is room again.
    let raised = table.with_floor(Floor(slot(u64::MAX / 2 + number - 3)));
    let next = raised.with_claim(Claim { epoch: epoch(high + number), ..claim(1) }).unwrap();
    assert_eq!(next.shown(slot(u64::MAX / 2 + number - 1), None), Shown::Contested(epoch(high + number - 1)));
    assert_eq!(next.shown(slot(u64::MAX / 2 + number - 2), None), Shown::Settled(epoch(high + number - 2)));
    assert!(next.encode().len() < 1024);
}
