use super::builder::Builder;
use super::store_choice::Environment;
use super::stores::{open_stores_by, options};
use crate::bucket::MemoryBucket;
use crate::lease_store::MemoryLeaseStore;
use crate::manifest_store::RegisterManifestStore;
use crate::types::{Error, ErrorKind};

/// Stands for every token, password and key of these tests.
const SECRET: &str = "hush-4711";

fn builder() -> Builder {
    Builder::new()
}

fn nothing(_: &str) -> Option<String> {
    None
}

fn refused(builder: &Builder, environment: Environment<'_>) -> Error {
    let Err(error) = open_stores_by(builder, environment) else { panic!("{builder:?} was accepted") };
    let told = format!("{error} {error:?} {builder:?}");
    assert!(!told.contains(SECRET), "{told}");
    error
}

fn manifests() -> RegisterManifestStore<MemoryLeaseStore> {
    RegisterManifestStore::new(MemoryLeaseStore::new())
}

/// What the stores say of themselves.
fn described(builder: &Builder, environment: Environment<'_>) -> [String; 3] {
    let stores = open_stores_by(builder, environment).expect("they open");
    let manifest =
        stores.manifest.map(|manifest| format!("{} /{}", manifest.store.describe(), manifest.root));
    [
        format!("{} /{}", stores.bucket.describe(), stores.root),
        format!("{} /{}", stores.lease.store.describe(), stores.lease.root),
        manifest.unwrap_or_default(),
    ]
}

#[test]
fn one_url_is_enough_and_each_store_can_have_its_own() {
    assert_eq!(
        described(&builder().bucket("memory://a/p"), &nothing),
        ["memory://a /p/", "memory://a /p/", ""]
    );
    let apart = builder().storage_url("memory://a/p").lease_url("memory://b/q").manifest_url("memory://c/r");
    assert_eq!(described(&apart, &nothing), ["memory://a /p/", "memory://b /q/", "memory://c /r/"]);
    let together = builder().storage_url("memory://a/p").lease_url("s3").manifest_url("s3");
    assert_eq!(described(&together, &nothing), ["memory://a /p/", "memory://a /p/", "memory://a /p/"]);
    let own = builder()
        .walrust_storage(MemoryBucket::new())
        .lease_store(MemoryLeaseStore::new())
        .manifest_store(manifests());
    assert_eq!(described(&own, &nothing), ["memory:// /", "memory: /", "memory: /"]);
    let lease_elsewhere = builder().bucket("memory://a/p").lease_url("memory://b");
    assert_eq!(described(&lease_elsewhere, &nothing), ["memory://a /p/", "memory://b /", ""]);
}

#[test]
fn the_builder_comes_before_the_environment() {
    let environment = |name: &str| {
        let url = match name {
            "HAQLITE_STORAGE_URL" => "memory://es",
            "HAQLITE_LEASE_URL" => "memory://el",
            "HAQLITE_MANIFEST_URL" => "memory://em",
            other => panic!("{other}"),
        };
        Some(url.to_owned())
    };
    assert_eq!(described(&builder(), &environment), ["memory://es /", "memory://el /", "memory://em /"]);
    let said = builder().storage_url("memory://a").lease_url("memory://b").manifest_url("memory://c");
    assert_eq!(described(&said, &environment), ["memory://a /", "memory://b /", "memory://c /"]);
    let bucket = builder().bucket("memory://a");
    assert_eq!(described(&bucket, &environment), ["memory://a /", "memory://a /", "memory://em /"]);
    let broken = |name: &str| (name != "HAQLITE_STORAGE_URL").then(|| "nonsense".to_owned());
    let own = builder().bucket("memory://a").manifest_store(manifests());
    assert_eq!(described(&own, &broken), ["memory://a /", "memory://a /", "memory: /"]);
}

