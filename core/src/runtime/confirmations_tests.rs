use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::confirmations::Confirmations;
use crate::types::{Bookmark, Epoch, ErrorKind, Outcome, Result, Txid};

fn commit(epoch: u64, txid: u64) -> Bookmark {
    Bookmark { epoch: Epoch::new(epoch).unwrap(), txid: Txid::new(txid) }
}

/// A leadership of epoch 3 whose fence is slot 7.
fn leading(limit: Duration) -> Arc<Confirmations> {
    let confirmations = Confirmations::new(limit);
    confirmations.settled(false);
    confirmations.begin(Epoch::new(3).unwrap(), Txid::new(7));
    Arc::new(confirmations)
}

const LONG: Duration = Duration::from_secs(30);

fn told(outcome: Result<()>) -> Option<(ErrorKind, Outcome)> {
    outcome.err().map(|error| (error.kind(), error.outcome()))
}

#[test]
fn a_commit_is_acknowledged_by_its_slot_and_not_by_the_one_before() {
    let confirmations = leading(LONG);
    confirmations.wait(commit(3, 7)).unwrap();
    let waiting: Vec<_> = [8, 9]
        .map(|slot| {
            let confirmations = Arc::clone(&confirmations);
            thread::spawn(move || confirmations.wait(commit(3, slot)))
        })
        .into();
    confirmations.confirm(Txid::new(8));
    let [first, second] = <[_; 2]>::try_from(waiting).ok().unwrap();
    first.join().unwrap().unwrap();
    thread::sleep(Duration::from_millis(20));
    assert!(!second.is_finished(), "slot 9 is not confirmed");
    confirmations.confirm(Txid::new(9));
    second.join().unwrap().unwrap();
}

#[test]
fn a_bucket_that_does_not_answer_is_a_timeout_with_an_unknown_outcome() {
    let confirmations = leading(Duration::from_millis(10));
    let outcome = told(confirmations.wait(commit(3, 8)));
    assert_eq!(outcome, Some((ErrorKind::Timeout, Outcome::Unknown)));
}

#[test]
fn the_end_of_a_leadership_means_unknown_and_a_foreign_slot_means_not_committed() {
    for (foreign, expected) in [
        (false, (ErrorKind::OutcomeUnknown, Outcome::Unknown)),
        (true, (ErrorKind::Fenced, Outcome::NotCommitted)),
    ] {
        let confirmations = leading(LONG);
        confirmations.confirm(Txid::new(8));
        let waiting = {
            let confirmations = Arc::clone(&confirmations);
            thread::spawn(move || confirmations.wait(commit(3, 9)))
        };
        if foreign {
            confirmations.lose()
        } else {
            confirmations.end()
        }
        assert_eq!(told(waiting.join().unwrap()), Some(expected));
        assert_eq!(told(confirmations.wait(commit(3, 10))), Some(expected), "who comes later");
        confirmations.wait(commit(3, 8)).unwrap();
        // Whoever ended first has the last word: after a tail was offered to others, a foreign slot may hold it.
        if foreign {
            confirmations.end()
        } else {
            confirmations.lose()
        }
        assert_eq!(told(confirmations.wait(commit(3, 9))), Some(expected));
    }
}

#[test]
fn a_commit_of_an_earlier_leadership_is_unknown_whatever_the_later_one_confirms() {
    let confirmations = leading(LONG);
    confirmations.end();
    confirmations.settled(true);
    confirmations.begin(Epoch::new(4).unwrap(), Txid::new(8));
    confirmations.confirm(Txid::new(9));
    let outcome = told(confirmations.wait(commit(3, 8)));
    assert_eq!(outcome, Some((ErrorKind::OutcomeUnknown, Outcome::Unknown)));
    confirmations.wait(commit(4, 9)).unwrap();
}

#[test]
fn what_was_read_is_told_when_it_is_confirmed_and_never_after_a_turn() {
    let confirmations = leading(Duration::from_millis(10));
    let read = confirmations.reading();
    confirmations.wait_seen(&read, commit(3, 7)).unwrap();
    assert_eq!(told(confirmations.wait_seen(&read, commit(3, 8))).unwrap().0, ErrorKind::Timeout);
    confirmations.confirm(Txid::new(8));
    confirmations.wait_seen(&read, commit(3, 8)).unwrap();

    confirmations.end();
    let unavailable = Some((ErrorKind::LeaderUnavailable, Outcome::NotCommitted));
    assert_eq!(told(confirmations.wait_seen(&read, commit(3, 8))), unavailable);
    let of_the_tail = confirmations.reading();
    assert_eq!(told(confirmations.wait_seen(&of_the_tail, commit(3, 9))), unavailable);
    confirmations.settled(true);
    confirmations.settled(false);
    assert_eq!(told(confirmations.wait_seen(&of_the_tail, commit(3, 9))), unavailable, "it was undone");
    confirmations.wait_seen(&confirmations.reading(), commit(3, 9)).unwrap();
}

#[test]
fn what_a_follower_read_is_told_also_if_it_is_promoted_meanwhile() {
    let confirmations = Confirmations::new(LONG);
    confirmations.settled(false);
    let read = confirmations.reading();
    confirmations.begin(Epoch::new(3).unwrap(), Txid::new(7));
    confirmations.wait_seen(&read, commit(2, 9)).unwrap();
    confirmations.wait_seen(&read, commit(3, 7)).unwrap();
}
