//! The node in a process of its own. It does what it reads from its standard input, line by line, and says
//! on its standard output what came of it; every line of its own begins with `@`.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use haqlite::bucket::{Call, DirectoryBucket, Fault, FaultyBucket};
use rustix::process::{Signal, getpid, kill_process};

use haqlite::{Bookmark, CoordinatorConfig, Durability, Error, Event, HaQLite, Role};

use crate::support::{INSERT, PATIENCE, SCHEMA, cut_slots, floor, hasty, mend_slots, row, rows_of, unplaced};

/// The environment variable that makes this binary a node, and holds its settings as JSON.
pub(crate) const CHILD: &str = "HAQLITE_CRASH_CHILD";

#[derive(serde::Serialize, serde::Deserialize, Clone)]
pub(crate) struct Settings {
    pub(crate) node: String,
    pub(crate) bucket: String,
    pub(crate) database: String,
    pub(crate) ship_ms: u64,
    pub(crate) ttl_ms: u64,
    pub(crate) follower: bool,
    /// While this file exists, the bucket fails; the lease, which is in it too, does not.
    pub(crate) cut: Option<String>,
    pub(crate) cloud: bool,
    pub(crate) wal_cap: Option<u64>,
    /// Upkeep with the intervals of `support::hasty`.
    pub(crate) hasty: bool,
    /// Killed before so many steps of upkeep: whatever is made or deleted but slots and the lease.
    pub(crate) kill_at_chore: Option<u32>,
}

/// Not a promise: the way into the child. Returns at once in the process that runs the tests.
#[test]
fn entry() {
    let Ok(settings) = std::env::var(CHILD) else { return };
    let settings: Settings = serde_json::from_str(&settings).unwrap();
    let commands = read_commands();
    let (ship, ttl) = (Duration::from_millis(settings.ship_ms), Duration::from_millis(settings.ttl_ms));
    let wal_cap = settings.wal_cap.unwrap_or(CoordinatorConfig::default().wal_cap_bytes);
    let mut node = unplaced(&settings.node, ship, ttl, wal_cap);
    if let Some(cut) = settings.cut.clone() {
        let folder = settings.bucket.strip_prefix("file://").unwrap();
        let bucket = DirectoryBucket::open(folder).unwrap();
        let script = move |_: &Call<'_>| {
            if std::path::Path::new(&cut).exists() { Fault::Refuse } else { Fault::None }
        };
        node = node.storage(FaultyBucket::new(bucket, script)).lease_url(&settings.bucket);
    } else if let Some(step) = settings.kill_at_chore {
        let folder = settings.bucket.strip_prefix("file://").unwrap();
        let steps = AtomicU32::new(0);
        let bucket = FaultyBucket::new(DirectoryBucket::open(folder).unwrap(), move |call: &Call<'_>| {
            if is_a_chore(call) && steps.fetch_add(1, Ordering::SeqCst) + 1 == step {
                kill_process(getpid(), Signal::KILL).unwrap();
            }
            Fault::None
        });
        node = node.storage(bucket).lease_url(&settings.bucket);
    } else {
        node = node.bucket(&settings.bucket);
    }
    if settings.cloud {
        node = node.durability(Durability::Cloud);
    }
    if settings.follower {
        node = node.role(Role::Follower);
    }
    if settings.hasty {
        node = hasty(node);
    }
    let db = match node.open_blocking(&settings.database, SCHEMA) {
        Ok(db) => db,
        Err(error) => {
            say(&format!("refused {}", error.kind().name()));
            return;
        }
    };
    let _subscription = db.subscribe(|event| {
        if let Event::TailLost { path, from, to, request_ids } = event {
            say(&format!("lost {} {from} {to} {}", path.display(), request_ids.join(",")));
        }
    });
    say("open");
    for command in commands {
        if !obey(&db, &settings, &command) {
            break;
        }
    }
}

/// Whether it is upkeep that makes or deletes something here.
fn is_a_chore(call: &Call<'_>) -> bool {
    let of_upkeep = |key: &str| {
        let slot = key.contains("/ltx/0/");
        key.ends_with("/_floor") || key.contains("/_facts/") || (key.contains("/ltx/") && !slot)
    };
    match call {
        Call::Put { key, .. } => of_upkeep(key),
        Call::Delete { key, .. } => of_upkeep(key) || key.contains("/ltx/0/"),
        Call::Get { .. } | Call::List { .. } | Call::Now => false,
    }
}

/// The lines of the standard input. When it ends, so does the process: nobody is left to answer to.
fn read_commands() -> mpsc::Receiver<String> {
    let (sender, commands) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
        std::process::exit(3);
    });
    commands
}

