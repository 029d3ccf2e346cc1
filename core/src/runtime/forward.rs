use std::sync::Arc;

use super::clock;
use super::node::Node;
use super::shared::Shared;
use crate::client::{Next, Repeat, Retry, RetryLimits, SendError};
use crate::server::wire::{WriteRequest, WriteResponse};
use crate::sqlite::{Once, Request};
use crate::types::{BatchResult, Error, ErrorKind, Outcome, Result};

/// Runs a forwarded write on this node, once per request id.
pub(super) fn write_here(shared: &Arc<Shared>, request: &WriteRequest) -> Result<WriteResponse> {
    try_here(shared, request).map_err(|error| deposed(shared, error))
}

/// A statement that a demotion interrupted was rolled back: to its caller the leader has changed, and
/// nothing else happened.
pub(super) fn deposed(shared: &Shared, error: Error) -> Error {
    let rolled_back = error.kind() == ErrorKind::Interrupted && error.outcome() == Outcome::NotCommitted;
    if !rolled_back || shared.gate.is_open() {
        return error;
    }
    Error::new(ErrorKind::NotLeader, "the leadership ended while the statement ran").with_source(error)
}

fn try_here(shared: &Arc<Shared>, request: &WriteRequest) -> Result<WriteResponse> {
    let writer = &shared.connections()?.writer;
    if request.script {
        let scripts: Vec<&str> = request.statements.iter().map(|s| s.sql.as_str()).collect();
        let bookmark = writer.script(&scripts.join(";\n"))?;
        return Ok(WriteResponse { result: BatchResult::new(Vec::new(), bookmark), replayed: false });
    }
    let Some(id) = &request.request_id else {
        return Ok(WriteResponse { result: writer.batch(&request.statements)?, replayed: false });
    };
    let once = Request { id, seen: request.seen, at_ms: clock::wall_ms() };
    let encode = |result: &BatchResult| WriteResponse { result: result.clone(), replayed: true }.to_json();
    match writer.batch_once(&once, &request.statements, encode)? {
        Once::Ran(result) => Ok(WriteResponse { result, replayed: false }),
        Once::Recorded { result, newest } => WriteResponse::from_json(&result)
            .map(|mut response| {
                response.result.bookmark = newest;
                response.result.results.iter_mut().for_each(|(result, _)| result.bookmark = newest);
                response
            })
            .map_err(|e| e.context("the recorded result of the request").with_outcome(Outcome::Committed)),
    }
}

impl Node {
    /// Has the leader run a write, wherever it is, through failovers: the same request id on every try.
    ///
    /// `LeaderUnavailable` if no leader was reached in time and none can have run it; `OutcomeUnknown` if
    /// one may have.
    pub(crate) fn forward(&self, mut request: WriteRequest) -> Result<BatchResult> {
        if !request.script {
            request.request_id = Some(uuid::Uuid::new_v4().simple().to_string());
        }
        request.seen = self.shared.view.borrow().committed;
        let limits = RetryLimits { total: self.forward_timeout, ..RetryLimits::default() };
        let mut retry = Retry::new(limits, Repeat::SameId, clock::now());
        let mut view = self.shared.view.subscribe();
        loop {
            if self.shared.gate.is_open() {
                match write_here(&self.shared, &request) {
                    Err(error) if moved_away(&error) => {}
                    other => return other.map(|response| response.result).map_err(|e| retry.judged_here(e)),
                }
            }
            let (leader, closed) = {
                let view = view.borrow_and_update();
                let leader = view.leader.as_ref().or(view.handed_to.as_ref());
                (leader.filter(|leader| **leader != self.shared.address).cloned(), view.closed)
            };
            if closed {
                let closed = Error::new(ErrorKind::Closed, "the database handle was closed");
                return Err(retry.judged_here(closed));
            }
            match retry.next(clock::now(), leader.as_deref()) {
                Next::Try { address, timeout } => {
                    let (forwarder, sent, to) = (self.forwarder.clone(), request.clone(), address.clone());
                    let answer: Result<WriteResponse, SendError> =
                        self.block_on(async move { forwarder.write(&to, &sent, timeout).await });
                    match answer {
                        Ok(response) => return Ok(response.result),
                        Err(failure) => {
                            if matches!(failure.error().kind(), ErrorKind::NotLeader | ErrorKind::Fenced)
                                || !failure.may_have_run()
                            {
                                self.shared.tell_election(crate::election::Event::Look);
                            }
                            retry.failed(clock::now(), &address, failure);
                        }
                    }
                }
                Next::Wait(span) => {
                    // Somebody may lead by now; the election limits how often it really asks.
                    self.shared.tell_election(crate::election::Event::Look);
                    let mut view = view.clone();
                    self.block_on(async move {
                        let _ = tokio::time::timeout(span, view.changed()).await;
                    });
                }
                Next::GiveUp(error) => return Err(error),
            }
        }
    }
}

/// Whether the leadership went away before the write took place.
pub(crate) fn moved_away(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotLeader | ErrorKind::Fenced)
        && error.outcome() == Outcome::NotCommitted
}
