//! Transcripts: what the shipper does, step by step, under each kind of answer.

use std::time::Duration;

use super::{Draft, Floor, Pace, PutAnswer, Shipper, ShipperEffect, ShipperEvent, SlotFacts, Unshipped};
use crate::types::{Chain, Epoch, Monotonic, Position, Txid};

fn epoch(n: u64) -> Epoch {
    Epoch::new(n).unwrap()
}

fn chain(n: u64, by: &str) -> Chain {
    Chain::of(format!("{n} by {by}").as_bytes())
}

fn slot(n: u64, of: u64, by: &str) -> SlotFacts {
    SlotFacts {
        txid: Txid::new(n),
        chain: chain(n, by),
        previous: chain(n - 1, by),
        epoch: epoch(of),
        session: [9; 6],
    }
}

struct Script {
    shipper: Shipper,
    transcript: String,
}

/// Runs `time event` lines against a shipper of epoch 5 that stands at slot 10.
fn play(script: &str) -> String {
    let confirmed = Position { txid: Txid::new(10), chain: chain(10, "old"), epoch: epoch(4) };
    let pace = Pace::Steady { interval: Duration::from_millis(1000), bytes: 4096 };
    let shipper = Shipper::new(epoch(5), confirmed, pace);
    let mut run = Script { shipper, transcript: String::new() };
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        run.step(line);
    }
    run.transcript
}

impl Script {
    fn step(&mut self, line: &str) {
        let (time, event) = line.split_once(' ').unwrap();
        let now = Monotonic::from_boot(Duration::from_millis(time.parse().unwrap()));
        let next = self.shipper.confirmed().txid.get() + 1;
        let words: Vec<&str> = event.split(' ').collect();
        if words == ["status"] {
            let since =
                |t: Option<Monotonic>| t.map_or("-".to_owned(), |t| t.since_boot().as_millis().to_string());
            let (stuck, behind) = (self.shipper.stuck_since(), self.shipper.behind_since());
            let idle = if self.shipper.is_idle() { " idle" } else { "" };
            self.transcript.push_str(&format!("stuck {} behind {}{idle}\n", since(stuck), since(behind)));
            return;
        }
        let event = match words[..] {
            ["unshipped", bytes] => {
                ShipperEvent::Unshipped(Unshipped { bytes: bytes.parse().unwrap(), commits: 1 })
            }
            ["flush"] => ShipperEvent::Flush,
            ["timer"] => ShipperEvent::Timer,
            ["reroute"] => ShipperEvent::Reroute,
            ["drafted"] => ShipperEvent::Drafted(Some(Draft {
                position: Position { txid: Txid::new(next), chain: chain(next, "me"), epoch: epoch(5) },
            })),
            ["ahead"] => {
                let ahead = self.shipper.next_ahead().unwrap().get();
                ShipperEvent::DraftedAhead(Draft {
                    position: Position { txid: Txid::new(ahead), chain: chain(ahead, "me"), epoch: epoch(5) },
                })
            }
            ["drafted", "nothing"] => ShipperEvent::Drafted(None),
            ["stored"] => ShipperEvent::Put(PutAnswer::Stored),
            ["refused"] => ShipperEvent::Put(PutAnswer::Refused),
            ["ambiguous"] => ShipperEvent::Put(PutAnswer::Ambiguous),
            ["slot", "mine"] => ShipperEvent::Slot(Some(slot(next, 5, "me"))),
            ["slot", "epoch", of] => ShipperEvent::Slot(Some(slot(next, of.parse().unwrap(), "other"))),
            ["slot", "absent"] => ShipperEvent::Slot(None),
            ["floor", n] => ShipperEvent::Floor(Floor(Txid::new(n.parse().unwrap()))),
            ["read-failed"] => ShipperEvent::ReadFailed,
            _ => panic!("unknown event {event:?}"),
        };
        let effect = self.shipper.handle(now, event);
        let text = match effect {
            None => "-".to_owned(),
            Some(ShipperEffect::Confirmed(position)) => format!("Confirmed {}", position.txid),
            Some(ShipperEffect::Fenced(slot)) => format!("Fenced by epoch {}", slot.epoch),
            Some(ShipperEffect::Overtaken(slot)) => format!("Overtaken by epoch {}", slot.epoch),
            Some(ShipperEffect::WakeAt(t)) => format!("WakeAt {}", t.since_boot().as_millis()),
            Some(other) => format!("{other:?}"),
        };
        self.transcript.push_str(&text);
        self.transcript.push('\n');
    }
}

#[track_caller]
fn same(script: &str, expected: &str) {
    let expected: String =
        expected.lines().map(str::trim).filter(|l| !l.is_empty()).map(|l| l.to_owned() + "\n").collect();
    assert_eq!(play(script), expected);
}

