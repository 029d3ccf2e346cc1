use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::StoreServerLimits;
use super::limits::MAX_BODY_BYTES;
use super::question::{Question, Verb};
use super::record::{Kind, Record};
use super::refusal::Refusal;
use super::storage::{Condition, Storage, Written};
use crate::manifest_store::MAX_MANIFEST_BYTES;
use crate::net::store_wire::{
    EPOCH_HEADER, HEALTH, LeaseBody, LeaseFound, LeaseWritten, MAX_LEASE_BYTES, ManifestBody, ManifestFound,
    ManifestWritten, STORE_HEADER, from_base64, from_json, to_base64, to_json,
};
use crate::server::Secret;
use crate::types::{Epoch, Error, ErrorKind};

/// What all requests share.
pub(super) struct Gate {
    storage: Arc<Storage>,
    tokens: Vec<Secret>,
    requests: Arc<Semaphore>,
    waits: Semaphore,
    body_patience: Duration,
    /// Whether the server stops: then nobody waits.
    stopping: watch::Receiver<bool>,
}

impl Gate {
    pub(super) fn new(
        storage: Arc<Storage>,
        tokens: Vec<Secret>,
        limits: &StoreServerLimits,
        stopping: watch::Receiver<bool>,
    ) -> Gate {
        let permits = |limit: usize| Semaphore::new(limit.min(Semaphore::MAX_PERMITS));
        Gate {
            storage,
            tokens,
            requests: Arc::new(permits(limits.requests)),
            waits: permits(limits.waits),
            body_patience: limits.body,
            stopping,
        }
    }

    /// The endpoints. Every answer but the health's needs a token, if there are any.
    pub(super) fn router(self) -> Router {
        Router::new().fallback(answer).with_state(Arc::new(self))
    }
}

