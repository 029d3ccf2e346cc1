//! How long nobody can write: on each kind of lease store, with the default timing and local servers.
//!
//! - *swap*: a conditional write of the lease, median and 99 of 100.
//! - *handoff*: from the call of `handoff` to the next write that is acknowledged to a client of the successor, and
//!   to one of a third node.
//! - *kill -9*: the same from the end of the leader, which is a process of its own. Nobody may lead before the
//!   lease's TTL and a margin have passed since the last renewal; what came *on top* of these is what this
//!   library adds.
//!
//! `HAQLITE_BENCH_FILTER` names one backend, `HAQLITE_BENCH_FAILOVER_ROUNDS` says how many hand-overs are measured
//! (12), `HAQLITE_BENCH_FAILOVER_KILLS` how many kills (3), `TMPDIR` where everything is. A backend whose server is
//! not there is named as missing.

mod backends;
mod measure;
#[path = "../../tests/stores/place.rs"]
mod place;
#[path = "../../tests/stores/support.rs"]
mod support;

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use backends::{Backend, Found};
use measure::{HandOvers, Kills, Times};

type Outcome<T> = Result<T, Box<dyn Error>>;

const SWAPS: usize = 300;

fn main() -> Outcome<()> {
    if measure::was_a_node()? {
        return Ok(());
    }
    let mut filter = std::env::var("HAQLITE_BENCH_FILTER").unwrap_or_default();
    if "failover".contains(&filter) {
        filter.clear();
    }
    let rounds = number("HAQLITE_BENCH_FAILOVER_ROUNDS", 12)?;
    let killed = number("HAQLITE_BENCH_FAILOVER_KILLS", 3)?;
    let folder = tempfile::tempdir()?;
    let (ttl, margin) = measure::timing();
    println!("failover, a lease of {ttl:?} and a margin of {margin:?}:");
    println!(
        "  {:<10} {:>9} {:>9}   {:>14} {:>9} {:>8}          {:>9} {:>9}   {:>15} {:>9} {:>9}",
        "lease in",
        "swap p50",
        "p99",
        "handoff median",
        "max",
        "bar",
        "3rd node",
        "max",
        "kill -9 median",
        "max",
        "on top"
    );
    for name in backends::names(&filter) {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder)?;
        match backends::find(name, &folder) {
            Found::Ready(backend, _server) => row(&backend, &folder, rounds, killed)?,
            Found::Missing(name, why) => println!("  {name:<10} MISSING: {why}"),
        }
    }
    Ok(())
}

fn row(backend: &Backend, folder: &Path, rounds: usize, killed: usize) -> Outcome<()> {
    let swaps = measure::swaps(backend, SWAPS)?;
    print!("  {:<10} {:>9} {:>9}", backend.name, ms(swaps.at(0.5)), ms(swaps.at(0.99)));
    let HandOvers { successor, third } = measure::hand_overs(backend, folder, rounds)?;
    print!("   {:>14} {:>9} {}", ms(successor.at(0.5)), ms(successor.at(1.0)), against(backend, &successor));
    print!(" {:>9} {:>9}  ", ms(third.at(0.5)), ms(third.at(1.0)));
    if backend.is_shared && killed > 0 {
        let Kills { outage, on_top } = measure::kills(backend, folder, killed)?;
        println!(" {:>15} {:>9} {:>9}", ms(outage.at(0.5)), ms(outage.at(1.0)), ms(on_top.at(0.5)));
    } else {
        println!(" {:>15} {:>9} {:>9}", "-", "-", "-");
    }
    Ok(())
}

fn against(backend: &Backend, handed: &Times) -> String {
    let Some(bar) = backend.bar_ms else { return format!("{:>8} {:<8}", "-", "") };
    let word = if handed.at(0.5) <= Duration::from_millis(bar) { "meets" } else { "MISSES" };
    format!("{:>8} {word:<8}", format!("{bar} ms"))
}

fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    if ms < 100.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

fn number(name: &str, default: usize) -> Outcome<usize> {
    match std::env::var(name) {
        Ok(text) => Ok(text.parse()?),
        Err(_) => Ok(default),
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}
