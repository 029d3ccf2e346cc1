use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use rusqlite::InterruptHandle;

use super::connection::{Connection, ConnectionOptions};
use super::cursor::{CursorShelf, RowCursor};
use super::gate::Clock;
use super::policy::Caller;
use super::row::LocalRow;
use crate::types::{Error, ErrorKind, Params, ReadOptions, Result, Rows};

/// The limits of a read pool.
#[derive(Clone, Debug)]
pub(crate) struct PoolOptions {
    pub(crate) connection: ConnectionOptions,
    /// Connections for reads that end with the call; more threads than that wait for each other.
    pub(crate) readers: usize,
    /// Cursors that may be open at once; each has a connection of its own.
    pub(crate) cursors: usize,
    /// How long a cursor may keep its snapshot, which keeps the WAL from being reset.
    pub(crate) cursor_age: Duration,
}

impl PoolOptions {
    pub(crate) fn new(connection: ConnectionOptions) -> PoolOptions {
        PoolOptions { connection, readers: 8, cursors: 8, cursor_age: Duration::from_secs(60) }
    }
}

/// Connections that only read, opened when they are first needed. They never wait for the writer, nor it
/// for them.
pub(crate) struct ReadPool {
    slots: Box<[Mutex<Option<Connection>>]>,
    /// Threads that found every slot taken.
    waiting: AtomicUsize,
    turn: Mutex<()>,
    freed: Condvar,
    closed: AtomicBool,
    /// Of every connection that was opened, to stop what runs on it.
    interrupts: Mutex<Vec<InterruptHandle>>,
    pub(super) cursors: Arc<CursorShelf>,
    pub(super) options: PoolOptions,
    pub(super) clock: Clock,
}

/// A connection that is checked out; dropping it gives it back.
struct Reader<'p> {
    slot: Option<MutexGuard<'p, Option<Connection>>>,
    pool: &'p ReadPool,
}

impl ReadPool {
    pub(crate) fn new(options: PoolOptions, clock: Clock) -> ReadPool {
        ReadPool {
            slots: (0..options.readers.max(1)).map(|_| Mutex::new(None)).collect(),
            waiting: AtomicUsize::new(0),
            turn: Mutex::new(()),
            freed: Condvar::new(),
            closed: AtomicBool::new(false),
            interrupts: Mutex::new(Vec::new()),
            cursors: Arc::new(CursorShelf::new(options.cursors)),
            options,
            clock,
        }
    }

    /// The rows of a statement that only reads. `Busy` if every connection is taken for the busy timeout,
    /// `Timeout` after the one of the options.
    pub(crate) fn query(&self, sql: &str, params: &Params<'_>, options: &ReadOptions) -> Result<Rows> {
        let mut reader = self.check_out()?;
        let connection = reader.connection()?;
        limited(connection, options.timeout, &self.clock, |connection| {
            connection.query(sql, params, Caller::Handle)
        })
    }

    /// Hands each row of a statement that only reads to `each`, until that says `false`.
    pub(crate) fn query_each(
        &self,
        sql: &str,
        params: &Params<'_>,
        each: &mut dyn FnMut(&LocalRow<'_>) -> Result<bool>,
    ) -> Result<()> {
        self.check_out()?.connection()?.query_each(sql, params, Caller::Handle, each)
    }

    /// Starts a query that is read in pages, on a connection of its own.
    pub(crate) fn query_iter(
        &self,
        sql: &str,
        params: &Params<'_>,
        options: &ReadOptions,
    ) -> Result<RowCursor> {
        self.check_closed()?;
        let connection = self.cursors.take(self)?;
        RowCursor::start(self, connection, sql, params, options)
    }

    /// Ends cursors that keep their snapshot for longer than they may. Their next page is an error.
    pub(crate) fn expire_cursors(&self) {
        self.cursors.expire((self.clock)());
    }

    /// Stops every statement that runs now.
    pub(crate) fn interrupt(&self) {
        self.interrupts.lock().iter().for_each(InterruptHandle::interrupt);
    }

    /// Interrupts what runs and closes the connections; waits at most `patience` for each.
    pub(crate) fn close(&self, patience: Duration) {
        self.closed.store(true, Ordering::SeqCst);
        self.cursors.close();
        for slot in &self.slots {
            self.interrupt();
            if let Some(mut connection) = slot.try_lock_for(patience) {
                *connection = None;
            }
        }
        self.interrupts.lock().clear();
        let _turn = self.turn.lock();
        self.freed.notify_all();
    }

    pub(super) fn open_reader(&self) -> Result<Connection> {
        let connection = Connection::open_reader(&self.options.connection)?;
        self.interrupts.lock().push(connection.interrupt_handle());
        Ok(connection)
    }

    #[inline]
    fn check_out(&self) -> Result<Reader<'_>> {
        let first = preferred_slot(self.slots.len());
        let slot = match self.slots[first].try_lock() {
            Some(slot) => slot,
            None => self.check_out_any(first)?,
        };
        self.check_closed()?;
        Ok(Reader { slot: Some(slot), pool: self })
    }

