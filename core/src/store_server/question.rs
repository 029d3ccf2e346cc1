use axum::http::{HeaderMap, Method, StatusCode, Uri, header};

use super::record::Kind;
use super::refusal::Refusal;
use super::storage::Condition;
use crate::net::store_wire::{LEASE, MANIFEST, MAX_KEY_BYTES, MAX_WAIT_SECONDS, version_in};

/// What a request asks for, but for its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Question {
    pub(super) kind: Kind,
    pub(super) key: String,
    pub(super) verb: Verb,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verb {
    /// What is there, unless it is the version that is known already.
    Read {
        /// Without the value.
        head: bool,
        /// The version of `If-None-Match`; `None` if the client knows of nothing.
        known: Option<u64>,
        /// How many seconds to wait for another.
        wait: u64,
    },
    /// Store the body.
    Put(Condition),
    /// Forget the value.
    Delete(Condition),
}

impl Question {
    /// The question in a request.
    pub(super) fn of(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Question, Refusal> {
        let kind = match uri.path() {
            LEASE => Kind::Lease,
            MANIFEST => Kind::Manifest,
            _ => return Err(Refusal::of(StatusCode::BAD_REQUEST, "there is no such path")),
        };
        let (key, wait) = parameters(uri.query().unwrap_or_default())?;
        let if_match = condition(headers, header::IF_MATCH)?;
        let if_none_match = condition(headers, header::IF_NONE_MATCH)?;
        // What is no version of ours matches none.
        let version = |text: &str| match text {
            "*" => Err(Refusal::of(StatusCode::BAD_REQUEST, "`If-Match` names the version")),
            text => Ok(version_in(text).map_or(Condition::Version(u64::MAX), Condition::Version)),
        };
        let verb = match (kind, method) {
            (_, &Method::GET | &Method::HEAD) => {
                let known = if_none_match.and_then(version_in);
                Verb::Read { head: method == Method::HEAD, known, wait }
            }
            (Kind::Lease, &Method::POST) => Verb::Put(Condition::Absent),
            (Kind::Lease, &Method::DELETE) => Verb::Delete(if_match.map_or(Ok(Condition::Any), version)?),
            (_, &Method::PUT) => match (if_match, if_none_match, kind) {
                (Some(text), None, _) => Verb::Put(version(text)?),
                (None, Some("*"), Kind::Manifest) => Verb::Put(Condition::Absent),
                _ => {
                    let message = "a PUT needs the version that it replaces, as `If-Match` (of a manifest that is \
                                   not there yet `If-None-Match: *`)";
                    return Err(Refusal::of(StatusCode::PRECONDITION_REQUIRED, message));
                }
            },
            _ => {
                return Err(Refusal::of(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "the method is not one of this path",
                ));
            }
        };
        Ok(Question { kind, key, verb })
    }
}

/// The key and the seconds to wait.
fn parameters(query: &str) -> Result<(String, u64), Refusal> {
    let bad = |message: &str| Refusal::of(StatusCode::BAD_REQUEST, message);
    let (mut key, mut wait) = (None, None);
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "key" if key.is_none() => key = Some(value.into_owned()),
            "wait" if wait.is_none() => {
                let seconds: u64 = value.parse().map_err(|_| bad("`wait` is a number of seconds"))?;
                wait = Some(seconds.min(MAX_WAIT_SECONDS));
            }
            // Whoever sends another one means something by it, such as a scope.
            _ => return Err(bad("a parameter is neither `key` nor `wait`, or is there twice")),
        }
    }
    let key = key.ok_or_else(|| bad("the parameter `key` is missing"))?;
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(bad(&format!("a key has 1 to {MAX_KEY_BYTES} bytes")));
    }
    // Where bytes are no UTF-8 there is a replacement character, the same for all.
    if key.chars().any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER) {
        return Err(bad("a key is UTF-8 without control characters"));
    }
    Ok((key, wait.unwrap_or(0)))
}

