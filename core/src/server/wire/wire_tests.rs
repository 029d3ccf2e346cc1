use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::types::{
    BatchResult, Bookmark, Chain, Epoch, ExecuteResult, NodeId, NodeInfo, Outcome, Params, Position, Role,
    Row, Rows, SessionId, SqlValue, Statement, Status, Txid,
};

/// Equal to the last bit, with all NaNs alike.
fn same(a: &SqlValue, b: &SqlValue) -> bool {
    match (a, b) {
        (SqlValue::Real(a), SqlValue::Real(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
        _ => a == b,
    }
}

fn value() -> impl Strategy<Value = SqlValue> {
    prop_oneof![
        Just(SqlValue::Null),
        any::<i64>().prop_map(SqlValue::Integer),
        any::<u64>().prop_map(|bits| SqlValue::Real(f64::from_bits(bits))),
        any::<String>().prop_map(SqlValue::Text),
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(SqlValue::Blob),
    ]
}

fn not_nan() -> impl Strategy<Value = SqlValue> {
    value().prop_map(|value| match value {
        SqlValue::Real(real) if real.is_nan() => SqlValue::Null,
        other => other,
    })
}

fn params() -> impl Strategy<Value = Params<'static>> {
    prop_oneof![
        proptest::collection::vec(not_nan(), 0..5).prop_map(Params::from),
        proptest::collection::vec((any::<String>(), not_nan()), 0..5).prop_map(Params::OwnedNamed),
    ]
}

fn rows() -> impl Strategy<Value = Rows> {
    (0_usize..4).prop_flat_map(|width| {
        let columns = proptest::collection::vec(any::<String>(), width);
        let cells = proptest::collection::vec(proptest::collection::vec(not_nan(), width), 0..5);
        (columns, cells).prop_map(|(columns, cells)| {
            let columns: Arc<[String]> = columns.into();
            let rows = cells.into_iter().map(|values| Row::new(columns.clone(), values)).collect();
            Rows { columns, rows }
        })
    })
}

fn bookmark() -> impl Strategy<Value = Bookmark> {
    (0..=Epoch::MAX.get(), any::<u64>())
        .prop_map(|(epoch, txid)| Bookmark { epoch: Epoch::new(epoch).unwrap(), txid: Txid::new(txid) })
}

fn position() -> impl Strategy<Value = Position> {
    (any::<u64>(), any::<[u8; 16]>(), 0..=Epoch::MAX.get()).prop_map(|(txid, chain, epoch)| Position {
        txid: Txid::new(txid),
        chain: Chain::from_bytes(chain),
        epoch: Epoch::new(epoch).unwrap(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_typed_value_keeps_every_bit(value in value()) {
        let text = serde_json::to_string(&value::TypedRef(&value)).unwrap();
        let back: value::Typed = serde_json::from_str(&text).unwrap();
        prop_assert!(same(&back.0, &value), "{text} came back as {:?}", back.0);
    }

    #[test]
    fn a_plain_value_keeps_every_bit(value in value()) {
        let text = serde_json::to_string(&value::PlainRef(&value)).unwrap();
        let back: value::Plain = serde_json::from_str(&text).unwrap();
        prop_assert!(same(&back.0, &value), "{text} came back as {:?}", back.0);
    }

    #[test]
    fn a_write_arrives_as_it_was_sent(
        request_id in proptest::option::of("[a-z0-9-]{1,128}"),
        seen in any::<u64>(),
        returning in any::<bool>(),
        statements in proptest::collection::vec((any::<String>(), params()), 1..4),
    ) {
        let statements = statements.into_iter().map(|(sql, params)| Statement { sql, params }).collect();
        let sent = WriteRequest { request_id, seen: Txid::new(seen), returning, script: false, statements };
        prop_assert_eq!(WriteRequest::from_json(&sent.to_json()).unwrap(), sent);
    }

    #[test]
    fn a_write_result_arrives_as_it_was_sent(
        results in proptest::collection::vec((any::<u64>(), any::<Option<i64>>(), bookmark(), rows()), 0..4),
        bookmark in bookmark(),
        replayed in any::<bool>(),
    ) {
        let results = results
            .into_iter()
            .map(|(affected, rowid, bookmark, rows)| (ExecuteResult::new(affected, rowid, bookmark), rows))
            .collect();
        let sent = WriteResponse { result: BatchResult::new(results, bookmark), replayed };
        prop_assert_eq!(WriteResponse::from_json(&sent.to_json()).unwrap(), sent);
    }

    #[test]
    fn a_query_and_its_rows_arrive_as_they_were_sent(
        sql in any::<String>(),
        params in params(),
        timeout in proptest::option::of(any::<u32>()),
        rows in rows(),
    ) {
        let timeout = timeout.map(|millis| Duration::from_millis(millis.into()));
        let sent = QueryRequest { sql, params, timeout };
        prop_assert_eq!(QueryRequest::from_json(&sent.to_json()).unwrap(), sent);
        prop_assert_eq!(decode_rows(&encode_rows(&rows)).unwrap(), rows);
    }

    #[test]
    fn what_nodes_say_of_themselves_arrives_as_it_was_sent(
        node in any::<String>(),
        session in any::<[u8; 16]>(),
        address in any::<String>(),
        position in position(),
        epoch in 0..=Epoch::MAX.get(),
        leader in proptest::option::of(any::<String>()),
        unreadable in proptest::option::of(any::<u64>()),
        yes in any::<bool>(),
    ) {
        let (unreadable, can_lead, covers) = (unreadable.map(Txid::new), yes, yes);
        let node_id = NodeId::new(node);
        let epoch = Epoch::new(epoch).unwrap();
        let session = SessionId::from_bytes(session);
        let sent = FollowRequest { node_id: node_id.clone(), session, can_lead, address, position, unreadable };
        prop_assert_eq!(FollowRequest::from_json(&sent.to_json()).unwrap(), sent);
        for role in [Role::Leader, Role::Follower, Role::Client, Role::LatentWriter] {
            let node_id = node_id.clone();
            let sent = FollowResponse { node_id, role, epoch, leader: leader.clone(), confirmed: position, covers };
            prop_assert_eq!(FollowResponse::from_json(&sent.to_json()).unwrap(), sent);
        }
        let mut sent = NodeInfo::new(node_id.clone(), Role::Follower, position.txid);
        (sent.address, sent.last_seen) = (leader, Duration::from_millis(epoch.get()));
        let sent = [sent.clone(), NodeInfo::new(node_id.clone(), Role::Leader, sent.position)];
        prop_assert_eq!(decode_nodes(&encode_nodes(&sent)).unwrap(), sent);
        for released in [false, true] {
            let sent = CampaignRequest { epoch, from: node_id.clone(), released };
            prop_assert_eq!(CampaignRequest::from_json(&sent.to_json()).unwrap(), sent);
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(decode_error(&bytes).is_none());
        prop_assert!(WriteRequest::from_json(&bytes).is_err());
        prop_assert!(LookUpResponse::from_json(&bytes).is_err() && RelayResponse::from_json(&bytes).is_err());
        let relay = RelayRequest::from_bytes(bytes.clone().into());
        prop_assert_eq!(relay.ok().map(|relay| relay.to_bytes().to_vec()), Some(bytes.clone()).filter(|b| b.len() >= 16));
        prop_assert!(decode_rows(&bytes).is_err());
    }
}

#[test]
fn an_error_of_every_kind_arrives_with_all_that_it_says() {
    for kind in ErrorKind::ALL {
        for outcome in [Outcome::NotCommitted, Outcome::Committed, Outcome::Unknown] {
            let bare = Error::new(kind, "why \"quoted\"\n").with_outcome(outcome);
            let full = Error::new(kind, "why")
                .with_outcome(outcome)
                .with_sqlite_code(2067)
                .with_leader("http://a:1");
            for sent in [bare, full] {
                let got = decode_error(&encode_error(&sent)).unwrap();
                assert_eq!(
                    (got.kind(), got.outcome(), got.sqlite_code(), got.leader(), got.message()),
                    (sent.kind(), sent.outcome(), sent.sqlite_code(), sent.leader(), sent.message()),
                );
            }
        }
    }
}

#[test]
fn an_error_of_a_newer_version_keeps_its_message_and_promises_nothing() {
    let bytes = br#"{"error":{"kind":"Brandnew","outcome":"Perhaps","message":"why","more":1}}"#;
    let error = decode_error(bytes).unwrap();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Internal, Outcome::Unknown));
    assert_eq!(error.message(), "Brandnew: why");
}

#[test]
fn a_message_of_a_newer_version_is_understood() {
    let bytes = br#"{"seen":7,"priority":1,"statements":[{"sql":"x","hint":[{}]}]}"#;
    let request = WriteRequest::from_json(bytes).unwrap();
    assert_eq!(request.seen, Txid::new(7));
    assert_eq!(request.statements, vec![Statement::from("x")]);
    assert_eq!((request.request_id, request.returning), (None, false));
}

#[test]
fn typed_values_look_like_this() {
    let values = [
        (SqlValue::Null, json!({"type": "null"})),
        (SqlValue::Integer(9007199254740993), json!({"type": "integer", "value": "9007199254740993"})),
        (SqlValue::Real(1.5), json!({"type": "real", "value": 1.5})),
        (SqlValue::Real(f64::NEG_INFINITY), json!({"type": "real", "value": "-inf"})),
        (SqlValue::Text("a".into()), json!({"type": "text", "value": "a"})),
        (SqlValue::Blob(vec![1, 2]), json!({"type": "blob", "base64": "AQI="})),
    ];
    for (value, expected) in values {
        assert_eq!(serde_json::to_value(value::TypedRef(&value)).unwrap(), expected);
    }
}

#[test]
fn plain_parameters_are_read_by_position_and_by_name() {
    let request = SimpleQuery::from_json(
        br#"{"sql":"s","params":[null,true,false,3,2.5,"a",{"type":"blob","base64":"AQI="},
            {"type":"integer","value":"9007199254740993"}]}"#,
    )
    .unwrap();
    let expected = vec![
        SqlValue::Null,
        SqlValue::Integer(1),
        SqlValue::Integer(0),
        SqlValue::Integer(3),
        SqlValue::Real(2.5),
        SqlValue::Text("a".into()),
        SqlValue::Blob(vec![1, 2]),
        SqlValue::Integer(9007199254740993),
    ];
    assert_eq!(request.params, Params::from(expected));

    let request = SimpleQuery::from_json(br#"{"sql":"s","params":{":b":1,"a":"x"}}"#).unwrap();
    let pairs = vec![(":b".into(), SqlValue::Integer(1)), ("a".into(), SqlValue::Text("x".into()))];
    assert_eq!(request.params, Params::OwnedNamed(pairs));
    for none in [&br#"{"sql":"s"}"#[..], br#"{"sql":"s","params":null}"#, br#"{"sql":"s","params":[]}"#] {
        assert_eq!(SimpleQuery::from_json(none).unwrap().params, Params::none());
    }
}

#[test]
fn what_makes_no_sense_is_refused_as_an_argument() {
    let long_id = format!(r#"{{"sql":"s","request_id":"{}"}}"#, "x".repeat(MAX_REQUEST_ID_LENGTH + 1));
    for text in [
        "",
        "[]",
        "{}",
        r#"{"sql":1}"#,
        r#"{"sql":"s","params":7}"#,
        r#"{"sql":"s","params":[[1]]}"#,
        r#"{"sql":"s","params":[18446744073709551615]}"#,
        r#"{"sql":"s","params":[{"type":"integer","value":"9223372036854775808"}]}"#,
        r#"{"sql":"s","params":[{"type":"integer","value":1.5}]}"#,
        r#"{"sql":"s","params":[{"type":"blob","base64":"?*!"}]}"#,
        r#"{"sql":"s","params":[{"type":"blob","value":"AQI="}]}"#,
        r#"{"sql":"s","params":[{"type":"date","value":"x"}]}"#,
        r#"{"sql":"s","params":[{"type":"null","value":"x"}]}"#,
        r#"{"sql":"s","params":[{"value":"x"}]}"#,
        r#"{"sql":"s","request_id":""}"#,
        &long_id,
    ] {
        let error = SimpleExecute::from_json(text.as_bytes()).expect_err(text);
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::InvalidArgument, Outcome::NotCommitted));
    }
    assert!(WriteRequest::from_json(br#"{"seen":0,"statements":[]}"#).is_err());
    assert!(decode_rows(br#"{"columns":["a"],"rows":[[]]}"#).is_err());
}

#[test]
fn the_status_has_every_field() {
    let mut status = Status::new(Role::Leader);
    status.epoch = Epoch::new(3).unwrap();
    status.leader = Some("http://a:1".into());
    status.committed = Txid::new(9);
    status.confirmed = Position { txid: Txid::new(8), ..Position::default() };
    status.applied = Txid::new(9);
    status.lag = Duration::from_millis(1500);
    status.lag_bytes = 4096;
    status.spool_bytes = 512;
    status.last_error = Some((ErrorKind::StoreUnavailable, "down".into()));
    status.lost_tails = vec![PathBuf::from("/data/a.lost")];
    let json: serde_json::Value = serde_json::from_slice(&encode_status(&status)).unwrap();
    let expected = json!({
        "role": "leader", "epoch": 3, "leader": "http://a:1", "committed": 9,
        "confirmed": {"txid": 8, "chain": "0".repeat(32), "epoch": 0},
        "applied": 9, "lag_ms": 1500, "lag_bytes": 4096, "spool_bytes": 512,
        "last_error": {"kind": "StoreUnavailable", "message": "down"},
        "lost_tails": ["/data/a.lost"],
    });
    assert_eq!(json, expected);
}
