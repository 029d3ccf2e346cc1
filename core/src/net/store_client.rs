use std::error::Error as StdError;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue};
use reqwest::{Client, Method, StatusCode};
use url::Url;

use super::client::http_client_trusting;
use super::store_wire::{EPOCH_HEADER, MAX_KEY_BYTES, Refused, STORE_HEADER, from_json, version_in};
use crate::types::{Error, ErrorKind, Result};

/// How long one request may take: more than a disk that is busy, less than anybody's patience.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer that is read: a manifest of the largest size in base64, and room around it.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// The longest message of a server that is passed on, in characters.
const MAX_MESSAGE: usize = 300;

const FORM: &str = "http://host:port/path?token=TOKEN&ca=FILE, or https://";

/// One end of leases and manifests over HTTP: sends requests, and says what is wrong with answers that are none.
///
/// Neither the token nor the query of a URL is in any text that it makes.
pub(crate) struct StoreClient {
    client: Client,
    base: Url,
}

/// A request for what is at a key.
pub(crate) struct StoreRequest<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) key: &'a str,
    /// `If-Match` or `If-None-Match`, with its value.
    pub(crate) condition: Option<(HeaderName, HeaderValue)>,
    pub(crate) body: Option<Vec<u8>>,
    /// How many seconds the server should wait for another version.
    pub(crate) wait: Option<u64>,
}

/// An answer that belongs to the conversation; failures are errors.
pub(crate) struct StoreAnswer {
    pub(crate) status: StatusCode,
    /// Whether a server of this crate gave it.
    pub(crate) is_ours: bool,
    /// The version in its `ETag`.
    pub(crate) etag: Option<u64>,
    /// The epoch in its header.
    pub(crate) epoch: Option<u64>,
    pub(crate) body: Vec<u8>,
}

