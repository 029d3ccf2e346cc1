use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::server::test_service::{Running, TestService, bookmark, secret, write};
use crate::server::wire::{
    CampaignRequest, FollowRequest, LookUpRequest, ProveRequest, QueryRequest, RelayRequest, Relayed,
};
use crate::server::{MAX_REQUEST_BYTES, Secret, ServerLimits, Service};
use crate::types::{
    Chain, Epoch, Error, ErrorKind, Monotonic, NodeId, NodeInfo, Outcome, Params, Position, Role, SessionId,
    SqlValue, Statement, Txid,
};

use super::{Forwarder, Next, Repeat, Retry, RetryLimits, SendError};

const TIMEOUT: Duration = Duration::from_secs(10);

fn forwarder() -> Forwarder {
    Forwarder::new(Some(&secret())).unwrap()
}

async fn node(service: std::sync::Arc<TestService>) -> Running {
    Running::start(service, Some(secret()), ServerLimits::default()).await
}

#[tokio::test]
async fn every_message_crosses_the_wire() {
    let service = TestService::obliging();
    let node = node(service.clone()).await;
    let forwarder = forwarder();

    let mut sent = write("INSERT INTO t VALUES (?1)");
    sent.statements.push(Statement::new("SELECT :a", Params::named(&[("a", SqlValue::Blob(vec![0, 255]))])));
    let got = forwarder.write(&node.address, &sent, TIMEOUT).await.unwrap();
    assert_eq!(*service.writes.lock(), [sent]);
    assert_eq!((got.replayed, got.result.bookmark, got.result.results.len()), (true, bookmark(), 2));
    assert_eq!(got.result.results[0].0.last_insert_rowid, Some(1 << 60));

    let values =
        vec![SqlValue::Null, SqlValue::Integer(i64::MIN), SqlValue::Real(0.1), SqlValue::Text("ü".into())];
    let query = QueryRequest { sql: "q".into(), params: values.clone().into(), timeout: Some(TIMEOUT) };
    let rows = forwarder.query(&node.address, &query, TIMEOUT).await.unwrap();
    assert_eq!(*service.queries.lock(), [query]);
    assert_eq!(rows.rows[0].values(), values);

    let position = Position {
        txid: Txid::new(u64::MAX - 1),
        chain: Chain::from_bytes([7; 16]),
        epoch: Epoch::new(4).unwrap(),
    };
    let follow = FollowRequest {
        node_id: NodeId::new("b"),
        session: SessionId::from_bytes([9; 16]),
        can_lead: false,
        address: "http://b:1".into(),
        position,
        unreadable: Some(Txid::new(7)),
    };
    let heard = forwarder.follow(&node.address, &follow, TIMEOUT).await.unwrap();
    assert_eq!(*service.follows.lock(), [follow]);
    assert_eq!((heard.role, heard.confirmed.txid), (Role::Leader, Txid::new(u64::MAX)));
    assert!(heard.covers);

    let nodes = forwarder.nodes(&node.address, TIMEOUT).await.unwrap();
    assert_eq!(nodes, [NodeInfo::new(NodeId::new("a"), Role::Leader, Txid::new(7))]);

    let campaign = CampaignRequest { epoch: Epoch::new(4).unwrap(), from: NodeId::new("a"), released: false };
    forwarder.campaign(&node.address, &campaign, TIMEOUT).await.unwrap();
    assert_eq!(*service.campaigns.lock(), [campaign]);
    node.stop().await;
}

