use aws_config::BehaviorVersion;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::ProvideRegion;
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Region, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use std::fmt;
use std::time::Duration;
use url::Url;

use super::super::S3Credentials;
use crate::net::masked;
use crate::types::{Error, ErrorKind, Result};

/// Where stores that are not Amazon's say they are.
const REGION_OF_OTHERS: &str = "us-east-1";

/// What an [`S3Bucket`](super::S3Bucket) is opened with.
#[derive(Clone)]
#[non_exhaustive]
pub struct S3Options {
    /// The bucket's name.
    pub bucket: String,
    /// The server's URL, if it is not Amazon's. Buckets are then named in the path, not in the host.
    pub endpoint: Option<String>,
    /// The region; otherwise what the environment or the profile says.
    pub region: Option<String>,
    /// The key; otherwise what the AWS tools would take: environment, profile, instance.
    pub credentials: Option<S3Credentials>,
    /// The limit of time for a connection to be made. 3 s.
    pub connect_timeout: Duration,
    /// The limit of time for one request with its body, and for each piece of an answer's body. An upload
    /// in parts is several requests. 30 s.
    pub operation_timeout: Duration,
}

/// Shows no secret.
impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Options")
            .field("bucket", &self.bucket)
            .field("endpoint", &self.endpoint.as_deref().map(masked))
            .field("region", &self.region)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl S3Options {
    /// This bucket, at Amazon, by the environment's credentials.
    pub fn new(bucket: impl Into<String>) -> S3Options {
        S3Options {
            bucket: bucket.into(),
            endpoint: None,
            region: None,
            credentials: None,
            connect_timeout: Duration::from_secs(3),
            operation_timeout: Duration::from_secs(30),
        }
    }

    /// The bucket's name for people.
    pub(super) fn describe(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("s3://{} at {endpoint}", self.bucket),
            None => format!("s3://{}", self.bucket),
        }
    }

    pub(super) async fn client(&self) -> Result<Client> {
        self.check()?;
        let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http);
        if let Some(region) = self.explicit_region().await {
            loader = loader.region(region);
        }
        if let Some(key) = &self.credentials {
            loader = loader.credentials_provider(Credentials::new(
                &key.access_key_id,
                &key.secret_access_key,
                key.session_token.clone(),
                None,
                "haqlite",
            ));
        }
        let shared = loader.load().await;
        if shared.region().is_none() {
            let message = format!("no region is known for s3://{}; set one", self.bucket);
            return Err(Error::new(ErrorKind::InvalidConfig, message));
        }
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.connect_timeout)
            .operation_timeout(self.operation_timeout)
            .build();
        let mut config = aws_sdk_s3::config::Builder::from(&shared)
            // A retry by the client would turn our own success into a 412.
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            // Bodies have a limit of time of their own.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // Many stores do not know the newer checksums; the signature covers what we send.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .force_path_style(self.endpoint.is_some() || shared.endpoint_url().is_some());
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Ok(Client::from_conf(config.build()))
    }

    /// The region, where asking the machine for one is not needed.
    async fn explicit_region(&self) -> Option<Region> {
        if let Some(region) = &self.region {
            return Some(Region::new(region.clone()));
        }
        self.endpoint.as_ref()?;
        let environment = EnvironmentVariableRegionProvider::new().region().await;
        Some(environment.unwrap_or(Region::from_static(REGION_OF_OTHERS)))
    }

    fn check(&self) -> Result<()> {
        let invalid = |message| Err(Error::new(ErrorKind::InvalidConfig, message));
        if self.bucket.is_empty() || self.bucket.contains(['/', ' ', '?', '#']) {
            return invalid(format!("{:?} is no name of a bucket", self.bucket));
        }
        let Some(endpoint) = &self.endpoint else {
            return Ok(());
        };
        // The text may hold a secret, so it is not shown until it is known that it has none.
        match Url::parse(endpoint) {
            Ok(url) if !url.username().is_empty() || url.password().is_some() || url.query().is_some() => {
                invalid("the S3 endpoint is a plain URL: the key goes elsewhere".to_owned())
            }
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(()),
            _ => invalid("the S3 endpoint begins with http:// or https://".to_owned()),
        }
    }
}
