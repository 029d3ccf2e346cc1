use std::thread;
use std::time::Duration;

use serde::Serialize;

use super::arguments::StoreServerArguments;
use super::exit_code::ExitCode;
use super::failure::Failure;
use super::output::Output;
use super::text;
use crate::runtime::EndRequest;
use crate::store_server::{StoreServer, StoreServerLimits};

/// How soon a request to end is seen.
const WATCH: Duration = Duration::from_millis(50);

const TOKENS_VARIABLE: &str = "HAQLITE_STORE_TOKEN";

/// A line of the stream.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    Serving { url: String, data: Option<String>, tokens: usize, tls: bool },
    Ended,
}

pub(super) fn run(arguments: StoreServerArguments, output: &Output) -> Result<ExitCode, Failure> {
    let tokens = tokens(&arguments.token, std::env::var(TOKENS_VARIABLE).ok().as_deref());
    let mut server = match (&arguments.data, arguments.memory) {
        (Some(folder), false) => StoreServer::in_folder(folder),
        (None, true) => StoreServer::in_memory(),
        _ => return Err(Failure::of_arguments("either --data or --memory")),
    };
    server = server.listen(arguments.listen).limits(StoreServerLimits {
        keys: arguments.max_keys,
        connections: arguments.max_connections,
        waits: arguments.max_connections / 4 * 3,
        ..StoreServerLimits::default()
    });
    let (number, tls) = (tokens.len(), arguments.tls_cert.is_some());
    server = tokens.into_iter().fold(server, StoreServer::token);
    if let (Some(certificates), Some(key)) = (arguments.tls_cert, arguments.tls_key) {
        server = server.tls(certificates, key);
    }
    let end = EndRequest::listen()?;
    let running = server.start()?;
    let data = arguments.data.map(|folder| folder.display().to_string());
    let from = data.as_deref().unwrap_or("memory, which keeps nothing");
    let door = match number {
        0 => "no token, loopback only".to_owned(),
        number => text::count(number as u64, "token"),
    };
    let said = format!("serving leases and manifests at {} from {from} ({door})", running.url());
    output.result(&Line::Serving { url: running.url(), data, tokens: number, tls }, &said)?;
    while !end.is_made() {
        thread::sleep(WATCH);
    }
    running.stop();
    output.result(&Line::Ended, "ended")?;
    Ok(ExitCode::Ok)
}

/// Those of the arguments, else those of the variable. One that is empty there is none.
fn tokens(given: &[String], variable: Option<&str>) -> Vec<String> {
    if !given.is_empty() {
        return given.to_vec();
    }
    let several = variable.unwrap_or_default().split(',').map(str::trim);
    several.filter(|token| !token.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_from_the_arguments_or_the_variable() {
        assert_eq!(tokens(&[], None), Vec::<String>::new());
        assert_eq!(tokens(&[], Some("a, b,,")), ["a", "b"]);
        assert_eq!(tokens(&["c".into()], Some("a")), ["c"]);
        assert_eq!(tokens(&[String::new()], Some("a")), [""], "which is refused, rather than taken for none");
    }
}
