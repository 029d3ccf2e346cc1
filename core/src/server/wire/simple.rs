//! The simple endpoints, for people and for programs in any language: plain values in, plain values out.
//!
//! `POST /haqlite/execute` `{"sql","params"?,"request_id"?,"seen"?}` gives
//! `{"rows_affected","last_insert_rowid","bookmark"}`; `POST /haqlite/query` `{"sql","params"?}` gives
//! `{"columns","rows"}`.

use serde::{Deserialize, Serialize, Serializer};

use crate::types::{ExecuteResult, Params, Result, Row, Rows, SqlValue, Statement, Txid};

use super::message::checked_request_id;
use super::value::{ParamsOf, Plain, PlainRef};
use super::{QueryRequest, from_json, to_json};

/// What `/haqlite/execute` takes.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct SimpleExecute {
    /// The one statement.
    pub(crate) statement: Statement,
    /// What makes a repetition the same write.
    pub(crate) request_id: Option<String>,
    /// The newest slot that the sender knew of when it tried for the first time, if it says so.
    pub(crate) seen: Option<Txid>,
}

/// What `/haqlite/query` takes.
pub(crate) struct SimpleQuery;

impl SimpleExecute {
    pub(crate) fn from_json(bytes: &[u8]) -> Result<SimpleExecute> {
        let wire: ExecuteIn = from_json(bytes)?;
        Ok(SimpleExecute {
            statement: Statement { sql: wire.sql, params: wire.params.params },
            request_id: wire.request_id.map(checked_request_id).transpose()?,
            seen: wire.seen.map(Txid::new),
        })
    }
}

impl SimpleQuery {
    pub(crate) fn from_json(bytes: &[u8]) -> Result<QueryRequest> {
        let wire: QueryIn = from_json(bytes)?;
        let params: Params<'static> = wire.params.params;
        Ok(QueryRequest { sql: wire.sql, params, timeout: None })
    }
}

/// What `/haqlite/execute` gives.
pub(crate) fn encode_simple_result(result: &ExecuteResult) -> Vec<u8> {
    let rowid = SqlValue::from(result.last_insert_rowid);
    to_json(&ExecuteOut {
        rows_affected: result.rows_affected,
        last_insert_rowid: PlainRef(&rowid),
        bookmark: result.bookmark.to_string(),
    })
}

/// What `/haqlite/query` gives.
pub(crate) fn encode_simple_rows(rows: &Rows) -> Vec<u8> {
    to_json(&RowsOut { columns: &rows.columns, rows: rows.rows.iter().map(CellsOut).collect() })
}

#[derive(Deserialize)]
struct ExecuteIn {
    sql: String,
    #[serde(default)]
    params: ParamsOf<Plain>,
    request_id: Option<String>,
    seen: Option<u64>,
}

#[derive(Deserialize)]
struct QueryIn {
    sql: String,
    #[serde(default)]
    params: ParamsOf<Plain>,
}

#[derive(Serialize)]
struct ExecuteOut<'a> {
    rows_affected: u64,
    last_insert_rowid: PlainRef<'a>,
    bookmark: String,
}

#[derive(Serialize)]
struct RowsOut<'a> {
    columns: &'a [String],
    rows: Vec<CellsOut<'a>>,
}

struct CellsOut<'a>(&'a Row);

impl Serialize for CellsOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.values().iter().map(PlainRef))
    }
}