fn condition(headers: &HeaderMap, name: header::HeaderName) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(&name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let text =
                value.to_str().map_err(|_| Refusal::of(StatusCode::BAD_REQUEST, "a condition is no text"))?;
            Ok(Some(text.trim()))
        }
        _ => Err(Refusal::of(StatusCode::BAD_REQUEST, "a condition is there twice")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, uri: &str, headers: &[(&'static str, &'static str)]) -> Result<Question, u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Question::of(&method.parse().unwrap(), &uri.parse().unwrap(), &map).map_err(|r| r.status.as_u16())
    }

    fn verb(method: &str, uri: &str, headers: &[(&'static str, &'static str)]) -> Verb {
        ask(method, uri, headers).unwrap().verb
    }

    #[test]
    fn a_request_is_the_question_that_the_format_says() {
        let asked = ask("GET", "/v1/lease?key=a%2Fb+c&wait=3", &[("if-none-match", "\"7\"")]).unwrap();
        assert_eq!((asked.kind, asked.key.as_str()), (Kind::Lease, "a/b c"));
        assert_eq!(asked.verb, Verb::Read { head: false, known: Some(7), wait: 3 });
        let manifest = "/v1/sync/manifest?key=k";
        assert_eq!(verb("HEAD", manifest, &[]), Verb::Read { head: true, known: None, wait: 0 });
        let patient = verb("GET", "/v1/lease?key=k&wait=9999", &[]);
        assert_eq!(patient, Verb::Read { head: false, known: None, wait: MAX_WAIT_SECONDS });
        assert_eq!(verb("POST", "/v1/lease?key=k", &[]), Verb::Put(Condition::Absent));
        assert_eq!(verb("PUT", "/v1/lease?key=k", &[("if-match", "7")]), Verb::Put(Condition::Version(7)));
        assert_eq!(verb("PUT", manifest, &[("if-match", "\"7\"")]), Verb::Put(Condition::Version(7)));
        assert_eq!(verb("PUT", manifest, &[("if-none-match", "*")]), Verb::Put(Condition::Absent));
        assert_eq!(verb("DELETE", "/v1/lease?key=k", &[]), Verb::Delete(Condition::Any));
        let guarded = verb("DELETE", "/v1/lease?key=k", &[("if-match", "7")]);
        assert_eq!(guarded, Verb::Delete(Condition::Version(7)));
        let foreign = verb("PUT", "/v1/lease?key=k", &[("if-match", "\"d41d8cd9\"")]);
        assert_eq!(foreign, Verb::Put(Condition::Version(u64::MAX)), "it matches nothing");
    }

    #[test]
    fn a_question_that_is_none_is_refused() {
        for (status, method, uri, headers) in [
            (400, "GET", "/v1/other?key=k", &[][..]),
            (400, "GET", "/v1/lease", &[]),
            (400, "GET", "/v1/lease?key=", &[]),
            (400, "GET", "/v1/lease?key=a&key=b", &[]),
            (400, "GET", "/v1/lease?key=a&database_id=b", &[]),
            (400, "GET", "/v1/lease?key=a&wait=long", &[]),
            (400, "GET", "/v1/lease?key=a%00", &[]),
            (400, "GET", "/v1/lease?key=a%0a", &[]),
            (400, "GET", "/v1/lease?key=%ff", &[]),
            (400, "PUT", "/v1/lease?key=k", &[("if-match", "*")]),
            (400, "PUT", "/v1/lease?key=k", &[("if-match", "1"), ("if-match", "2")]),
            (405, "PATCH", "/v1/lease?key=k", &[]),
            (405, "POST", "/v1/sync/manifest?key=k", &[]),
            (405, "DELETE", "/v1/sync/manifest?key=k", &[]),
            (428, "PUT", "/v1/lease?key=k", &[]),
            (428, "PUT", "/v1/lease?key=k", &[("if-none-match", "*")]),
            (428, "PUT", "/v1/sync/manifest?key=k", &[]),
            (428, "PUT", "/v1/sync/manifest?key=k", &[("if-none-match", "7")]),
            (428, "PUT", "/v1/sync/manifest?key=k", &[("if-match", "7"), ("if-none-match", "*")]),
        ] {
            assert_eq!(ask(method, uri, headers), Err(status), "{method} {uri} {headers:?}");
        }
        let key = |bytes: usize| format!("/v1/lease?key={}", "k".repeat(bytes));
        assert!(ask("GET", &key(MAX_KEY_BYTES), &[]).is_ok());
        assert_eq!(ask("GET", &key(MAX_KEY_BYTES + 1), &[]), Err(400));
    }
}