#[tokio::test]
async fn what_a_leader_asks_of_a_follower_in_an_outage_crosses_the_wire() {
    let service = TestService::obliging();
    let node = node(service.clone()).await;
    let forwarder = forwarder();

    let prove = ProveRequest { epoch: Epoch::new(4).unwrap(), from: NodeId::new("a") };
    forwarder.prove(&node.address, &prove, TIMEOUT).await.unwrap();
    assert_eq!(*service.proofs.lock(), [prove]);

    // Any bytes, also those that no text has.
    let file = (0..=255).cycle().take(3 << 20).collect::<Vec<u8>>().into();
    let slot = RelayRequest { chain: Chain::from_bytes([9; 16]), file };
    for answer in [Relayed::Stored, Relayed::Refused] {
        let got = forwarder.relay(&node.address, &slot, TIMEOUT).await.unwrap();
        assert_eq!(got.answer, answer);
    }
    assert_eq!(*service.relayed.lock(), [slot.clone(), slot]);

    for txid in [7, u64::MAX - 1].map(Txid::new) {
        let got = forwarder.look_up(&node.address, LookUpRequest { txid }, TIMEOUT).await.unwrap();
        assert_eq!(got, service.look_up(LookUpRequest { txid }).await.unwrap());
        assert_eq!(got.slot.is_some(), txid != Txid::new(7));
    }
    node.stop().await;
}

#[tokio::test]
async fn an_error_of_every_kind_arrives_as_it_was_thrown() {
    for kind in ErrorKind::ALL {
        let thrown = move || {
            let error = Error::new(kind, "the reason").with_outcome(Outcome::Unknown);
            error.with_sqlite_code(1555).with_leader("http://b:1")
        };
        let node = node(TestService::failing(thrown)).await;
        let failure = forwarder().write(&node.address, &write("x"), TIMEOUT).await.unwrap_err();
        assert!(matches!(failure, SendError::Answered(_)) && failure.may_have_run(), "{failure:?}");
        let got = failure.error();
        assert_eq!(
            (got.kind(), got.outcome(), got.sqlite_code(), got.leader(), got.message()),
            (kind, Outcome::Unknown, Some(1555), Some("http://b:1"), "the reason"),
        );
        node.stop().await;
    }
}

#[tokio::test]
async fn a_node_that_turns_a_write_away_has_not_processed_it() {
    let turned_away = [
        ErrorKind::NotLeader,
        ErrorKind::Busy,
        ErrorKind::Closed,
        ErrorKind::Fenced,
        ErrorKind::LeaderUnavailable,
        ErrorKind::Unauthorized,
    ];
    for kind in ErrorKind::ALL {
        let node =
            node(TestService::failing(move || Error::new(kind, "why").with_outcome(Outcome::NotCommitted)))
                .await;
        let failure = forwarder().write(&node.address, &write("x"), TIMEOUT).await.unwrap_err();
        let not_processed = matches!(failure, SendError::NotProcessed(_));
        assert_eq!(not_processed, turned_away.contains(&kind), "{failure:?}");
        assert!(!failure.may_have_run());
        node.stop().await;
    }
    let locked = || Error::new(ErrorKind::Busy, "database is locked").with_sqlite_code(5);
    let node = node(TestService::failing(locked)).await;
    let failure = forwarder().write(&node.address, &write("x"), TIMEOUT).await.unwrap_err();
    assert!(matches!(failure, SendError::Answered(_)));
    node.stop().await;
}

#[tokio::test]
async fn a_wrong_secret_is_not_processed() {
    let service = TestService::obliging();
    let node = node(service.clone()).await;
    for wrong in [None, Some(Secret::new("wrong").unwrap())] {
        let forwarder = Forwarder::new(wrong.as_ref()).unwrap();
        let failure = forwarder.write(&node.address, &write("x"), TIMEOUT).await.unwrap_err();
        assert!(
            matches!(&failure, SendError::NotProcessed(error) if error.kind() == ErrorKind::Unauthorized)
        );
    }
    assert!(service.writes.lock().is_empty());
    node.stop().await;
}