#[test]
fn the_fence_is_confirmed_only_by_a_floor_read_after_it() {
    same(
        "0 flush
         1 drafted
         2 stored
         3 floor 10",
        "Draft(Txid(11))
         Put(Txid(11))
         ReadFloor
         Confirmed 11",
    );
}

#[test]
fn on_a_new_road_everything_is_asked_again_at_once_and_means_the_same() {
    same(
        "0 reroute
         0 flush
         1 drafted
         2 reroute
         3 ambiguous
         4 reroute
         5 refused
         6 reroute
         7 read-failed
         8 reroute
         9 slot mine
         10 reroute
         11 read-failed
         12 reroute
         13 floor 10
         14 reroute",
        "-
         Draft(Txid(11))
         Put(Txid(11))
         Put(Txid(11))
         WakeAt 53
         Put(Txid(11))
         ReadSlot(Txid(11))
         ReadSlot(Txid(11))
         WakeAt 107
         ReadSlot(Txid(11))
         ReadFloor
         ReadFloor
         WakeAt 211
         ReadFloor
         Confirmed 11
         -",
    );
}

#[test]
fn a_fence_in_a_deleted_slot_confirms_nothing() {
    same(
        "0 flush
         1 drafted
         2 stored
         3 floor 11
         4 unshipped 100",
        "Draft(Txid(11))
         Put(Txid(11))
         ReadFloor
         Unknown
         -",
    );
}

#[test]
fn later_slots_need_no_floor_and_wait_for_the_interval() {
    same(
        "0 flush
         1 drafted
         2 stored
         3 floor 0
         10 unshipped 100
         1000 timer
         1001 drafted
         1002 unshipped 100
         1003 stored
         1004 unshipped 100
         2000 timer",
        "Draft(Txid(11))
         Put(Txid(11))
         ReadFloor
         Confirmed 11
         WakeAt 1000
         Draft(Txid(12))
         Put(Txid(12))
         -
         Confirmed 12
         WakeAt 2000
         Draft(Txid(13))",
    );
}

#[test]
fn much_to_ship_does_not_wait() {
    same(
        "0 flush
         1 drafted
         2 stored
         3 floor 0
         10 unshipped 4096",
        "Draft(Txid(11))
         Put(Txid(11))
         ReadFloor
         Confirmed 11
         Draft(Txid(12))",
    );
}

#[test]
fn an_ambiguous_answer_is_repeated_until_it_is_definite() {
    same(
        "0 flush
         1 drafted
         2 ambiguous
         20 timer
         52 timer
         60 ambiguous
         160 timer
         161 refused
         162 slot mine
         163 read-failed
         363 timer
         364 floor 3",
        "Draft(Txid(11))
         Put(Txid(11))
         WakeAt 52
         WakeAt 52
         Put(Txid(11))
         WakeAt 160
         Put(Txid(11))
         ReadSlot(Txid(11))
         ReadFloor
         WakeAt 363
         ReadFloor
         Confirmed 11",
    );
}

#[test]
fn a_fence_gives_way_to_lower_epochs_and_stands_down_before_others() {
    let meet = |foreign: &str| {
        play(&format!("0 flush\n1 drafted\n2 refused\n3 slot epoch {foreign}\n4 floor 0"))
            .lines()
            .last()
            .unwrap()
            .to_owned()
    };
    assert_eq!(meet("4"), "Overtaken by epoch 4");
    assert_eq!(meet("5"), "Fenced by epoch 5", "an equal epoch is not ours");
    assert_eq!(meet("6"), "Fenced by epoch 6");
}

#[test]
fn a_leading_session_is_fenced_by_any_foreign_slot() {
    same(
        "0 flush
         1 drafted
         2 stored
         3 floor 0
         10 unshipped 9999
         11 drafted
         12 refused
         13 slot epoch 2
         14 floor 0
         15 flush",
        "Draft(Txid(11))
         Put(Txid(11))
         ReadFloor
         Confirmed 11
         Draft(Txid(12))
         Put(Txid(12))
         ReadSlot(Txid(12))
         ReadFloor
         Fenced by epoch 2
         -",
    );
}

#[test]
fn a_refusal_in_a_hole_is_unknown() {
    same(
        "0 flush
         1 drafted
         2 refused
         3 slot epoch 2
         4 floor 11",
        "Draft(Txid(11))
         Put(Txid(11))
         ReadSlot(Txid(11))
         ReadFloor
         Unknown",
    );
}

#[test]
fn a_refusal_without_an_object_is_tried_again() {
    same(
        "0 flush
         1 drafted
         2 refused
         3 slot absent
         53 timer
         54 stored",
        "Draft(Txid(11))
         Put(Txid(11))
         ReadSlot(Txid(11))
         WakeAt 53
         Put(Txid(11))
         ReadFloor",
    );
}

