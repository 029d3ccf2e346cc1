//! What `Durability::Cloud` costs: one writer, and many, on a bucket whose every PUT of a slot takes 50 ms.
//!
//! A writer alone should hear of its commit hardly later than the bucket did; writers at one time share slots,
//! so that many of them together are many times as fast. Both are ratios, printed with their targets.
//!
//! `HAQLITE_BENCH_SECONDS` says for about how long each part runs (10 by default), `TMPDIR` where the database
//! is.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use haqlite::bucket::{Call, Fault, FaultyBucket, MemoryBucket, PutMode};
use haqlite::lease_store::MemoryLeaseStore;
use haqlite::{Durability, HaQLite, SqlValue};

type Outcome<T> = Result<T, Box<dyn Error>>;

const PUT: Duration = Duration::from_millis(50);
const WRITERS: u64 = 64;
/// A lone writer's median, in PUTs.
const MOST_LATENCY: f64 = 1.15;
/// The throughput of all writers together, in that of one.
const LEAST_SPEEDUP: f64 = 20.0;
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS event (id INTEGER PRIMARY KEY, body TEXT);";
const INSERT: &str = "INSERT INTO event (body) VALUES (?1)";

fn main() -> Outcome<()> {
    let seconds: f64 = match std::env::var("HAQLITE_BENCH_SECONDS") {
        Ok(text) => text.parse()?,
        Err(_) => 10.0,
    };
    let span = Duration::from_secs_f64(seconds);
    let folder = tempfile::tempdir()?;
    let slow = FaultyBucket::new(MemoryBucket::new(), |call| match call {
        Call::Put { key, mode: PutMode::Create } if key.ends_with(".ltx") => Fault::Delay(PUT),
        _ => Fault::None,
    });
    let db = HaQLite::builder()
        .storage(slow)
        .lease_store(MemoryLeaseStore::new())
        .forwarding_port(0)
        .durability(Durability::Cloud)
        .open_blocking(folder.path().join("app.db"), SCHEMA)?;

    let mut alone = write_for(&db, span)?;
    alone.sort_unstable();
    let (median, last) = (alone[alone.len() / 2], alone[alone.len() * 99 / 100]);
    let latency = median.as_secs_f64() / PUT.as_secs_f64();
    let single = alone.len() as f64 / seconds;
    println!("one writer:   {single:>8.1} commits/s, median {median:.1?}, p99 {last:.1?}");

    let before = db.position().txid.get();
    let many = write_together(&db, span)? as f64;
    let slots = db.position().txid.get() - before;
    let (rate, per_slot) = (many / seconds, many / slots.max(1) as f64);
    println!("{WRITERS} writers:   {rate:>8.1} commits/s, {per_slot:.1} commits a slot");
    let speedup = rate / single;
    verdict("median of one writer, in PUTs", latency, latency <= MOST_LATENCY, MOST_LATENCY);
    verdict("64 writers over one", speedup, speedup >= LEAST_SPEEDUP, LEAST_SPEEDUP);
    db.close_blocking()?;
    Ok(())
}

fn verdict(what: &str, ratio: f64, good: bool, target: f64) {
    let word = if good { "meets" } else { "MISSES" };
    println!("{what}: {ratio:.2}, {word} the target of {target}");
}

/// How long each commit took.
fn write_for(db: &HaQLite, span: Duration) -> Outcome<Vec<Duration>> {
    let (mut took, began) = (Vec::new(), now());
    while began.elapsed() < span {
        let start = now();
        db.execute(INSERT, &[SqlValue::from("alone")])?;
        took.push(start.elapsed());
    }
    Ok(took)
}

/// How many commits all writers made.
fn write_together(db: &HaQLite, span: Duration) -> Outcome<u64> {
    let (commits, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let write = || {
            while !stop.load(Ordering::Relaxed) {
                db.execute(INSERT, &[SqlValue::from("together")])?;
                commits.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), haqlite::Error>(())
        };
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(write)).collect();
        std::thread::sleep(span);
        let done = commits.load(Ordering::Relaxed);
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().map_err(|_| "a writer panicked")??;
        }
        Ok(done)
    })
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}
