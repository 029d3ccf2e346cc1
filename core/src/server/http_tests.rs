use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::types::{Error, ErrorKind, SqlValue, Txid};

use super::ServerLimits;
use super::test_service::{Running, TestService, bookmark, raw};

const EXECUTE: &str = "POST /haqlite/execute HTTP/1.1\r\nContent-Type: application/json";
const QUERY: &str = "POST /haqlite/query HTTP/1.1\r\nContent-Type: application/json; charset=utf-8";

#[tokio::test]
async fn execute_takes_and_gives_plain_json() {
    let service = TestService::obliging();
    let node = Running::start(service.clone(), None, ServerLimits::default()).await;
    let body = br#"{"sql":"INSERT","params":[1,"a",null,true],"request_id":"r1","seen":9}"#;
    let (status, answer) = raw(node.port, EXECUTE, body).await;
    assert_eq!(status, 200);
    // A rowid beyond 2^53 is not a number that every reader keeps.
    let rowid = json!({"type": "integer", "value": (1_i64 << 60).to_string()});
    assert_eq!(
        answer,
        json!({"rows_affected": 7, "last_insert_rowid": rowid, "bookmark": bookmark().to_string()})
    );
    let write = service.writes.lock().pop().unwrap();
    assert_eq!((write.request_id.as_deref(), write.seen, write.returning), (Some("r1"), Txid::new(9), false));
    assert_eq!(write.statements.len(), 1);

    // Who does not say what it had seen tries for the first time now.
    raw(node.port, EXECUTE, br#"{"sql":"INSERT"}"#).await;
    let write = service.writes.lock().pop().unwrap();
    assert_eq!((write.request_id, write.seen), (None, Txid::new(41)));
    node.stop().await;
}

#[tokio::test]
async fn query_takes_and_gives_plain_json() {
    let node = Running::start(TestService::obliging(), None, ServerLimits::default()).await;
    let body = br#"{"sql":"q","params":[null,5,2.5,"a",{"type":"blob","base64":"AQI="}]}"#;
    let (status, answer) = raw(node.port, QUERY, body).await;
    assert_eq!(status, 200);
    let row = json!([null, 5, 2.5, "a", {"type": "blob", "base64": "AQI="}]);
    assert_eq!(answer, json!({"columns": ["c0", "c1", "c2", "c3", "c4"], "rows": [row]}));
    node.stop().await;
}

#[tokio::test]
async fn a_refusal_of_sqlite_arrives_with_its_code_and_message() {
    let node = Running::start(TestService::obliging(), None, ServerLimits::default()).await;
    let (status, answer) = raw(node.port, QUERY, br#"{"sql":"q","params":{"a":1}}"#).await;
    let expected = json!({"error": {
        "kind": "Sql", "outcome": "NotCommitted", "sqlite_code": 1, "message": "no such table: t",
    }});
    assert_eq!((status, answer), (400, expected));
    node.stop().await;
}

#[tokio::test]
async fn every_kind_of_error_has_a_status_and_a_body() {
    for kind in ErrorKind::ALL {
        let service = TestService::failing(move || Error::new(kind, "why").with_leader("http://a:1"));
        let node = Running::start(service, None, ServerLimits::default()).await;
        let (status, answer) = raw(node.port, EXECUTE, br#"{"sql":"x"}"#).await;
        assert!((400..600).contains(&status), "{kind:?} has {status}");
        assert_eq!(answer["error"]["kind"], kind.name());
        assert_eq!(answer["error"]["leader"], "http://a:1");
        let expected = match kind {
            ErrorKind::NotLeader => 421,
            ErrorKind::Unauthorized => 401,
            ErrorKind::InvalidArgument | ErrorKind::Sql => 400,
            ErrorKind::Constraint => 409,
            ErrorKind::LeaderUnavailable | ErrorKind::Busy => 503,
            _ => status,
        };
        assert_eq!(status, expected, "{kind:?}");
        node.stop().await;
    }
}

#[tokio::test]
async fn what_is_not_an_endpoint_is_a_typed_error_too() {
    let node = Running::start(TestService::obliging(), None, ServerLimits::default()).await;
    for (head, expected) in [
        ("GET / HTTP/1.1", 404),
        ("GET /haqlite/execute HTTP/1.1", 405),
        ("POST /haqlite/health HTTP/1.1\r\nContent-Type: application/json", 405),
        ("DELETE /haqlite/status HTTP/1.1", 405),
        ("POST /haqlite/execute HTTP/1.1", 415),
        (EXECUTE, 400),
    ] {
        let (status, answer) = raw(node.port, head, b"not json").await;
        assert_eq!((status, &answer["error"]["kind"]), (expected, &json!("InvalidArgument")), "{head}");
    }
    node.stop().await;
}

#[tokio::test]
async fn status_is_json() {
    let node = Running::start(TestService::obliging(), None, ServerLimits::default()).await;
    let (status, answer) = raw(node.port, "GET /haqlite/status HTTP/1.1", b"").await;
    assert_eq!((status, &answer["role"], &answer["committed"]), (200, &json!("leader"), &json!(41)));
    node.stop().await;
}

#[tokio::test]
async fn a_panic_ends_one_request_with_an_unknown_outcome_and_nothing_else() {
    let node = Running::start(TestService::obliging(), None, ServerLimits::default()).await;
    let (status, answer) = raw(node.port, EXECUTE, br#"{"sql":"panic"}"#).await;
    assert_eq!((status, &answer["error"]["outcome"]), (500, &json!("Unknown")));
    assert_eq!(raw(node.port, EXECUTE, br#"{"sql":"x"}"#).await.0, 200);
    node.stop().await;
}

#[tokio::test]
async fn a_large_body_is_taken_and_one_beyond_the_limit_is_refused() {
    let limits = ServerLimits { request_bytes: 8 << 20, ..ServerLimits::default() };
    let service = TestService::obliging();
    let node = Running::start(service.clone(), None, limits).await;
    let body = |size: usize| serde_json::to_vec(&json!({"sql": "x", "params": ["y".repeat(size)]})).unwrap();
    assert_eq!(raw(node.port, EXECUTE, &body((8 << 20) - 100)).await.0, 200);
    let (status, answer) = raw(node.port, EXECUTE, &body(8 << 20)).await;
    assert_eq!((status, &answer["error"]["kind"]), (413, &json!("LimitExceeded")));
    let chunked = "POST /haqlite/execute HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 99999999999999999999";
    let mut stream = TcpStream::connect(("127.0.0.1", node.port)).await.unwrap();
    stream.write_all(format!("{chunked}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(service.writes.lock().len(), 1);
    node.stop().await;
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_a_typed_error() {
    let limits = ServerLimits { answer_bytes: 1000, ..ServerLimits::default() };
    let node = Running::start(TestService::obliging(), None, limits).await;
    assert_eq!(raw(node.port, QUERY, br#"{"sql":"blob 500"}"#).await.0, 200);
    let (status, answer) = raw(node.port, QUERY, br#"{"sql":"blob 5000"}"#).await;
    assert_eq!((status, &answer["error"]["kind"]), (413, &json!("LimitExceeded")));
    assert_eq!(answer["error"]["outcome"], "NotCommitted");
    node.stop().await;
}

#[tokio::test]
async fn one_request_too_many_is_busy_and_the_others_go_on() {
    let limits = ServerLimits { requests: 2, ..ServerLimits::default() };
    let service = TestService::obliging();
    let node = Running::start(service.clone(), None, limits).await;
    let waiting = async { tokio::join!(wait_in(node.port), wait_in(node.port)) };
    let third = async {
        until(|| service.writes.lock().len() == 2).await;
        let refused = raw(node.port, EXECUTE, br#"{"sql":"x"}"#).await;
        service.gate.add_permits(2);
        refused
    };
    let ((first, second), (status, answer)) = tokio::join!(waiting, third);
    assert_eq!((status, &answer["error"]["kind"]), (503, &json!("Busy")));
    assert_eq!((first, second), (200, 200));
    assert_eq!(raw(node.port, EXECUTE, br#"{"sql":"x"}"#).await.0, 200);
    node.stop().await;
}

#[tokio::test]
async fn bodies_in_progress_are_limited_together() {
    let limits = ServerLimits { bodies_bytes: 10 << 10, ..ServerLimits::default() };
    let service = TestService::obliging();
    let node = Running::start(service.clone(), None, limits).await;
    let body = serde_json::to_vec(&json!({"sql": "x", "params": ["y".repeat(9 << 10)]})).unwrap();
    assert_eq!(raw(node.port, EXECUTE, &body).await.0, 200);
    let second = async {
        until(|| service.writes.lock().len() == 2).await;
        let refused = raw(node.port, EXECUTE, &body).await;
        service.gate.add_permits(1);
        refused
    };
    let (first, (status, answer)) = tokio::join!(wait_in(node.port), second);
    assert_eq!(first, 200);
    // 1 KiB is taken, 9 are left, the body needs 10.
    assert_eq!((status, &answer["error"]["kind"]), (503, &json!("Busy")));
    node.stop().await;
}

#[tokio::test]
async fn a_client_that_dawdles_is_cut_off() {
    let short = Duration::from_millis(200);
    let limits = ServerLimits { head: short, body: short, connections: 1, ..ServerLimits::default() };
    let node = Running::start(TestService::obliging(), None, limits).await;
    for sent in ["", "POST /haq", &format!("{EXECUTE}\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{\"sql\"")] {
        let mut stream = TcpStream::connect(("127.0.0.1", node.port)).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "{sent:?} holds its connection");
        assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    }
    // The only connection that the server has is free again.
    assert_eq!(raw(node.port, EXECUTE, br#"{"sql":"x"}"#).await.0, 200);
    node.stop().await;
}

#[tokio::test]
async fn a_client_that_takes_no_answer_in_is_cut_off() {
    let limits =
        ServerLimits { write_stall: Duration::from_millis(200), connections: 1, ..ServerLimits::default() };
    let node = Running::start(TestService::obliging(), None, limits).await;
    let mut deaf = TcpStream::connect(("127.0.0.1", node.port)).await.unwrap();
    let body = r#"{"sql":"blob 30000000"}"#;
    let request = format!("{QUERY}\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    deaf.write_all(request.as_bytes()).await.unwrap();
    let next = raw(node.port, EXECUTE, br#"{"sql":"x"}"#);
    let (status, _) = tokio::time::timeout(Duration::from_secs(20), next).await.expect("the place is free");
    assert_eq!(status, 200);
    node.stop().await;
}

#[tokio::test]
async fn a_request_that_takes_for_ever_ends_with_an_unknown_outcome() {
    let limits = ServerLimits { work: Duration::from_millis(100), ..ServerLimits::default() };
    let node = Running::start(TestService::obliging(), None, limits).await;
    let (status, answer) = raw(node.port, EXECUTE, br#"{"sql":"wait"}"#).await;
    assert_eq!((status, &answer["error"]["kind"]), (500, &json!("OutcomeUnknown")));
    assert_eq!(answer["error"]["outcome"], "Unknown");
    node.stop().await;
}

#[tokio::test]
async fn requests_in_progress_end_before_the_server_does() {
    let service = TestService::obliging();
    let node = Running::start(service.clone(), None, ServerLimits::default()).await;
    let port = node.port;
    let idle = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let stopping = async {
        until(|| service.writes.lock().len() == 1).await;
        tokio::join!(node.stop(), async {
            until_refused(port).await;
            service.gate.add_permits(1);
        });
    };
    let (status, ()) = tokio::join!(wait_in(port), stopping);
    assert_eq!(status, 200);
    drop(idle);
}

#[tokio::test]
async fn a_request_that_does_not_end_does_not_hold_up_the_shutdown() {
    let service = TestService::obliging();
    let limits = ServerLimits { drain: Duration::from_millis(100), ..ServerLimits::default() };
    let node = Running::start(service.clone(), None, limits).await;
    let port = node.port;
    let stuck = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let body = r#"{"sql":"wait"}"#;
        let request = format!("{EXECUTE}\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        answer
    };
    let stopping = async {
        until(|| service.writes.lock().len() == 1).await;
        tokio::time::timeout(Duration::from_secs(5), node.stop()).await.expect("the drain is bounded");
    };
    let (answer, ()) = tokio::join!(stuck, stopping);
    assert!(answer.is_empty());
}

#[tokio::test]
async fn values_cross_the_simple_endpoints_unchanged() {
    let service = TestService::obliging();
    let node = Running::start(service.clone(), None, ServerLimits::default()).await;
    raw(node.port, QUERY, br#"{"sql":"q","params":[9007199254740993,-0.0,1e308,"\u0000\ud83d\ude00"]}"#)
        .await;
    let query = service.queries.lock().pop().unwrap();
    let expected = vec![
        SqlValue::Integer(9007199254740993),
        SqlValue::Real(-0.0),
        SqlValue::Real(1e308),
        SqlValue::Text("\0😀".into()),
    ];
    assert_eq!(query.params, expected.into());
    node.stop().await;
}

async fn wait_in(port: u16) -> u16 {
    raw(port, EXECUTE, br#"{"sql":"wait"}"#).await.0
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn until_refused(port: u16) {
    while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
