//! Stories of one request: the address of the leader as this node knows it, what each step must be, and
//! how the try ended. Time is in milliseconds and moves only as the story says.

use std::time::Duration;

use crate::types::{Error, ErrorKind, Monotonic, Outcome};

use super::{Next, Repeat, Retry, RetryLimits, SendError};

const LIMITS: RetryLimits = RetryLimits {
    total: Duration::from_millis(1000),
    attempt: Duration::from_millis(300),
    first_wait: Duration::from_millis(50),
    longest_wait: Duration::from_millis(200),
    attempts: 8,
};

enum Step {
    /// It must try this address with this timeout; the answer takes so long and is this failure.
    Try(&'static str, u64, u64, fn() -> SendError),
    /// It must wait exactly so long, and does.
    Wait(u64),
    /// It must wait, but after so long the leader is this one.
    Leader(u64, Option<&'static str>),
    /// It must give up with this kind and outcome.
    GiveUp(ErrorKind, Outcome),
}
use Step::{GiveUp, Leader, Try, Wait};

fn play(name: &str, repeat: Repeat, leader: Option<&'static str>, story: &[Step]) {
    let mut leader = leader;
    let start = Monotonic::from_boot(Duration::from_secs(77));
    let mut now = start;
    let mut retry = Retry::new(LIMITS, repeat, now);
    for (number, step) in story.iter().enumerate() {
        let next = retry.next(now, leader);
        match (step, next) {
            (Try(to, allowed, takes, failure), Next::Try { address, timeout }) => {
                assert_eq!((address.as_str(), timeout), (*to, ms(*allowed)), "{name}: step {number}");
                now = now + ms(*takes);
                retry.failed(now, &address, failure());
            }
            (Wait(expected), Next::Wait(wait)) => {
                assert_eq!(wait, ms(*expected), "{name}: step {number}");
                now = now + wait;
            }
            (Leader(after, new), Next::Wait(wait)) => {
                assert!(wait >= ms(*after), "{name}: step {number} waits only {wait:?}");
                now = now + ms(*after);
                leader = *new;
            }
            (GiveUp(kind, outcome), Next::GiveUp(error)) => {
                assert_eq!((error.kind(), error.outcome()), (*kind, *outcome), "{name}: {error:?}");
                assert!(now.since(start) <= LIMITS.total, "{name}: took longer than allowed");
                assert_eq!(number + 1, story.len(), "{name}: gave up before the story's end");
                return;
            }
            (_, next) => panic!("{name}: step {number} is {next:?}"),
        }
    }
    panic!("{name}: the story has no end");
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn refused() -> SendError {
    SendError::NotProcessed(Error::new(ErrorKind::LeaderUnavailable, "connection refused"))
}

fn overloaded() -> SendError {
    SendError::NotProcessed(Error::new(ErrorKind::Busy, "too many requests"))
}

fn unauthorized() -> SendError {
    SendError::NotProcessed(Error::new(ErrorKind::Unauthorized, "the secret is wrong"))
}

fn not_leader() -> SendError {
    SendError::NotProcessed(Error::new(ErrorKind::NotLeader, "not the leader"))
}

fn ask_a() -> SendError {
    SendError::NotProcessed(Error::new(ErrorKind::NotLeader, "not the leader").with_leader("A"))
}

fn ask_b() -> SendError {
    SendError::NotProcessed(Error::new(ErrorKind::NotLeader, "not the leader").with_leader("B"))
}

fn lost() -> SendError {
    SendError::Lost(Error::new(ErrorKind::OutcomeUnknown, "no answer"))
}

fn fenced_meanwhile() -> SendError {
    let error = Error::new(ErrorKind::Fenced, "another leads").with_outcome(Outcome::Unknown);
    SendError::Answered(error.with_leader("B"))
}

fn constraint() -> SendError {
    SendError::Answered(Error::new(ErrorKind::Constraint, "UNIQUE").with_sqlite_code(2067))
}

fn locked() -> SendError {
    SendError::Answered(Error::new(ErrorKind::Busy, "database is locked").with_sqlite_code(5))
}

fn too_large_but_done() -> SendError {
    SendError::Answered(
        Error::new(ErrorKind::LimitExceeded, "answer too large").with_outcome(Outcome::Committed),
    )
}

fn too_large_and_unknown() -> SendError {
    SendError::Answered(Error::new(ErrorKind::LimitExceeded, "too large").with_outcome(Outcome::Unknown))
}

use ErrorKind as Kind;
use Outcome::{Committed, NotCommitted, Unknown};
use Repeat::{Harmless, SameId, Twice};

#[test]
fn a_definite_answer_ends_the_request_at_once() {
    play(
        "constraint",
        SameId,
        Some("A"),
        &[Try("A", 300, 5, constraint), GiveUp(Kind::Constraint, NotCommitted)],
    );
    play("locked", SameId, Some("A"), &[Try("A", 300, 5, locked), GiveUp(Kind::Busy, NotCommitted)]);
    play(
        "secret",
        SameId,
        Some("A"),
        &[Try("A", 300, 5, unauthorized), GiveUp(Kind::Unauthorized, NotCommitted)],
    );
    play(
        "done",
        SameId,
        Some("A"),
        &[Try("A", 300, 5, too_large_but_done), GiveUp(Kind::LimitExceeded, Committed)],
    );
    play(
        "size",
        SameId,
        Some("A"),
        &[Try("A", 300, 5, too_large_and_unknown), GiveUp(Kind::LimitExceeded, Unknown)],
    );
    play(
        "read",
        Harmless,
        Some("A"),
        &[Try("A", 300, 5, constraint), GiveUp(Kind::Constraint, NotCommitted)],
    );
}

#[test]
fn a_dead_leader_is_tried_with_growing_waits_until_the_time_is_over() {
    play(
        "refused",
        SameId,
        Some("A"),
        &[
            Try("A", 300, 0, refused),
            Wait(50),
            Try("A", 300, 0, refused),
            Wait(100),
            Try("A", 300, 0, refused),
            Wait(200),
            Try("A", 300, 0, refused),
            Wait(200),
            Try("A", 300, 0, refused),
            Wait(200),
            Try("A", 250, 0, refused),
            Wait(200),
            Try("A", 50, 0, refused),
            Wait(50),
            GiveUp(Kind::LeaderUnavailable, NotCommitted),
        ],
    );
}

#[test]
fn a_new_leader_is_asked_before_the_wait_is_over() {
    play(
        "failover",
        SameId,
        Some("A"),
        &[
            Try("A", 300, 0, refused),
            Leader(10, None),
            Leader(20, Some("B")),
            Try("B", 300, 0, constraint),
            GiveUp(Kind::Constraint, NotCommitted),
        ],
    );
}

#[test]
fn without_a_known_leader_it_waits_for_one() {
    play(
        "never",
        SameId,
        None,
        &[
            Wait(200),
            Wait(200),
            Wait(200),
            Wait(200),
            Wait(200),
            GiveUp(Kind::LeaderUnavailable, NotCommitted),
        ],
    );
    play(
        "later",
        SameId,
        None,
        &[Leader(100, Some("A")), Try("A", 300, 0, constraint), GiveUp(Kind::Constraint, NotCommitted)],
    );
    play(
        "gone",
        SameId,
        Some("A"),
        &[
            Try("A", 300, 0, not_leader),
            Leader(50, None),
            Leader(100, Some("A")),
            Try("A", 300, 0, constraint),
            GiveUp(Kind::Constraint, NotCommitted),
        ],
    );
}

#[test]
fn the_leader_that_a_node_names_is_asked_at_once() {
    play(
        "hint",
        SameId,
        Some("A"),
        &[Try("A", 300, 0, ask_b), Try("B", 300, 0, constraint), GiveUp(Kind::Constraint, NotCommitted)],
    );
}

#[test]
fn nodes_that_name_each_other_are_not_asked_in_a_tight_loop() {
    play(
        "ping-pong",
        SameId,
        Some("A"),
        &[
            Try("A", 300, 0, ask_b),
            Try("B", 300, 0, ask_a),
            Wait(100),
            Try("A", 300, 0, ask_b),
            Try("B", 300, 0, ask_a),
            Wait(200),
            Try("A", 300, 0, ask_b),
            Try("B", 300, 0, ask_a),
            Wait(200),
            Try("A", 300, 0, ask_b),
            Try("B", 300, 0, ask_a),
            GiveUp(Kind::LeaderUnavailable, NotCommitted),
        ],
    );
}

#[test]
fn a_write_with_a_request_id_is_repeated_after_a_lost_answer() {
    play(
        "unknown",
        SameId,
        Some("A"),
        &[
            Try("A", 300, 300, lost),
            Wait(50),
            Try("A", 300, 300, lost),
            Wait(100),
            Try("A", 250, 250, lost),
            GiveUp(Kind::OutcomeUnknown, Unknown),
        ],
    );
}

#[test]
fn after_a_lost_answer_no_refusal_of_a_later_try_says_not_committed() {
    play(
        "refused later",
        SameId,
        Some("A"),
        &[
            Try("A", 300, 300, lost),
            Wait(50),
            Try("A", 300, 5, constraint),
            GiveUp(Kind::Constraint, Unknown),
        ],
    );
    play(
        "unreachable later",
        SameId,
        Some("A"),
        &[
            Try("A", 300, 300, lost),
            Wait(50),
            Try("A", 300, 300, refused),
            Wait(100),
            Try("A", 250, 250, refused),
            GiveUp(Kind::OutcomeUnknown, Unknown),
        ],
    );
}

#[test]
fn a_leader_that_was_fenced_in_the_middle_sends_the_write_to_the_next_one() {
    play(
        "fenced",
        SameId,
        Some("A"),
        &[
            Try("A", 300, 5, fenced_meanwhile),
            Try("B", 300, 5, constraint),
            GiveUp(Kind::Constraint, Unknown),
        ],
    );
}

#[test]
fn a_write_without_a_request_id_is_never_sent_again_once_it_may_have_run() {
    play("lost", Twice, Some("A"), &[Try("A", 300, 300, lost), GiveUp(Kind::OutcomeUnknown, Unknown)]);
    play("fenced", Twice, Some("A"), &[Try("A", 300, 5, fenced_meanwhile), GiveUp(Kind::Fenced, Unknown)]);
    play(
        "refused",
        Twice,
        Some("A"),
        &[
            Try("A", 300, 0, refused),
            Wait(50),
            Try("A", 300, 5, constraint),
            GiveUp(Kind::Constraint, NotCommitted),
        ],
    );
}

#[test]
fn a_read_is_never_of_unknown_outcome() {
    play(
        "slow",
        Harmless,
        Some("A"),
        &[
            Try("A", 300, 300, lost),
            Wait(50),
            Try("A", 300, 300, lost),
            Wait(100),
            Try("A", 250, 250, lost),
            GiveUp(Kind::LeaderUnavailable, NotCommitted),
        ],
    );
}

#[test]
fn an_overloaded_leader_is_busy_not_unavailable() {
    play(
        "overload",
        SameId,
        Some("A"),
        &[
            Try("A", 300, 300, overloaded),
            Wait(50),
            Try("A", 300, 300, overloaded),
            Wait(100),
            Try("A", 250, 250, overloaded),
            GiveUp(Kind::Busy, NotCommitted),
        ],
    );
}

#[test]
fn nothing_comes_after_the_end() {
    let mut retry = Retry::new(LIMITS, SameId, Monotonic::default());
    let late = Monotonic::default() + LIMITS.total;
    for kind in [ErrorKind::LeaderUnavailable, ErrorKind::Internal, ErrorKind::Internal] {
        match retry.next(late, Some("A")) {
            Next::GiveUp(error) => assert_eq!(error.kind(), kind),
            other => panic!("{other:?}"),
        }
    }
}