#[tokio::test]
async fn what_cannot_be_reached_has_not_processed_anything() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for (address, kind) in [
        (closed.as_str(), ErrorKind::LeaderUnavailable),
        ("http://nowhere.invalid:1", ErrorKind::LeaderUnavailable),
        ("http://0.0.0.0:18080", ErrorKind::InvalidConfig),
        ("https://127.0.0.1:1", ErrorKind::NotImplemented),
        ("rubbish", ErrorKind::InvalidConfig),
    ] {
        let failure = forwarder().write(address, &write("x"), TIMEOUT).await.unwrap_err();
        assert!(matches!(&failure, SendError::NotProcessed(error) if error.kind() == kind), "{failure:?}");
        assert_eq!(failure.error().outcome(), Outcome::NotCommitted);
    }
}

#[tokio::test]
async fn a_lost_answer_is_of_unknown_outcome() {
    let service = TestService::obliging();
    let node = node(service.clone()).await;
    let forwarder = forwarder();
    for keep in [0, 40, 200] {
        let proxy = answer_cutter(node.port, keep).await;
        let failure = forwarder.write(&proxy, &write("x"), TIMEOUT).await.unwrap_err();
        assert!(matches!(failure, SendError::Lost(_)), "{keep}: {failure:?}");
        assert_eq!(failure.error().kind(), ErrorKind::OutcomeUnknown);
        assert_eq!(failure.error().outcome(), Outcome::Unknown);
    }
    assert_eq!(service.writes.lock().len(), 3, "each call is one try");
    node.stop().await;
}

#[tokio::test]
async fn a_late_answer_is_of_unknown_outcome() {
    let service = TestService::obliging();
    let node = node(service.clone()).await;
    let failure =
        forwarder().write(&node.address, &write("wait"), Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(failure, SendError::Lost(_)), "{failure:?}");
    assert_eq!(service.writes.lock().len(), 1);
    node.stop().await;
}

#[tokio::test]
async fn a_connection_that_does_not_come_about_in_time_has_carried_nothing() {
    // A full backlog: the system takes no more connections, as a machine behind a cut link does.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let target = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(target)).await
    {
        waiting.push(stream.unwrap());
    }
    // Shorter than the limit for connecting, as the last try of a request may be.
    let timeout = Duration::from_millis(300);
    let failure = forwarder().write(&format!("http://{target}"), &write("x"), timeout).await.unwrap_err();
    assert!(matches!(failure, SendError::NotProcessed(_)), "{failure:?}");
}

#[tokio::test]
async fn a_panic_on_the_leader_is_of_unknown_outcome() {
    let node = node(TestService::obliging()).await;
    let failure = forwarder().write(&node.address, &write("panic"), TIMEOUT).await.unwrap_err();
    assert!(matches!(failure, SendError::Answered(_)) && failure.may_have_run());
    assert_eq!(failure.into_error().outcome(), Outcome::Unknown);
    node.stop().await;
}

#[tokio::test]
async fn a_restarted_leader_is_found_again_and_runs_each_write_once() {
    let service = TestService::obliging();
    let forwarder = forwarder();
    let mut running = node(service.clone()).await;
    let (address, port) = (running.address.clone(), running.port);
    let mut answered = 0;
    for _ in 0..5 {
        match forwarder.write(&address, &write("x"), TIMEOUT).await {
            Ok(_) => answered += 1,
            // The pooled connection of the server that is gone may be noticed only when it is used.
            Err(failure) => assert!(!matches!(failure, SendError::Answered(_)), "{failure:?}"),
        }
        running.stop().await;
        running = Running::start_at(port, service.clone(), Some(secret()), ServerLimits::default()).await;
    }
    forwarder.write(&address, &write("x"), TIMEOUT).await.unwrap();
    assert!(answered >= 1);
    assert_eq!(service.writes.lock().len(), answered + 1);
    running.stop().await;
}

