#![allow(dead_code, reason = "not every set of features uses all of it")]
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use haqlite::bucket::{Opened, UrlOptions, open_url};
use haqlite::lease_store::{BucketLeaseStore, LeaseStore};
use serde::{Deserialize, Serialize};

use crate::support::{Server, free_port};

/// Where a log is, and its lease: as URLs, so that other processes can be told.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub(crate) struct Place {
    /// The URL of the log's bucket.
    pub(crate) bucket: String,
    /// The URL of the lease's store. `None`: in the bucket.
    pub(crate) lease: Option<String>,
}

impl Place {
    /// A log in a folder, with the lease elsewhere or beside it.
    pub(crate) fn in_folder(folder: &Path, lease: Option<String>) -> Place {
        let folder = folder.join("bucket");
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        Place { bucket: format!("file://{}", folder.display()), lease }
    }

    /// A log and a lease on the S3 server of the tests, where nothing is yet. `Err` names the variable of the
    /// environment that is missing.
    pub(crate) fn on_s3() -> Result<Place, String> {
        let variable = |name: &str| {
            let name = format!("HAQLITE_TEST_S3_{name}");
            std::env::var(&name).map_err(|_| format!("{name} is not set"))
        };
        let (endpoint, bucket) = (variable("SEAWEED")?, variable("BUCKET")?);
        let (key, secret) = (variable("ACCESS_KEY_ID")?, variable("SECRET_ACCESS_KEY")?);
        let prefix = format!("failover-{}-{}", std::process::id(), free_port());
        let bucket = format!(
            "s3://{bucket}/{prefix}?endpoint={endpoint}&region=us-east-1&access_key_id={key}\
             &secret_access_key={secret}"
        );
        Ok(Place { bucket, lease: None })
    }

    /// A way of its own to the lease's store, and what comes before the lease's keys there.
    pub(crate) async fn lease_store(&self) -> haqlite::Result<(Arc<dyn LeaseStore>, String)> {
        if let Some(url) = &self.lease {
            return Ok((by_url(url)?, String::new()));
        }
        let Opened { bucket, root, watch_every } = open_url(&self.bucket, &UrlOptions::default()).await?;
        let store = BucketLeaseStore::new(bucket);
        Ok(match watch_every {
            Some(every) => (Arc::new(store.watching(every)), root),
            None => (Arc::new(store), root),
        })
    }
}

fn by_url(url: &str) -> haqlite::Result<Arc<dyn LeaseStore>> {
    match url.split(':').next() {
        scheme => panic!("no lease store for {scheme:?}"),
    }
}
