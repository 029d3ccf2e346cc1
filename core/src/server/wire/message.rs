//! The messages between nodes.

use std::sync::Arc;
use std::time::Duration;

use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};

use crate::types::{
    BatchResult, Bookmark, Epoch, ExecuteResult, NodeId, Params, Position, Result, Role, Row, Rows,
    SessionId, Statement, Txid,
};

use super::position::{WirePosition, epoch, role_from_name, role_name};
use super::value::{ParamsOf, ParamsRef, Typed, TypedRef};
use super::{MAX_REQUEST_ID_LENGTH, from_json, invalid, to_json};

/// A write that a follower hands to the leader. Several statements are one atomic batch.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct WriteRequest {
    /// What makes a repetition of this request the same write; 1 to 128 characters. Without one the write
    /// must not be repeated after a lost answer.
    pub(crate) request_id: Option<String>,
    /// The newest slot that the sender knew of when it tried for the first time.
    pub(crate) seen: Txid,
    /// Whether the rows that the statements return are wanted.
    pub(crate) returning: bool,
    /// Each statement's text is a script, run statement by statement: the schema. It must be idempotent.
    pub(crate) script: bool,
    /// At least one.
    pub(crate) statements: Vec<Statement>,
}

/// What became of a [`WriteRequest`].
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct WriteResponse {
    /// One result per statement.
    pub(crate) result: BatchResult,
    /// Whether this is the recorded result of an earlier try.
    pub(crate) replayed: bool,
}

/// A read that the leader shall run.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct QueryRequest {
    /// Exactly one statement that only reads.
    pub(crate) sql: String,
    /// Its parameters.
    pub(crate) params: Params<'static>,
    /// After how long it is interrupted; milliseconds on the wire.
    pub(crate) timeout: Option<Duration>,
}

/// A follower's heartbeat to the leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FollowRequest {
    /// The follower's name.
    pub(crate) node_id: NodeId,
    /// Its session.
    pub(crate) session: SessionId,
    /// Whether it may lead. A node that does not say so may.
    pub(crate) can_lead: bool,
    /// Where it answers.
    pub(crate) address: String,
    /// How far it has applied the log.
    pub(crate) position: Position,
    /// The slot that it cannot read, if there is one.
    pub(crate) unreadable: Option<Txid>,
}

/// What the node that was asked says of itself, whether it leads or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FollowResponse {
    /// Its name.
    pub(crate) node_id: NodeId,
    /// Its role.
    pub(crate) role: Role,
    /// The epoch that it knows.
    pub(crate) epoch: Epoch,
    /// The leader's address, if it knows one.
    pub(crate) leader: Option<String>,
    /// The newest slot that it knows to be confirmed.
    pub(crate) confirmed: Position,
    /// Whether it sees to it that a snapshot covers the slot that the asker cannot read.
    pub(crate) covers: bool,
}

/// The leader that hands over calls its successor: before it releases the lease, and to take it when it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CampaignRequest {
    /// The epoch that ended.
    pub(crate) epoch: Epoch,
    /// The leader that hands over.
    pub(crate) from: NodeId,
    /// Whether the lease is released: otherwise it will be in a moment.
    pub(crate) released: bool,
}

