//! How long a restore takes: haqlite against `litestream restore`, from the same folder.
//!
//! The log is a snapshot and many small slots. Both tools run as processes of their own and in turns; the median
//! of each is shown, the ratio of the medians, and the most memory that each had. Once without a check by SQLite,
//! once with `quick_check`, which haqlite does unless it is told not to. The last line checks that both made the
//! same database.
//!
//! `HAQLITE_BENCH_RESTORE_MB` is the size of the database (1000 by default), `HAQLITE_BENCH_RESTORE_FILES` the
//! number of slots (1000), `HAQLITE_BENCH_RESTORE_ROUNDS` how many turns each has (3), `TMPDIR` where everything
//! is; it takes some four times the size. `HAQLITE_LITESTREAM` or `PATH` leads to the other tool.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use haqlite::bucket::{Key, Layout};
use haqlite::ltx::{Encoder, Header, Origin, WalRange};
use haqlite::types::{Chain, Epoch, PageNumber, PageSize, SessionId, Txid};
use haqlite::{Check, Restore};
use rusqlite::Connection;

type Outcome<T> = Result<T, Box<dyn Error>>;

const PAGE: usize = 4096;
/// Set in the process that restores: the folder of the log.
const CHILD: &str = "HAQLITE_BENCH_RESTORE_FROM";

fn main() -> Outcome<()> {
    if let Ok(bucket) = std::env::var(CHILD) {
        let arguments: Vec<String> = std::env::args().collect();
        let check = if arguments[2] == "quick" { Check::Quick } else { Check::None };
        Restore::new(bucket).prefix("").db_name("").check(check).run(&arguments[1])?;
        return Ok(());
    }
    let filter = std::env::var("HAQLITE_BENCH_FILTER").unwrap_or_default();
    if !"restore".contains(&filter) {
        return Ok(());
    }
    let megabytes = number("HAQLITE_BENCH_RESTORE_MB", 1000)?;
    let slots = number("HAQLITE_BENCH_RESTORE_FILES", 1000)?;
    let rounds = number("HAQLITE_BENCH_RESTORE_ROUNDS", 3)?.max(1);
    let folder = tempfile::tempdir()?;
    let bucket = folder.path().join("bucket");
    write_log(folder.path(), &bucket, megabytes, slots)?;
    println!(
        "restore of {megabytes} MB, a snapshot of {} MB and {slots} slots, {rounds} rounds:",
        size(&bucket)? >> 20
    );
    let litestream = find_litestream();
    if litestream.is_none() {
        println!("  there is no litestream to compare with: `make tools` installs it");
    }
    let (ours, theirs) = (folder.path().join("ours.db"), folder.path().join("theirs.db"));
    for check in ["none", "quick"] {
        let (mut here, mut there) = (Runs::default(), Runs::default());
        for _ in 0..rounds {
            here.run(our_restore(&bucket, &ours, check)?, &ours)?;
            if let Some(litestream) = &litestream {
                there.run(their_restore(litestream, &bucket, &theirs, check), &theirs)?;
            }
        }
        print!("  check {check:<6} haqlite {here}");
        match litestream {
            Some(_) => println!("   litestream {there}   ratio {:.2}", there.median() / here.median()),
            None => println!(),
        }
    }
    if litestream.is_some() {
        println!("  the same database: {}", same(&ours, &theirs)?);
    }
    Ok(())
}

fn our_restore(bucket: &Path, target: &Path, check: &str) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(CHILD, format!("file://{}", bucket.display())).arg(target).arg(check);
    Ok(command)
}

fn their_restore(litestream: &Path, bucket: &Path, target: &Path, check: &str) -> Command {
    let mut command = Command::new(litestream);
    command.args(["restore", "-integrity-check", check, "-o"]).arg(target);
    command.arg(format!("file://{}", bucket.display()));
    command
}

/// The turns of one side.
#[derive(Default)]
struct Runs {
    seconds: Vec<f64>,
    peak_kib: u64,
}

impl Runs {
    fn run(&mut self, mut command: Command, target: &Path) -> Outcome<()> {
        let _ = fs::remove_file(target);
        let start = now();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let status = loop {
            self.peak_kib = self.peak_kib.max(peak_kib(&child).unwrap_or(0));
            match child.try_wait()? {
                Some(status) => break status,
                None => sleep(Duration::from_millis(5)),
            }
        };
        self.seconds.push(start.elapsed().as_secs_f64());
        if !status.success() {
            let mut text = String::new();
            child.stderr.take().ok_or("no stderr")?.read_to_string(&mut text)?;
            return Err(format!("{command:?}: {text}").into());
        }
        Ok(())
    }

    fn median(&self) -> f64 {
        let mut seconds = self.seconds.clone();
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2]
    }
}

impl std::fmt::Display for Runs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:6.2} s, {:4} MB of memory", self.median(), self.peak_kib >> 10)
    }
}

