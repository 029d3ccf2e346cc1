use std::path::{Path, PathBuf};

use serde::Serialize;

use super::arguments::ExplainArguments;
use super::exit_code::ExitCode;
use super::failure::Failure;
use super::output::Output;
use super::text;
use super::which_log::{Told, WhichLog, variable};
use crate::bucket::{Key, Layout, UrlFacts, read_url};
use crate::database::check_store_url;
use crate::net::masked;
use crate::types::Txid;

#[derive(Serialize)]
struct Document {
    url: Told,
    name: Told,
    prefix: Told,
    endpoint: Told,
    region: Told,
    lease: Place,
    manifest: Place,
    credentials: Credentials,
    scheme: String,
    bucket: String,
    /// What every key of the log begins with; `None` without a name.
    root: Option<String>,
    layout: &'static str,
    first_slot: Option<String>,
}

/// Where a lease or a manifest is, and from where that was told. Never a secret.
#[derive(Serialize)]
struct Place {
    value: Option<String>,
    from: String,
    /// Its key in the store; `None` without a name, or without a store.
    key: Option<String>,
}

/// Whether there is a key, and from where. Never the key.
#[derive(Serialize)]
struct Credentials {
    /// `null`: only the machine can tell, when it is asked.
    present: Option<bool>,
    from: String,
}

pub(super) fn run(arguments: &ExplainArguments, output: &Output) -> Result<ExitCode, Failure> {
    let log = arguments.log.settle(None);
    if log.url.value.is_none() {
        // Says what is missing.
        arguments.log.complete(None)?;
    }
    let document = explain(log)?;
    output.result(&document, &for_people(&document))?;
    Ok(ExitCode::Ok)
}

fn explain(log: WhichLog) -> Result<Document, Failure> {
    let facts = read_url(log.url())?;
    let is_s3 = facts.scheme == "s3";
    let prefix = log.prefix.value.clone().unwrap_or_default();
    // What the URL says itself comes first.
    let first = |in_url: &Option<String>, told: Told, variables: &[&str], otherwise: &str| match in_url {
        _ if !is_s3 => Told::nothing("not used"),
        Some(value) => Told::new(value, "the URL"),
        None if told.value.is_some() => told,
        None => {
            let set = variables.iter().find_map(|name| Some(Told::new(variable(name)?, *name)));
            set.unwrap_or_else(|| Told::nothing(otherwise))
        }
    };
    let endpoints = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
    let endpoint = first(&facts.endpoint, log.endpoint, &endpoints, "the profile, or Amazon");
    let regions = ["AWS_REGION", "AWS_DEFAULT_REGION"];
    let otherwise = "the profile, or us-east-1 with an endpoint, or the machine";
    let below = |root: &str| {
        let name = log.name.value.as_ref()?;
        let slash = if name.is_empty() { "" } else { "/" };
        Some(format!("{root}{prefix}{name}{slash}"))
    };
    let place = |told: &Told, key: Key| {
        let Some(url) = &told.value else {
            return Ok(Place { value: None, from: told.from.clone(), key: None });
        };
        check_store_url(url).map_err(|error| error.context(format!("the URL of {}", told.from)))?;
        let root = match url.as_str() {
            "s3" => facts.root.clone(),
            url => read_url(url).map(|facts| facts.root).unwrap_or_default(),
        };
        let key = below(&root).map(|root| key.path(&root, facts.layout));
        Ok::<_, Failure>(Place { value: Some(masked(url)), from: told.from.clone(), key })
    };
    let (lease, manifest) = (place(&log.lease, Key::Lease)?, place(&log.manifest, Key::Manifest)?);
    let root = below(&facts.root);
    Ok(Document {
        lease,
        manifest,
        url: Told { value: Some(shown(&facts)), from: log.url.from },
        name: log.name,
        prefix: log.prefix,
        endpoint: Told { value: endpoint.value.map(without_key), from: endpoint.from },
        region: first(&facts.region, log.region, &regions, otherwise),
        credentials: credentials(&facts),
        first_slot: root.as_ref().map(|root| Key::slot(Txid::new(1)).path(root, facts.layout)),
        layout: match facts.layout {
            Layout::S3 => "s3",
            Layout::Directory => "directory",
        },
        scheme: facts.scheme,
        bucket: facts.bucket,
        root,
    })
}

