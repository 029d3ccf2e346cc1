use std::net::SocketAddr;

use crate::types::{ErrorKind, Outcome};

use super::test_service::{Running, TestService, raw, secret};
use super::{Listen, Secret, Server, ServerLimits};

const EXECUTE: &[u8] = br#"{"sql":"x"}"#;
const POST: &str = "POST /haqlite/execute HTTP/1.1\r\nContent-Type: application/json";

#[tokio::test]
async fn only_the_right_secret_opens_the_door() {
    let service = TestService::obliging();
    let node = Running::start(service.clone(), Some(secret()), ServerLimits::default()).await;
    for authorization in [
        "",
        "\r\nAuthorization: Bearer wrong",
        "\r\nAuthorization: Bearer correct-hors",
        "\r\nAuthorization: Bearer correct-horse-",
        "\r\nAuthorization: Bearer ",
        "\r\nAuthorization: Bearer",
        "\r\nAuthorization: Basic correct-horse",
        "\r\nAuthorization: correct-horse",
    ] {
        let (status, body) = raw(node.port, &format!("{POST}{authorization}"), EXECUTE).await;
        assert_eq!((status, body["error"]["kind"].as_str()), (401, Some("Unauthorized")), "{authorization}");
        for path in [
            "GET /haqlite/status",
            "GET /elsewhere",
            "POST /haqlite/follow",
            "POST /haqlite/campaign",
            "POST /haqlite/relay/prove",
            "POST /haqlite/relay/slot",
            "POST /haqlite/relay/look-up",
        ] {
            let (status, _) = raw(node.port, &format!("{path} HTTP/1.1{authorization}"), b"").await;
            assert_eq!(status, 401, "{path}");
        }
    }
    assert!(service.writes.lock().is_empty() && service.follows.lock().is_empty());
    assert!(service.proofs.lock().is_empty() && service.relayed.lock().is_empty());
    let right = format!("{POST}\r\nAuthorization: Bearer correct-horse");
    assert_eq!(raw(node.port, &right, EXECUTE).await.0, 200);
    assert_eq!(service.writes.lock().len(), 1);
    node.stop().await;
}

#[tokio::test]
async fn health_is_for_everybody_and_says_only_the_role() {
    let node = Running::start(TestService::obliging(), Some(secret()), ServerLimits::default()).await;
    let (status, body) = raw(node.port, "GET /haqlite/health HTTP/1.1", b"").await;
    assert_eq!((status, body), (200, serde_json::json!({"status": "ok", "role": "leader"})));
    node.stop().await;
}

#[tokio::test]
async fn without_a_secret_only_loopback_addresses_are_served() {
    for open in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
        let address: SocketAddr = open.parse().unwrap();
        let error = Server::bind(Listen::At(address), None, ServerLimits::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{open}");
        assert!(error.message().contains("without a secret"), "{error}");
    }
    let server = Server::bind(Listen::Port(0), None, ServerLimits::default()).await.unwrap();
    assert!(server.local_addr().ip().is_loopback());
}

#[tokio::test]
async fn with_a_secret_all_interfaces_are_served() {
    let server = Server::bind(Listen::Port(0), Some(secret()), ServerLimits::default()).await.unwrap();
    assert!(server.local_addr().ip().is_unspecified());
    assert_ne!(server.local_addr().port(), 0);
}

#[tokio::test]
async fn a_page_in_a_browser_cannot_write_to_an_open_local_node() {
    let service = TestService::obliging();
    let node = Running::start(service.clone(), None, ServerLimits::default()).await;
    let (status, _) = raw(node.port, &format!("{POST}\r\nOrigin: http://evil.example"), EXECUTE).await;
    assert_eq!(status, 401);
    let simple = "POST /haqlite/execute HTTP/1.1\r\nContent-Type: text/plain";
    assert_eq!(raw(node.port, simple, EXECUTE).await.0, 415);
    assert!(service.writes.lock().is_empty());
    assert_eq!(raw(node.port, POST, EXECUTE).await.0, 200);
    node.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_a_typed_error() {
    let first = Server::bind(Listen::Port(0), None, ServerLimits::default()).await.unwrap();
    let taken = Listen::Port(first.local_addr().port());
    for secret in [None, Some(secret())] {
        let same = match secret {
            None => taken,
            Some(_) => Listen::At(first.local_addr()),
        };
        let error = Server::bind(same, secret, ServerLimits::default()).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::InUse, Outcome::NotCommitted));
    }
    drop(first);
    Server::bind(taken, None, ServerLimits::default()).await.expect("the port is free again");
}

#[test]
fn a_secret_shows_itself_nowhere() {
    assert_eq!(format!("{:?} {:#?}", secret(), Some(secret())), "Secret(...) Some(\n    Secret(...),\n)");
}

#[test]
fn a_secret_that_no_header_can_carry_is_refused() {
    for text in ["", "two words", "line\nbreak", "ümlaut", &"x".repeat(513)] {
        assert_eq!(Secret::new(text).unwrap_err().kind(), ErrorKind::InvalidConfig, "{text:?}");
    }
}
