//! Transcripts: what a leader does, step by step, while its bucket gives no answers. The TTL is one second.

use std::time::Duration;

use super::{HandOver, HandOverEffect, HandOverEvent, HandOverLimits, Proof};
use crate::types::{Monotonic, NodeId};

fn at(ms: u64) -> Monotonic {
    Monotonic::from_boot(Duration::from_millis(ms))
}

fn number(text: &str) -> u64 {
    text.parse().unwrap()
}

/// `<ms> look <stuck since, or -> <backlog> open|shut|draining`, `<ms> proofs <node>@<asked> ..`,
/// `<ms> relayed <stored, or ->`, `<ms> drained`, `<ms> ended`.
fn event(text: &str) -> HandOverEvent {
    let words: Vec<&str> = text.split_whitespace().collect();
    let moment = |word: &str| (word != "-").then(|| at(number(word)));
    match words[..] {
        ["look", since, backlog, gate] => {
            HandOverEvent::Look {
                stuck_since: moment(since),
                // A second for each million bytes.
                transfer: Duration::from_secs(number(backlog) / 1_000_000),
                backlog: number(backlog),
                open: gate == "open",
                draining: gate == "draining",
            }
        }
        ["proofs", ref proofs @ ..] => {
            let proof = |word: &&str| {
                let (node, asked) = word.split_once('@').unwrap();
                Proof { node: NodeId::new(node), address: format!("http://{node}"), asked: at(number(asked)) }
            };
            HandOverEvent::Proofs(proofs.iter().map(proof).collect())
        }
        ["relayed", stored] => HandOverEvent::Relayed { stored: moment(stored) },
        ["drained"] => HandOverEvent::Drained,
        ["ended"] => HandOverEvent::Ended,
        _ => panic!("unknown event {text:?}"),
    }
}

fn play(hand_over: &mut HandOver, script: &str) -> String {
    let mut transcript = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (time, what) = line.split_once(' ').unwrap();
        let effect = hand_over.handle(at(number(time)), event(what));
        let text = match effect {
            None => "-".to_owned(),
            Some(HandOverEffect::Relay(by)) => format!("Relay {}", by.node),
            Some(HandOverEffect::Shut(by)) => format!("Shut {}", by.node),
            Some(HandOverEffect::Release(by)) => format!("Release {}", by.node),
            Some(HandOverEffect::Resume(by)) => format!("Resume {}", by.node),
            Some(other) => format!("{other:?}"),
        };
        transcript.push_str(&text);
        transcript.push('\n');
    }
    transcript
}

#[track_caller]
fn same(releases: bool, script: &str, expected: &str) {
    let expected: String =
        expected.lines().map(str::trim).filter(|l| !l.is_empty()).map(|l| l.to_owned() + "\n").collect();
    let limits = HandOverLimits::new(Duration::from_secs(1), releases);
    assert_eq!(play(&mut HandOver::new(limits), script), expected);
}

#[test]
fn a_follower_that_can_write_gets_the_tail_and_then_the_lease() {
    same(
        false,
        "1000 look - 0 open
         2000 look 1500 100 open
         4499 look 1500 100 open
         4500 look 1500 100 open
         4600 look 1500 100 open
         4700 proofs b@4500 c@4500
         4800 look 1500 9000000 open
         4900 relayed 4750
         4950 look - 9000000 open
         5000 relayed 4960
         5010 look - 4000000 open
         5020 look - 100 open
         5100 relayed 5050
         5110 drained
         5200 look - 0 shut",
        "-
         -
         -
         Ask
         -
         Relay b
         -
         -
         -
         -
         Shut b
         -
         -
         Release b
         -",
    );
}

#[test]
fn without_a_follower_that_can_write_the_leader_goes_on_and_asks_again_a_ttl_later() {
    same(
        false,
        "3000 look 0 100 open
         3500 proofs
         4000 look 0 100 open
         4499 look 0 100 open
         4500 look 0 100 open
         5500 look 0 100 open
         5600 proofs b@5550
         6500 look 0 100 open",
        "Ask
         -
         -
         -
         Ask
         -
         -
         Ask",
    );
}

#[test]
fn a_leader_that_acknowledges_only_what_is_confirmed_releases_if_nobody_can_write() {
    same(
        true,
        "3000 look 0 100 open
         3500 proofs
         3600 ended
         4000 look 0 100 open",
        "Ask
         GiveUp
         -
         -",
    );
    // Nor does it wait for somebody who proved that he can, and does not.
    same(
        true,
        "3000 look 0 100 open
         3100 proofs b@3000
         6099 look 0 100 open
         6100 look 0 100 open",
        "Ask
         Relay b
         -
         GiveUp",
    );
}

