use rusqlite::ffi;

use super::connection::Executed;
use super::policy::Needs;

/// SQLite's counters around one statement.
///
/// `sqlite3_changes` keeps the number of the last statement that changed rows, so it counts only if the
/// total moved. The last rowid also stays: while an insert runs that does not look at it, a rowid that no
/// table reaches stands in its place.
pub(super) struct Counters {
    db: *mut ffi::sqlite3,
    total: i64,
    rowid: i64,
    watched: Watched,
}

#[derive(PartialEq, Eq)]
enum Watched {
    No,
    BySentinel,
    ByChange,
}

const SENTINEL: i64 = i64::MIN;

impl Counters {
    #[inline]
    pub(super) fn before(db: *mut ffi::sqlite3, needs: Needs) -> Counters {
        let watched = if !needs.contains(Needs::INSERTS) {
            Watched::No
        } else if needs.contains(Needs::ROWID_ANYWHERE) {
            Watched::ByChange
        } else {
            Watched::BySentinel
        };
        // SAFETY: the connection is open and used by this thread only.
        unsafe {
            let rowid = ffi::sqlite3_last_insert_rowid(db);
            if watched == Watched::BySentinel {
                ffi::sqlite3_set_last_insert_rowid(db, SENTINEL);
            }
            Counters { db, total: ffi::sqlite3_total_changes64(db), rowid, watched }
        }
    }

    #[inline]
    pub(super) fn after(self) -> Executed {
        // SAFETY: as in `before`.
        let (total, changes, rowid) = unsafe {
            let rowid = ffi::sqlite3_last_insert_rowid(self.db);
            (ffi::sqlite3_total_changes64(self.db), ffi::sqlite3_changes64(self.db), rowid)
        };
        let rows_affected = if total == self.total { 0 } else { changes.max(0) as u64 };
        let inserted = match self.watched {
            Watched::No => false,
            Watched::BySentinel => rowid != SENTINEL,
            // It cannot be told from an update of as many rows; a statement that looks at the last rowid while
            // it inserts is hardly an upsert.
            Watched::ByChange => rows_affected > 0,
        };
        if self.watched == Watched::BySentinel && !inserted {
            // SAFETY: as in `before`.
            unsafe { ffi::sqlite3_set_last_insert_rowid(self.db, self.rowid) };
        }
        Executed { rows_affected, last_insert_rowid: inserted.then_some(rowid) }
    }
}