impl WriteRequest {
    pub(crate) fn to_json(&self) -> Vec<u8> {
        to_json(&WriteRequestOut {
            request_id: self.request_id.as_deref(),
            seen: self.seen.get(),
            returning: self.returning,
            script: self.script,
            statements: self
                .statements
                .iter()
                .map(|statement| StatementOut { sql: &statement.sql, params: ParamsRef(&statement.params) })
                .collect(),
        })
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<WriteRequest> {
        let wire: WriteRequestIn = from_json(bytes)?;
        if wire.statements.is_empty() {
            return Err(invalid("a write needs at least one statement"));
        }
        Ok(WriteRequest {
            request_id: wire.request_id.map(checked_request_id).transpose()?,
            seen: Txid::new(wire.seen),
            returning: wire.returning,
            script: wire.script,
            statements: wire
                .statements
                .into_iter()
                .map(|statement| Statement { sql: statement.sql, params: statement.params.params })
                .collect(),
        })
    }
}

impl WriteResponse {
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let results = self.result.results.iter();
        to_json(&WriteResponseOut {
            results: results
                .map(|(result, rows)| ResultOut {
                    rows_affected: result.rows_affected,
                    last_insert_rowid: result.last_insert_rowid,
                    bookmark: result.bookmark.to_string(),
                    rows: RowsOut::from(rows),
                })
                .collect(),
            bookmark: self.result.bookmark.to_string(),
            replayed: self.replayed,
        })
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<WriteResponse> {
        let wire: WriteResponseIn = from_json(bytes)?;
        let results = wire.results.into_iter().map(|result| {
            let bookmark: Bookmark = result.bookmark.parse()?;
            let executed = ExecuteResult::new(result.rows_affected, result.last_insert_rowid, bookmark);
            Ok((executed, result.rows.into_rows()?))
        });
        let results = results.collect::<Result<Vec<_>>>()?;
        Ok(WriteResponse {
            result: BatchResult::new(results, wire.bookmark.parse()?),
            replayed: wire.replayed,
        })
    }
}

impl QueryRequest {
    pub(crate) fn to_json(&self) -> Vec<u8> {
        to_json(&QueryOut {
            sql: &self.sql,
            params: ParamsRef(&self.params),
            timeout_ms: self.timeout.map(|timeout| timeout.as_millis().try_into().unwrap_or(u64::MAX)),
        })
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<QueryRequest> {
        let wire: QueryIn = from_json(bytes)?;
        Ok(QueryRequest {
            sql: wire.sql,
            params: wire.params.params,
            timeout: wire.timeout_ms.map(Duration::from_millis),
        })
    }
}

/// The answer to a [`QueryRequest`].
pub(crate) fn encode_rows(rows: &Rows) -> Vec<u8> {
    to_json(&RowsOut::from(rows))
}

/// The answer to a [`QueryRequest`].
pub(crate) fn decode_rows(bytes: &[u8]) -> Result<Rows> {
    from_json::<RowsIn>(bytes)?.into_rows()
}

impl FollowRequest {
    pub(crate) fn to_json(&self) -> Vec<u8> {
        to_json(&WireFollowRequest {
            node_id: self.node_id.to_string(),
            session: self.session.to_string(),
            can_lead: self.can_lead,
            address: self.address.clone(),
            position: WirePosition::from(&self.position),
            unreadable: self.unreadable.map(Txid::get),
        })
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<FollowRequest> {
        let wire: WireFollowRequest = from_json(bytes)?;
        Ok(FollowRequest {
            node_id: NodeId::new(wire.node_id),
            session: SessionId::from_hex(&wire.session)
                .ok_or_else(|| invalid(format!("{:?} is not a session", wire.session)))?,
            can_lead: wire.can_lead,
            address: wire.address,
            position: wire.position.into_position()?,
            unreadable: wire.unreadable.map(Txid::new),
        })
    }
}

impl FollowResponse {
    pub(crate) fn to_json(&self) -> Vec<u8> {
        to_json(&WireFollowResponse {
            node_id: self.node_id.to_string(),
            role: role_name(self.role).to_owned(),
            epoch: self.epoch.get(),
            leader: self.leader.clone(),
            confirmed: WirePosition::from(&self.confirmed),
            covers: self.covers,
        })
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<FollowResponse> {
        let wire: WireFollowResponse = from_json(bytes)?;
        Ok(FollowResponse {
            node_id: NodeId::new(wire.node_id),
            role: role_from_name(&wire.role)?,
            epoch: epoch(wire.epoch)?,
            leader: wire.leader,
            confirmed: wire.confirmed.into_position()?,
            covers: wire.covers,
        })
    }
}

impl CampaignRequest {
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let (epoch, from) = (self.epoch.get(), self.from.to_string());
        to_json(&WireCampaign { epoch, from, released: Some(self.released) })
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<CampaignRequest> {
        let wire: WireCampaign = from_json(bytes)?;
        let (epoch, from) = (epoch(wire.epoch)?, NodeId::new(wire.from));
        Ok(CampaignRequest { epoch, from, released: wire.released.unwrap_or(true) })
    }
}

pub(super) fn checked_request_id(id: String) -> Result<String> {
    let length = id.chars().count();
    if length == 0 || length > MAX_REQUEST_ID_LENGTH {
        let message = format!("a request id has 1 to {MAX_REQUEST_ID_LENGTH} characters, not {length}");
        return Err(invalid(message));
    }
    Ok(id)
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[derive(Serialize)]
struct WriteRequestOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    seen: u64,
    returning: bool,
    #[serde(skip_serializing_if = "is_false")]
    script: bool,
    statements: Vec<StatementOut<'a>>,
}

#[derive(Serialize)]
struct StatementOut<'a> {
    sql: &'a str,
    params: ParamsRef<'a>,
}

#[derive(Deserialize)]
struct WriteRequestIn {
    request_id: Option<String>,
    seen: u64,
    #[serde(default)]
    returning: bool,
    #[serde(default)]
    script: bool,
    statements: Vec<StatementIn>,
}

#[derive(Deserialize)]
struct StatementIn {
    sql: String,
    #[serde(default)]
    params: ParamsOf<Typed>,
}

#[derive(Serialize)]
struct WriteResponseOut<'a> {
    results: Vec<ResultOut<'a>>,
    bookmark: String,
    replayed: bool,
}

#[derive(Serialize)]
struct ResultOut<'a> {
    rows_affected: u64,
    last_insert_rowid: Option<i64>,
    bookmark: String,
    rows: RowsOut<'a>,
}

#[derive(Deserialize)]
struct WriteResponseIn {
    results: Vec<ResultIn>,
    bookmark: String,
    replayed: bool,
}

#[derive(Deserialize)]
struct ResultIn {
    rows_affected: u64,
    last_insert_rowid: Option<i64>,
    bookmark: String,
    rows: RowsIn,
}

#[derive(Serialize)]
struct QueryOut<'a> {
    sql: &'a str,
    params: ParamsRef<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
struct QueryIn {
    sql: String,
    #[serde(default)]
    params: ParamsOf<Typed>,
    timeout_ms: Option<u64>,
}

#[derive(Serialize)]
struct RowsOut<'a> {
    columns: &'a [String],
    #[serde(serialize_with = "serialize_rows")]
    rows: &'a [Row],
}