#[test]
fn a_follower_that_brings_nothing_forward_is_given_up_and_another_is_tried_after_the_window() {
    same(
        false,
        "3000 look 0 100 open
         3100 proofs b@3000 c@3000
         6000 look 0 100 open
         6100 look 0 100 open
         8000 look 0 100 open
         8100 look 0 100 open
         8200 proofs b@8100 c@8100
         8300 look 0 100 open
         11200 look 0 100 open
         13200 look 0 100 open
         13300 proofs c@13200",
        "Ask
         Relay b
         -
         Direct
         -
         Ask
         Relay c
         -
         Direct
         Ask
         Relay c",
    );
}

#[test]
fn a_follower_that_fails_after_the_gate_was_shut_leaves_the_leader_leading() {
    same(
        false,
        "3000 look 0 100 open
         3100 proofs b@3000
         3300 relayed 3200
         3310 look - 100 open
         3400 look 3320 100 shut
         6309 look 3320 100 shut
         6310 look 3320 100 shut
         6400 look 3320 100 open
         8310 look 3320 100 open",
        "Ask
         Relay b
         -
         Shut b
         -
         -
         Resume b
         -
         Ask",
    );
}

#[test]
fn the_lease_is_released_only_within_a_ttl_of_a_proof() {
    // The last slot took long: it has to write once more.
    same(
        false,
        "3000 look 0 100 open
         3100 proofs b@3000
         3300 relayed 3200
         3310 look - 100 open
         4250 drained
         4300 drained
         4400 proofs c@4250
         4500 proofs b@4250",
        "Ask
         Relay b
         -
         Shut b
         Ask
         -
         -
         Release b",
    );
    // What was there already is no proof that it can write.
    same(
        false,
        "3000 look 0 100 open
         3100 proofs b@3000
         3990 relayed -
         3995 look - 100 open
         4001 drained
         5100 proofs b@4050
         5101 drained",
        "Ask
         Relay b
         -
         Shut b
         Ask
         Ask
         -",
    );
    // An answer that took longer than that is none.
    same(
        false,
        "3000 look 0 100 open
         4001 proofs b@3000",
        "Ask
         -",
    );
}

#[test]
fn a_bucket_that_comes_and_goes_costs_one_hand_over_per_window() {
    same(
        false,
        "3000 look 0 100 open
         3100 proofs b@3000
         3200 relayed 3110
         3210 look - 100 open
         3300 drained
         3310 ended
         5299 look 0 100 open
         5300 look 5000 100 open
         5400 look 0 100 open",
        "Ask
         Relay b
         -
         Shut b
         Release b
         -
         -
         -
         Ask",
    );
}

#[test]
fn a_bucket_that_answers_in_time_is_left_alone() {
    same(
        false,
        "2900 look 0 100 open
         3000 look 2950 100 open
         9000 look - 0 open",
        "-
         -
         -",
    );
    // Also if the answer comes while the followers are asked.
    same(
        false,
        "3000 look 0 100 open
         3100 look - 0 open
         3200 proofs b@3000",
        "Ask
         -
         -",
    );
}

#[test]
fn a_close_in_an_outage_ships_through_a_follower_and_releases_by_itself() {
    for releases in [false, true] {
        same(
            releases,
            "500 look 0 100 open
             900 look 0 100 draining
             1000 look 0 100 draining
             1100 proofs b@1000
             1200 relayed 1110
             1210 look 1200 100 draining
             1300 relayed 1220
             1310 look - 0 draining
             1320 ended",
            "-
             -
             Ask
             Relay b
             -
             -
             -
             -
             -",
        );
        same(
            releases,
            "1000 look 0 100 draining
             1100 proofs
             2099 look 0 100 draining
             2100 look 0 100 draining
             2200 proofs b@2100
             5200 look 0 100 draining",
            "Ask
             -
             -
             Ask
             Relay b
             Direct",
        );
    }
}

#[test]
fn a_large_slot_has_the_time_that_its_bytes_take() {
    same(
        false,
        "3000 look 0 20000000 open
         22999 look 0 20000000 open
         23000 look 0 20000000 open
         23100 proofs b@23000
         40000 look 0 20000000 open
         46099 look 0 20000000 open
         46100 look 0 20000000 open",
        "-
         -
         Ask
         Relay b
         -
         -
         Direct",
    );
}

#[test]
fn a_gate_that_somebody_else_has_shut_is_left_to_him() {
    same(
        false,
        "3000 look 0 100 shut
         3100 look 0 100 open
         3200 proofs b@3100
         3300 relayed 3250
         3310 look - 0 shut
         3320 ended
         3400 look 0 100 open",
        "-
         Ask
         Relay b
         -
         -
         -
         -",
    );
}