#[tokio::test]
async fn large_writes_and_answers_pass_and_larger_ones_are_refused_before_they_are_sent() {
    let service = TestService::obliging();
    let node = node(service.clone()).await;
    let forwarder = forwarder();
    let blob = |size: usize| vec![SqlValue::Blob(vec![7; size])];
    let query = QueryRequest { sql: "q".into(), params: blob(6 << 20).into(), timeout: None };
    let rows = forwarder.query(&node.address, &query, TIMEOUT * 6).await.unwrap();
    assert_eq!(rows.rows[0].values(), blob(6 << 20));

    let mut large = write("x");
    large.statements[0].params = blob(MAX_REQUEST_BYTES / 4 * 3).into();
    let failure = forwarder.write(&node.address, &large, TIMEOUT).await.unwrap_err();
    assert!(matches!(&failure, SendError::Answered(error) if error.kind() == ErrorKind::LimitExceeded));
    assert!(!failure.may_have_run());
    assert!(service.writes.lock().is_empty());
    node.stop().await;
}

#[tokio::test]
async fn a_stranger_at_the_address_is_not_a_node() {
    for (answer, processed) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", false),
        ("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", true),
        ("SSH-2.0-OpenSSH_9.2\r\n", true),
    ] {
        let address = canned(answer).await;
        let failure = forwarder().write(&address, &write("x"), TIMEOUT).await.unwrap_err();
        assert_eq!(matches!(failure, SendError::Lost(_)), processed, "{answer}: {failure:?}");
        assert_eq!(matches!(failure, SendError::NotProcessed(_)), !processed, "{answer}: {failure:?}");
    }
}

#[tokio::test]
async fn a_request_announces_its_size() {
    // Room for the announced size only; without one the server would set aside the largest size.
    let limits = ServerLimits { bodies_bytes: 10 << 10, ..ServerLimits::default() };
    let node = Running::start(TestService::obliging(), Some(secret()), limits).await;
    forwarder().write(&node.address, &write("x"), TIMEOUT).await.unwrap();
    node.stop().await;
}

#[tokio::test]
async fn a_write_finds_its_way_to_the_new_leader_with_the_same_request_id() {
    let new = TestService::obliging();
    let new_leader = node(new.clone()).await;
    let hint = new_leader.address.clone();
    let old =
        TestService::failing(move || Error::new(ErrorKind::NotLeader, "not any more").with_leader(&hint));
    let old_leader = node(old.clone()).await;

    let forwarder = forwarder();
    let now = Monotonic::default();
    let mut retry = Retry::new(RetryLimits::default(), Repeat::SameId, now);
    let response = loop {
        match retry.next(now, Some(&old_leader.address)) {
            Next::Try { address, timeout } => match forwarder.write(&address, &write("x"), timeout).await {
                Ok(response) => break response,
                Err(failure) => retry.failed(now, &address, failure),
            },
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(response.result.bookmark, bookmark());
    assert_eq!(*old.writes.lock(), *new.writes.lock());
    assert_eq!(new.writes.lock().len(), 1);
    old_leader.stop().await;
    new_leader.stop().await;
}

#[test]
fn a_forwarder_does_not_show_its_secret() {
    assert!(!format!("{:?}", forwarder()).contains("correct-horse"));
}

/// A proxy for one connection that lets the request through, and of the answer only so many bytes.
async fn answer_cutter(port: u16, keep: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "the test is the runtime")]
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (mut near_in, mut near_out) = near.split();
        let (mut far_in, mut far_out) = far.split();
        let answer = async {
            let mut buffer = vec![0; 64 << 10];
            let count = far_in.read(&mut buffer).await.unwrap();
            near_out.write_all(&buffer[..count.min(keep)]).await.unwrap();
        };
        tokio::select! {
            () = answer => {}
            copied = tokio::io::copy(&mut near_in, &mut far_out) => drop(copied),
        }
    });
    address
}

/// Answers the first request with this text, whatever it is.
async fn canned(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "the test is the runtime")]
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 64 << 10];
        let mut seen = 0;
        while !buffer[..seen].windows(4).any(|window| window == b"\r\n\r\n") {
            seen += stream.read(&mut buffer[seen..]).await.unwrap();
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        // Closing with unread bytes would reset the connection before the answer is read.
        tokio::time::sleep(Duration::from_millis(100)).await;
    });
    address
}