    #[cold]
    fn check_out_any(&self, first: usize) -> Result<MutexGuard<'_, Option<Connection>>> {
        if let Some(slot) = self.try_all(first) {
            return Ok(slot);
        }
        let deadline = (self.clock)() + self.options.connection.busy_timeout;
        let mut turn = self.turn.lock();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let outcome = loop {
            // Behind the increment: who gives a connection back from now on sees that somebody waits.
            if let Some(slot) = self.try_all(first) {
                break Ok(slot);
            }
            let left = deadline.since((self.clock)());
            if left.is_zero() {
                let message = "every read connection is taken by a query that still runs";
                break Err(Error::new(ErrorKind::Busy, message));
            }
            self.freed.wait_for(&mut turn, left);
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        outcome
    }

    fn try_all(&self, first: usize) -> Option<MutexGuard<'_, Option<Connection>>> {
        let count = self.slots.len();
        fence(Ordering::SeqCst);
        (0..count).find_map(|step| self.slots[(first + step) % count].try_lock())
    }

    #[inline]
    fn check_closed(&self) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Closed, "the database handle was closed"));
        }
        Ok(())
    }
}

impl Reader<'_> {
    #[inline]
    fn connection(&mut self) -> Result<&mut Connection> {
        let slot = self.slot.as_mut().expect("BUG: the slot is given back on drop only");
        if slot.is_none() {
            **slot = Some(self.pool.open_reader()?);
        }
        Ok(slot.as_mut().expect("BUG: it was just opened"))
    }
}

impl Drop for Reader<'_> {
    #[inline]
    fn drop(&mut self) {
        self.slot = None;
        fence(Ordering::SeqCst);
        if self.pool.waiting.load(Ordering::Relaxed) > 0 {
            let _turn = self.pool.turn.lock();
            self.pool.freed.notify_one();
        }
    }
}

/// Runs a read that is interrupted after `timeout`; that is a `Timeout`, not an `Interrupted`.
pub(super) fn limited<T>(
    connection: &mut Connection,
    timeout: Option<Duration>,
    clock: &Clock,
    read: impl FnOnce(&mut Connection) -> Result<T>,
) -> Result<T> {
    let Some(timeout) = timeout else { return read(connection) };
    let deadline = clock() + timeout;
    connection.limit_time(Some((deadline, Arc::clone(clock))))?;
    let outcome = read(connection);
    connection.limit_time(None)?;
    match outcome {
        Err(error) if error.kind() == ErrorKind::Interrupted && clock() >= deadline => {
            let message = format!("the query ran for longer than {timeout:?}");
            Err(Error::new(ErrorKind::Timeout, message).with_source(error))
        }
        outcome => outcome,
    }
}

/// The slot that this thread asks first, so that a thread meets its own statements again.
#[inline]
fn preferred_slot(slots: usize) -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static THREAD: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    THREAD.with(|thread| {
        if thread.get() == usize::MAX {
            thread.set(THREADS.fetch_add(1, Ordering::Relaxed));
        }
        thread.get() % slots
    })
}
