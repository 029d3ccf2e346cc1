use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use parking_lot::Mutex;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::types::{Error, ErrorKind, Result};

/// Who hands a statement to a connection: what is allowed depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Caller {
    /// This library: everything.
    Internal,
    /// One statement on a shared connection: nothing that outlives it.
    Handle,
    /// A statement among others of one transaction on a shared connection.
    Transaction,
    /// A connection of the caller's own.
    Session,
}

/// What a statement needs of its connection, found out when it was compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Needs(u32);

impl Needs {
    pub(super) const NOTHING: Needs = Needs(0);
    /// `BEGIN`, `COMMIT`, `ROLLBACK`.
    pub(super) const TRANSACTION: Needs = Needs(1);
    /// `SAVEPOINT`, `RELEASE`, `ROLLBACK TO`.
    pub(super) const SAVEPOINT: Needs = Needs(2);
    /// Temporary tables, views, triggers, indexes.
    pub(super) const TEMP: Needs = Needs(4);
    /// `last_insert_rowid()`, `changes()`, `total_changes()` in the statement itself.
    pub(super) const COUNTERS: Needs = Needs(8);
    /// `ATTACH`, `DETACH`.
    pub(super) const ATTACH: Needs = Needs(16);
    /// `PRAGMA query_only = ..`.
    pub(super) const QUERY_ONLY: Needs = Needs(32);
    /// It inserts rows itself (a trigger's inserts do not count).
    pub(super) const INSERTS: Needs = Needs(64);
    /// `last_insert_rowid()` anywhere, also in a trigger.
    pub(super) const ROWID_ANYWHERE: Needs = Needs(128);
    /// `PRAGMA journal_mode` without a value.
    pub(super) const JOURNAL_MODE_READ: Needs = Needs(256);

    #[inline]
    pub(super) fn contains(self, other: Needs) -> bool {
        self.0 & other.0 != 0
    }

    const fn and(self, other: Needs) -> Needs {
        Needs(self.0 | other.0)
    }
}

/// Needs that no shared connection can serve, and those that a transaction can.
const AFFINITY: Needs = Needs::TRANSACTION
    .and(Needs::SAVEPOINT)
    .and(Needs::TEMP)
    .and(Needs::COUNTERS)
    .and(Needs::ATTACH)
    .and(Needs::QUERY_ONLY);
const BEYOND_TRANSACTION: Needs =
    Needs::TRANSACTION.and(Needs::TEMP).and(Needs::ATTACH).and(Needs::QUERY_ONLY);

/// Refuses what a statement needs and its caller cannot have.
#[inline]
pub(super) fn admit(needs: Needs, caller: Caller) -> Result<()> {
    let refused = match caller {
        Caller::Internal | Caller::Session => return Ok(()),
        Caller::Handle => AFFINITY,
        Caller::Transaction => BEYOND_TRANSACTION,
    };
    if needs.contains(refused) { Err(refusal(needs, caller)) } else { Ok(()) }
}

#[cold]
fn refusal(needs: Needs, caller: Caller) -> Error {
    let message = if needs.contains(Needs::TRANSACTION) {
        match caller {
            Caller::Transaction => {
                "BEGIN, COMMIT and ROLLBACK are refused inside of a transaction: \
                                    use commit() or rollback() of its handle, or a SAVEPOINT"
            }
            _ => {
                "BEGIN, COMMIT and ROLLBACK are refused here, because the next call may run on another \
                  connection: use transaction(), begin() or batch(), or connect() for a session of your own"
            }
        }
    } else if needs.contains(Needs::SAVEPOINT) {
        "SAVEPOINT, RELEASE and ROLLBACK TO are refused here, because the next call may run on another \
         connection: use transaction() or begin(), or connect() for a session of your own"
    } else if needs.contains(Needs::TEMP) {
        "temporary tables, views, triggers and indexes are refused here, because they are seen by one \
         connection only: use connect() for a session of your own"
    } else if needs.contains(Needs::ATTACH) {
        "ATTACH and DETACH are refused here, because they concern one connection only: use connect() for a \
         session of your own"
    } else if needs.contains(Needs::QUERY_ONLY) {
        "PRAGMA query_only is refused here: query() only reads anyway, and execute() is for writing"
    } else {
        "last_insert_rowid(), changes() and total_changes() are refused here, because the last call may have \
         run on another connection: the result of execute() has both, and so have transaction(), begin() \
         and connect()"
    };
    Error::new(ErrorKind::InvalidArgument, message)
}

/// The authorizer's memory: what it saw while a statement was compiled.
///
/// It judges only while a statement of a caller is compiled. What SQLite compiles by itself while a
/// statement runs (VACUUM attaches a database, a changed schema compiles anew) was judged before.
#[derive(Default)]
pub(super) struct Policy {
    replicated: bool,
    phase: AtomicU8,
    needs: AtomicU32,
    reason: Mutex<Option<&'static str>>,
}

const IDLE: u8 = 0;
const INTERNAL: u8 = 1;
const JUDGING: u8 = 2;

impl Policy {
    pub(super) fn new(replicated: bool) -> Arc<Policy> {
        Arc::new(Policy { replicated, ..Policy::default() })
    }

