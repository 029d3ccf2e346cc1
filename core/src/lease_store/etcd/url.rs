use std::net::Ipv6Addr;

use url::form_urlencoded;

use crate::types::{Error, ErrorKind, Result};

/// What an etcd URL may look like, for messages.
const FORM: &str = "etcd://[user:password@]host[:2379][,host2[:2379]...][?prefix=text&tls=true]";

const DEFAULT_PORT: u16 = 2379;

/// Two applications on one etcd meet nobody else's keys, and one rule for a role covers all of them.
const DEFAULT_PREFIX: &str = "haqlite/";

const MAX_ENDPOINTS: usize = 32;
const MAX_PREFIX_BYTES: usize = 1024;

/// What an etcd URL says.
#[derive(PartialEq, Eq)]
pub(super) struct Settings {
    /// As `host:port`, at least one, in the order of the URL.
    pub(super) hosts: Vec<String>,
    /// What every key begins with.
    pub(super) prefix: String,
    /// Whether the members are spoken to by TLS.
    pub(super) tls: bool,
    /// Who this is, if the cluster wants to know.
    pub(super) credentials: Option<Credentials>,
}

/// A user of etcd.
#[derive(PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
}

/// Reads an etcd URL. What is wrong is said without a word of the URL: any part of a misspelt one may be the password.
pub(super) fn parse(url: &str) -> Result<Settings> {
    let rest = url.strip_prefix("etcd://").ok_or_else(|| invalid("it does not begin with etcd://"))?;
    if rest.contains('#') {
        return Err(invalid("it has a #, which a user, a password or a prefix has as %23"));
    }
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let place = place.strip_suffix('/').unwrap_or(place);
    if place.contains('/') {
        return Err(invalid(
            "it has a path; keys begin with what `prefix` says, and a / in a user or a password is %2F",
        ));
    }
    let (login, hosts) = match place.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, place),
    };
    let credentials = login.map(credentials).transpose()?;
    let hosts: Vec<String> = hosts.split(',').map(host).collect::<Result<_>>()?;
    if hosts.len() > MAX_ENDPOINTS {
        return Err(invalid(&format!("it has more than {MAX_ENDPOINTS} hosts")));
    }
    let (mut prefix, mut tls) = (None, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let before = match &*name {
            "prefix" => prefix.replace(value.into_owned()),
            "tls" => tls.replace(value.into_owned()),
            _ => return Err(invalid("the only parameters are prefix and tls")),
        };
        if before.is_some() {
            return Err(invalid("a parameter is there twice"));
        }
    }
    let prefix = prefix.unwrap_or_else(|| DEFAULT_PREFIX.to_owned());
    if prefix.len() > MAX_PREFIX_BYTES || prefix.chars().any(char::is_control) {
        return Err(invalid("the prefix is too long or has control characters"));
    }
    let tls = match tls.as_deref() {
        Some("true") => true,
        None | Some("false") => false,
        Some(_) => return Err(invalid("tls is true or false")),
    };
    Ok(Settings { hosts, prefix, tls, credentials })
}

fn credentials(login: &str) -> Result<Credentials> {
    let (user, password) = login.split_once(':').ok_or_else(|| invalid("a user comes with a password"))?;
    let (user, password) = (decoded(user)?, decoded(password)?);
    if user.is_empty() {
        return Err(invalid("the user is empty"));
    }
    Ok(Credentials { user, password })
}

/// A host with its port: a name, an IPv4 address, or an IPv6 address in brackets.
fn host(text: &str) -> Result<String> {
    let wrong = || invalid("a host is a name or an address, with a port from 1 to 65535 if it is not 2379");
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(wrong)?;
            let address: Ipv6Addr = address.parse().map_err(|_| wrong())?;
            let port = match port {
                "" => None,
                _ => Some(port.strip_prefix(':').ok_or_else(wrong)?),
            };
            (format!("[{address}]"), port)
        }
        None => {
            let (name, port) = match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            };
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            if name.is_empty() || !name.chars().all(plain) {
                return Err(wrong());
            }
            (name.to_owned(), port)
        }
    };
    let port: u16 = match port {
        Some(port) => port.parse().map_err(|_| wrong())?,
        None => DEFAULT_PORT,
    };
    if port == 0 { Err(wrong()) } else { Ok(format!("{host}:{port}")) }
}

fn decoded(text: &str) -> Result<String> {
    let wrong = || invalid("a % in a user or a password is not followed by two digits of UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit =
                    || rest.next().and_then(|b| char::from(b).to_digit(16)).map(|digit| digit as u8);
                let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
                high << 4 | low
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidConfig, format!("the etcd URL cannot be used: {what}; write {FORM}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let one = parse("etcd://localhost").unwrap();
        assert_eq!((one.hosts.as_slice(), &*one.prefix), (&["localhost:2379".to_owned()][..], "haqlite/"));
        assert!(!one.tls && one.credentials.is_none());

        let all =
            parse("etcd://app:p%40ss:%2F@a.example:1,10.0.0.2,[::1]:80,[fe80::1]/?tls=true&prefix=%2Fx%2F")
                .unwrap();
        assert_eq!(all.hosts, ["a.example:1", "10.0.0.2:2379", "[::1]:80", "[fe80::1]:2379"]);
        assert_eq!((&*all.prefix, all.tls), ("/x/", true));
        let credentials = all.credentials.unwrap();
        assert_eq!((&*credentials.user, &*credentials.password), ("app", "p@ss:/"));

        assert_eq!(parse("etcd://a:80?prefix=&tls=false").unwrap().hosts, ["a:80"]);
        assert_eq!(parse("etcd://a?prefix=").unwrap().prefix, "");
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_the_form_and_without_the_secret() {
        for url in [
            "etcd://",
            "etcd:a",
            "http://hunter2",
            "etcd://a,,b",
            "etcd://a,",
            "etcd://a:0",
            "etcd://a:65536",
            "etcd://a:b",
            "etcd://a b",
            "etcd://[::1",
            "etcd://[::1]2379",
            "etcd://[a]:1",
            "etcd://http://a",
            "etcd://a/prefix",
            "etcd://hunter2@a",
            "etcd://:hunter2@a",
            "etcd://app:hunter2%@a",
            "etcd://app:hunter2%ff@a",
            "etcd://app:hun/hunter2@a",
            "etcd://app:hun?hunter2@a",
            "etcd://app:hun#hunter2@a",
            "etcd://a?hunter2=1",
            "etcd://a?tls=hunter2",
            "etcd://a?tls=true&tls=true",
            "etcd://a?prefix=%00",
            &format!("etcd://{}", vec!["a"; 33].join(",")),
        ] {
            let Err(error) = parse(url) else { panic!("{url} was taken") };
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
            let text = format!("{error:?}");
            assert!(text.contains("etcd://[user:password@]host"), "{url}: {text}");
            assert!(!text.contains("hunter2"), "{url}: {text}");
        }
    }
}