impl StoreClient {
    /// For the server at this URL, which may name a token and a file of certificates to trust instead of the
    /// system's (PEM). `InvalidConfig` if it makes no sense; nothing is asked of the server.
    pub(crate) fn new(url: &str, token: Option<&str>) -> Result<StoreClient> {
        let invalid = |what: &str| {
            // The URL itself is not repeated: who got it wrong may have put the token anywhere.
            Error::new(ErrorKind::InvalidConfig, format!("the URL of the HTTP store {what}; it is {FORM}"))
        };
        let mut base = Url::parse(url).map_err(|e| invalid(&format!("cannot be read ({e})")))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none_or(str::is_empty) {
            return Err(invalid("names no server"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(invalid("has a user name, which is not how it is secured"));
        }
        if base.fragment().is_some() {
            return Err(invalid("has a fragment"));
        }
        let mut token = token.map(str::to_owned);
        let mut ca: Option<PathBuf> = None;
        for (name, value) in base.query_pairs() {
            match &*name {
                "token" if token.is_some() => return Err(invalid("has a token, and there is another one")),
                "token" => token = Some(value.into_owned()),
                "ca" if ca.is_some() => return Err(invalid("has two `ca`")),
                "ca" => ca = Some(value.into_owned().into()),
                _ => return Err(invalid("has a parameter that is neither `token` nor `ca`")),
            }
        }
        if token.as_deref() == Some("") {
            return Err(invalid("has an empty token"));
        }
        if ca.is_some() && base.scheme() != "https" {
            return Err(invalid("has a `ca`, but not https"));
        }
        base.set_query(None);
        let client = http_client_trusting(token.as_deref(), ca.as_deref())?;
        Ok(StoreClient { client, base })
    }

    /// The server's name for people.
    pub(crate) fn describe(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    /// One try. `StoreUnavailable` if there is no answer or the server cannot do it now, `Unauthorized`,
    /// `LimitExceeded`, `Corrupt` and `StoreUnfit` by what the server says. A write that ends with an error may have
    /// taken place, or may still.
    pub(crate) async fn send(&self, request: StoreRequest<'_>) -> Result<StoreAnswer> {
        if request.key.is_empty() || request.key.len() > MAX_KEY_BYTES {
            let message = format!("a key of {} bytes: it has 1 to {MAX_KEY_BYTES}", request.key.len());
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        let timeout = TIMEOUT + Duration::from_secs(request.wait.unwrap_or(0));
        let mut url = self.base.clone();
        url.set_path(&format!("{}{}", self.base.path().trim_end_matches('/'), request.path));
        url.query_pairs_mut().append_pair("key", request.key);
        if let Some(wait) = request.wait {
            url.query_pairs_mut().append_pair("wait", &wait.to_string());
        }
        let mut built = self.client.request(request.method, url).timeout(timeout);
        if let Some((name, value)) = request.condition {
            built = built.header(name, value);
        }
        if let Some(body) = request.body {
            built = built.header(CONTENT_TYPE, "application/json").body(body);
        }
        let mut response = built.send().await.map_err(|error| self.no_answer(error))?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let mut answer = StoreAnswer {
            status: response.status(),
            is_ours: header(STORE_HEADER).is_some(),
            etag: header(ETAG.as_str()).and_then(version_in),
            epoch: header(EPOCH_HEADER).and_then(|text| text.parse().ok()),
            body: Vec::new(),
        };
        while let Some(chunk) = response.chunk().await.map_err(|error| self.no_answer(error))? {
            if answer.body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(self.unfit(&format!("its answer is larger than {MAX_ANSWER_BYTES} bytes")));
            }
            answer.body.extend_from_slice(&chunk);
        }
        self.judge(answer)
    }

    /// What the server did not keep to.
    pub(crate) fn unfit(&self, what: &str) -> Error {
        Error::new(ErrorKind::StoreUnfit, format!("what answers at {} is no such store: {what}", self.base))
    }

    /// Lets through what belongs to the conversation.
    fn judge(&self, answer: StoreAnswer) -> Result<StoreAnswer> {
        let status = answer.status;
        let said = said(&answer);
        let kind = match status.as_u16() {
            200 | 201 | 204 | 304 | 404 | 409 | 412 => return Ok(answer),
            401 | 403 => ErrorKind::Unauthorized,
            413 | 507 => ErrorKind::LimitExceeded,
            408 | 425 | 429 => ErrorKind::StoreUnavailable,
            500 if said.as_ref().is_some_and(|(kind, _)| kind == ErrorKind::Corrupt.name()) => {
                ErrorKind::Corrupt
            }
            500.. => ErrorKind::StoreUnavailable,
            _ => {
                let why = said.map_or(String::new(), |(_, message)| format!(" ({message})"));
                return Err(self.unfit(&format!("its answer is status {}{why}", status.as_u16())));
            }
        };
        let why = said.map_or_else(|| format!("status {}", status.as_u16()), |(_, message)| message);
        Err(Error::new(kind, format!("{}: {why}", self.describe())))
    }

    fn no_answer(&self, error: reqwest::Error) -> Error {
        let what = match () {
            () if error.is_connect() => "cannot be reached",
            () if error.is_timeout() => "did not answer in time",
            () => "did not answer",
        };
        // The error's own text has the URL in it, and so may one inside of it.
        let error = error.without_url();
        let mut inner: &dyn StdError = &error;
        while let Some(source) = inner.source() {
            inner = source;
        }
        Error::new(ErrorKind::StoreUnavailable, format!("{} {what}: {inner}", self.describe()))
    }
}

/// The kind and the message of a refusal of a server of this crate. Another one's words are not repeated: it may
/// echo what it was sent.
fn said(answer: &StoreAnswer) -> Option<(String, String)> {
    let refused: Refused = if answer.is_ours { from_json(&answer.body)? } else { return None };
    let message: String =
        refused.error.message.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect();
    Some((refused.error.kind, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_makes_no_sense_is_refused_without_repeating_it() {
        for url in [
            "hush",
            "ftp://hush",
            "http://",
            "http://me:hush@host",
            "http://hush@host",
            "http://host#hush",
            "http://host?hush=1",
            "http://host?token=hush&token=hush",
            "http://host?token=",
            "http://host?token=hush%0a",
            "http://host?ca=hush",
            "https://host?ca=/hush/hush.pem",
        ] {
            let error = StoreClient::new(url, None).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
            // The name of a file is told.
            assert!(
                url.contains("ca=/") || !format!("{error:?} {error}").contains("hush"),
                "{url}: {error:?}"
            );
        }
        let twice = StoreClient::new("http://host?token=a", Some("b"));
        assert_eq!(twice.err().unwrap().kind(), ErrorKind::InvalidConfig);
    }

    #[test]
    fn a_server_is_described_without_its_token() {
        let client = StoreClient::new("http://host:8080/under/?token=hush", None).unwrap();
        assert_eq!(client.describe(), "http://host:8080/under");
        assert_eq!(StoreClient::new("https://host", Some("hush")).unwrap().describe(), "https://host");
    }

    #[test]
    fn statuses_say_what_to_do() {
        let client = StoreClient::new("http://host", None).unwrap();
        let judge = |status: u16, is_ours: bool, body: &str| {
            let body = body.as_bytes().to_vec();
            let status = StatusCode::from_u16(status).unwrap();
            client.judge(StoreAnswer { status, is_ours, etag: None, epoch: None, body })
        };
        for status in [200, 201, 204, 304, 404, 409, 412] {
            assert!(judge(status, false, "").is_ok(), "{status}");
        }
        for (status, kind) in [
            (301, ErrorKind::StoreUnfit),
            (400, ErrorKind::StoreUnfit),
            (401, ErrorKind::Unauthorized),
            (403, ErrorKind::Unauthorized),
            (405, ErrorKind::StoreUnfit),
            (408, ErrorKind::StoreUnavailable),
            (413, ErrorKind::LimitExceeded),
            (429, ErrorKind::StoreUnavailable),
            (500, ErrorKind::StoreUnavailable),
            (502, ErrorKind::StoreUnavailable),
            (503, ErrorKind::StoreUnavailable),
            (507, ErrorKind::LimitExceeded),
        ] {
            assert_eq!(judge(status, false, "").err().unwrap().kind(), kind, "{status}");
        }
        let corrupt = r#"{"error":{"kind":"Corrupt","message":"too bad"}}"#;
        let error = judge(500, true, corrupt).err().unwrap();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Corrupt, "http://host: too bad"));
        let stranger = judge(500, false, corrupt).err().unwrap();
        assert_eq!(
            (stranger.kind(), stranger.message()),
            (ErrorKind::StoreUnavailable, "http://host: status 500")
        );
    }
}