#[test]
fn a_store_that_is_said_twice_is_refused_with_both_ways() {
    let lease = || builder().storage_url("memory://a");
    let manifest = || builder().bucket("memory://a");
    let cases = [
        (builder().bucket("memory://a").storage_url("memory://b"), ".bucket(url)", ".storage_url(url)"),
        (builder().bucket("memory://a").storage(MemoryBucket::new()), ".bucket(url)", ".storage(bucket)"),
        (lease().storage(MemoryBucket::new()).lease_url("s3"), ".storage(bucket)", ".storage_url(url)"),
        (
            lease().lease_store(MemoryLeaseStore::new()).lease_url("s3"),
            ".lease_store(store)",
            ".lease_url(url)",
        ),
        (
            lease().lease_endpoint("http://h", SECRET).lease_url("s3"),
            ".lease_url(url)",
            ".lease_endpoint(url, token)",
        ),
        (
            manifest().manifest_store(manifests()).manifest_url("s3"),
            ".manifest_store(store)",
            ".manifest_url(url)",
        ),
        (
            manifest().manifest_store(manifests()).manifest_endpoint("http://h", SECRET),
            ".manifest_store(store)",
            ".manifest_endpoint(url, token)",
        ),
    ];
    for (builder, first, second) in cases {
        let error = refused(&builder, &nothing);
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
        assert!(error.message().contains(first) && error.message().contains(second), "{error}");
    }
}

#[test]
fn what_is_missing_is_named_with_every_way_to_say_it() {
    let error = refused(&builder(), &nothing);
    for way in [".bucket(url)", ".storage_url(url)", ".storage(bucket)", "HAQLITE_STORAGE_URL", "s3://bucket"]
    {
        assert!(error.message().contains(way), "{way}: {error}");
    }
    // An empty variable is none.
    let error = refused(&builder().storage_url("memory://a"), &nothing);
    for way in [
        ".bucket(url)",
        ".lease_url(url)",
        ".lease_store(store)",
        ".lease_endpoint(url, token)",
        "HAQLITE_LEASE_URL",
        "nats://host:port?bucket=NAME",
        "etcd://",
        "http(s)://",
    ] {
        assert!(error.message().contains(way), "{way}: {error}");
    }
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(described(&builder().bucket("memory://a"), &nothing)[2].is_empty(), "a manifest is not needed");
}

#[test]
fn what_no_store_is_known_by_is_refused_with_where_it_was_said() {
    let base = || builder().bucket("memory://a");
    for text in ["ftp://x", "s3x", "memory:x", SECRET, "x y://z", "S3"] {
        let error = refused(&base().lease_url(text), &nothing);
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{text}: {error}");
        assert!(error.message().contains(".lease_url(url)"), "{error}");
        assert!(error.message().contains("nats://host:port?bucket=NAME"), "{error}");
        let by_variable = |name: &str| (name == "HAQLITE_MANIFEST_URL").then(|| text.to_owned());
        let error = refused(&base(), &by_variable);
        assert!(error.message().contains("HAQLITE_MANIFEST_URL"), "{error}");
    }
    let error = refused(&builder().bucket("s3"), &nothing);
    assert!(error.message().contains("s3://bucket"), "{error}");
    for url in ["nats://h:1", "memory://x", "s3", ""] {
        let error = refused(&base().lease_endpoint(url, SECRET), &nothing);
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}: {error}");
        assert!(error.message().contains(".lease_endpoint(url, token)"), "{error}");
        let error = refused(&base().manifest_endpoint(url, SECRET), &nothing);
        assert!(error.message().contains(".manifest_endpoint(url, token)"), "{error}");
    }
}

