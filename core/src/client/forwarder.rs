use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Body, Client, StatusCode};

use crate::net::http_client;
use crate::server::wire::{
    self, CampaignRequest, FILE, FollowRequest, FollowResponse, JSON, LookUpRequest, LookUpResponse,
    ProveRequest, QueryRequest, RelayRequest, RelayResponse, WriteRequest, WriteResponse, path,
};
use crate::server::{MAX_ANSWER_BYTES, MAX_REQUEST_BYTES, Secret};
use crate::types::{Error, ErrorKind, NodeInfo, Outcome, Result, Rows};

use super::{SendError, parse_address};

/// Sends requests to other nodes. Each call is one try: nothing is repeated, redirected or sent through a
/// proxy. (A request that found its pooled connection closed before the first byte went out is put on a
/// new connection; that is still one try.)
#[derive(Clone, Debug)]
pub(crate) struct Forwarder {
    client: Client,
}

impl Forwarder {
    /// A forwarder that shows this secret, if any. Its connections belong to the tokio runtime on which it
    /// is used.
    pub(crate) fn new(secret: Option<&Secret>) -> Result<Forwarder> {
        let client = http_client(secret.map(Secret::expose))?;
        Ok(Forwarder { client })
    }

    /// Has the node at this address run the write.
    pub(crate) async fn write(
        &self,
        address: &str,
        request: &WriteRequest,
        timeout: Duration,
    ) -> Result<WriteResponse, SendError> {
        let answer = self.post(address, path::WRITE, request.to_json(), timeout).await?;
        WriteResponse::from_json(&answer).map_err(|error| unreadable(address, &error))
    }

    /// Has the node at this address run the query.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "reads are local; consistency levels above that will ask")
    )]
    pub(crate) async fn query(
        &self,
        address: &str,
        request: &QueryRequest,
        timeout: Duration,
    ) -> Result<Rows, SendError> {
        let answer = self.post(address, path::READ, request.to_json(), timeout).await?;
        wire::decode_rows(&answer).map_err(|error| unreadable(address, &error))
    }

    /// Reports to the node at this address, and hears what it knows.
    pub(crate) async fn follow(
        &self,
        address: &str,
        request: &FollowRequest,
        timeout: Duration,
    ) -> Result<FollowResponse, SendError> {
        let answer = self.post(address, path::FOLLOW, request.to_json(), timeout).await?;
        FollowResponse::from_json(&answer).map_err(|error| unreadable(address, &error))
    }

    /// Asks the leader at this address who is in the cluster.
    pub(crate) async fn nodes(&self, address: &str, timeout: Duration) -> Result<Vec<NodeInfo>, SendError> {
        let answer = self.post(address, path::NODES, b"{}".to_vec(), timeout).await?;
        wire::decode_nodes(&answer).map_err(|error| unreadable(address, &error))
    }

    /// Tells the node at this address to take the lease.
    pub(crate) async fn campaign(
        &self,
        address: &str,
        request: &CampaignRequest,
        timeout: Duration,
    ) -> Result<(), SendError> {
        self.post(address, path::CAMPAIGN, request.to_json(), timeout).await.map(drop)
    }

    /// Has the node at this address create an object in the bucket.
    pub(crate) async fn prove(
        &self,
        address: &str,
        request: &ProveRequest,
        timeout: Duration,
    ) -> Result<(), SendError> {
        self.post(address, path::PROVE, request.to_json(), timeout).await.map(drop)
    }

    /// Has the node at this address create a slot.
    pub(crate) async fn relay(
        &self,
        address: &str,
        request: &RelayRequest,
        timeout: Duration,
    ) -> Result<RelayResponse, SendError> {
        let answer = self.send(address, path::RELAY, FILE, request.to_bytes(), timeout).await?;
        RelayResponse::from_json(&answer).map_err(|error| unreadable(address, &error))
    }

    /// Has the node at this address read a slot, and the floor after it.
    pub(crate) async fn look_up(
        &self,
        address: &str,
        request: LookUpRequest,
        timeout: Duration,
    ) -> Result<LookUpResponse, SendError> {
        let answer = self.post(address, path::LOOK_UP, request.to_json(), timeout).await?;
        LookUpResponse::from_json(&answer).map_err(|error| unreadable(address, &error))
    }

    async fn post(
        &self,
        address: &str,
        path: &str,
        message: Vec<u8>,
        timeout: Duration,
    ) -> Result<Vec<u8>, SendError> {
        self.send(address, path, JSON, message.into(), timeout).await
    }

    async fn send(
        &self,
        address: &str,
        path: &str,
        content_type: &'static str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Vec<u8>, SendError> {
        let base = parse_address(address).map_err(SendError::NotProcessed)?;
        if body.len() > MAX_REQUEST_BYTES {
            let message = format!("the request has {} bytes, the limit is {MAX_REQUEST_BYTES}", body.len());
            return Err(SendError::Answered(Error::new(ErrorKind::LimitExceeded, message)));
        }
        let (body, left) = WatchedBody::new(body);
        let request = self.client.post(format!("{base}{path}")).timeout(timeout);
        let request = request.header(CONTENT_TYPE, content_type).body(Body::wrap(body));
        let response =
            request.send().await.map_err(|error| send_error(address, error, left.load(Ordering::Acquire)))?;
        let status = response.status();
        let body = read_answer(address, response).await?;
        if status == StatusCode::OK || status == StatusCode::NO_CONTENT {
            return Ok(body);
        }
        Err(match wire::decode_error(&body) {
            Some(error) => classify(error),
            None => stranger(address, status),
        })
    }
}

