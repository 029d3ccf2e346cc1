//! What a NATS URL names.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use url::{Url, form_urlencoded};

use crate::types::{Error, ErrorKind, Result};

/// The form of a URL, for messages.
const FORM: &str = "nats://[user:password@ or token@]host[:4222][,host[:4222]]?bucket=NAME, where user=, password=, \
                    token=, creds=/FILE, tls=true and replicas=1 to 5 may follow";

/// The most replicas that JetStream knows.
const MAX_REPLICAS: usize = 5;

/// The servers, who we are there, and the bucket.
pub(super) struct Target {
    servers: Vec<Url>,
    /// Whose turn it is to be asked first.
    turn: AtomicUsize,
    pub(super) tls: bool,
    pub(super) login: Login,
    pub(super) bucket: String,
    /// Of a bucket that we make.
    pub(super) replicas: Option<usize>,
}

/// Who we are. It is never shown.
#[derive(PartialEq, Eq)]
pub(super) enum Login {
    Nobody,
    Token(String),
    Password {
        user: String,
        password: String,
    },
    /// A file as `nsc` makes it.
    Credentials(PathBuf),
}

/// What the query says.
#[derive(Default)]
struct Parameters {
    bucket: Option<String>,
    token: Option<String>,
    user: Option<String>,
    password: Option<String>,
    creds: Option<String>,
    tls: Option<bool>,
    replicas: Option<usize>,
}

impl Target {
    /// Reads a URL. `InvalidConfig` names what is wrong, never what is secret.
    pub(super) fn parse(url: &str) -> Result<Target> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid("no URL of NATS"))?;
        let mut tls = false;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        if query.contains('#') || place.contains('#') {
            return Err(invalid("a # is written %23"));
        }
        let parameters = Parameters::parse(query)?;
        let (mut servers, mut logins) = (Vec::new(), Vec::new());
        for server in place.trim_end_matches('/').split(',') {
            // Lists are also written with the scheme at each server.
            let (scheme, server) = server.split_once("://").unwrap_or((scheme, server));
            tls |= match scheme {
                "nats" => false,
                "tls" => true,
                _ => return Err(invalid("a URL of NATS begins with nats:// or tls://")),
            };
            let (server, login) = one_server(server)?;
            servers.push(server);
            if login != Login::Nobody && !logins.contains(&login) {
                logins.push(login);
            }
        }
        logins.extend(parameters.login()?);
        let login = match logins.len() {
            0 | 1 => logins.pop().unwrap_or(Login::Nobody),
            _ => return Err(invalid("there is more than one way to log in")),
        };
        let bucket = parameters.bucket.ok_or_else(|| invalid("there is no bucket=NAME"))?;
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if bucket.is_empty() || bucket.len() > 200 || !bucket.chars().all(legal) {
            return Err(invalid("a bucket's name has letters, digits, - and _"));
        }
        tls |= parameters.tls == Some(true);
        let turn = AtomicUsize::new(0);
        Ok(Target { servers, turn, tls, login, bucket, replicas: parameters.replicas })
    }

    /// All servers, each time with the next one first: one that hangs costs one try.
    pub(super) fn servers(&self) -> Vec<Url> {
        let mut servers = self.servers.clone();
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % servers.len();
        servers.rotate_left(first);
        let scheme = if self.tls { "tls" } else { "nats" };
        for server in &mut servers {
            // Both are schemes that the standard does not know: one may become the other.
            let changed = server.set_scheme(scheme);
            debug_assert!(changed.is_ok(), "BUG: {scheme} can be set");
        }
        servers
    }

    /// The name of the stream that is the bucket.
    pub(super) fn stream(&self) -> String {
        format!("KV_{}", self.bucket)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "tls://" } else { "nats://" })?;
        for (n, server) in self.servers.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{}", server.host_str().unwrap_or_default())?;
            if let Some(port) = server.port() {
                write!(f, ":{port}")?;
            }
        }
        write!(f, "?bucket={}", self.bucket)
    }
}

/// A server without, and with, its login.
fn one_server(text: &str) -> Result<(Url, Login)> {
    let wrong = || invalid("a server is written host or host:port");
    let mut url = Url::parse(&format!("nats://{text}")).map_err(|_| wrong())?;
    if url.host_str().is_none_or(str::is_empty) || !matches!(url.path(), "" | "/") {
        return Err(wrong());
    }
    let user = decoded(url.username());
    let login = match url.password().map(decoded) {
        None if user.is_empty() => Login::Nobody,
        None => Login::Token(user),
        Some(password) => Login::Password { user, password },
    };
    url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| wrong())?;
    Ok((url, login))
}