/// Does it; `false` if the node is to be dropped.
fn obey(db: &HaQLite, settings: &Settings, command: &str) -> bool {
    let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
    let numbers: Vec<i64> = rest.split(' ').filter_map(|word| word.parse().ok()).collect();
    match (verb, &numbers[..]) {
        ("write", [from, to, bytes]) => write(db, *from..*to, usize::try_from(*bytes).unwrap()),
        ("workload", [from]) => workload(db, *from),
        ("outage", [from]) => outage(db, *from, Path::new(settings.bucket.trim_start_matches("file://"))),
        ("upkeep", [from]) => upkeep(db, *from, Path::new(settings.bucket.trim_start_matches("file://"))),
        ("loop", [from]) => {
            let (db, from) = (db.clone(), *from);
            std::thread::spawn(move || write_on(&db, from));
        }
        ("crowd", [from]) => crowd(db, *from),
        ("sql", _) => match db.execute(rest, &[]) {
            Ok(_) => say("done"),
            Err(error) => fail("sql", &error),
        },
        ("role", _) => say(&format!("role {:?}", db.role())),
        ("rows", _) => say(&format!("rows {}", rows_of(db).len())),
        ("close", _) => match db.close_blocking() {
            Ok(()) => say("closed"),
            Err(error) => fail("close", &error),
        },
        ("drop", _) => return false,
        ("exit", _) => std::process::exit(0),
        _ => panic!("unknown command {command}"),
    }
    true
}

fn write(db: &HaQLite, numbers: std::ops::Range<i64>, bytes: usize) {
    for n in numbers {
        write_one(db, n, bytes);
    }
    say("written");
}

fn write_one(db: &HaQLite, n: i64, bytes: usize) -> Option<Bookmark> {
    match db.execute(INSERT, &row(n, bytes)) {
        Ok(done) => {
            say(&format!("acked {n} {}", done.bookmark));
            Some(done.bookmark)
        }
        Err(error) => {
            fail(&n.to_string(), &error);
            None
        }
    }
}

/// Small and large rows, a table that comes and goes, deletions and a VACUUM; every few rows a wait until all
/// is confirmed, so that checkpoints and resets of the WAL find a moment.
fn workload(db: &HaQLite, from: i64) {
    const ROWS: i64 = 36;
    let mut unconfirmed = Vec::new();
    for i in 0..ROWS {
        let n = from + i;
        let bytes = if i % 6 == 5 { 900_000 } else { 3_000 };
        let Some(bookmark) = write_one(db, n, bytes) else { continue };
        unconfirmed.push(n);
        if i % 12 == 7 {
            db.execute("CREATE TABLE scratch AS SELECT n, filler FROM w LIMIT 30", &[]).unwrap();
            db.execute("DROP TABLE scratch", &[]).unwrap();
        }
        if i == 20 {
            db.execute("VACUUM", &[]).unwrap();
        }
        if i % 4 == 3 {
            db.wait_durable_blocking(&bookmark, PATIENCE).unwrap();
            unconfirmed.drain(..).for_each(|n| say(&format!("confirmed {n}")));
            std::thread::sleep(Duration::from_millis(25));
        }
    }
    say("finished");
}

/// A few rows, then many while the bucket takes no slot, and the bucket is back.
fn outage(db: &HaQLite, from: i64, bucket: &Path) {
    let confirm = |bookmark: Option<Bookmark>, numbers: std::ops::Range<i64>| {
        db.wait_durable_blocking(&bookmark.unwrap(), PATIENCE).unwrap();
        numbers.for_each(|n| say(&format!("confirmed {n}")));
    };
    let mut last = None;
    (from..from + 3).for_each(|n| last = write_one(db, n, 3_000));
    confirm(last, from..from + 3);
    cut_slots(bucket);
    for n in from + 3..from + 63 {
        write_one(db, n, if n % 10 == 9 { 90_000 } else { 15_000 });
        if n % 30 == 20 {
            db.execute("VACUUM", &[]).unwrap();
        }
    }
    say(&format!("spooled {}", db.status().spool_bytes));
    mend_slots(bucket);
    let last = write_one(db, from + 63, 3_000);
    confirm(last, from + 3..from + 64);
    say("finished");
}

/// Rows, each in a slot of its own, until the floor has risen over many of them.
fn upkeep(db: &HaQLite, from: i64, bucket: &Path) {
    const SLOTS: u64 = 40;
    let before = floor(bucket);
    for n in from.. {
        let bookmark = write_one(db, n, 500).unwrap();
        db.wait_durable_blocking(&bookmark, PATIENCE).unwrap();
        say(&format!("confirmed {n}"));
        if floor(bucket) >= before + SLOTS {
            break;
        }
    }
    say("finished");
}

/// Writes rows until the process ends; confirms what it can.
fn write_on(db: &HaQLite, from: i64) {
    let (sender, acked) = mpsc::channel::<(i64, Bookmark)>();
    let confirming = db.clone();
    std::thread::spawn(move || {
        for (n, bookmark) in acked {
            match confirming.wait_durable_blocking(&bookmark, PATIENCE) {
                Ok(()) => say(&format!("confirmed {n}")),
                Err(error) => fail(&format!("confirm {n}"), &error),
            }
        }
    });
    for n in from.. {
        if let Some(bookmark) = write_one(db, n, 100) {
            sender.send((n, bookmark)).unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Several writers that write rows as fast as they can until the process ends.
fn crowd(db: &HaQLite, from: i64) {
    const WRITERS: i64 = 4;
    for writer in 0..WRITERS {
        let db = db.clone();
        std::thread::spawn(move || {
            for n in (from + writer..).step_by(WRITERS as usize) {
                write_one(&db, n, 200);
            }
        });
    }
}

fn fail(what: &str, error: &Error) {
    say(&format!("failed {what} {} {:?} {}", error.kind().name(), error.outcome(), error.message()));
}

/// One write per line, so that a kill leaves no half of one behind a whole one.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // The reader may be gone.
    let _ = out.write_all(format!("@{line}\n").as_bytes()).and_then(|()| out.flush());
}
