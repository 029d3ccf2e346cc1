//! Who may do what.

use std::time::{Duration, Instant};

use haqlite::ErrorKind;
use haqlite::lease_store::LeaseStore;

use super::{Nats, done, open};
use crate::support::run;

#[test]
fn a_wrong_login_is_unauthorized_and_no_secret_is_shown() {
    let nats = Nats::configured("authorization { token: \"the right one\" }");
    run(async {
        let url = |login: &str| format!("nats://{login}127.0.0.1:{}?bucket=leases", nats.port);
        for login in ["", "hunter2@", "me:hunter2@"] {
            let store = open(&url(login));
            let error = store.read("k").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error:?}");
            let shown = format!("{error:?} {error} {store:?} {}", store.describe());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let store = open(&url("the%20right%20one@"));
        done(store.create("k", b"1").await);
        let store = open(&format!("{}&token=the+right+one", url("")));
        assert!(store.read("k").await.unwrap().is_some());
        let shown = format!("{store:?} {}", store.describe());
        assert!(shown.contains("leases") && !shown.contains("right"), "{shown}");
    });
}

#[test]
fn what_a_login_may_not_do_is_unauthorized_at_once() {
    let nats = Nats::configured(
        "authorization { users: [ { user: u, password: p, permissions: { publish: { deny: \"$KV.leases.closed/>\" } } }, \
         { user: v, password: p, permissions: { publish: [ \"_INBOX.>\" ] } } ] }",
    );
    run(async {
        let begun = Instant::now();
        let store = open(&format!("nats://u:p@127.0.0.1:{}?bucket=leases", nats.port));
        done(store.create("open", b"1").await);
        let store = open(&format!("nats://v:p@127.0.0.1:{}?bucket=leases", nats.port));
        let error = store.read("open").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error:?}");
        assert!(error.message().contains("STREAM.INFO.KV_leases"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_credentials_file_that_is_not_there_is_a_configuration_error() {
    let nats = Nats::start();
    run(async {
        let missing = nats.path("nobody.creds");
        let store = open(&format!("{}&creds={}", nats.url(), missing.display()));
        let error = store.read("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
        assert!(error.message().contains("nobody.creds"), "{error}");
    });
}