async fn answer(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    let is_head = request.method() == Method::HEAD;
    let mut response = match gate.pass(request).await {
        Ok(response) => response,
        Err(refusal) => respond(refusal.status, if is_head { Vec::new() } else { refusal.body() }),
    };
    let headers = response.headers_mut();
    headers.insert(STORE_HEADER, HeaderValue::from_static("1"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Gate {
    async fn pass(&self, request: Request) -> Result<Response, Refusal> {
        if request.uri().path() == HEALTH && request.method() == Method::GET {
            return Ok(respond(StatusCode::OK, br#"{"status":"ok"}"#.to_vec()));
        }
        self.authorize(request.headers())?;
        let question = Question::of(request.method(), request.uri(), request.headers())?;
        if let Verb::Read { head, known, wait } = question.verb {
            if wait > 0 {
                self.wait(&question, known, wait).await?;
            }
            return self.read(&question, head, known).await;
        }
        let slot = self.requests.clone().try_acquire_owned().map_err(|_| busy("requests"))?;
        match question.verb {
            Verb::Put(condition) => {
                let body = self.body(request).await?;
                self.put(question, condition, &body, slot).await
            }
            Verb::Delete(condition) => {
                let written = self.write(question, condition, 0, None, slot).await?;
                match written {
                    Written::Done(_) => Ok(respond(StatusCode::NO_CONTENT, Vec::new())),
                    Written::Lost | Written::Outranked(_) => Err(other_version()),
                }
            }
            Verb::Read { .. } => Err(Refusal::of(StatusCode::BAD_REQUEST, "it was answered before")),
        }
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let refused = |message| Refusal::of(StatusCode::UNAUTHORIZED, message);
        if self.tokens.is_empty() {
            // A page in a browser on this machine reaches the loopback interface too.
            return match headers.contains_key(header::ORIGIN) {
                true => Err(refused("requests of web pages are not answered without a token")),
                false => Ok(()),
            };
        }
        let Some(shown) = headers.get(header::AUTHORIZATION) else {
            return Err(refused("the token is missing: send it as `Authorization: Bearer <token>`"));
        };
        // All of them, so that the time says nothing about which one was nearly it.
        let is_known = self.tokens.iter().fold(false, |known, token| known | token.is_in(shown.as_bytes()));
        if is_known { Ok(()) } else { Err(refused("the token is wrong")) }
    }

    /// Returns when there may be another version, the time is over, or the server stops.
    async fn wait(&self, question: &Question, known: Option<u64>, seconds: u64) -> Result<(), Refusal> {
        let _place = self.waits.try_acquire().map_err(|_| busy("requests that wait"))?;
        let mut stopping = self.stopping.clone();
        tokio::select! {
            () = self.storage.changed(question.kind, &question.key, known) => {}
            () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        Ok(())
    }

    async fn read(&self, question: &Question, head: bool, known: Option<u64>) -> Result<Response, Refusal> {
        let found = match self.storage.read(question.kind, &question.key) {
            Err(error) if error.kind() == ErrorKind::StoreUnavailable => {
                let slot = self.requests.clone().try_acquire_owned().map_err(|_| busy("requests"))?;
                let (kind, key) = (question.kind, question.key.clone());
                let storage = Arc::clone(&self.storage);
                self.on_the_disk(slot, move || storage.settle(kind, &key)).await?;
                self.storage.read(question.kind, &question.key)?
            }
            found => found?,
        };
        let Some(record) = found else {
            let message = format!("there is no {} at this key", question.kind.name());
            return Err(Refusal::of(StatusCode::NOT_FOUND, &message));
        };
        let mut response = match known == Some(record.version) {
            true => respond(StatusCode::NOT_MODIFIED, Vec::new()),
            false if head => respond(StatusCode::OK, Vec::new()),
            false => respond(StatusCode::OK, found_body(&record)),
        };
        tag(&mut response, &record);
        Ok(response)
    }

    async fn body(&self, request: Request) -> Result<Vec<u8>, Refusal> {
        if !is_json(request.headers()) {
            // Also what keeps a web page from posting without asking first.
            let message = "a request needs `Content-Type: application/json`";
            return Err(Refusal::of(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let too_large = || Refusal::of(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large");
        let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        if length.and_then(|text| text.parse().ok()).is_some_and(|length: usize| length > MAX_BODY_BYTES) {
            return Err(too_large());
        }
        match tokio::time::timeout(self.body_patience, to_bytes(request.into_body(), MAX_BODY_BYTES)).await {
            Ok(Ok(body)) => Ok(body.into()),
            // It was cut off, or is larger than announced; only the second can still be answered.
            Ok(Err(_)) => Err(too_large()),
            Err(_) => Err(Refusal::of(StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time")),
        }
    }

    async fn put(
        &self,
        question: Question,
        condition: Condition,
        body: &[u8],
        slot: OwnedSemaphorePermit,
    ) -> Result<Response, Refusal> {
        let bad = |message| Refusal::of(StatusCode::BAD_REQUEST, message);
        let (epoch, data, limit) = match question.kind {
            Kind::Lease => {
                let lease: LeaseBody = from_json(body).ok_or_else(|| bad("the body is no {\"data\"}"))?;
                (0, lease.data, MAX_LEASE_BYTES)
            }
            Kind::Manifest => {
                let manifest: ManifestBody =
                    from_json(body).ok_or_else(|| bad("the body is no {\"epoch\", \"data\"}"))?;
                Epoch::new(manifest.epoch).ok_or_else(|| bad("the epoch is too high"))?;
                (manifest.epoch, manifest.data, MAX_MANIFEST_BYTES)
            }
        };
        let value = from_base64(&data).ok_or_else(|| bad("`data` is no base64"))?;
        if value.len() > limit {
            let message = format!("a {} has at most {limit} bytes", question.kind.name());
            return Err(Refusal::of(StatusCode::PAYLOAD_TOO_LARGE, &message));
        }
        let kind = question.kind;
        let version = match self.write(question, condition, epoch, Some(value.into()), slot).await? {
            Written::Done(version) => version,
            Written::Outranked(epoch) => return Err(Refusal::outranked(epoch)),
            Written::Lost if kind == Kind::Lease && condition == Condition::Absent => {
                return Err(Refusal::of(StatusCode::CONFLICT, "there is a lease already"));
            }
            Written::Lost => return Err(other_version()),
        };
        let status = if condition == Condition::Absent { StatusCode::CREATED } else { StatusCode::OK };
        let body = match kind {
            Kind::Lease => to_json(&LeaseWritten { fence: version }),
            Kind::Manifest => to_json(&ManifestWritten { version }),
        };
        let mut response = respond(status, body);
        response.headers_mut().insert(header::ETAG, etag(version));
        Ok(response)
    }

    async fn write(
        &self,
        question: Question,
        condition: Condition,
        epoch: u64,
        value: Option<bytes::Bytes>,
        slot: OwnedSemaphorePermit,
    ) -> Result<Written, Refusal> {
        let storage = Arc::clone(&self.storage);
        let write = move || storage.write(question.kind, &question.key, condition, epoch, value);
        self.on_the_disk(slot, write).await
    }

    /// Runs what may block. If the client goes away it is done all the same, whole; until then it counts as a request,
    /// so that a disk that hangs has a bounded queue before it.
    async fn on_the_disk<T: Send + 'static>(
        &self,
        slot: OwnedSemaphorePermit,
        work: impl FnOnce() -> crate::types::Result<T> + Send + 'static,
    ) -> Result<T, Refusal> {
        let held = move || {
            let _slot = slot;
            work()
        };
        match tokio::task::spawn_blocking(held).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(Error::new(ErrorKind::Internal, "the server panicked or ends").into()),
        }
    }
}

fn found_body(record: &Record) -> Vec<u8> {
    let data = to_base64(record.body.as_deref().unwrap_or_default());
    match record.kind {
        Kind::Lease => {
            to_json(&LeaseFound { fence: record.version, holder: Some(data.clone()), data: Some(data) })
        }
        Kind::Manifest => to_json(&ManifestFound { version: record.version, epoch: record.epoch, data }),
    }
}

fn tag(response: &mut Response, record: &Record) {
    response.headers_mut().insert(header::ETAG, etag(record.version));
    if record.kind == Kind::Manifest {
        response.headers_mut().insert(EPOCH_HEADER, record.epoch.into());
    }
}

fn etag(version: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).expect("BUG: a number is a header's value")
}

fn respond(status: StatusCode, body: Vec<u8>) -> Response {
    let is_empty = body.is_empty();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    if !is_empty {
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
    }
    response
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

fn busy(what: &str) -> Refusal {
    Refusal::of(StatusCode::SERVICE_UNAVAILABLE, &format!("too many {what} in progress"))
}

fn other_version() -> Refusal {
    Refusal::of(StatusCode::PRECONDITION_FAILED, "what is there has another version")
}
