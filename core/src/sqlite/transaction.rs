use std::sync::Arc;

use super::policy::Caller;
use super::writer::{State, Writer, executed_at};
use crate::types::{Bookmark, ErrorKind, ExecuteResult, Params, Result, Rows, TxMode};

/// An interactive transaction on the writer's connection: a ticket. Dropping it rolls back.
pub(crate) struct WriterTransaction {
    writer: Arc<Writer>,
    ticket: u64,
    ended: bool,
}

impl Writer {
    /// Begins a transaction when nobody else is in one.
    pub(crate) fn begin(self: &Arc<Writer>, mode: TxMode) -> Result<WriterTransaction> {
        let begin = match mode {
            TxMode::Immediate => "BEGIN IMMEDIATE",
            TxMode::Deferred => "BEGIN DEFERRED",
            TxMode::Exclusive => "BEGIN EXCLUSIVE",
        };
        let mut state = self.idle()?;
        self.gate.check()?;
        let connection = self.connection(&mut state)?;
        connection.command(begin)?;
        connection.take_traces();
        let ticket = self.issue(&mut state, None);
        drop(state);
        Ok(WriterTransaction { writer: Arc::clone(self), ticket, ended: false })
    }
}

impl WriterTransaction {
    /// Runs one statement. Its bookmark is the one of a commit made now.
    pub(crate) fn execute(&mut self, sql: &str, params: &Params<'_>) -> Result<ExecuteResult> {
        self.step(|writer, state| {
            let executed = writer.connection(state)?.execute(sql, params, Caller::Transaction)?;
            Ok(executed_at(executed, state.bookmark()))
        })
    }

    /// Runs one statement and keeps the rows that it returns.
    pub(crate) fn execute_returning(
        &mut self,
        sql: &str,
        params: &Params<'_>,
    ) -> Result<(ExecuteResult, Rows)> {
        self.step(|writer, state| {
            let (executed, rows) =
                writer.connection(state)?.execute_returning(sql, params, Caller::Transaction)?;
            Ok((executed_at(executed, state.bookmark()), rows))
        })
    }

    /// The rows of a statement that only reads; it sees what the transaction wrote.
    pub(crate) fn query(&mut self, sql: &str, params: &Params<'_>) -> Result<Rows> {
        self.step(|writer, state| writer.connection(state)?.query(sql, params, Caller::Transaction))
    }

    /// Commits. On an error whose outcome is not unknown the transaction is rolled back.
    pub(crate) fn commit(mut self) -> Result<Bookmark> {
        let writer = Arc::clone(&self.writer);
        let mut state = writer.state.lock();
        writer.redeem(&mut state, self.ticket)?;
        let outcome = writer.guarded(&mut state, |connection| connection.command("COMMIT"));
        writer.roll_back(&mut state);
        writer.hand_back(&mut state, self.ticket);
        self.ended = true;
        outcome?;
        let newest = state.newest();
        writer.acknowledge(state, newest)
    }

    /// Rolls back. `TransactionAborted` if that had already happened.
    pub(crate) fn rollback(mut self) -> Result<()> {
        self.end()
    }

    fn step<T>(&mut self, run: impl FnOnce(&Writer, &mut State) -> Result<T>) -> Result<T> {
        let mut state = self.writer.state.lock();
        self.writer.redeem(&mut state, self.ticket)?;
        let outcome = run(&self.writer, &mut state);
        self.writer.touch(&mut state);
        if let Err(error) = &outcome
            && self.writer.connection(&mut state)?.is_autocommit()
        {
            // SQLite rolled back by itself: a full disk, ON CONFLICT ROLLBACK, an interrupted write.
            let reason = format!("SQLite rolled it back: {error}");
            self.writer.lose(&mut state, self.ticket, reason);
        }
        outcome
    }

    fn end(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        let mut state = self.writer.state.lock();
        self.writer.redeem(&mut state, self.ticket)?;
        self.writer.roll_back(&mut state);
        self.writer.hand_back(&mut state, self.ticket);
        Ok(())
    }
}

impl Drop for WriterTransaction {
    fn drop(&mut self) {
        match self.end() {
            Ok(()) => {}
            // Nothing is left to roll back.
            Err(error) => debug_assert_eq!(error.kind(), ErrorKind::TransactionAborted),
        }
    }
}
