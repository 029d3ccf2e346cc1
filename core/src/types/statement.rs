use super::{Bookmark, Params, Rows, SqlValue};

/// One SQL statement with its parameters, owned: what a batch is made of.
#[derive(Clone, PartialEq, Debug)]
pub struct Statement {
    /// The text of exactly one statement.
    pub sql: String,
    /// Its parameters.
    pub params: Params<'static>,
}

impl Statement {
    /// The statement with these parameters.
    pub fn new<'a>(sql: impl Into<String>, params: impl Into<Params<'a>>) -> Statement {
        Statement { sql: sql.into(), params: params.into().into_owned() }
    }
}

impl From<&str> for Statement {
    fn from(sql: &str) -> Statement {
        Statement::new(sql, Vec::<SqlValue>::new())
    }
}

/// What a write did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ExecuteResult {
    /// Rows inserted, updated or deleted by the statement itself.
    pub rows_affected: u64,
    /// The rowid of the last row that the statement inserted, if it inserted one.
    pub last_insert_rowid: Option<i64>,
    /// Where the write is in the log.
    pub bookmark: Bookmark,
}

impl ExecuteResult {
    /// The result with these fields.
    pub fn new(rows_affected: u64, last_insert_rowid: Option<i64>, bookmark: Bookmark) -> ExecuteResult {
        ExecuteResult { rows_affected, last_insert_rowid, bookmark }
    }
}

/// What an atomic batch did.
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct BatchResult {
    /// What each statement did and the rows that it returned, in order.
    pub results: Vec<(ExecuteResult, Rows)>,
    /// Where the batch is in the log.
    pub bookmark: Bookmark,
}

impl BatchResult {
    /// The result with these fields.
    pub fn new(results: Vec<(ExecuteResult, Rows)>, bookmark: Bookmark) -> BatchResult {
        BatchResult { results, bookmark }
    }
}
