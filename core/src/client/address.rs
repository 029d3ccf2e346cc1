use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

use crate::types::{Error, ErrorKind, Result};

/// The address in the one form that is used everywhere: `http://host:port`, without a path.
///
/// `InvalidConfig` for what is no such address, or one that nobody else can reach (`0.0.0.0`, `[::]`, port
/// 0); `NotImplemented` for `https`.
pub(crate) fn parse_address(text: &str) -> Result<String> {
    let wrong = |why: &str| {
        let message = format!("{text:?} is not an address like \"http://host:18080\": {why}");
        Error::new(ErrorKind::InvalidConfig, message)
    };
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    match url.scheme() {
        "http" => {}
        "https" => {
            let message = format!("{text:?}: https between nodes is not implemented yet; use http");
            return Err(Error::new(ErrorKind::NotImplemented, message));
        }
        other => return Err(wrong(&format!("the scheme is {other:?}"))),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::new(
            ErrorKind::InvalidConfig,
            "an address must not carry a user or a password; the secret is set on its own",
        ));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has more than host and port"));
    }
    let host = url.host().ok_or_else(|| wrong("it has no host"))?;
    let unspecified = match &host {
        Host::Domain(_) => false,
        Host::Ipv4(ip) => ip.is_unspecified(),
        Host::Ipv6(ip) => IpAddr::from(*ip).to_canonical().is_unspecified(),
    };
    if unspecified {
        return Err(wrong("it stands for all interfaces of a machine, and nobody else can reach it"));
    }
    match url.port_or_known_default() {
        None | Some(0) => Err(wrong("it has no port")),
        Some(port) => Ok(format!("http://{host}:{port}")),
    }
}

/// Where this node tells the others to find it, when the application does not say.
///
/// Without a secret the server listens on the loopback interface, and so the address is of that. Otherwise
/// the first of these that there is:
///
/// 1. the address that the server was told to listen on, if it is a particular one;
/// 2. on Fly.io `FLY_PRIVATE_IP`, the machine's address in the private network of its organization;
/// 3. on Fly.io `<FLY_MACHINE_ID>.vm.<FLY_APP_NAME>.internal`;
/// 4. the host name.
///
/// (<https://fly.io/docs/machines/runtime-environment/> and <https://fly.io/docs/networking/private-networking/>)
///
/// `variable` reads an environment variable; `InvalidConfig` if nothing of all this makes an address.
pub(crate) fn advertised_address(
    listening: SocketAddr,
    has_secret: bool,
    variable: impl Fn(&str) -> Option<String>,
    host_name: Option<String>,
) -> Result<String> {
    let port = listening.port();
    let ip = listening.ip().to_canonical();
    if !ip.is_unspecified() {
        return parse_address(&format!("http://{}", SocketAddr::new(ip, port)));
    }
    if !has_secret {
        return parse_address(&format!("http://127.0.0.1:{port}"));
    }
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(ip) = set("FLY_PRIVATE_IP").and_then(|text| text.parse::<IpAddr>().ok()) {
        return parse_address(&format!("http://{}", SocketAddr::new(ip, port)));
    }
    if let (Some(machine), Some(app)) = (set("FLY_MACHINE_ID"), set("FLY_APP_NAME")) {
        return parse_address(&format!("http://{machine}.vm.{app}.internal:{port}"));
    }
    match host_name.filter(|name| !name.is_empty()) {
        Some(name) => parse_address(&format!("http://{name}:{port}")),
        None => {
            let message = "this machine has no host name to tell the other nodes: set the address";
            Err(Error::new(ErrorKind::InvalidConfig, message))
        }
    }
}

/// The name of this machine, if it has one that is text.
pub(crate) fn host_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    Some(name).filter(|name| !name.is_empty() && name != "(none)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_variable(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn an_address_has_one_form() {
        for (text, form) in [
            ("http://node1.internal:18080", "http://node1.internal:18080"),
            ("http://node1.internal:18080/", "http://node1.internal:18080"),
            ("http://NODE1:1", "http://node1:1"),
            ("http://node1", "http://node1:80"),
            ("http://10.0.0.7:18080", "http://10.0.0.7:18080"),
            ("http://[fdaa::3]:18080", "http://[fdaa::3]:18080"),
        ] {
            assert_eq!(parse_address(text).unwrap(), form);
            assert_eq!(parse_address(form).unwrap(), form);
        }
    }

    #[test]
    fn what_others_cannot_use_is_no_address() {
        for text in [
            "",
            "node1:18080",
            "node1",
            "http://",
            "ftp://node1:1",
            "http://0.0.0.0:18080",
            "http://[::]:18080",
            "http://[::ffff:0.0.0.0]:18080",
            "http://node1:0",
            "http://node1:70000",
            "http://user:pass@node1:1",
            "http://node1:1/path",
            "http://node1:1?a=b",
            "http://node1:1#a",
        ] {
            let error = parse_address(text).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{text}");
        }
        assert_eq!(parse_address("https://node1:1").unwrap_err().kind(), ErrorKind::NotImplemented);
    }

    #[test]
    fn an_error_about_an_address_does_not_show_its_password() {
        let error = parse_address("http://user:hunter2@node1:1").unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn the_default_address_is_one_that_the_others_can_reach() {
        let all: SocketAddr = "[::]:18080".parse().unwrap();
        let on_fly = |name: &str| match name {
            "FLY_PRIVATE_IP" => Some("fdaa:0:1::2".to_owned()),
            "FLY_MACHINE_ID" => Some("148e".to_owned()),
            "FLY_APP_NAME" => Some("shop".to_owned()),
            _ => None,
        };
        let on_fly_by_name = |name: &str| on_fly(name).filter(|_| name != "FLY_PRIVATE_IP");
        let host = || Some("db-3".to_owned());
        let secret = true;

        let default = |listening: &str| {
            advertised_address(listening.parse().unwrap(), secret, no_variable, host()).unwrap()
        };
        assert_eq!(default("10.0.0.7:9"), "http://10.0.0.7:9");
        assert_eq!(default("[::ffff:10.0.0.7]:9"), "http://10.0.0.7:9");
        assert_eq!(default("0.0.0.0:9"), "http://db-3:9");
        assert_eq!(default("[::]:9"), "http://db-3:9");
        assert_eq!(advertised_address(all, secret, on_fly, host()).unwrap(), "http://[fdaa:0:1::2]:18080");
        assert_eq!(
            advertised_address(all, secret, on_fly_by_name, host()).unwrap(),
            "http://148e.vm.shop.internal:18080"
        );
        let nameless = advertised_address(all, secret, no_variable, None).unwrap_err();
        assert_eq!(nameless.kind(), ErrorKind::InvalidConfig);
    }

    #[test]
    fn without_a_secret_the_default_address_is_the_loopback_interface() {
        let listening = "127.0.0.1:4321".parse().unwrap();
        let fly = |_: &str| Some("fdaa::1".to_owned());
        let address = advertised_address(listening, false, fly, Some("db-3".to_owned())).unwrap();
        assert_eq!(address, "http://127.0.0.1:4321");
    }

    #[test]
    fn this_machine_has_a_name() {
        assert!(!host_name().unwrap().is_empty());
    }
}
