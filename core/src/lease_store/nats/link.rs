//! One connection to NATS, from its beginning to its first failure.

use std::error::Error as StdError;
use std::fmt::Write;
use std::time::Duration;

use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, HeaderMap, Message, Request,
};
use async_nats::{RequestError, RequestErrorKind, ServerAddr, ServerError};
use bytes::Bytes;
use tokio::sync::watch;

use super::target::{Login, Target};
use crate::net::client_tls_trusting;
use crate::types::{Error, ErrorKind, Result};

/// How long one server may take until its connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// After twice this time without a sign of life a connection is given up, also when nothing is asked on it.
const PING_EVERY: Duration = Duration::from_secs(5);

/// A server that refuses every connection at once.
const NOWHERE: &str = "nats://127.0.0.1:0";

/// Messages that wait to be sent.
const SEND_CAPACITY: usize = 256;

/// Messages that wait in a subscription; a watcher takes fewer in its whole life.
pub(super) const SUBSCRIPTION_CAPACITY: usize = 256;

/// A connection. It is never mended: with the first failure it is lost for good, what waits on it fails at once, and
/// the next request makes another. So nothing that nobody waits for any longer is sent after an outage.
pub(super) struct Link {
    pub(super) client: Client,
    signs: watch::Receiver<Signs>,
    given_up: watch::Sender<bool>,
}

/// What the client told of the connection. When the client ends, also because its runtime did, nobody tells any more.
#[derive(Default)]
struct Signs {
    lost: bool,
    /// The newest word of the server on what this login may not do.
    forbidden: Option<String>,
}

impl Link {
    /// Connects to the first of the servers that answers. The connection belongs to the runtime on which this runs.
    pub(super) async fn connect(target: &Target) -> Result<Link> {
        let addresses = target.servers().into_iter().map(ServerAddr::from_url).collect::<Result<Vec<_>, _>>();
        let addresses = addresses
            .map_err(|e| Error::new(ErrorKind::InvalidConfig, "a server cannot be read").with_source(e))?;
        let (tell, signs) = watch::channel(Signs::default());
        let options = login(&target.login)
            .await?
            .name("haqlite")
            .require_tls(target.tls)
            .tls_client_config(client_tls_trusting(None)?)
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_EVERY)
            .request_timeout(None)
            .client_capacity(SEND_CAPACITY)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            // Every server is tried once.
            .max_reconnects(addresses.len())
            .reconnect_delay_callback(|_| Duration::ZERO)
            .retain_servers_order()
            .ignore_discovered_servers()
            .event_callback(move |event| {
                tell.send_if_modified(|signs| signs.see(event));
                std::future::ready(())
            });
        let client = options.connect(addresses).await.map_err(not_connected)?;
        // The client would connect again by itself, and send what it still has. This way it finds nobody, and ends.
        client.set_server_pool(NOWHERE).await.map_err(|e| {
            Error::new(ErrorKind::Internal, "the client of NATS takes no servers").with_source(e)
        })?;
        Ok(Link { client, signs, given_up: watch::Sender::new(false) })
    }

    /// Whether requests may be sent on it.
    pub(super) fn is_up(&self) -> bool {
        // An error says that the client has ended.
        !*self.given_up.borrow() && self.signs.has_changed().is_ok() && !self.signs.borrow().lost
    }

    /// Nothing more is asked on it. What waits for an answer goes on waiting.
    pub(super) fn give_up(&self) {
        self.given_up.send_replace(true);
    }

    /// Returns when the connection is lost or given up.
    pub(super) async fn over(&self) {
        let mut given_up = self.given_up.subscribe();
        tokio::select! {
            () = self.lost() => {}
            _ = given_up.wait_for(|given_up| *given_up) => {}
        }
    }

    async fn lost(&self) {
        // An error says that the client has ended.
        let _ = self.signs.clone().wait_for(|signs| signs.lost).await;
    }

    /// Asks, and waits for the answer as long as the connection stands. A link on which a request got no answer,
    /// also because nobody waited for it any longer, is given up: another server may answer, and who hangs now may
    /// do so for long.
    pub(super) async fn ask(&self, subject: &str, headers: HeaderMap, body: Bytes) -> Result<Message> {
        let mut unanswered = GiveUp { link: self, armed: true };
        let answer = self.ask_patiently(subject, headers, body).await;
        // What is too large was not even sent.
        unanswered.armed = answer.as_ref().is_err_and(|error| error.kind() != ErrorKind::LimitExceeded);
        answer
    }

    /// The same, for those who often stop waiting.
    pub(super) async fn ask_patiently(
        &self,
        subject: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Message> {
        let mut request = Request::new().payload(body);
        if !headers.is_empty() {
            request = request.headers(headers);
        }
        tokio::select! {
            biased;
            answer = self.client.send_request(subject.to_owned(), request) => {
                answer.map_err(|e| self.not_answered(e))
            }
            () = self.lost() => Err(unavailable("the connection to NATS was lost")),
            word = self.forbidden(subject) => {
                Err(Error::new(ErrorKind::Unauthorized, format!("NATS refuses: {word}")))
            }
        }
    }

    /// Returns when the server said that this login may not use the subject, or not receive answers.
    async fn forbidden(&self, subject: &str) -> String {
        let concerns =
            |word: &str| word.contains(&format!("\"{subject}\"")) || word.contains("Subscription to");
        let mut signs = self.signs.clone();
        let signs = signs.wait_for(|signs| signs.forbidden.as_deref().is_some_and(concerns)).await;
        let word = signs.ok().and_then(|signs| signs.forbidden.clone());
        match word {
            Some(word) => word,
            // The client has ended, which others tell.
            None => std::future::pending().await,
        }
    }

    fn not_answered(&self, error: RequestError) -> Error {
        match error.kind() {
            RequestErrorKind::MaxPayloadExceeded => {
                let most = self.client.max_payload();
                let message =
                    format!("the value is too large for the NATS server: its max_payload is {most}");
                Error::new(ErrorKind::LimitExceeded, message)
            }
            RequestErrorKind::NoResponders => {
                let info = self.client.server_info();
                // Alone, a server knows; in a cluster another one may be away for the moment.
                match info.jetstream || info.cluster.is_some() {
                    true => unavailable("nobody answers for the bucket: it has no leader, or is gone"),
                    false => Error::new(ErrorKind::StoreUnfit, "JetStream is not enabled on the NATS server"),
                }
            }
            _ => unavailable("the NATS server did not answer").with_source(error),
        }
    }
}