/// The most memory that the process had so far, where `/proc` tells it.
fn peak_kib(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// A database of about so many megabytes as a snapshot, and slots with what transactions changed after it.
fn write_log(folder: &Path, bucket: &Path, megabytes: u64, slots: u64) -> Outcome<()> {
    let path = folder.join("source.db");
    let connection = Connection::open(&path)?;
    let rows = megabytes * 1000;
    connection.execute_batch(&format!(
        "PRAGMA page_size = {PAGE}; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN;
         CREATE TABLE item (id INTEGER PRIMARY KEY, k INTEGER, body TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO item SELECT i, i * 7919 % 1000003,
             'row ' || i || ' of a table with some text in it, and noise: ' || hex(randomblob(460)) FROM n;
         COMMIT; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0"
    ))?;
    for level in [0, 9] {
        fs::create_dir_all(bucket.join(format!("ltx/{level}")))?;
    }
    let mut source = File::open(&path)?;
    let pages = u32::try_from(source.metadata()?.len() / PAGE as u64)?;
    let origin = Origin::new(Epoch::FIRST, Chain::of(b"genesis"), SessionId::from_bytes([1; 16]));
    let header = |txid: u64, commit: u32, origin: Origin| -> Outcome<Header> {
        let commit = PageNumber::new(commit).ok_or("no pages")?;
        let page_size = PageSize::new(PAGE as u32)?;
        Ok(Header::slot(Txid::new(txid), page_size, commit, 1_790_000_000_000 + txid as i64, origin))
    };
    let snapshot = Key::File { level: 9, min: Txid::new(1), max: Txid::new(1) };
    let file = BufWriter::new(File::create(bucket.join(snapshot.path("", Layout::Directory)))?);
    let mut encoder = Encoder::new(file, Header { wal: WalRange::NONE, ..header(1, pages, origin)? })?;
    let mut data = vec![0; PAGE];
    for page in (1..=pages).filter_map(PageNumber::new) {
        source.read_exact(&mut data)?;
        if page.get() != (1 << 30) / PAGE as u32 + 1 {
            encoder.page(page, &data)?;
        }
    }
    let mut previous = encoder.finish()?.chain;
    let mut wal = Wal { path: folder.join("source.db-wal"), read: 32 };
    for slot in 2..2 + slots {
        connection.execute(
            "UPDATE item SET k = k + 1, body = body || 'x' WHERE id IN (?1, ?1 + 500, ?1 + 1000, ?1 + 1500)",
            [(slot * 7919 % rows) as i64],
        )?;
        let (changed, commit) = wal.changed()?;
        let origin = Origin::new(Epoch::FIRST, previous, SessionId::from_bytes([1; 16]));
        let key = Key::slot(Txid::new(slot)).path("", Layout::Directory);
        let mut encoder = Encoder::new(File::create(bucket.join(key))?, header(slot, commit, origin)?)?;
        for (number, data) in changed {
            encoder.page(PageNumber::new(number).ok_or("page 0")?, &data)?;
        }
        previous = encoder.finish()?.chain;
    }
    drop(connection);
    for name in ["source.db", "source.db-wal", "source.db-shm"] {
        let _ = fs::remove_file(folder.join(name));
    }
    Ok(())
}

/// The WAL of the database, and up to where it was read.
struct Wal {
    path: PathBuf,
    read: u64,
}

impl Wal {
    /// The pages of the frames since the last time, and the database's size in pages after them.
    fn changed(&mut self) -> Outcome<(BTreeMap<u32, Vec<u8>>, u32)> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        self.read += bytes.len() as u64;
        let mut commit = 0;
        let mut pages = BTreeMap::new();
        for frame in bytes.chunks_exact(24 + PAGE) {
            pages.insert(u32::from_be_bytes(frame[..4].try_into()?), frame[24..].to_vec());
            commit = commit.max(u32::from_be_bytes(frame[4..8].try_into()?));
        }
        Ok((pages, commit))
    }
}

fn find_litestream() -> Option<PathBuf> {
    let named = std::env::var_os("HAQLITE_LITESTREAM").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::env::split_paths(&path).map(|folder| folder.join("litestream"));
    named.into_iter().chain(candidates).find(|file| file.is_file())
}

fn same(one: &Path, other: &Path) -> Outcome<bool> {
    let hash = |path: &Path| -> Outcome<_> {
        Ok(blake3::Hasher::new().update_reader(File::open(path)?)?.finalize())
    };
    Ok(hash(one)? == hash(other)?)
}

/// Bytes of the snapshots.
fn size(bucket: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(bucket.join("ltx/9"))? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

fn number(name: &str, default: u64) -> Outcome<u64> {
    match std::env::var(name) {
        Ok(text) => Ok(text.parse()?),
        Err(_) => Ok(default),
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}
