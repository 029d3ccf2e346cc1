use super::engine::EngineSession;
use crate::runtime::LocalReader;
use crate::sqlite::WriterSession;
use crate::types::{Bookmark, ExecuteResult, Params, Result, Rows};

/// A session of a node whose reads are told only when the log holds what they saw; those of a transaction when
/// it ends.
pub(crate) struct ConfirmedSession {
    session: WriterSession,
    reader: LocalReader,
}

impl ConfirmedSession {
    pub(super) fn new(session: WriterSession, reader: LocalReader) -> ConfirmedSession {
        ConfirmedSession { session, reader }
    }

    fn run<T>(
        &self,
        run: impl FnOnce(&WriterSession) -> Result<T>,
        wrote: impl FnOnce(&T) -> Bookmark,
    ) -> Result<T> {
        let reading = self.reader.begin();
        let value = run(&self.session)?;
        // Only what wrote has a bookmark, and has been acknowledged by it.
        if wrote(&value) == Bookmark::default() && !self.session.in_transaction()? {
            self.reader.end(&reading)?;
        }
        Ok(value)
    }
}

impl EngineSession for ConfirmedSession {
    fn execute(&self, sql: &str, params: &Params<'_>) -> Result<ExecuteResult> {
        self.run(|session| session.execute(sql, params), |result| result.bookmark)
    }

    fn execute_returning(&self, sql: &str, params: &Params<'_>) -> Result<(ExecuteResult, Rows)> {
        self.run(|session| session.execute_returning(sql, params), |(result, _)| result.bookmark)
    }

    fn query(&self, sql: &str, params: &Params<'_>) -> Result<Rows> {
        self.run(|session| session.query(sql, params), |_| Bookmark::default())
    }

    fn in_transaction(&self) -> Result<bool> {
        self.session.in_transaction()
    }

    fn last_insert_rowid(&self) -> Result<i64> {
        self.session.last_insert_rowid()
    }

    fn total_changes(&self) -> Result<i64> {
        self.session.total_changes()
    }

    fn interrupt(&self) {
        self.session.interrupt();
    }

    fn close(&self) {
        self.session.close();
    }
}
