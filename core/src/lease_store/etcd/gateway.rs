use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failure::{Failure, Says};
use super::message::{self, Authenticated};
use super::url::{Credentials, Settings};
use crate::net::http_client;
use crate::types::{Error, ErrorKind, Outcome, Result};

/// How long a member may take for one request. etcd itself gives up after about seven seconds without a leader.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest answer: a value of the largest request that etcd takes by default, in base64, and much around it.
pub(super) const MAX_ANSWER_BYTES: usize = 4 << 20;

pub(super) const RANGE: &str = "/v3/kv/range";
pub(super) const TXN: &str = "/v3/kv/txn";
const WATCH: &str = "/v3/watch";
const AUTHENTICATE: &str = "/v3/auth/authenticate";

/// The members of a cluster, by their JSON gateways.
///
/// Requests go to one member, until one has no answer: then it is the next one's turn. A request that was dropped
/// before its answer came counts as unanswered, for the callers have limits of time of their own.
pub(super) struct Gateway {
    client: Client,
    hosts: Vec<String>,
    scheme: &'static str,
    /// The member whose turn it is.
    turn: AtomicUsize,
    credentials: Option<Credentials>,
    login: Mutex<Login>,
    /// Held while a token is asked for: the check of a password is made to be slow, and one token is enough for all.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Default)]
enum Login {
    /// Nothing is known.
    #[default]
    Unknown,
    /// Requests carry this.
    Token(HeaderValue),
    /// The cluster has no users.
    NotNeeded,
}

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    Read,
    Write,
}

impl Gateway {
    pub(super) fn new(settings: Settings) -> Result<Gateway> {
        Ok(Gateway {
            client: http_client(None)?,
            hosts: settings.hosts,
            scheme: if settings.tls { "https" } else { "http" },
            turn: AtomicUsize::new(0),
            credentials: settings.credentials,
            login: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        })
    }

    /// The members, for people.
    pub(super) fn hosts(&self) -> String {
        self.hosts.join(",")
    }

    pub(super) fn is_tls(&self) -> bool {
        self.scheme == "https"
    }

    /// Asks one member after the other until one answers. A write goes on only while it is certain that it has not
    /// left; after that it ends here, with the outcome `Unknown`.
    pub(super) async fn call<T: DeserializeOwned>(&self, path: &str, body: &Value, does: Does) -> Result<T> {
        let body = body.to_string();
        let first = self.turn.load(Ordering::Relaxed);
        let mut tries = (0..self.hosts.len()).map(|n| (first + n) % self.hosts.len());
        loop {
            let member = tries.next().unwrap_or(first);
            let failure = match self.attempt(member, path, &body).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let over = tries.len() == 0;
            match failure.says {
                Says::NotSent if !over => {}
                Says::Unknown if !over && does == Does::Read => {}
                Says::Unknown if does == Does::Write => {
                    return Err(failure.error.with_outcome(Outcome::Unknown));
                }
                _ => return Err(failure.error),
            }
        }
    }

    /// Starts a watch at the member whose turn it is. The answer is a stream of lines.
    pub(super) async fn watch(&self, body: &Value) -> Result<Response, Failure> {
        let member = self.turn.load(Ordering::Relaxed);
        let body = body.to_string();
        let begun = tokio::time::timeout(REQUEST_TIMEOUT, async {
            let login = self.login(member).await?;
            self.send(member, WATCH, &body, &login).await
        });
        let begun = begun.await.unwrap_or_else(|_| Err(self.silent(member)));
        if begun.is_err() {
            self.leave(member);
        }
        begun
    }

    /// The token is no good any more: the next request asks for a new one.
    pub(super) fn forget_token(&self) {
        *self.login.lock() = Login::Unknown;
    }

