//! One node: a process that writes, and does what it is told on its standard input.
//!
//! It is told `<id> <verb> [argument]` and says, a line each: `reply <id> ok|error <text>`,
//! `acknowledged <first row> <bookmark>`, `failed <first row> <outcome> <why>`,
//! `state <role> <epoch> <slot>`, `lost <file>` and `ready`.

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use haqlite::{Bookmark, Error, ErrorKind, Event, HaQLite, NodeId, Result, Role, SqlValue};

/// What makes this program a node.
pub(crate) const ARGUMENT: &str = "--node";
/// How many rows one write adds.
pub(crate) const ROWS: u64 = 5;

/// Nothing in it keeps a row from being there twice: the demo looks whether one is.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, node TEXT, number INTEGER);";
const INSERT: &str = "INSERT INTO rows (node, number)
    VALUES (?1, ?2), (?1, ?2 + 1), (?1, ?2 + 2), (?1, ?2 + 3), (?1, ?2 + 4)";
/// Between two writes, so that three nodes leave the machine some air.
const PAUSE: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a node: `NAME FOLDER BUCKET DATABASE`.
pub(crate) fn main(arguments: Vec<String>) -> ExitCode {
    let [name, folder, bucket, database] = arguments.as_slice() else {
        eprintln!("a node needs a name, a folder, a bucket and the database's name");
        return ExitCode::from(2);
    };
    match run(name, Path::new(folder), bucket, database) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str, folder: &Path, bucket: &str, database: &str) -> Result<()> {
    let db = HaQLite::builder()
        .bucket(bucket)
        .db_name(database)
        .instance_id(name)
        .forwarding_port(0)
        .open_blocking(folder.join("app.db"), SCHEMA)?;

    let seen = db.clone();
    let _events = db.subscribe(move |event| match event {
        Event::TailLost { path, .. } => say(format_args!("lost {}", path.display())),
        _ => say_state(&seen),
    })?;
    say_state(&db);
    db.status().lost_tails.iter().for_each(|path| say(format_args!("lost {}", path.display())));
    let seen = db.clone();
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_millis(250));
            say_state(&seen);
        }
    });
    say("ready");

    let mut writer = None;
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|e| Error::io("listening to the demo", e))?;
        let mut words = line.split_whitespace();
        let id = words.next().unwrap_or_default().to_owned();
        match (words.next().unwrap_or_default(), words.next().unwrap_or_default()) {
            ("write", from) => {
                let first = from.parse().map_err(|_| invalid(from))?;
                writer = Some(Writer::start(&db, name, first));
                reply(&id, Ok(()));
            }
            ("pause", _) => {
                drop(writer.take());
                reply(&id, Ok(()));
            }
            ("close", _) => {
                drop(writer.take());
                let closed = db.close_blocking();
                reply(&id, closed);
                return Ok(());
            }
            (verb, argument) => {
                let (db, verb, argument) = (db.clone(), verb.to_owned(), argument.to_owned());
                thread::spawn(move || reply(&id, perform(&db, &verb, &argument)));
            }
        }
    }
    // The demo is gone, and nobody would see a clean end.
    std::process::exit(1);
}

fn perform(db: &HaQLite, verb: &str, argument: &str) -> Result<()> {
    match verb {
        "durable" => durable(db, &argument.parse()?),
        "visible" => db.wait_for_blocking(&argument.parse()?, PATIENCE),
        "handoff" => db.handoff_blocking(Some(NodeId::new(argument))),
        _ => Err(invalid(verb)),
    }
}

/// Waits until the slot of the write is confirmed, by the leader of the write's epoch, which this node has
/// to be the whole time.
fn durable(db: &HaQLite, bookmark: &Bookmark) -> Result<()> {
    let leads = || {
        let status = db.status();
        if status.role == Role::Leader && status.epoch == bookmark.epoch {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NotLeader, format!("this node does not lead epoch {}", bookmark.epoch)))
    };
    leads()?;
    db.wait_durable_blocking(bookmark, PATIENCE)?;
    leads()
}

/// Adds rows until it is dropped; the drop waits for the write that is under way.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(db: &HaQLite, name: &str, first: u64) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let (db, name, stopped) = (db.clone(), name.to_owned(), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut first = first;
            while !stopped.load(Ordering::Relaxed) {
                match db.execute(INSERT, &[SqlValue::from(&*name), SqlValue::Integer(first.cast_signed())]) {
                    Ok(done) => say(format_args!("acknowledged {first} {}", done.bookmark)),
                    Err(e) => say(format_args!("failed {first} {:?} {:?}: {e}", e.outcome(), e.kind())),
                }
                first += ROWS;
                thread::sleep(PAUSE);
            }
        });
        Writer { stop, thread: Some(thread) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn say_state(db: &HaQLite) {
    let status = db.status();
    say(format_args!("state {:?} {} {}", status.role, status.epoch, status.applied));
}

fn reply(id: &str, result: Result<()>) {
    match result {
        Ok(()) => say(format_args!("reply {id} ok")),
        Err(error) => say(format_args!("reply {id} error {:?}: {error}", error.kind())),
    }
}

/// One line, at once. If nobody listens any more, the node has no reason to go on.
fn say(line: impl std::fmt::Display) {
    let line = format!("{line}\n");
    let mut out = io::stdout().lock();
    if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("{what:?} is not understood"))
}
