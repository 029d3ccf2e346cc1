use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::sleep;
use std::time::{Duration, Instant};

use haqlite::lease_store::{LeaseVersion, Swap};
use haqlite::types::Epoch;
use haqlite::{Error, ErrorKind, HaQLite, LeaseConfig, Role, SqlValue};
use serde::{Deserialize, Serialize};

use super::backends::Backend;
use super::{Outcome, now};

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS event (id INTEGER PRIMARY KEY, body TEXT);";
const INSERT: &str = "INSERT INTO event (body) VALUES (?1)";
/// What everything that is waited for may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The environment variable that makes this program a node.
const CHILD: &str = "HAQLITE_BENCH_FAILOVER_NODE";

/// Durations of one kind.
#[derive(Clone, Default)]
pub(super) struct Times(Vec<Duration>);

impl Times {
    /// This share of them took no longer.
    pub(super) fn at(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let index = (share * (sorted.len() - 1) as f64).round() as usize;
        sorted.get(index).copied().unwrap_or_default()
    }
}

/// What a kill cost.
#[derive(Clone, Default)]
pub(super) struct Kills {
    /// From the kill to the next acknowledged write.
    pub(super) outage: Times,
    /// What came on top of the TTL and the margin, counted from when the last renewal was seen.
    pub(super) on_top: Times,
}

/// Conditional writes of a lease record, one after the other.
pub(super) fn swaps(backend: &Backend, count: usize) -> Outcome<Times> {
    runtime()?.block_on(async {
        let (store, root) = backend.place.lease_store().await?;
        let key = format!("{root}swaps-{}", std::process::id());
        let body = |n: usize| format!("{{\"renewal\":{n},\"filler\":\"{}\"}}", "x".repeat(300)).into_bytes();
        let Swap::Done(mut version) = store.create(&key, &body(0)).await? else {
            return Err("the lease of the benchmark is there already".into());
        };
        let mut times = Times::default();
        for n in 1..=count {
            let start = now();
            let Swap::Done(next) = store.replace(&key, &body(n), &version).await? else {
                return Err("somebody else writes the lease of the benchmark".into());
            };
            times.0.push(start.elapsed());
            version = next;
        }
        Ok(times)
    })
}

/// What hand-overs cost.
#[derive(Clone, Default)]
pub(super) struct HandOvers {
    /// A client of the successor.
    pub(super) successor: Times,
    /// A client of a third node.
    pub(super) third: Times,
}

/// Two nodes hand the leadership to each other while clients write through the one that follows, and through a
/// third one.
pub(super) fn hand_overs(backend: &Backend, folder: &Path, rounds: usize) -> Outcome<HandOvers> {
    let node = |name: &str| open(backend, "handoff", name, &folder.join(format!("{name}.db")));
    let nodes = [node("a")?, node("b")?];
    let third = node("c")?;
    let mut times = HandOvers::default();
    for _ in 0..rounds {
        let leader = usize::from(leading(&nodes[1]));
        let (from, to) = (&nodes[leader], &nodes[1 - leader]);
        // A follower that has not reported yet cannot be handed over to.
        sleep(Duration::from_millis(1500));
        let old = from.status().epoch;
        let (near, far) = (Client::start(to.clone(), old), Client::start(third.clone(), old));
        sleep(Duration::from_millis(300));
        let start = now();
        from.handoff_blocking(Some(["b", "a"][leader].into()))?;
        times.successor.0.push(near.next_write()?.duration_since(start));
        times.third.0.push(far.next_write()?.duration_since(start));
        wait_for("the other node leads", || leading(to))?;
    }
    third.close_blocking()?;
    for node in nodes {
        node.close_blocking()?;
    }
    Ok(times)
}

/// A leader in a process of its own is killed while a client writes through the follower.
pub(super) fn kills(backend: &Backend, folder: &Path, rounds: usize) -> Outcome<Kills> {
    let mut kills = Kills::default();
    let (ttl, margin) = timing();
    for round in 0..rounds {
        let database = format!("kill-{round}");
        let path = |name: &str| folder.join(format!("{database}-{name}.db"));
        let path_of_a = path("a").to_string_lossy().into_owned();
        let settings = Settings { backend: backend.clone(), database: database.clone(), path: path_of_a };
        let mut child = Process::start(&settings)?;
        let b = open(backend, &database, "b", &path("b"))?;
        let watch = Watch::start(backend.clone(), format!("haqlite/{database}/_lease"))?;
        let client = Client::start(b.clone(), b.status().epoch);
        // Each time at another moment between two renewals.
        sleep(ttl / 2 + Duration::from_millis(700) * u32::try_from(round)?);
        let start = now();
        child.kill()?;
        let wrote = client.next_write()?;
        kills.outage.0.push(wrote.duration_since(start));
        kills.on_top.0.push(wrote.duration_since(watch.last_before(start)?).saturating_sub(ttl + margin));
        b.close_blocking()?;
    }
    Ok(kills)
}

