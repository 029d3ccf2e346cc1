use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::header::{HeaderValue, IF_MATCH};
use reqwest::{Method, StatusCode};

use super::{LeaseStore, LeaseVersion, Register, Swap};
use crate::net::store_wire::{
    LEASE, LeaseBody, LeaseFound, LeaseWritten, MAX_LEASE_BYTES, from_base64, from_json, to_base64, to_json,
};
use crate::net::{LongPoll, StoreAnswer, StoreClient, StoreRequest};
use crate::types::{Error, ErrorKind, Result};

/// Leases on a server that speaks HTTP, such as `haqlite store-server`.
///
/// The version is the server's *fence*: a number that grows with each write of a key. Each call is one try of at most
/// ten seconds; a write whose answer was lost ends with an error, and may then be `Lost` to itself. A change is heard
/// of by a request that the server holds back; a server that does not is asked once a second.
pub struct HttpLeaseStore {
    client: Arc<StoreClient>,
    watch: LongPoll,
}

impl HttpLeaseStore {
    /// The store at this URL, which shows this token as `Authorization: Bearer`. Nothing is asked of it yet.
    /// `InvalidConfig` if the URL makes no sense, or if it has a token too.
    pub fn new(url: &str, token: Option<&str>) -> Result<HttpLeaseStore> {
        let client = Arc::new(StoreClient::new(url, token)?);
        let watch = LongPoll::new(Arc::clone(&client), LEASE, fence_in);
        Ok(HttpLeaseStore { client, watch })
    }

    /// The store at a URL that says all: `http://host:8080/path?token=TOKEN`, or `https://`, where `ca=FILE` names
    /// certificates (PEM) that are trusted instead of the system's.
    pub fn from_url(url: &str) -> Result<HttpLeaseStore> {
        HttpLeaseStore::new(url, None)
    }

    async fn write(
        &self,
        key: &str,
        body: &[u8],
        method: Method,
        version: Option<HeaderValue>,
    ) -> Result<Swap> {
        if body.len() > MAX_LEASE_BYTES {
            let message = format!("a lease of {} bytes: at most {MAX_LEASE_BYTES}", body.len());
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        let body = Some(to_json(&LeaseBody { data: to_base64(body) }));
        let condition = version.map(|version| (IF_MATCH, version));
        let answer =
            self.client.send(StoreRequest { method, path: LEASE, key, condition, body, wait: None }).await?;
        match answer.status {
            StatusCode::CREATED | StatusCode::OK => {
                let written: LeaseWritten = from_json(&answer.body)
                    .ok_or_else(|| self.client.unfit("its answer to a write names no fence"))?;
                Ok(Swap::Done(LeaseVersion(written.fence.to_string())))
            }
            StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => Ok(Swap::Lost),
            status => Err(self.client.unfit(&format!("its answer to a write is status {}", status.as_u16()))),
        }
    }
}

impl fmt::Debug for HttpLeaseStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpLeaseStore({})", self.client.describe())
    }
}

#[async_trait]
impl LeaseStore for HttpLeaseStore {
    fn describe(&self) -> String {
        self.client.describe()
    }

    async fn read(&self, key: &str) -> Result<Option<Register>> {
        let request =
            StoreRequest { method: Method::GET, path: LEASE, key, condition: None, body: None, wait: None };
        let answer = self.client.send(request).await?;
        match answer.status {
            StatusCode::OK => {
                let unfit = || self.client.unfit("its answer to a read is no lease");
                let found: LeaseFound = from_json(&answer.body).ok_or_else(unfit)?;
                let data = found.data.or(found.holder).ok_or_else(unfit)?;
                let body = from_base64(&data).ok_or_else(unfit)?;
                Ok(Some(Register { body, version: LeaseVersion(found.fence.to_string()) }))
            }
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(self.client.unfit(&format!("its answer to a read is status {}", status.as_u16()))),
        }
    }

    async fn create(&self, key: &str, body: &[u8]) -> Result<Swap> {
        self.write(key, body, Method::POST, None).await
    }

    async fn replace(&self, key: &str, body: &[u8], version: &LeaseVersion) -> Result<Swap> {
        match HeaderValue::from_str(&version.0) {
            Ok(version) => self.write(key, body, Method::PUT, Some(version)).await,
            // No fence looks like this.
            Err(_) => Ok(Swap::Lost),
        }
    }

    async fn changed(&self, key: &str, version: Option<&LeaseVersion>) {
        self.watch.changed(key, version.map(|version| version.0.as_str())).await;
    }
}

fn fence_in(answer: &StoreAnswer) -> Option<u64> {
    from_json::<LeaseFound>(&answer.body).map(|found| found.fence)
}
