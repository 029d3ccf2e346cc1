use super::connection::Connection;
use super::policy::Caller;
use super::writer::{Writer, executed_at, in_transaction, run_all};
use crate::types::{BatchResult, Bookmark, Error, ErrorKind, Params, Result, SqlValue, Statement, Txid};

/// Request ids that are kept at least.
const KEPT: i64 = 10_000;
/// How many more may come before the oldest are looked for: that takes a scan.
const SLACK: i64 = 1_000;
/// Ids are kept for so long in any case, so that a retry finds its own also when there are very many.
const KEPT_MS: i64 = 60_000;
/// The longest request id, in bytes.
const LONGEST_ID: usize = 200;

/// A write that comes with an id, and is to happen once however often it is sent.
pub(crate) struct Request<'a> {
    /// Made by the sender, the same for each try.
    pub(crate) id: &'a str,
    /// The newest slot that the sender knew at its first try.
    pub(crate) seen: Txid,
    /// Now, in milliseconds since 1970: only for how long ids are kept.
    pub(crate) at_ms: i64,
}

/// What became of a request.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Once {
    /// It ran now.
    Ran(BatchResult),
    /// It had run before; this was recorded then, and the newest commit is this one or a later one.
    Recorded { result: Vec<u8>, newest: Bookmark },
}
impl Writer {
    /// Runs the statements in one transaction that also records the request's id and what `encode` makes of
    /// their result. If the id is there already, nothing runs and the record is given.
    ///
    /// The ids are in the table `_haqlite_requests`, made by the first request: at least the newest ten
    /// thousand and all of the last minute. An id that may have been there and gone is `OutcomeUnknown` and
    /// never runs. A request that failed left no record and may run again.
    pub(crate) fn batch_once(
        &self,
        request: &Request<'_>,
        statements: &[Statement],
        encode: impl FnOnce(&BatchResult) -> Vec<u8>,
    ) -> Result<Once> {
        if request.id.is_empty() || request.id.len() > LONGEST_ID {
            let message = format!("a request id has 1 to {LONGEST_ID} bytes");
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let mut state = self.idle()?;
        let bookmark = state.bookmark();
        let prune_now = state.unpruned_requests.is_none_or(|requests| requests >= SLACK);
        let once = self.guarded(&mut state, |connection| {
            in_transaction(connection, |connection| {
                run_once(connection, request, statements, bookmark, encode, prune_now)
            })
        })?;
        let once = match once {
            Once::Ran(done) => {
                let before = if prune_now { 0 } else { state.unpruned_requests.unwrap_or(0) };
                state.unpruned_requests = Some(before + 1);
                Once::Ran(done)
            }
            // Its own slot may since belong to another epoch: what was committed and not shipped goes into
            // the fence of the next leadership. The newest commit comes after it in any case.
            Once::Recorded { result, .. } => Once::Recorded { result, newest: state.newest() },
        };
        // Of a record, too: it may be of a commit that only this node has yet.
        self.acknowledge(state, once)
    }
}

fn run_once(
    connection: &mut Connection,
    request: &Request<'_>,
    statements: &[Statement],
    bookmark: Bookmark,
    encode: impl FnOnce(&BatchResult) -> Vec<u8>,
    prune_now: bool,
) -> Result<Once> {
    // WITHOUT ROWID, so that what the request's own statements see as the last rowid stays theirs. The row
    // without an id keeps the newest txid of which an id was deleted.
    const TABLE: &str = "CREATE TABLE IF NOT EXISTS _haqlite_requests
         (id TEXT PRIMARY KEY, txid INTEGER NOT NULL, result BLOB, at INTEGER NOT NULL) WITHOUT ROWID";
    const INSERT: &str = "INSERT INTO _haqlite_requests (id, txid, at) VALUES (?1, ?2, ?3)";
    const RECORD: &str = "UPDATE _haqlite_requests SET result = ?2 WHERE id = ?1";
    let run = |connection: &mut Connection, sql: &str, params: &[SqlValue]| {
        connection.execute(sql, &params.into(), Caller::Internal).map(|_| ())
    };
    run(connection, TABLE, &[])?;
    if let Some((_, result)) = look_up(connection, request.id)? {
        return Ok(Once::Recorded { result, newest: bookmark });
    }
    if look_up(connection, "")?.is_some_and(|(forgotten, _)| request.seen < forgotten) {
        let message = "the request is older than the record of requests: whether it ran is not known";
        return Err(Error::new(ErrorKind::OutcomeUnknown, message));
    }
    let id = SqlValue::from(request.id);
    let txid = bookmark.txid.get() as i64;
    run(connection, INSERT, &[id.clone(), txid.into(), request.at_ms.into()])?;
    let done = run_all(connection, statements)?;
    let results = done.into_iter().map(|(executed, rows)| (executed_at(executed, bookmark), rows)).collect();
    let result = BatchResult::new(results, bookmark);
    run(connection, RECORD, &[id, encode(&result).into()])?;
    if prune_now {
        prune(connection, request.at_ms)?;
    }
    Ok(Once::Ran(result))
}

fn look_up(connection: &mut Connection, id: &str) -> Result<Option<(Txid, Vec<u8>)>> {
    const SELECT: &str = "SELECT txid, coalesce(result, x'') FROM _haqlite_requests WHERE id = ?1";
    let mut found = None;
    connection.query_each(SELECT, &(&[id.into()]).into(), Caller::Internal, &mut |row| {
        found = Some((Txid::new(row.get(0)?), row.get(1)?));
        Ok(false)
    })?;
    Ok(found)
}

/// Forgets the oldest ids when there are too many.
fn prune(connection: &mut Connection, now_ms: i64) -> Result<()> {
    const COUNT: &str = "SELECT count(*) FROM _haqlite_requests";
    // Whole slots only: an id that is looked for is told "gone" or "never here" by its slot. What a leader with
    // a clock far ahead wrote down is not of the last minute: it would keep everything after it for as long.
    const BOUNDARY: &str = "SELECT max(txid) FROM _haqlite_requests WHERE id <> ''
         AND txid < (SELECT txid FROM _haqlite_requests WHERE id <> '' ORDER BY txid LIMIT 1 OFFSET ?1)
         AND txid < (SELECT min(txid) FROM _haqlite_requests WHERE id <> '' AND at BETWEEN ?2 AND ?3)";
    const FORGET: &str = "DELETE FROM _haqlite_requests WHERE txid <= ?1 AND id <> ''";
    const REMEMBER: &str = "INSERT INTO _haqlite_requests (id, txid, at) VALUES ('', ?1, 0)
         ON CONFLICT DO UPDATE SET txid = excluded.txid";
    let number = |connection: &mut Connection, sql: &str, params: &[SqlValue]| {
        let mut number: Option<i64> = None;
        connection.query_each(sql, &params.into(), Caller::Internal, &mut |row| {
            number = row.get(0)?;
            Ok(false)
        })?;
        Ok::<_, Error>(number)
    };
    let excess = number(connection, COUNT, &[])?.unwrap_or(0) - KEPT;
    if excess > 0
        && let Some(boundary) = number(
            connection,
            BOUNDARY,
            &[excess.into(), (now_ms - KEPT_MS).into(), (now_ms + KEPT_MS).into()],
        )?
    {
        let boundary: Params<'_> = vec![boundary.into()].into();
        connection.execute(FORGET, &boundary, Caller::Internal)?;
        connection.execute(REMEMBER, &boundary, Caller::Internal)?;
    }
    Ok(())
}