/// The URL without its parameters, which may hold a key.
fn shown(facts: &UrlFacts) -> String {
    let root = facts.root.trim_end_matches('/');
    match root {
        "" => format!("{}://{}", facts.scheme, facts.bucket),
        root => format!("{}://{}/{root}", facts.scheme, facts.bucket),
    }
}

/// A server's URL without what stands before an `@` or behind a `?`.
fn without_key(url: String) -> String {
    let url = url.split('?').next().unwrap_or_default();
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    }
}

fn credentials(facts: &UrlFacts) -> Credentials {
    let found = |present, from: &str| Credentials { present, from: from.to_owned() };
    if facts.scheme != "s3" {
        return found(Some(false), "not used");
    }
    if facts.has_key {
        return found(Some(true), "the URL");
    }
    let (id, secret) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"));
    match (id.is_some(), secret.is_some()) {
        (true, true) => return found(Some(true), "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        (true, false) => return found(Some(false), "AWS_ACCESS_KEY_ID without AWS_SECRET_ACCESS_KEY"),
        (false, true) => return found(Some(false), "AWS_SECRET_ACCESS_KEY without AWS_ACCESS_KEY_ID"),
        (false, false) => {}
    }
    let files = [("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config")];
    let file = files.into_iter().map(|(name, file)| profile_file(name, file)).find(|file| file.exists());
    match (file, variable("AWS_PROFILE")) {
        (Some(_), Some(profile)) => found(Some(true), &format!("the profile {profile}, if it has a key")),
        (Some(_), None) => found(Some(true), "the default profile, if it has a key"),
        (None, Some(profile)) => {
            found(Some(false), &format!("the profile {profile}, and there is no file of profiles"))
        }
        (None, None) => found(None, "the machine or container, if it has a role"),
    }
}

fn profile_file(variable_name: &str, file: &str) -> PathBuf {
    let home = || Path::new(&variable("HOME").unwrap_or_default()).join(".aws").join(file);
    variable(variable_name).map_or_else(home, PathBuf::from)
}

fn for_people(document: &Document) -> String {
    let told = |told: &Told| match &told.value {
        Some(value) if value.is_empty() => format!("(empty)  [{}]", told.from),
        Some(value) => format!("{value}  [{}]", told.from),
        None => format!("-  [{}]", told.from),
    };
    let place = |place: &Place| match (&place.value, &place.key) {
        (Some(value), Some(key)) => format!("{value}, {key}  [{}]", place.from),
        (Some(value), None) => format!("{value}  [{}]", place.from),
        (None, _) => format!("-  [{}]", place.from),
    };
    let credentials = match document.credentials.present {
        Some(true) => "present",
        Some(false) => "absent",
        None => "unknown",
    };
    let missing = || "- (give --name, or --bare)".to_owned();
    text::pairs(&[
        ("url", told(&document.url)),
        ("prefix", told(&document.prefix)),
        ("name", told(&document.name)),
        ("endpoint", told(&document.endpoint)),
        ("region", told(&document.region)),
        ("credentials", format!("{credentials}  [{}]", document.credentials.from)),
        ("bucket", document.bucket.clone()),
        ("log below", document.root.clone().unwrap_or_else(missing)),
        ("layout", document.layout.to_owned()),
        ("lease", place(&document.lease)),
        ("manifest", place(&document.manifest)),
        ("slot 1 is", document.first_slot.clone().unwrap_or_else(missing)),
    ])
}
