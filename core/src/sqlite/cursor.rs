use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::connection::Connection;
use super::gate::Clock;
use super::policy::Caller;
use super::pool::{ReadPool, limited};
use crate::types::{Error, ErrorKind, Monotonic, Params, ReadOptions, Result, Row, Rows};

/// A query that is read in pages. All pages are of one snapshot, which is given up with the last page, when
/// the cursor is dropped, or when it gets too old.
pub struct RowCursor {
    columns: Arc<[String]>,
    source: Source,
    /// Asked once the snapshot is fixed, before a row of it is given.
    check: Option<Check>,
}

/// Whether what a read has seen may be told.
pub(crate) type Check = Box<dyn FnOnce() -> Result<()> + Send + Sync>;

enum Source {
    /// A query that runs.
    Running(Arc<Running>),
    /// Rows that were all read at once.
    Kept(VecDeque<Row>),
}

struct Running {
    state: Mutex<State>,
    shelf: Arc<CursorShelf>,
    timeout: Option<Duration>,
    clock: Clock,
    expires: Monotonic,
    age: Duration,
}

enum State {
    Open(Box<Connection>),
    Finished,
    Expired,
    Closed,
}

impl RowCursor {
    /// The next rows, at most `limit`; none at the end. `Timeout` if the snapshot got too old, or if the page
    /// took longer than the read may; the cursor is closed then.
    pub fn next_page(&mut self, limit: usize) -> Result<Vec<Row>> {
        match &mut self.source {
            Source::Kept(rows) => {
                let count = limit.min(rows.len());
                Ok(rows.drain(..count).collect())
            }
            Source::Running(running) => {
                let page = running.next_page(limit)?;
                if limit > 0
                    && let Some(Err(refused)) = self.check.take().map(|check| check())
                {
                    running.end(State::Closed);
                    return Err(refused);
                }
                Ok(page)
            }
        }
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// A cursor over rows that are all there.
    pub(crate) fn over(rows: Rows) -> RowCursor {
        RowCursor { columns: rows.columns, source: Source::Kept(rows.rows.into()), check: None }
    }

    /// The cursor, whose first page is given only if `check` allows it.
    pub(crate) fn checked(mut self, check: Check) -> RowCursor {
        self.check = Some(check);
        self
    }

    pub(super) fn start(
        pool: &ReadPool,
        mut connection: Connection,
        sql: &str,
        params: &Params<'_>,
        options: &ReadOptions,
    ) -> Result<RowCursor> {
        let columns = match connection.open_cursor(sql, params, Caller::Handle) {
            Ok(columns) => columns,
            Err(error) => {
                pool.cursors.give_back(Some(connection));
                return Err(error);
            }
        };
        let age = pool.options.cursor_age;
        let running = Arc::new(Running {
            state: Mutex::new(State::Open(Box::new(connection))),
            shelf: Arc::clone(&pool.cursors),
            timeout: options.timeout,
            clock: Arc::clone(&pool.clock),
            expires: (pool.clock)() + age,
            age,
        });
        pool.cursors.running.lock().push(Arc::downgrade(&running));
        Ok(RowCursor { columns, source: Source::Running(running), check: None })
    }
}

impl Drop for RowCursor {
    fn drop(&mut self) {
        if let Source::Running(running) = &self.source {
            running.end(State::Finished);
        }
    }
}

impl Running {
    fn next_page(&self, limit: usize) -> Result<Vec<Row>> {
        if (self.clock)() >= self.expires {
            self.end(State::Expired);
        }
        let mut state = self.state.lock();
        let connection = match &mut *state {
            State::Open(connection) => connection,
            State::Finished => return Ok(Vec::new()),
            State::Expired => {
                let age = self.age;
                let message = format!("the cursor's snapshot is older than {age:?}: run the query again");
                return Err(Error::new(ErrorKind::Timeout, message));
            }
            State::Closed => return Err(Error::new(ErrorKind::Closed, "the database handle was closed")),
        };
        let page = limited(connection, self.timeout, &self.clock, |c| c.cursor_page(limit));
        let ended = page.as_ref().map_or(true, |rows| rows.len() < limit);
        drop(state);
        if ended {
            self.end(State::Finished);
        }
        page
    }

    /// Gives the connection back, if it is still there.
    fn end(&self, how: State) {
        let mut state = self.state.lock();
        if matches!(*state, State::Open(_))
            && let State::Open(mut connection) = std::mem::replace(&mut *state, how)
        {
            connection.close_cursor();
            self.shelf.give_back(Some(*connection));
        }
    }
}

/// The connections of cursors: as many as there may be cursors, kept when a cursor ends.
pub(super) struct CursorShelf {
    shelf: Mutex<Shelf>,
    running: Mutex<Vec<Weak<Running>>>,
    limit: usize,
}

struct Shelf {
    idle: Vec<Connection>,
    out: usize,
    closed: bool,
}

impl CursorShelf {
    pub(super) fn new(limit: usize) -> CursorShelf {
        let shelf = Shelf { idle: Vec::new(), out: 0, closed: false };
        CursorShelf { shelf: Mutex::new(shelf), running: Mutex::new(Vec::new()), limit: limit.max(1) }
    }

    /// A connection for one cursor. `LimitExceeded` if too many are open: they may all be the caller's own,
    /// so there is nothing to wait for.
    pub(super) fn take(&self, pool: &ReadPool) -> Result<Connection> {
        self.expire((pool.clock)());
        let mut shelf = self.shelf.lock();
        if shelf.out >= self.limit {
            let message = format!("{} cursors are open, which is the limit: drop one", self.limit);
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        shelf.out += 1;
        if let Some(connection) = shelf.idle.pop() {
            return Ok(connection);
        }
        drop(shelf);
        pool.open_reader().inspect_err(|_| self.give_back(None))
    }

    pub(super) fn give_back(&self, connection: Option<Connection>) {
        let mut shelf = self.shelf.lock();
        shelf.out -= 1;
        if !shelf.closed {
            shelf.idle.extend(connection);
        }
    }

    /// Ends the cursors that are too old at `now` and not being read at this moment.
    pub(super) fn expire(&self, now: Monotonic) {
        self.end_where(|running| (now >= running.expires).then_some(State::Expired));
    }

    pub(super) fn close(&self) {
        self.shelf.lock().closed = true;
        self.end_where(|_| Some(State::Closed));
        self.shelf.lock().idle.clear();
    }

    fn end_where(&self, judge: impl Fn(&Running) -> Option<State>) {
        // Taken out of the mutex: ending a cursor takes others.
        let running: Vec<_> = {
            let mut running = self.running.lock();
            running.retain(|cursor| cursor.strong_count() > 0);
            running.iter().filter_map(Weak::upgrade).collect()
        };
        for cursor in running {
            let in_use = cursor.state.is_locked();
            if let Some(how) = judge(&cursor)
                && !in_use
            {
                cursor.end(how);
            }
        }
    }
}
