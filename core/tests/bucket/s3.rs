//! The S3 adapter keeps the promises of the port with real servers, and the probe tells the fit from the
//! unfit.

use bytes::Bytes;
use haqlite::ErrorKind;
use haqlite::bucket::{
    Body, Bucket, Key, Opened, Put, PutMode, PutOptions, Range, S3Bucket, S3Credentials, S3Options,
    UrlOptions, open_url, probe,
};
use haqlite::lease_store::BucketLeaseStore;
use haqlite::testing::bucket_laws as laws;
use haqlite::testing::lease_store_laws;
use haqlite::types::Txid;

const SEAWEED: &str = "HAQLITE_TEST_S3_SEAWEED";
const MOTO: &str = "HAQLITE_TEST_S3_MOTO";
const S3RVER: &str = "HAQLITE_TEST_S3_S3RVER";

#[tokio::test(flavor = "multi_thread")]
async fn seaweedfs_keeps_the_laws() {
    laws(&bucket(SEAWEED).await, &fresh_root()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_keeps_the_laws() {
    laws(&bucket(MOTO).await, &fresh_root()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_in_seaweedfs_keeps_the_laws() {
    lease_store_laws(&BucketLeaseStore::new(bucket(SEAWEED).await), &fresh_root()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_in_moto_keeps_the_laws() {
    lease_store_laws(&BucketLeaseStore::new(bucket(MOTO).await), &fresh_root()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_probe_accepts_stores_with_conditions_and_leaves_nothing() {
    for server in [SEAWEED, MOTO] {
        let (bucket, root) = (bucket(server).await, fresh_root());
        probe(&bucket, &root).await.unwrap();
        let left = bucket.list(&root, None).await.unwrap();
        assert!(left.objects.is_empty(), "{server}: {left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_probe_refuses_a_store_that_ignores_conditions() {
    let bucket = bucket(S3RVER).await;
    let error = probe(&bucket, &fresh_root()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnfit, "{error}");
    assert!(error.message().contains(&bucket.describe()), "{error} names the store");
    assert!(error.message().contains("If-None-Match"), "{error} names the promise");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_opens_a_prefix() {
    let secret = variable("HAQLITE_TEST_S3_SECRET_ACCESS_KEY");
    let url = format!(
        "s3://{}/some/prefix?endpoint={}&region=us-east-1&access_key_id={}&secret_access_key={secret}",
        variable("HAQLITE_TEST_S3_BUCKET"),
        variable(MOTO),
        variable("HAQLITE_TEST_S3_ACCESS_KEY_ID"),
    );
    let Opened { bucket, root, watch_every } = open_url(&url, &UrlOptions::default()).await.unwrap();
    assert_eq!((root.as_str(), watch_every), ("some/prefix/", None));
    let key = Key::slot(Txid::new(7)).path(&root, bucket.layout());
    assert_eq!(key, "some/prefix/0000/0000000000000007-0000000000000007.ltx");
    let put = bucket.put(&key, Body::Bytes("x".into()), PutOptions::new(PutMode::Overwrite)).await.unwrap();
    assert!(matches!(put, Put::Stored(_)));
    assert_eq!(bucket.get(&key, Range::Whole).await.unwrap().unwrap().body, "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_of_many_goes_on_page_by_page() {
    let (bucket, root) = (bucket(SEAWEED).await, fresh_root());
    const COUNT: usize = 1_050;
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..8 {
        let (bucket, root) = (bucket.clone(), root.clone());
        tasks.spawn(async move {
            for n in (lane..COUNT).step_by(8) {
                let options = PutOptions::new(PutMode::Overwrite);
                bucket.put(&format!("{root}{n:05}"), Body::Bytes("x".into()), options).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let first = bucket.list(&root, None).await.unwrap();
    assert!(first.more && !first.objects.is_empty());
    let mut keys: Vec<String> = first.objects.into_iter().map(|object| object.key).collect();
    let second = bucket.list(&root, keys.last().map(String::as_str)).await.unwrap();
    assert!(!second.more);
    keys.extend(second.objects.into_iter().map(|object| object.key));
    assert_eq!(keys, (0..COUNT).map(|n| format!("{root}{n:05}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn litestream_finds_the_timestamp_in_the_metadata() {
    for (server, in_parts) in [(SEAWEED, false), (SEAWEED, true), (MOTO, false), (MOTO, true)] {
        let (bucket, key) = (bucket(server).await, format!("{}a", fresh_root()));
        let options = PutOptions { mode: PutMode::Create, timestamp_ms: Some(1_700_000_000_120), in_parts };
        bucket.put(&key, Body::Bytes("x".into()), options).await.unwrap();
        let found = timestamp_at(server, &key).await;
        assert_eq!(found.as_deref(), Some("2023-11-14T22:13:20.12Z"), "{server}, in parts: {in_parts}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_replacement_is_refused_before_it_is_sent() {
    let (bucket, key) = (bucket(SEAWEED).await, format!("{}a", fresh_root()));
    let put = bucket.put(&key, Body::Bytes("small".into()), PutOptions::new(PutMode::Create)).await.unwrap();
    let Put::Stored(version) = put else { panic!("{put:?}") };
    let large = Body::Bytes(vec![0; (16 << 20) + 1].into());
    let error = bucket.put(&key, large, PutOptions::new(PutMode::Replace(version))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
    assert_eq!(bucket.get(&key, Range::Whole).await.unwrap().unwrap().body, "small");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_in_parts_that_does_not_succeed_leaves_no_parts() {
    for server in [SEAWEED, MOTO] {
        let (bucket, root) = (bucket(server).await, fresh_root());
        let key = format!("{root}a");
        let options = || PutOptions { in_parts: true, ..PutOptions::new(PutMode::Create) };
        bucket.put(&key, Body::Bytes("x".into()), options()).await.unwrap();
        let put = bucket.put(&key, Body::Bytes("y".into()), options()).await.unwrap();
        assert_eq!(put, Put::Refused);
        let request = other_client(server).list_multipart_uploads().prefix(&root);
        let left = request.bucket(variable("HAQLITE_TEST_S3_BUCKET")).send().await.unwrap();
        assert!(left.uploads().is_empty(), "{server}: {left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_is_a_wrong_configuration() {
    for server in [SEAWEED, MOTO] {
        let mut options = options(server);
        options.bucket = "haqlite-absent".to_owned();
        let bucket = S3Bucket::open(options).await.unwrap();
        let error = bucket.get("a", Range::Whole).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{server}, get: {error}");
        let error = bucket.list("a", None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{server}, list: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_unauthorized_and_no_secret_is_told() {
    let secret = "a-wrong-secret-that-nobody-may-read";
    let mut options = options(SEAWEED);
    options.credentials = Some(S3Credentials {
        access_key_id: "nobody".to_owned(),
        secret_access_key: secret.to_owned(),
        session_token: Some(secret.to_owned()),
    });
    assert!(!format!("{options:?}").contains(secret));
    let bucket = S3Bucket::open(options).await.unwrap();
    let put = bucket.put("a", Body::Bytes(Bytes::new()), PutOptions::new(PutMode::Overwrite)).await;
    for error in [put.unwrap_err(), bucket.get("a", Range::Whole).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
        assert!(!format!("{error} {error:?}").contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_unavailable() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    drop(taken);
    let mut options = S3Options::new("bucket");
    options.endpoint = Some(format!("http://{address}"));
    options.credentials = Some(credentials("a", "b"));
    let bucket = S3Bucket::open(options).await.unwrap();
    let error = bucket.get("a", Range::Whole).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error}");
    let error = bucket.put("a", Body::Bytes("x".into()), PutOptions::new(PutMode::Create)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error}");
    assert_eq!(error.outcome(), haqlite::Outcome::Unknown);
}

/// The metadata that Litestream reads.
async fn timestamp_at(server: &str, key: &str) -> Option<String> {
    let request = other_client(server).head_object().bucket(variable("HAQLITE_TEST_S3_BUCKET"));
    let head = request.key(key).send().await.unwrap();
    head.metadata()?.get("litestream-timestamp").cloned()
}

/// A client that is not ours.
fn other_client(server: &str) -> aws_sdk_s3::Client {
    use aws_sdk_s3::config::{BehaviorVersion, Builder, Credentials, Region};
    use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    let id = variable("HAQLITE_TEST_S3_ACCESS_KEY_ID");
    let secret = variable("HAQLITE_TEST_S3_SECRET_ACCESS_KEY");
    let config = Builder::new()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(http.build_https())
        .endpoint_url(variable(server))
        .force_path_style(true)
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new(id, secret, None, None, "test"));
    aws_sdk_s3::Client::from_conf(config.build())
}

async fn bucket(server: &str) -> S3Bucket {
    S3Bucket::open(options(server)).await.unwrap()
}

fn options(server: &str) -> S3Options {
    let mut options = S3Options::new(variable("HAQLITE_TEST_S3_BUCKET"));
    options.endpoint = Some(variable(server));
    options.credentials = Some(credentials(
        &variable("HAQLITE_TEST_S3_ACCESS_KEY_ID"),
        &variable("HAQLITE_TEST_S3_SECRET_ACCESS_KEY"),
    ));
    options
}

fn credentials(id: &str, secret: &str) -> S3Credentials {
    S3Credentials { access_key_id: id.to_owned(), secret_access_key: secret.to_owned(), session_token: None }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: `make test` starts the servers; or .ci/servers start DIR && . DIR/env")
    })
}

fn fresh_root() -> String {
    format!("test-{}/", uuid::Uuid::new_v4().simple())
}
