use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::connection::{ConnectionOptions, Place};
use super::gate::{Clock, Gate};
use super::hooks::Hooks;
use super::ticket::TransactionLimits;
use super::writer::{Writer, WriterOptions};
use crate::types::{Monotonic, Params};

/// Counted in commits, not in time: a busy machine makes both slower.
#[test]
fn a_cut_has_its_turn_after_a_few_commits_however_many_writers_there_are() {
    const WRITERS: usize = 32;
    const CUTS: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let clock: Clock = Arc::new(|| Monotonic::from_boot(std::time::Duration::from_secs(1)));
    let commits = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&commits);
    let on_commit = Arc::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let place = Place::File(folder.path().join("app.db"));
    let options = WriterOptions {
        connection: ConnectionOptions::new(place, false),
        transactions: TransactionLimits::default(),
    };
    let gate = Arc::new(Gate::open_forever(Arc::clone(&clock)));
    let writer = Writer::open(options, gate, clock, Hooks { on_commit, acknowledge: None }).unwrap();
    writer.script("CREATE TABLE t (a)").unwrap();
    let stop = AtomicBool::new(false);
    let mut waited = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    writer.execute("INSERT INTO t VALUES (1)", &Params::none()).unwrap();
                }
            });
        }
        while commits.load(Ordering::Relaxed) < 10 * WRITERS as u64 {
            std::thread::yield_now();
        }
        for _ in 0..CUTS {
            let before = commits.load(Ordering::Relaxed);
            waited.push(writer.cut(|_| commits.load(Ordering::Relaxed)) - before);
            std::thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
    });
    waited.sort_unstable();
    assert!(waited[CUTS / 2] < WRITERS as u64 / 2, "commits before each cut: {waited:?}");
}