impl<'a> From<&'a Rows> for RowsOut<'a> {
    fn from(rows: &'a Rows) -> RowsOut<'a> {
        RowsOut { columns: &rows.columns, rows: &rows.rows }
    }
}

fn serialize_rows<S: Serializer>(rows: &[Row], serializer: S) -> Result<S::Ok, S::Error> {
    let mut seq = serializer.serialize_seq(Some(rows.len()))?;
    for row in rows {
        seq.serialize_element(&CellsOut(row))?;
    }
    seq.end()
}

struct CellsOut<'a>(&'a Row);

impl Serialize for CellsOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.values().iter().map(TypedRef))
    }
}

#[derive(Deserialize)]
struct RowsIn {
    columns: Vec<String>,
    rows: Vec<Vec<Typed>>,
}

impl RowsIn {
    fn into_rows(self) -> Result<Rows> {
        let columns: Arc<[String]> = self.columns.into();
        let rows = self.rows.into_iter().map(|values| {
            if values.len() != columns.len() {
                let message = format!("a row has {} values for {} columns", values.len(), columns.len());
                return Err(invalid(message));
            }
            Ok(Row::new(columns.clone(), values.into_iter().map(|typed| typed.0).collect()))
        });
        let rows = rows.collect::<Result<Vec<Row>>>()?;
        Ok(Rows { columns, rows })
    }
}

#[derive(Serialize, Deserialize)]
struct WireFollowRequest {
    node_id: String,
    session: String,
    #[serde(default = "yes")]
    can_lead: bool,
    address: String,
    position: WirePosition,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unreadable: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct WireFollowResponse {
    node_id: String,
    role: String,
    epoch: u64,
    leader: Option<String>,
    confirmed: WirePosition,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    covers: bool,
}

#[derive(Serialize, Deserialize)]
struct WireCampaign {
    epoch: u64,
    from: String,
    /// Who does not say calls only when it has released.
    #[serde(default)]
    released: Option<bool>,
}