#[test]
fn servers_are_named_by_url_or_endpoint_and_not_asked() {
    let base = || builder().bucket("memory://a");
    let mut all = vec![
        base().lease_url(format!("http://h:8080?token={SECRET}")),
        base().lease_url(format!("https://h/path?token={SECRET}")),
        base().lease_endpoint("http://h:8080", SECRET),
    ];
    if cfg!(feature = "nats") {
        all.push(base().lease_url(format!("nats://u:{SECRET}@h:4222?bucket=leases")));
        all.push(base().lease_url(format!("nats://{SECRET}@h?bucket=leases")));
    }
    if cfg!(feature = "etcd") {
        all.push(base().lease_url(format!("etcd://u:{SECRET}@h:2379,h2:2379?prefix=x/")));
    }
    for lease in all {
        let url = lease
            .lease
            .url
            .clone()
            .or(lease.lease.endpoint.as_ref().map(|e| e.url.clone()))
            .expect("one was given");
        let by_url = lease.clone().manifest_url(url);
        let by_endpoint = lease.clone().manifest_endpoint("http://h:8080", SECRET);
        for builder in [lease, by_url, by_endpoint] {
            let [_, lease, manifest] = described(&builder, &nothing);
            let told = format!("{lease} {manifest} {builder:?}");
            assert!(!told.contains(SECRET) && lease.contains('h') && lease.ends_with(" /"), "{told}");
            assert_eq!(manifest.is_empty(), !builder.manifest.is_said(), "{told}");
        }
    }
    let both = builder().bucket("memory://a").lease_endpoint("http://h:1?token=x", SECRET);
    refused(&both, &nothing);
}

#[cfg(not(feature = "nats"))]
#[test]
fn a_build_without_nats_names_the_feature() {
    let error = refused(&builder().bucket("memory://a").lease_url("nats://h:1?bucket=b"), &nothing);
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.message().contains("feature `nats`"), "{error}");
}

#[cfg(not(feature = "etcd"))]
#[test]
fn a_build_without_etcd_names_the_feature() {
    let error = refused(&builder().bucket("memory://a").manifest_url("etcd://h:1"), &nothing);
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.message().contains("feature `etcd`"), "{error}");
}

#[test]
fn no_secret_is_in_an_error_or_a_debug_output() {
    let s = SECRET;
    for url in [
        format!("s3://b?region=r&secret_access_key={s}"),
        format!("s3://b?region=r&access_key_id=a&secret_access_key=a&{s}=x"),
        format!("s3://b?region=r&endpoint=http://u:{s}@h"),
        format!("s3://u:{s}@b?region=r"),
        format!("s3://b?region=r&token={s}"),
        format!("file://u:{s}@h/x"),
        format!("file:///x?token={s}"),
        format!("memory://a?token={s}"),
        format!("memory://u:{s}@a"),
        format!("nats://u:{s}@"),
        format!("nats://u:{s}@h:port?bucket=b"),
        format!("etcd://u:{s}@h:port"),
        format!("etcd://h:2379?password={s}&prefix"),
        format!("http://u:{s}@h:port?token={s}"),
        format!("http://h:port?token={s}"),
        format!("https://?token={s}"),
        format!("ftp://u:{s}@h?token={s}"),
        format!("{s}://h"),
        format!("u:{s}@h"),
        s.to_owned(),
    ] {
        let base = || builder().bucket("memory://a");
        refused(&base().lease_url(&url), &nothing);
        refused(&base().manifest_url(&url), &nothing);
        if url == s {
            // A bucket's URL that may be meant for a folder is shown.
            continue;
        }
        refused(&builder().bucket(&url), &nothing);
        refused(&builder().storage_url(&url).lease_url("s3"), &nothing);
        refused(&base(), &|name| (name == "HAQLITE_MANIFEST_URL").then(|| url.clone()));
    }
    let all = builder()
        .storage_url(format!("s3://b?access_key_id={s}&secret_access_key={s}"))
        .lease_url(format!("nats://u:{s}@h?bucket=b"))
        .manifest_endpoint("http://h", s)
        .secret(s)
        .endpoint(format!("http://u:{s}@h"));
    let shown = format!("{all:?} {all:#?} {:?}", options(&all));
    assert!(!shown.contains(s), "{shown}");
    assert!(shown.contains("s3://b") && shown.contains("nats://***@h?bucket=b"), "{shown}");
}