/// A text of a URL without its percent signs.
fn decoded(text: &str) -> String {
    let text = format!("v={}", text.replace('+', "%2B").replace('&', "%26"));
    let mut pairs = form_urlencoded::parse(text.as_bytes());
    pairs.next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

impl Parameters {
    fn parse(query: &str) -> Result<Parameters> {
        let mut parameters = Parameters::default();
        let mut seen = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if seen.contains(&name) {
                return Err(invalid(&format!("{name}= is there twice")));
            }
            let text = Some(value.clone().into_owned());
            match &*name {
                "bucket" => parameters.bucket = text,
                "token" => parameters.token = text,
                "user" => parameters.user = text,
                "password" => parameters.password = text,
                "creds" => parameters.creds = text,
                "tls" => {
                    let tls = value.parse().map_err(|_| invalid("tls= is true or false"))?;
                    parameters.tls = Some(tls);
                }
                "replicas" => {
                    let replicas = value.parse().ok().filter(|n| (1..=MAX_REPLICAS).contains(n));
                    parameters.replicas = Some(replicas.ok_or_else(|| invalid("replicas= is 1 to 5"))?);
                }
                // The name may be a secret that was not encoded.
                _ => return Err(invalid("there is a parameter that is not known")),
            }
            seen.push(name);
        }
        Ok(parameters)
    }

    fn login(&self) -> Result<Vec<Login>> {
        let mut logins = Vec::new();
        logins.extend(self.token.clone().map(Login::Token));
        logins.extend(self.creds.as_ref().map(|path| Login::Credentials(PathBuf::from(path))));
        match (&self.user, &self.password) {
            (None, None) => {}
            (Some(user), Some(password)) => {
                logins.push(Login::Password { user: user.clone(), password: password.clone() });
            }
            _ => return Err(invalid("user= and password= belong together")),
        }
        Ok(logins)
    }
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidConfig, format!("{what}; use {FORM}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Target {
        Target::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn a_url_names_servers_login_and_bucket() {
        let target = read("nats://localhost?bucket=leases");
        assert_eq!(target.to_string(), "nats://localhost?bucket=leases");
        assert!(target.login == Login::Nobody && !target.tls && target.replicas.is_none());
        assert_eq!(target.stream(), "KV_leases");

        let target = read("nats://me:p%40ss%2Bword+@a:4222,b:4223,[::1]:4224/?bucket=x_1-y&replicas=3");
        assert_eq!(target.to_string(), "nats://a:4222,b:4223,[::1]:4224?bucket=x_1-y");
        assert!(target.login == Login::Password { user: "me".into(), password: "p@ss+word+".into() });
        assert_eq!(target.replicas, Some(3));
    }

    #[test]
    fn there_are_several_ways_to_log_in_and_to_ask_for_tls() {
        let token = Login::Token("s3cret".into());
        assert!(read("nats://s3cret@a?bucket=b").login == token);
        assert!(read("nats://s3cret@a,s3cret@c?bucket=b").login == token);
        assert!(read("nats://a?bucket=b&token=s3cret").login == token);
        let password = Login::Password { user: "u".into(), password: "p".into() };
        assert!(read("nats://a?user=u&password=p&bucket=b").login == password);
        let file = Login::Credentials(PathBuf::from("/etc/nats.creds"));
        assert!(read("nats://a?creds=/etc/nats.creds&bucket=b").login == file);
        for url in ["tls://a?bucket=b", "nats://a?bucket=b&tls=true", "tls://a:1,tls://b:2?bucket=b"] {
            let target = read(url);
            assert!(target.tls && target.servers().iter().all(|server| server.scheme() == "tls"), "{url}");
        }
    }

    #[test]
    fn servers_take_turns() {
        let target = read("nats://a,b?bucket=x");
        let firsts: Vec<_> = (0..3).map(|_| target.servers()[0].host_str().unwrap().to_owned()).collect();
        assert_eq!(firsts, ["a", "b", "a"]);
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_secrets() {
        for url in [
            "localhost",
            "http://s3cret@a?bucket=b",
            "nats://s3cret@a,http://b?bucket=b",
            "nats://s3cret@a",
            "nats://s3cret@a?bucket=",
            "nats://s3cret@a?bucket=a.b",
            "nats://s3cret@a?bucket=b&bucket=c",
            "nats://s3cret@a?bucket=b&s3cret",
            "nats://s3cret@a?bucket=b&tls=s3cret",
            "nats://s3cret@a?bucket=b&replicas=0",
            "nats://s3cret@a?bucket=b&replicas=6",
            "nats://s3cret@a?bucket=b&token=other",
            "nats://s3cret@a,other@b?bucket=b",
            "nats://a?bucket=b&user=s3cret",
            "nats://s3cret@?bucket=b",
            "nats://s3cret@a:port?bucket=b",
            "nats://s3cret@a/path?bucket=b",
            "nats://s3cret@a?bucket=b#x",
            "nats://?bucket=b",
        ] {
            let error = Target::parse(url).err().unwrap_or_else(|| panic!("{url} is taken"));
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
            assert!(!format!("{error:?}").contains("s3cret"), "{url}: {error:?}");
            assert!(error.message().contains("bucket=NAME"), "{url}: {error}");
        }
    }
}
