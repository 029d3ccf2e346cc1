use std::ffi::OsString;
use std::path::Path;

use serde::Serialize;

use super::arguments::LogArguments;
use super::failure::Failure;

/// A value, and where it came from, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Told {
    pub(super) value: Option<String>,
    pub(super) from: String,
}

/// Which log the arguments and the environment name. URLs are as they were given: they may hold secrets.
pub(super) struct WhichLog {
    pub(super) url: Told,
    pub(super) name: Told,
    pub(super) prefix: Told,
    pub(super) endpoint: Told,
    pub(super) region: Told,
    /// Only nodes and `explain` ask for it.
    pub(super) lease: Told,
    pub(super) manifest: Told,
}

const URL_VARIABLE: &str = "HAQLITE_STORAGE_URL";

impl Told {
    pub(super) fn new(value: impl Into<String>, from: impl Into<String>) -> Told {
        Told { value: Some(value.into()), from: from.into() }
    }

    pub(super) fn nothing(from: impl Into<String>) -> Told {
        Told { value: None, from: from.into() }
    }

    /// What was given on the command line, else the first of the variables that is set.
    fn given(value: &Option<String>, option: &str, variables: &[&str], otherwise: &str) -> Told {
        if let Some(value) = value {
            return Told::new(value, option);
        }
        let set = variables.iter().find_map(|name| Some(Told::new(variable(name)?, *name)));
        set.unwrap_or_else(|| Told::nothing(otherwise))
    }
}

impl LogArguments {
    /// What they say, with the environment and the defaults. Without a name it is the stem of `database`.
    pub(super) fn settle(&self, database: Option<&Path>) -> WhichLog {
        let stem = database.and_then(Path::file_stem).map(|stem| stem.to_string_lossy().into_owned());
        let (name, prefix) = match self.bare {
            true => (Told::new("", "--bare"), Told::new("", "--bare")),
            false => {
                let prefix = self.prefix.as_ref();
                let default = || Told::new("haqlite/", "default");
                let name = match (&self.name, stem) {
                    (Some(name), _) => Told::new(name, "--name"),
                    (None, Some(stem)) => Told::new(stem, "the stem of --output"),
                    (None, None) => Told::nothing("not given"),
                };
                (name, prefix.map_or_else(default, |prefix| Told::new(prefix, "--prefix")))
            }
        };
        WhichLog {
            url: Told::given(&self.url, "argument", &[URL_VARIABLE], "not given"),
            name,
            prefix,
            endpoint: Told::given(&self.endpoint, "--endpoint", &[], "default"),
            region: Told::given(&self.region, "--region", &[], "default"),
            lease: Told::given(&None, "", &["HAQLITE_LEASE_URL"], "not given: as the builder says"),
            manifest: Told::given(&self.manifest, "--manifest", &["HAQLITE_MANIFEST_URL"], "not given"),
        }
    }

    /// As `settle`; a usage failure if the URL or the name is missing.
    pub(super) fn complete(&self, database: Option<&Path>) -> Result<WhichLog, Failure> {
        let log = self.settle(database);
        if log.url.value.is_none() {
            let reason = format!("which bucket? Give its URL, or set {URL_VARIABLE}");
            return Err(Failure::of_arguments(reason));
        }
        if log.name.value.is_none() {
            let reason = "which database? Give --name, or --bare if the URL is the log's own folder";
            return Err(Failure::of_arguments(reason));
        }
        Ok(log)
    }
}

impl WhichLog {
    /// The URL; empty if none is known.
    pub(super) fn url(&self) -> &str {
        self.url.value.as_deref().unwrap_or_default()
    }
}

/// Tells one of the library's tools which log is meant.
macro_rules! tool_for {
    ($tool:ident, $log:expr) => {{
        let log: &WhichLog = $log;
        let mut tool = $tool::new(log.url())
            .db_name(log.name.value.clone().unwrap_or_default())
            .prefix(log.prefix.value.clone().unwrap_or_default());
        if let Some(endpoint) = &log.endpoint.value {
            tool = tool.endpoint(endpoint);
        }
        if let Some(region) = &log.region.value {
            tool = tool.region(region);
        }
        if let Some(manifest) = &log.manifest.value {
            tool = tool.manifest_url(manifest);
        }
        tool
    }};
}

pub(super) use tool_for;

/// The variable, if it is set to something.
pub(super) fn variable(name: &str) -> Option<String> {
    let value: OsString = std::env::var_os(name).filter(|value| !value.is_empty())?;
    Some(value.to_string_lossy().into_owned())
}