    /// Runs `compile`, which compiles one statement, and gives what the statement needs. A refusal of the
    /// authorizer becomes an error with its reason.
    pub(super) fn observe<T>(
        &self,
        caller: Caller,
        compile: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Needs)> {
        let phase = if caller == Caller::Internal { INTERNAL } else { JUDGING };
        self.needs.store(0, Ordering::Relaxed);
        *self.reason.lock() = None;
        self.phase.store(phase, Ordering::Relaxed);
        let compiled = compile();
        self.phase.store(IDLE, Ordering::Relaxed);
        match (compiled, self.reason.lock().take()) {
            (Err(_), Some(reason)) => Err(Error::new(ErrorKind::InvalidArgument, reason)),
            (compiled, _) => Ok((compiled?, Needs(self.needs.load(Ordering::Relaxed)))),
        }
    }

    /// The authorizer: notes what is needed, and refuses what nobody may have.
    pub(super) fn authorize(&self, context: &AuthContext<'_>) -> Authorization {
        let phase = self.phase.load(Ordering::Relaxed);
        if phase == IDLE {
            return Authorization::Allow;
        }
        self.needs.fetch_or(needs_of(context).0, Ordering::Relaxed);
        if phase == JUDGING
            && let Some(reason) = self.forbidden(&context.action)
        {
            *self.reason.lock() = Some(reason);
            return Authorization::Deny;
        }
        Authorization::Allow
    }

    fn forbidden(&self, action: &AuthAction<'_>) -> Option<&'static str> {
        if let AuthAction::Function { function_name } = action
            && function_name.eq_ignore_ascii_case("load_extension")
        {
            return Some("load_extension() is refused: extensions cannot be loaded by SQL text");
        }
        if !self.replicated {
            return None;
        }
        match action {
            AuthAction::Attach { .. } | AuthAction::Detach { .. } => Some(
                "ATTACH and DETACH are refused on a replicated database: only its own file is replicated",
            ),
            AuthAction::Pragma { pragma_name, pragma_value } => forbidden_pragma(pragma_name, *pragma_value),
            _ => None,
        }
    }
}

fn forbidden_pragma(name: &str, value: Option<&str>) -> Option<&'static str> {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    if is("wal_checkpoint") {
        return Some(
            "PRAGMA wal_checkpoint is refused on a replicated database: haqlite checkpoints by itself, after \
             what the WAL holds was shipped",
        );
    }
    let value = value?;
    let among = |values: &[&str]| values.iter().any(|other| value.eq_ignore_ascii_case(other));
    if is("wal_autocheckpoint") {
        Some("PRAGMA wal_autocheckpoint is refused on a replicated database: haqlite checkpoints by itself")
    } else if is("locking_mode") && !among(&["normal"]) {
        Some("PRAGMA locking_mode is refused on a replicated database: haqlite reads its WAL beside you")
    } else if is("journal_mode") && !among(&["wal"]) {
        Some(
            "PRAGMA journal_mode other than WAL is refused on a replicated database: the WAL is what is shipped",
        )
    } else if is("synchronous") && among(&["off", "0", "false", "no"]) {
        Some(
            "PRAGMA synchronous=OFF is refused on a replicated database: a power cut could leave a database \
             that the log does not know",
        )
    } else {
        None
    }
}

fn needs_of(context: &AuthContext<'_>) -> Needs {
    let own = context.accessor.is_none();
    match &context.action {
        AuthAction::Transaction { .. } => Needs::TRANSACTION,
        AuthAction::Savepoint { .. } => Needs::SAVEPOINT,
        AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. }
        | AuthAction::DropTempIndex { .. }
        | AuthAction::DropTempTable { .. }
        | AuthAction::DropTempTrigger { .. }
        | AuthAction::DropTempView { .. } => Needs::TEMP,
        // `CREATE TABLE temp.x` is reported as an ordinary table of the database called temp.
        AuthAction::CreateIndex { .. }
        | AuthAction::CreateTable { .. }
        | AuthAction::CreateTrigger { .. }
        | AuthAction::CreateView { .. }
        | AuthAction::CreateVtable { .. }
            if context.database_name == Some("temp") =>
        {
            Needs::TEMP
        }
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => Needs::ATTACH,
        AuthAction::Insert { table_name } if own && !table_name.starts_with("sqlite_") => Needs::INSERTS,
        AuthAction::Pragma { pragma_name, pragma_value: Some(_) }
            if pragma_name.eq_ignore_ascii_case("query_only") =>
        {
            Needs::QUERY_ONLY
        }
        AuthAction::Pragma { pragma_name, pragma_value: None }
            if pragma_name.eq_ignore_ascii_case("journal_mode") =>
        {
            Needs::JOURNAL_MODE_READ
        }
        AuthAction::Function { function_name } => needs_of_function(function_name, own),
        _ => Needs::NOTHING,
    }
}

fn needs_of_function(name: &str, own: bool) -> Needs {
    let rowid = name.eq_ignore_ascii_case("last_insert_rowid");
    let counter = rowid || name.eq_ignore_ascii_case("changes") || name.eq_ignore_ascii_case("total_changes");
    let anywhere = if rowid { Needs::ROWID_ANYWHERE } else { Needs::NOTHING };
    if counter && own { anywhere.and(Needs::COUNTERS) } else { anywhere }
}