    /// Somebody else's turn, if it was this member's.
    fn leave(&self, member: usize) {
        let next = (member + 1) % self.hosts.len();
        // If it was not, another request was first.
        let _ = self.turn.compare_exchange(member, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    async fn attempt<T: DeserializeOwned>(
        &self,
        member: usize,
        path: &str,
        body: &str,
    ) -> Result<T, Failure> {
        let mut unanswered = Unanswered { gateway: self, member, answered: false };
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, async {
            let login = self.login(member).await?;
            match self.post(member, path, body, &login).await {
                Err(failure) if failure.says == Says::TokenIsOld && self.credentials.is_some() => {
                    self.forget(&login);
                    let login = self.login(member).await?;
                    self.post(member, path, body, &login).await
                }
                Err(Failure { error, says: Says::TokenIsOld }) if self.credentials.is_none() => {
                    let error = error.context("the URL names no user and password");
                    Err(Failure { error, says: Says::Refused })
                }
                other => other,
            }
        });
        let answer = answer.await.unwrap_or_else(|_| Err(self.silent(member)));
        unanswered.answered = match &answer {
            Ok(_) => true,
            Err(failure) => !matches!(failure.says, Says::NotSent | Says::Unknown),
        };
        answer
    }

    /// What requests must carry, asked for if it is not known.
    async fn login(&self, member: usize) -> Result<Login, Failure> {
        let Some(credentials) = &self.credentials else { return Ok(Login::NotNeeded) };
        let known = || match &*self.login.lock() {
            Login::Unknown => None,
            known => Some(known.clone()),
        };
        if let Some(known) = known() {
            return Ok(known);
        }
        let _one_asks = self.asking.lock().await;
        if let Some(known) = known() {
            return Ok(known);
        }
        let body = message::authenticate(&credentials.user, &credentials.password).to_string();
        let answer: Result<Authenticated, Failure> =
            self.post(member, AUTHENTICATE, &body, &Login::NotNeeded).await;
        let login = match answer {
            Ok(answer) => {
                let mut token = HeaderValue::from_str(&answer.token)
                    .map_err(|_| Failure::unreadable(&self.hosts[member], "its token is no text"))?;
                token.set_sensitive(true);
                Login::Token(token)
            }
            Err(failure) if failure.says == Says::NoUsers => Login::NotNeeded,
            // The request itself has not left, whatever became of this one.
            Err(failure) if failure.says == Says::Unknown => {
                return Err(Failure { says: Says::NotSent, ..failure });
            }
            Err(failure) => return Err(failure),
        };
        *self.login.lock() = login.clone();
        Ok(login)
    }

    /// Forgets this login, unless another request has a new one already.
    fn forget(&self, old: &Login) {
        let mut login = self.login.lock();
        let same = match (&*login, old) {
            (Login::Token(now), Login::Token(old)) => now == old,
            (Login::NotNeeded, Login::NotNeeded) => true,
            _ => false,
        };
        if same {
            *login = Login::Unknown;
        }
    }

    async fn post<T: DeserializeOwned>(
        &self,
        member: usize,
        path: &str,
        body: &str,
        login: &Login,
    ) -> Result<T, Failure> {
        let host = &self.hosts[member];
        let response = self.send(member, path, body, login).await?;
        let body = limited(host, response).await?;
        serde_json::from_slice(&body).map_err(|error| Failure::unreadable(host, error))
    }

    async fn send(&self, member: usize, path: &str, body: &str, login: &Login) -> Result<Response, Failure> {
        let host = &self.hosts[member];
        let mut request = self.client.post(format!("{}://{host}{path}", self.scheme));
        if let Login::Token(token) = login {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.header(CONTENT_TYPE, "application/json").body(body.to_owned());
        let response = request.send().await.map_err(|error| Failure::of_transport(host, error))?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response);
        }
        let body = limited(host, response).await?;
        Err(Failure::of_answer(host, status.as_u16(), &body))
    }

    fn silent(&self, member: usize) -> Failure {
        let host = &self.hosts[member];
        let message = format!("etcd at {host} did not answer within {REQUEST_TIMEOUT:?}");
        Failure::new(Says::Unknown, ErrorKind::StoreUnavailable, message)
    }
}

/// Passes the turn on when a request ends, or is dropped, without an answer.
struct Unanswered<'a> {
    gateway: &'a Gateway,
    member: usize,
    answered: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.gateway.leave(self.member);
        }
    }
}

async fn limited(host: &str, mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_ANSWER_BYTES => {
                let message = format!("the answer of etcd at {host} has more than {MAX_ANSWER_BYTES} bytes");
                return Err(Failure {
                    error: Error::new(ErrorKind::LimitExceeded, message),
                    says: Says::Unknown,
                });
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err(Failure { says: Says::Unknown, ..Failure::of_transport(host, error) }),
        }
    }
}