/// The lease's time to live and what a challenger waits beyond it, by default.
pub(super) fn timing() -> (Duration, Duration) {
    let ttl = Duration::from_secs(LeaseConfig::new("", "").ttl_secs);
    (ttl, ttl / 5)
}

fn open(backend: &Backend, database: &str, name: &str, path: &Path) -> Outcome<HaQLite> {
    let builder = runtime()?.block_on(backend.node(database, name))?;
    Ok(builder.open_blocking(path, SCHEMA)?)
}

fn leading(db: &HaQLite) -> bool {
    db.role() == Role::Leader
}

fn wait_for(what: &str, mut test: impl FnMut() -> bool) -> Outcome<()> {
    let start = now();
    while !test() {
        if start.elapsed() > PATIENCE {
            return Err(format!("{what}: not within {PATIENCE:?}").into());
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Writes in a loop, until the first write that a later epoch acknowledged.
struct Client(mpsc::Receiver<Result<Instant, Error>>);

impl Client {
    fn start(db: HaQLite, old: Epoch) -> Client {
        let (sender, wrote) = mpsc::channel();
        std::thread::spawn(move || {
            loop {
                match db.execute(INSERT, &[SqlValue::from("a row of the client")]) {
                    Ok(done) if done.bookmark.epoch > old => return sender.send(Ok(now())),
                    Ok(_) => {}
                    // Its caller would try again, or not: it was not acknowledged.
                    Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {}
                    Err(error) => return sender.send(Err(error)),
                }
                sleep(Duration::from_millis(1));
            }
        });
        Client(wrote)
    }

    fn next_write(self) -> Outcome<Instant> {
        Ok(self.0.recv_timeout(PATIENCE)??)
    }
}

/// Sees when the lease changes.
struct Watch {
    seen: mpsc::Receiver<Instant>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    fn start(backend: Backend, key: String) -> Outcome<Watch> {
        let (sender, seen) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let runtime = runtime()?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                let (store, root) =
                    backend.place.lease_store().await.expect("a store that was opened before");
                let key = format!("{root}{key}");
                let mut last: Option<LeaseVersion> = None;
                while !stopped.load(Ordering::Relaxed) {
                    if let Ok(Some(found)) = store.read(&key).await
                        && last.replace(found.version.clone()) != Some(found.version)
                    {
                        let _ = sender.send(now());
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
        });
        Ok(Watch { seen, stop })
    }

    /// The last change that was seen up to then.
    fn last_before(&self, moment: Instant) -> Outcome<Instant> {
        // A renewal that the leader still sent may be seen a moment later.
        let until = moment + Duration::from_millis(50);
        self.seen.try_iter().filter(|at| *at <= until).last().ok_or_else(|| "no renewal was seen".into())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[derive(Serialize, Deserialize)]
struct Settings {
    backend: Backend,
    database: String,
    path: String,
}

/// A node in another process.
struct Process(Child);

impl Process {
    /// Starts it and waits until it leads.
    fn start(settings: &Settings) -> Outcome<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(CHILD, serde_json::to_string(settings)?);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        let process = Process(child);
        let line = BufReader::new(output).lines().next().transpose()?;
        match line.as_deref() {
            Some("open") => Ok(process),
            line => Err(format!("the node in another process did not open: {line:?}").into()),
        }
    }

    /// `kill -9`.
    fn kill(&mut self) -> Outcome<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// In a process that another one started: a node, until its input ends. `false` in any other.
pub(super) fn was_a_node() -> Outcome<bool> {
    let Ok(settings) = std::env::var(CHILD) else { return Ok(false) };
    let Settings { backend, database, path } = serde_json::from_str(&settings)?;
    let db = open(&backend, &database, "a", Path::new(&path))?;
    wait_for("it leads", || leading(&db))?;
    println!("open");
    std::io::stdin().lines().for_each(drop);
    Ok(true)
}

fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}
