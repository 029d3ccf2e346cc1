use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, StatusCode};

use super::{Manifest, ManifestPut, ManifestStore, ManifestVersion, check_size};
use crate::net::store_wire::{
    MANIFEST, ManifestBody, ManifestFound, ManifestWritten, OUTRANKED, Refused, from_base64, from_json,
    to_base64, to_json,
};
use crate::net::{LongPoll, StoreAnswer, StoreClient, StoreRequest};
use crate::types::{Epoch, Error, Result};

/// Manifests on a server that speaks HTTP as `haqlite store-server` does.
///
/// The version is a number that grows with each put of a key. Each call is one try of at most ten seconds. A change is
/// heard of by a request that the server holds back. An answer that the server did not mark as its own, as a proxy's,
/// is `StoreUnfit`, also if it says that there is nothing.
pub struct HttpManifestStore {
    client: Arc<StoreClient>,
    watch: LongPoll,
}

impl HttpManifestStore {
    /// The store at this URL, which shows this token as `Authorization: Bearer`. Nothing is asked of it yet.
    /// `InvalidConfig` if the URL makes no sense, or if it has a token too.
    pub fn new(url: &str, token: Option<&str>) -> Result<HttpManifestStore> {
        let client = Arc::new(StoreClient::new(url, token)?);
        let watch = LongPoll::new(Arc::clone(&client), MANIFEST, |answer| answer.etag);
        Ok(HttpManifestStore { client, watch })
    }

    /// The store at a URL that says all: `http://host:8080/path?token=TOKEN`, or `https://`, where `ca=FILE` names
    /// certificates (PEM) that are trusted instead of the system's.
    pub fn from_url(url: &str) -> Result<HttpManifestStore> {
        HttpManifestStore::new(url, None)
    }

    async fn send(
        &self,
        method: Method,
        key: &str,
        condition: Option<(HeaderName, HeaderValue)>,
        body: Option<Vec<u8>>,
    ) -> Result<StoreAnswer> {
        let request = StoreRequest { method, path: MANIFEST, key, condition, body, wait: None };
        let answer = self.client.send(request).await?;
        if !answer.is_ours {
            return Err(self.client.unfit("its answer does not say that it is one"));
        }
        Ok(answer)
    }

    fn strange(&self, doing: &str, answer: &StoreAnswer) -> Error {
        self.client.unfit(&format!("its answer to a {doing} is status {}", answer.status.as_u16()))
    }
}

impl fmt::Debug for HttpManifestStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpManifestStore({})", self.client.describe())
    }
}

#[async_trait]
impl ManifestStore for HttpManifestStore {
    fn describe(&self) -> String {
        self.client.describe()
    }

    async fn read(&self, key: &str) -> Result<Option<Manifest>> {
        let answer = self.send(Method::GET, key, None, None).await?;
        match answer.status {
            StatusCode::OK => {
                let unfit = || self.client.unfit("its answer to a read is no manifest");
                let found: ManifestFound = from_json(&answer.body).ok_or_else(unfit)?;
                let epoch = Epoch::new(found.epoch).ok_or_else(unfit)?;
                let body = from_base64(&found.data).ok_or_else(unfit)?;
                Ok(Some(Manifest { epoch, body, version: ManifestVersion(found.version.to_string()) }))
            }
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.strange("read", &answer)),
        }
    }

    async fn put(
        &self,
        key: &str,
        epoch: Epoch,
        body: &[u8],
        expected: Option<&ManifestVersion>,
    ) -> Result<ManifestPut> {
        check_size(body)?;
        let condition = match expected.map(|version| HeaderValue::from_str(&format!("\"{}\"", version.0))) {
            None => (IF_NONE_MATCH, HeaderValue::from_static("*")),
            Some(Ok(version)) => (IF_MATCH, version),
            // No version looks like this.
            Some(Err(_)) => return Ok(ManifestPut::Lost),
        };
        let body = to_json(&ManifestBody { epoch: epoch.get(), data: to_base64(body) });
        let answer = self.send(Method::PUT, key, Some(condition), Some(body)).await?;
        match answer.status {
            StatusCode::CREATED | StatusCode::OK => {
                let written: ManifestWritten = from_json(&answer.body)
                    .ok_or_else(|| self.client.unfit("its answer to a put names no version"))?;
                Ok(ManifestPut::Done(ManifestVersion(written.version.to_string())))
            }
            StatusCode::PRECONDITION_FAILED => Ok(ManifestPut::Lost),
            StatusCode::CONFLICT => {
                let refused = from_json::<Refused>(&answer.body);
                let outranked = refused.filter(|refused| refused.error.kind == OUTRANKED);
                let epoch = outranked.and_then(|refused| Epoch::new(refused.epoch?));
                let epoch = epoch.ok_or_else(|| self.client.unfit("its refusal of a put names no epoch"))?;
                Ok(ManifestPut::Outranked { epoch })
            }
            _ => Err(self.strange("put", &answer)),
        }
    }

    async fn confirm(&self, key: &str, version: &ManifestVersion) -> Result<Option<ManifestVersion>> {
        // The server answers from what it has stored, and asks nobody: its reads are linearizable.
        let answer = self.send(Method::HEAD, key, None, None).await?;
        match answer.status {
            StatusCode::OK => match (answer.etag, answer.epoch) {
                (Some(present), Some(_)) => Ok((present.to_string() == version.0).then(|| version.clone())),
                _ => Err(self.client.unfit("its answer names no version and epoch")),
            },
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.strange("look", &answer)),
        }
    }

    async fn changed(&self, key: &str, version: Option<&ManifestVersion>) {
        self.watch.changed(key, version.map(|version| version.0.as_str())).await;
    }
}
