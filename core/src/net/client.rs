use std::path::Path;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, redirect, retry};

use super::tls::client_tls_trusting;
use crate::types::{Error, ErrorKind, Result};

/// How long it may take until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Well below the time after which servers close an idle connection, so that a request rarely meets a connection
/// that is just being closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

const POOL_CONNECTIONS_PER_HOST: usize = 32;

/// A client for HTTP and HTTPS that shows this token, if any, as `Authorization: Bearer`. Each call is one try:
/// nothing is repeated, redirected or sent through a proxy. (A request that found its pooled connection closed before
/// the first byte went out is put on a new connection; that is still one try.) Its connections belong to the tokio
/// runtime on which it is used. `InvalidConfig` if the token has characters that a header cannot have.
pub(crate) fn http_client(token: Option<&str>) -> Result<Client> {
    http_client_trusting(token, None)
}

/// The same. With a file of certificates (PEM) it trusts those, and not what the system trusts; `InvalidConfig` if
/// the file cannot be read or has none.
pub(crate) fn http_client_trusting(token: Option<&str>, ca: Option<&Path>) -> Result<Client> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
            Error::new(ErrorKind::InvalidConfig, "a token has characters that an HTTP header cannot have")
        })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Client::builder()
        .default_headers(headers)
        .user_agent(concat!("haqlite/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(POOL_CONNECTIONS_PER_HOST)
        .tcp_nodelay(true)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .no_proxy()
        .http1_only()
        .tls_backend_preconfigured(client_tls_trusting(ca)?)
        .build()
        .map_err(|e| Error::new(ErrorKind::Internal, "the HTTP client cannot be made").with_source(e))
}
