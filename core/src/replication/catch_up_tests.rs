use super::{CatchUp, CatchUpEffect as Do, CatchUpEvent as On, Floor, SlotFacts};
use crate::types::{Chain, Epoch, ErrorKind, Position, Txid};

fn chain(n: u64) -> Chain {
    Chain::of(&n.to_be_bytes())
}

fn slot(n: u64, epoch: u64) -> SlotFacts {
    SlotFacts {
        txid: Txid::new(n),
        chain: chain(n),
        previous: chain(n - 1),
        epoch: Epoch::new(epoch).unwrap(),
        session: [1; 6],
    }
}

fn at(n: u64, epoch: u64) -> Position {
    Position { txid: Txid::new(n), chain: chain(n), epoch: Epoch::new(epoch).unwrap() }
}

fn step(reader: &mut CatchUp, event: On) -> Do {
    reader.handle(event).unwrap().expect("an effect")
}

#[test]
fn slots_are_grouped_and_the_end_is_proven_by_the_floor() {
    let mut reader = CatchUp::new(at(4, 1), 100);
    assert_eq!(step(&mut reader, On::Poll), Do::Fetch(Txid::new(5)));
    assert_eq!(step(&mut reader, On::Found(slot(5, 1), 10)), Do::Fetch(Txid::new(6)));
    assert_eq!(step(&mut reader, On::Found(slot(6, 2), 10)), Do::Fetch(Txid::new(7)));
    assert_eq!(step(&mut reader, On::Missing), Do::CheckFence, "slot 6 begins an epoch");
    assert_eq!(step(&mut reader, On::Floor(Floor(Txid::new(5)))), Do::Apply(at(6, 2)));
    assert_eq!(reader.applied(), at(4, 1));
    assert_eq!(step(&mut reader, On::Applied), Do::ReadFloor);
    assert_eq!(reader.applied(), at(6, 2));
    assert_eq!(step(&mut reader, On::Floor(Floor(Txid::new(6)))), Do::Current(at(6, 2)));
}

#[test]
fn a_full_group_is_applied_before_more_is_read() {
    let mut reader = CatchUp::new(at(1, 1), 15);
    step(&mut reader, On::Poll);
    assert_eq!(step(&mut reader, On::Found(slot(2, 1), 10)), Do::Fetch(Txid::new(3)));
    assert_eq!(step(&mut reader, On::Found(slot(3, 1), 10)), Do::Apply(at(3, 1)));
    assert_eq!(step(&mut reader, On::Applied), Do::Fetch(Txid::new(4)));
}

#[test]
fn a_fence_below_the_floor_is_never_applied() {
    for group in [5, 100] {
        let mut reader = CatchUp::new(at(4, 1), group);
        step(&mut reader, On::Poll);
        let found = step(&mut reader, On::Found(slot(5, 3), 10));
        let next = if found == Do::CheckFence { found } else { step(&mut reader, On::Missing) };
        assert_eq!(next, Do::CheckFence);
        assert_eq!(step(&mut reader, On::Floor(Floor(Txid::new(5)))), Do::Replan);
        assert_eq!(reader.applied(), at(4, 1));
    }
}

#[test]
fn an_absent_slot_below_the_floor_is_not_the_end() {
    let mut reader = CatchUp::new(at(4, 1), 100);
    step(&mut reader, On::Poll);
    assert_eq!(step(&mut reader, On::Missing), Do::ReadFloor);
    assert_eq!(step(&mut reader, On::Floor(Floor(Txid::new(5)))), Do::Replan);
}

#[test]
fn what_does_not_continue_the_log_stops_the_reader() {
    let mut other_history = slot(5, 1);
    other_history.previous = chain(99);
    let mut of_another_tool = slot(5, 1);
    of_another_tool.previous = Chain::ZERO;
    of_another_tool.epoch = Epoch::ZERO;
    of_another_tool.session = [0; 6];
    for (bad, kind) in [
        (other_history, ErrorKind::Corrupt),
        (slot(6, 1), ErrorKind::Corrupt),
        (slot(5, 2), ErrorKind::Corrupt),
        (of_another_tool, ErrorKind::ForeignDatabase),
    ] {
        let mut reader = CatchUp::new(at(4, 3), 100);
        step(&mut reader, On::Poll);
        assert_eq!(reader.handle(On::Found(bad, 1)).unwrap_err().kind(), kind);
        assert_eq!(reader.handle(On::Poll).unwrap(), None, "a stopped reader does nothing");
    }
}
