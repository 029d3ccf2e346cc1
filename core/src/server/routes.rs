use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::types::{Error, ErrorKind, Outcome, Result};

use super::wire::{self, FILE, JSON, path};
use super::{Secret, ServerLimits, Service};

/// The endpoints. Every answer but the health's needs the secret, and every error has a body that says what
/// it is.
pub(super) fn router(service: Arc<dyn Service>, secret: Option<Secret>, limits: &ServerLimits) -> Router {
    let gate = Gate {
        service,
        secret,
        requests: Arc::new(Semaphore::new(limits.requests.min(Semaphore::MAX_PERMITS))),
        bodies: Arc::new(Semaphore::new(kibibytes(limits.bodies_bytes) as usize)),
        limits: limits.clone(),
    };
    Router::new().fallback(answer).with_state(Arc::new(gate))
}

struct Gate {
    service: Arc<dyn Service>,
    secret: Option<Secret>,
    requests: Arc<Semaphore>,
    /// One permit per KiB of the bodies in progress.
    bodies: Arc<Semaphore>,
    limits: ServerLimits,
}

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Write,
    Read,
    Follow,
    Nodes,
    Campaign,
    Prove,
    Relay,
    LookUp,
    Execute,
    Query,
    Status,
    Health,
}

impl Verb {
    const ALL: [(&'static str, Verb); 12] = [
        (path::WRITE, Verb::Write),
        (path::READ, Verb::Read),
        (path::FOLLOW, Verb::Follow),
        (path::NODES, Verb::Nodes),
        (path::CAMPAIGN, Verb::Campaign),
        (path::PROVE, Verb::Prove),
        (path::RELAY, Verb::Relay),
        (path::LOOK_UP, Verb::LookUp),
        (path::EXECUTE, Verb::Execute),
        (path::QUERY, Verb::Query),
        (path::STATUS, Verb::Status),
        (path::HEALTH, Verb::Health),
    ];

    fn of(path: &str) -> Option<Verb> {
        Verb::ALL.into_iter().find(|(known, _)| *known == path).map(|(_, verb)| verb)
    }

    fn method(self) -> Method {
        match self {
            Verb::Write
            | Verb::Read
            | Verb::Follow
            | Verb::Nodes
            | Verb::Campaign
            | Verb::Prove
            | Verb::Relay
            | Verb::LookUp
            | Verb::Execute
            | Verb::Query => Method::POST,
            Verb::Status | Verb::Health => Method::GET,
        }
    }

    /// What its body is.
    fn content_type(self) -> &'static str {
        if self == Verb::Relay { FILE } else { JSON }
    }

    /// What is true of a request that was cut short while the service worked on it.
    fn outcome_when_cut(self) -> Outcome {
        match self {
            Verb::Write | Verb::Execute | Verb::Campaign | Verb::Prove | Verb::Relay => Outcome::Unknown,
            Verb::Read
            | Verb::Follow
            | Verb::Nodes
            | Verb::LookUp
            | Verb::Query
            | Verb::Status
            | Verb::Health => Outcome::NotCommitted,
        }
    }

    /// What is true of a request that the service carried out.
    fn outcome_when_done(self) -> Outcome {
        match self {
            Verb::Write | Verb::Execute | Verb::Campaign | Verb::Prove | Verb::Relay => Outcome::Committed,
            Verb::Read
            | Verb::Follow
            | Verb::Nodes
            | Verb::LookUp
            | Verb::Query
            | Verb::Status
            | Verb::Health => Outcome::NotCommitted,
        }
    }
}

async fn answer(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    match gate.pass(request).await {
        Ok(body) if body.is_empty() => respond(StatusCode::NO_CONTENT, body),
        Ok(body) => respond(StatusCode::OK, body),
        Err(Refusal { status, error }) => respond(status, wire::encode_error(&error)),
    }
}

/// An error with the status that it travels under.
struct Refusal {
    status: StatusCode,
    error: Error,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal { status: status_of(error.kind()), error }
    }
}