impl Signs {
    /// Whether the event says something.
    fn see(&mut self, event: Event) -> bool {
        match event {
            Event::Disconnected | Event::Closed => self.lost = true,
            Event::ServerError(ServerError::AuthorizationViolation) => self.lost = true,
            Event::ServerError(ServerError::Other(word)) if word.contains("Permissions Violation") => {
                self.forbidden = Some(word);
            }
            _ => return false,
        }
        true
    }
}

struct GiveUp<'a> {
    link: &'a Link,
    armed: bool,
}

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.link.give_up();
        }
    }
}

async fn login(login: &Login) -> Result<ConnectOptions> {
    Ok(match login {
        Login::Nobody => ConnectOptions::new(),
        Login::Token(token) => ConnectOptions::with_token(token.clone()),
        Login::Password { user, password } => {
            ConnectOptions::with_user_and_password(user.clone(), password.clone())
        }
        Login::Credentials(path) => ConnectOptions::with_credentials_file(path).await.map_err(|e| {
            let message = format!("the credentials of NATS in {} cannot be read", path.display());
            // What is wrong in the file is not told: it could be a part of it.
            Error::new(ErrorKind::InvalidConfig, format!("{message}: {:?}", e.kind()))
        })?,
    })
}

fn not_connected(error: ConnectError) -> Error {
    let mut reason = error.kind().to_string();
    let mut source = StdError::source(&error);
    while let Some(inner) = source {
        let written = write!(reason, ": {inner}");
        debug_assert!(written.is_ok(), "BUG: a text takes every text");
        source = inner.source();
    }
    let kind = match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            ErrorKind::Unauthorized
        }
        ConnectErrorKind::ServerParse => ErrorKind::InvalidConfig,
        // Servers have other words for expired and revoked users.
        _ if reason.contains("Authentication") || reason.contains("Authorization") => ErrorKind::Unauthorized,
        _ => ErrorKind::StoreUnavailable,
    };
    Error::new(kind, format!("NATS cannot be reached: {reason}"))
}

pub(super) fn unavailable(message: &str) -> Error {
    Error::new(ErrorKind::StoreUnavailable, message)
}