/// A body that tells whether any of it was handed to a connection.
struct WatchedBody {
    bytes: Option<Bytes>,
    left: Arc<AtomicBool>,
}

impl WatchedBody {
    fn new(bytes: Bytes) -> (WatchedBody, Arc<AtomicBool>) {
        let left = Arc::new(AtomicBool::new(false));
        (WatchedBody { bytes: Some(bytes), left: left.clone() }, left)
    }
}

impl hyper::body::Body for WatchedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.left.store(true, Ordering::Release);
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

async fn read_answer(address: &str, mut response: reqwest::Response) -> Result<Vec<u8>, SendError> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_ANSWER_BYTES => {
                let message = format!("the answer of {address} is larger than {MAX_ANSWER_BYTES} bytes");
                let error = Error::new(ErrorKind::LimitExceeded, message).with_outcome(Outcome::Unknown);
                return Err(SendError::Answered(error));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err(lost(format!("the answer of {address} was lost"), error)),
        }
    }
}

/// A node's own word: turned away at the door, or carried out and failed.
fn classify(error: Error) -> SendError {
    let turned_away = match error.kind() {
        // The server's own limit has no code of SQLite; a locked database has one.
        ErrorKind::Busy => error.sqlite_code().is_none(),
        ErrorKind::NotLeader
        | ErrorKind::Unauthorized
        | ErrorKind::Closed
        | ErrorKind::Fenced
        | ErrorKind::LeaderUnavailable => true,
        _ => false,
    };
    if turned_away && error.outcome() == Outcome::NotCommitted {
        SendError::NotProcessed(error)
    } else {
        SendError::Answered(error)
    }
}

fn send_error(address: &str, error: reqwest::Error, body_left: bool) -> SendError {
    // No request is acted on before its body is there.
    if error.is_connect() || error.is_builder() || !body_left {
        let message = format!("{address} cannot be reached: {}", innermost(&error));
        return SendError::NotProcessed(
            Error::new(ErrorKind::LeaderUnavailable, message).with_source(error.without_url()),
        );
    }
    if error.is_timeout() {
        return lost(format!("{address} did not answer in time"), error);
    }
    lost(format!("the connection to {address} was lost"), error)
}

fn lost(message: String, error: reqwest::Error) -> SendError {
    let message = format!("{message}: {}", innermost(&error));
    SendError::Lost(Error::new(ErrorKind::OutcomeUnknown, message).with_source(error.without_url()))
}

/// The answer says that it worked, but not what came of it.
fn unreadable(address: &str, error: &Error) -> SendError {
    let message = format!("the answer of {address} cannot be read: {error}");
    SendError::Lost(Error::new(ErrorKind::OutcomeUnknown, message))
}

/// An answer without our error in it: another program has the address, or something stands between.
///
/// What refuses a request as such has not passed it on; of anything else that cannot be said.
fn stranger(address: &str, status: StatusCode) -> SendError {
    let message = format!("what answers at {address} is not a node (status {})", status.as_u16());
    if status.is_redirection() || (status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT) {
        SendError::NotProcessed(Error::new(ErrorKind::LeaderUnavailable, message))
    } else {
        SendError::Lost(Error::new(ErrorKind::OutcomeUnknown, message))
    }
}

fn innermost(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