#[test]
fn an_idle_leader_sends_nothing() {
    same(
        "0 flush
         1 drafted
         2 stored
         3 floor 0
         5000 timer
         6000 unshipped 0
         7000 flush
         8000 unshipped 100
         8001 drafted nothing",
        "Draft(Txid(11))
         Put(Txid(11))
         ReadFloor
         Confirmed 11
         -
         -
         -
         Draft(Txid(12))
         -",
    );
}

#[test]
fn what_could_not_be_cut_is_due_at_the_next_look() {
    same(
        "0 flush
         1 drafted
         2 stored
         3 floor 0
         500 unshipped 100
         1000 unshipped 100
         1050 drafted nothing
         1051 status
         1070 unshipped 100
         1100 drafted nothing
         1120 unshipped 0
         1130 timer
         1140 status",
        "Draft(Txid(11))
         Put(Txid(11))
         ReadFloor
         Confirmed 11
         WakeAt 1000
         Draft(Txid(12))
         -
         stuck - behind 500 idle
         Draft(Txid(12))
         -
         -
         -
         stuck - behind - idle",
    );
}

/// The beginning of a script: the fence is confirmed, and slot 12 is in flight.
const FLYING: &str = "0 flush
     1 drafted
     2 stored
     3 floor 0
     1000 unshipped 100
     1001 drafted";
const FLYING_SAYS: &str = "Draft(Txid(11))
     Put(Txid(11))
     ReadFloor
     Confirmed 11
     Draft(Txid(12))
     Put(Txid(12))";

#[track_caller]
fn flying(script: &str, expected: &str) {
    same(&format!("{FLYING}\n{script}"), &format!("{FLYING_SAYS}\n{expected}"));
}

#[test]
fn what_is_drafted_ahead_is_sent_in_order_and_one_by_one() {
    flying(
        "1010 ambiguous
         1020 unshipped 5000
         1021 ahead
         1022 unshipped 5000
         1023 ahead
         1030 status
         1060 timer
         1100 stored
         1101 unshipped 70
         1102 status
         1103 stored
         1104 timer
         1105 stored
         1106 status
         1107 unshipped 70
         2104 timer",
        "WakeAt 1060
         WakeAt 1060
         WakeAt 1060
         WakeAt 1060
         WakeAt 1060
         stuck 1001 behind 1000
         Put(Txid(12))
         Confirmed 12
         Put(Txid(13))
         stuck 1101 behind 1020
         Confirmed 13
         Put(Txid(14))
         Confirmed 14
         stuck - behind 1101 idle
         WakeAt 2104
         Draft(Txid(15))",
    );
}

#[test]
fn nothing_is_drafted_ahead_of_a_fence_or_of_nothing() {
    let confirmed = Position { txid: Txid::new(10), chain: chain(10, "old"), epoch: epoch(4) };
    let pace = Pace::Steady { interval: Duration::from_millis(1000), bytes: 4096 };
    let mut shipper = Shipper::new(epoch(5), confirmed, pace);
    let now = Monotonic::from_boot(Duration::ZERO);
    assert_eq!(shipper.next_ahead(), None);
    shipper.handle(now, ShipperEvent::Flush);
    assert_eq!(shipper.next_ahead(), None);
    let position = Position { txid: Txid::new(11), chain: chain(11, "me"), epoch: epoch(5) };
    shipper.handle(now, ShipperEvent::Drafted(Some(Draft { position })));
    assert_eq!(shipper.next_ahead(), None, "a fence is in flight");
    shipper.handle(now, ShipperEvent::Put(PutAnswer::Stored));
    shipper.handle(now, ShipperEvent::Floor(Floor(Txid::ZERO)));
    assert_eq!(shipper.confirmed(), position);
    assert_eq!(shipper.next_ahead(), None, "nothing is in flight");
}

#[test]
fn a_foreign_slot_ends_a_leadership_whatever_waits_behind_it() {
    flying(
        "1010 ambiguous
         1011 ahead
         1060 timer
         1061 refused
         1062 slot epoch 6
         1063 floor 0
         1064 timer
         1065 reroute",
        "WakeAt 1060
         WakeAt 1060
         Put(Txid(12))
         ReadSlot(Txid(12))
         ReadFloor
         Fenced by epoch 6
         -
         -",
    );
}

#[test]
fn any_definite_answer_of_the_bucket_counts_as_one() {
    flying(
        "1500 ambiguous
         1501 status
         1550 timer
         1600 refused
         1601 status
         1700 read-failed
         1701 status",
        "WakeAt 1550
         stuck 1001 behind 1000
         Put(Txid(12))
         ReadSlot(Txid(12))
         stuck 1600 behind 1000
         WakeAt 1800
         stuck 1600 behind 1000",
    );
}