impl Gate {
    async fn pass(&self, request: Request) -> Result<Vec<u8>, Refusal> {
        let verb = Verb::of(request.uri().path());
        if verb == Some(Verb::Health) && request.method() == Method::GET {
            return Ok(wire::encode_health(&self.service.status()));
        }
        self.authorize(request.headers())?;
        let verb = verb.ok_or_else(|| Refusal {
            status: StatusCode::NOT_FOUND,
            error: Error::new(
                ErrorKind::InvalidArgument,
                format!("there is no endpoint {}", request.uri().path()),
            ),
        })?;
        if request.method() != verb.method() {
            let message = format!("{} takes {}", request.uri().path(), verb.method());
            let error = Error::new(ErrorKind::InvalidArgument, message);
            return Err(Refusal { status: StatusCode::METHOD_NOT_ALLOWED, error });
        }
        // Writes that wait for a new leader must not shut out what makes one.
        let _slot = match verb {
            Verb::Campaign | Verb::Follow => None,
            _ => Some(self.requests.clone().try_acquire_owned().map_err(|_| busy("requests"))?),
        };
        if verb == Verb::Status {
            return Ok(wire::encode_status(&self.service.status()));
        }
        let (body, _room) = self.read(request, verb.content_type()).await?;
        let done = self.work(verb, body).await?;
        if done.len() > self.limits.answer_bytes {
            let message =
                format!("the answer has {} bytes, the limit is {}", done.len(), self.limits.answer_bytes);
            return Err(Error::new(ErrorKind::LimitExceeded, message)
                .with_outcome(verb.outcome_when_done())
                .into());
        }
        Ok(done)
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<()> {
        let Some(secret) = &self.secret else {
            // A page in a browser on this machine reaches the loopback interface too.
            if headers.contains_key(header::ORIGIN) {
                let message = "requests of web pages are not answered without a secret";
                return Err(Error::new(ErrorKind::Unauthorized, message));
            }
            return Ok(());
        };
        match headers.get(header::AUTHORIZATION) {
            Some(value) if secret.is_in(value.as_bytes()) => Ok(()),
            Some(_) => Err(Error::new(ErrorKind::Unauthorized, "the secret is wrong")),
            None => Err(Error::new(
                ErrorKind::Unauthorized,
                "the secret is missing: send it as `Authorization: Bearer <secret>`",
            )),
        }
    }

    /// The body, and the room that it takes up until the request is answered.
    async fn read(
        &self,
        request: Request,
        content_type: &str,
    ) -> Result<(Vec<u8>, OwnedSemaphorePermit), Refusal> {
        let limit = self.limits.request_bytes;
        let too_large =
            || Error::new(ErrorKind::LimitExceeded, format!("the request is larger than {limit} bytes"));
        if !has_type(request.headers(), content_type) {
            // Also what keeps a web page from posting without asking first.
            let message = format!("a request needs `Content-Type: {content_type}`");
            let error = Error::new(ErrorKind::InvalidArgument, message);
            return Err(Refusal { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, error });
        }
        let length = match request.headers().get(header::CONTENT_LENGTH) {
            Some(value) => value.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(usize::MAX),
            None => limit,
        };
        if length > limit {
            return Err(too_large().into());
        }
        let room =
            self.bodies.clone().try_acquire_many_owned(kibibytes(length)).map_err(|_| busy("bytes"))?;
        match tokio::time::timeout(self.limits.body, to_bytes(request.into_body(), limit)).await {
            Ok(Ok(body)) => Ok((body.into(), room)),
            // The body was cut off, or is larger than announced; only the second can still be answered.
            Ok(Err(_)) => Err(too_large().into()),
            Err(_) => {
                let message = format!("the request did not arrive within {:?}", self.limits.body);
                let error = Error::new(ErrorKind::Timeout, message);
                Err(Refusal { status: StatusCode::REQUEST_TIMEOUT, error })
            }
        }
    }

    async fn work(&self, verb: Verb, body: Vec<u8>) -> Result<Vec<u8>> {
        let patience: Duration = self.limits.work;
        let cut = |kind: ErrorKind, message: String| {
            let outcome = verb.outcome_when_cut();
            let kind = if outcome == Outcome::Unknown { ErrorKind::OutcomeUnknown } else { kind };
            Err(Error::new(kind, message).with_outcome(outcome))
        };
        match tokio::time::timeout(patience, uncrashed(self.dispatch(verb, body))).await {
            Ok(Some(result)) => result,
            Ok(None) => cut(ErrorKind::Internal, "the node panicked while it worked on the request".into()),
            Err(_) => cut(ErrorKind::Timeout, format!("the request was not done within {patience:?}")),
        }
    }

    async fn dispatch(&self, verb: Verb, body: Vec<u8>) -> Result<Vec<u8>> {
        let service = &self.service;
        match verb {
            Verb::Write => {
                let request = wire::WriteRequest::from_json(&body)?;
                drop(body);
                Ok(service.write(request).await?.to_json())
            }
            Verb::Read => Ok(wire::encode_rows(&service.query(wire::QueryRequest::from_json(&body)?).await?)),
            Verb::Follow => Ok(service.follow(wire::FollowRequest::from_json(&body)?).await?.to_json()),
            Verb::Nodes => Ok(wire::encode_nodes(&service.nodes().await?)),
            Verb::Campaign => {
                service.campaign(wire::CampaignRequest::from_json(&body)?).await?;
                Ok(Vec::new())
            }
            Verb::Prove => {
                service.prove(wire::ProveRequest::from_json(&body)?).await?;
                Ok(Vec::new())
            }
            Verb::Relay => Ok(service.relay(wire::RelayRequest::from_bytes(body.into())?).await?.to_json()),
            Verb::LookUp => Ok(service.look_up(wire::LookUpRequest::from_json(&body)?).await?.to_json()),
            Verb::Execute => self.execute(wire::SimpleExecute::from_json(&body)?).await,
            Verb::Query => {
                Ok(wire::encode_simple_rows(&service.query(wire::SimpleQuery::from_json(&body)?).await?))
            }
            Verb::Status => Ok(wire::encode_status(&service.status())),
            Verb::Health => Ok(wire::encode_health(&service.status())),
        }
    }

    async fn execute(&self, request: wire::SimpleExecute) -> Result<Vec<u8>> {
        // Who does not say what it had seen is taken to try for the first time now.
        let seen = request.seen.unwrap_or_else(|| self.service.status().committed);
        let write = wire::WriteRequest {
            request_id: request.request_id,
            seen,
            returning: false,
            script: false,
            statements: vec![request.statement],
        };
        let response = self.service.write(write).await?;
        match response.result.results.as_slice() {
            [(result, _)] => Ok(wire::encode_simple_result(result)),
            others => {
                let message = format!("BUG: {} results for one statement", others.len());
                Err(Error::new(ErrorKind::Internal, message).with_outcome(Outcome::Committed))
            }
        }
    }
}

/// What the future gives, `None` if it panicked.
async fn uncrashed<F: Future>(future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(None),
    })
    .await
}

fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::NotLeader | ErrorKind::Fenced => StatusCode::MISDIRECTED_REQUEST,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::InvalidArgument | ErrorKind::InvalidConfig | ErrorKind::Sql | ErrorKind::ReadOnly => {
            StatusCode::BAD_REQUEST
        }
        ErrorKind::Constraint
        | ErrorKind::TransactionAborted
        | ErrorKind::BookmarkLost
        | ErrorKind::Interrupted
        | ErrorKind::InUse
        | ErrorKind::ForeignDatabase => StatusCode::CONFLICT,
        ErrorKind::LimitExceeded => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::LeaderUnavailable
        | ErrorKind::StoreUnavailable
        | ErrorKind::Busy
        | ErrorKind::Backpressure
        | ErrorKind::Closed => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::OutcomeUnknown
        | ErrorKind::StoreUnfit
        | ErrorKind::Corrupt
        | ErrorKind::Io
        | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn respond(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    if status != StatusCode::NO_CONTENT {
        let json = header::HeaderValue::from_static(JSON);
        response.headers_mut().insert(header::CONTENT_TYPE, json);
    }
    response
}

fn has_type(headers: &HeaderMap, content_type: &str) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case(content_type))
}

fn busy(what: &str) -> Error {
    Error::new(ErrorKind::Busy, format!("too many {what} in progress on this node"))
}

fn kibibytes(bytes: usize) -> u32 {
    bytes.div_ceil(1024).try_into().unwrap_or(u32::MAX)
}
