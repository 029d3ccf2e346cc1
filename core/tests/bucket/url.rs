//! Which URLs name a bucket, and what is said of the others.

use haqlite::bucket::{Body, Opened, Put, PutMode, PutOptions, Range, UrlOptions, open_url};
use haqlite::{Error, ErrorKind};

async fn open(url: &str) -> Opened {
    open_url(url, &UrlOptions::default()).await.unwrap_or_else(|error| panic!("{url}: {error}"))
}

async fn refused(url: &str) -> Error {
    match open_url(url, &UrlOptions::default()).await {
        Ok(_) => panic!("{url} was opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_name_in_memory_is_one_bucket_in_the_whole_process() {
    let opened = open("memory://shared/some/prefix").await;
    assert_eq!(opened.root, "some/prefix/");
    assert!(opened.watch_every.is_some());
    let options = PutOptions::new(PutMode::Create);
    let put = opened.bucket.put("some/prefix/a", Body::Bytes("x".into()), options).await.unwrap();
    assert!(matches!(put, Put::Stored(_)));
    let same = open("memory://shared").await;
    assert_eq!(same.root, "");
    assert!(same.bucket.get("some/prefix/a", Range::Whole).await.unwrap().is_some());
    let other = open("memory:").await;
    assert!(other.bucket.get("some/prefix/a", Range::Whole).await.unwrap().is_none());
}

#[tokio::test]
async fn a_folder_is_made_and_is_the_root() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open(&format!("file://{}/not%20there/yet", folder.path().display())).await;
    assert_eq!(opened.root, "");
    let options = PutOptions::new(PutMode::Create);
    opened.bucket.put("db/_genesis", Body::Bytes("x".into()), options).await.unwrap();
    assert!(folder.path().join("not there/yet/db/_genesis").is_file());
}

#[tokio::test]
async fn what_is_no_bucket_is_refused_with_the_forms_that_are() {
    for url in ["https://example.com/bucket", "gs://bucket", "sqlite:a.db", ""] {
        let error = refused(url).await;
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
        assert!(error.message().contains("s3://bucket/prefix"), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_plain_path_is_refused_with_the_url_to_write() {
    for path in ["/var/lib/app", "relative/folder", "./folder"] {
        let error = refused(path).await;
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{path}");
        assert!(error.message().contains("file:///"), "{path}: {error}");
    }
    assert!(refused("/var/lib/app").await.message().contains("file:///var/lib/app"));
}

#[tokio::test]
async fn a_url_that_means_something_else_is_refused() {
    for url in [
        "file://relative/folder",
        "file:///folder?region=x",
        "memory://a?b=c",
        "memory://a/b//c",
        "memory://a/%2e%2e/c%2f..",
        "memory://a/%zz",
    ] {
        assert_eq!(refused(url).await.kind(), ErrorKind::InvalidConfig, "{url}");
    }
}

#[cfg(feature = "s3")]
#[tokio::test]
async fn an_s3_url_that_cannot_work_is_refused_and_no_secret_is_told() {
    for url in [
        "s3://",
        "s3:///prefix",
        "s3://b?region=r&secret_access_key=s3cret",
        "s3://b?region=r&session_token=s3cret",
        "s3://b?region=r&acces_key_id=a&secret_access_key=s3cret",
        "s3://b?region=r&endpoint=localhost:9000&access_key_id=a&secret_access_key=s3cret",
        "s3://b?region=r&endpoint=http://a:s3cret@localhost:9000",
        "s3://b c?region=r&secret_access_key=s3cret",
    ] {
        let error = refused(url).await;
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}: {error}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{url}: {error:?}");
    }
}

#[cfg(feature = "s3")]
#[tokio::test]
async fn an_s3_url_says_more_than_the_options() {
    let options = UrlOptions {
        endpoint: Some("http://127.0.0.1:1".to_owned()),
        region: Some("eu-west-1".to_owned()),
        credentials: None,
        ..UrlOptions::default()
    };
    let url = "s3://b/pre%20fix/?endpoint=http://127.0.0.1:2&access_key_id=a&secret_access_key=s3cret";
    let opened = open_url(url, &options).await.unwrap();
    assert_eq!(opened.bucket.describe(), "s3://b at http://127.0.0.1:2");
    assert_eq!(opened.root, "pre fix/");
    let opened = open_url("s3://b", &options).await.unwrap();
    assert_eq!(opened.bucket.describe(), "s3://b at http://127.0.0.1:1");
}

#[cfg(not(feature = "s3"))]
#[tokio::test]
async fn without_the_feature_s3_is_refused_with_its_name() {
    assert!(refused("s3://bucket").await.message().contains("feature `s3`"));
}
