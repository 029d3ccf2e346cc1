//! What replication costs: haqlite, leading and shipping to a folder, against rusqlite alone.
//!
//! Both hold the same rows and do the same work in turns; what counts is the ratio of neighbouring turns, of
//! which the median is shown, so that a machine that is busy with something else slows down both. Where it is
//! too busy for that, the ratio of the calling thread's processor time tells more; it says nothing of what other
//! threads take. Each call
//! begins with the SQL text and ends with owned values. Both live in one process: the single-thread fast paths
//! of the C library flatter neither. A turn of writes is long enough to be shipped while it runs, and the log
//! is caught up with before it is the other's turn; the last column says how long that took.
//!
//! `HAQLITE_BENCH_SECONDS` says for about how long everything runs (100 by default), `HAQLITE_BENCH_FILTER`
//! picks cases by a part of their name, `TMPDIR` where the databases are.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use haqlite::{Bookmark, HaQLite, SqlValue};
use rusqlite::types::Value;
use rusqlite::{Connection, params};
use rustix::time::{ClockId, clock_gettime};

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROWS: i64 = 100_000;
const TARGET: f64 = 0.95;
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, k INTEGER, body TEXT);
    CREATE TABLE IF NOT EXISTS event (id INTEGER PRIMARY KEY, k INTEGER, body TEXT);";
const FILL: &str = "INSERT INTO item (k, body) VALUES (?1, ?2)";
const INSERT: &str = "INSERT INTO event (k, body) VALUES (?1, ?2)";
const UPDATE: &str = "UPDATE item SET k = ?2, body = ?3 WHERE id = ?1";
const LOOKUP: &str = "SELECT body FROM item WHERE id = ?1";
const ROW: &str = "SELECT id, k, body FROM item WHERE id = ?1";
const RANGE: &str = "SELECT id, k, body FROM item WHERE id >= ?1 ORDER BY id LIMIT 100";
const AGGREGATE: &str = "SELECT sum(k) + sum(length(body)) FROM item";
const ALL: &str = "SELECT id, k, body FROM item";

fn main() -> Outcome<()> {
    let seconds: f64 = match std::env::var("HAQLITE_BENCH_SECONDS") {
        Ok(text) => text.parse()?,
        Err(_) => 100.0,
    };
    let filter = std::env::var("HAQLITE_BENCH_FILTER").unwrap_or_default();
    let folder = tempfile::tempdir()?;
    let mut plain = Plain::open(&folder.path().join("plain.db"))?;
    let mut haqlite = Replicated::open(folder.path())?;
    let inputs = Inputs::new();
    let cases: Vec<&Case> = CASES.iter().filter(|case| case.name.contains(&filter)).collect();
    let weights: u32 = cases.iter().map(|case| case.kind.weight()).sum();

    println!("{:<42} {:>10} {:>10} {:>22} {:>6} {:>7}", "", "plain/s", "haqlite/s", "ratio", "cpu", "behind");
    let mut below = Vec::new();
    for case in cases {
        let share = seconds * f64::from(case.kind.weight()) / f64::from(weights);
        let ratio = case.compare(&mut plain, &mut haqlite, &inputs, share)?;
        if ratio < TARGET {
            below.push(format!("{} ({ratio:.2})", case.name));
        }
    }
    match below.is_empty() {
        true => println!("every ratio is at least {TARGET}"),
        false => println!("below the target of {TARGET}: {}", below.join(", ")),
    }
    haqlite.db.close_blocking()?;
    Ok(())
}

/// One kind of work, a piece at a time. What a piece gives is added up, to see that both sides did the same.
struct Case {
    name: &'static str,
    kind: Kind,
    /// What is counted, in each piece.
    operations: u64,
    piece: fn(&mut dyn Subject, &mut Turn<'_>) -> Outcome<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    /// Few of them fill a disk.
    BigWrite,
}

impl Kind {
    /// The share of the time.
    fn weight(self) -> u32 {
        match self {
            Kind::Read => 2,
            Kind::Write => 6,
            Kind::BigWrite => 4,
        }
    }

    fn rounds(self) -> u32 {
        match self {
            Kind::Read => 11,
            Kind::Write | Kind::BigWrite => 7,
        }
    }
}

const CASES: &[Case] = &[
    Case {
        name: "point lookup (query_row_local)",
        kind: Kind::Read,
        operations: 1,
        piece: |subject, turn| subject.lookup(turn.id()),
    },
    Case {
        name: "point lookup (query)",
        kind: Kind::Read,
        operations: 1,
        piece: |subject, turn| subject.row(turn.id()),
    },
    Case {
        name: "range scan, 100 rows (query)",
        kind: Kind::Read,
        operations: 1,
        piece: |subject, turn| subject.range(turn.id()),
    },
    Case {
        name: "full scan, aggregate (query_row_local)",
        kind: Kind::Read,
        operations: 1,
        piece: |subject, _| subject.aggregate(),
    },
    Case {
        name: "full scan, rows (query_values_local)",
        kind: Kind::Read,
        operations: 1,
        piece: |subject, _| subject.all(),
    },
    Case {
        name: "single INSERT (execute)",
        kind: Kind::Write,
        operations: 1,
        piece: |subject, turn| subject.insert(turn.number(), turn.text()),
    },
    Case {
        name: "single UPDATE by key (execute)",
        kind: Kind::Write,
        operations: 1,
        piece: |subject, turn| subject.update(turn.id(), turn.number(), turn.text()),
    },
    Case {
        name: "INSERT, 1000 a transaction (transaction)",
        kind: Kind::BigWrite,
        operations: 1000,
        piece: |subject, turn| subject.batch(INSERT, 1000, turn),
    },
];

impl Case {
    /// Runs the turns, prints a line of the table, and gives the ratio's median.
    fn compare(
        &self,
        plain: &mut Plain,
        haqlite: &mut Replicated,
        inputs: &Inputs,
        seconds: f64,
    ) -> Outcome<f64> {
        let rounds = self.kind.rounds();
        let turn_seconds = seconds / f64::from(2 * rounds + 1);
        let pieces = self.calibrate(plain, inputs, turn_seconds)?;
        self.turn(haqlite, inputs, 0, pieces.div_ceil(10))?;
        let (mut of_plain, mut of_haqlite, mut ratios, mut behind) = (vec![], vec![], vec![], vec![]);
        let mut cpu = vec![];
        for round in 1..=u64::from(rounds) {
            haqlite.settle()?;
            let (there, here);
            if round % 2 == 1 {
                there = self.turn(plain, inputs, round, pieces)?;
                here = self.turn(haqlite, inputs, round, pieces)?;
                behind.push(haqlite.settle()?);
            } else {
                here = self.turn(haqlite, inputs, round, pieces)?;
                behind.push(haqlite.settle()?);
                there = self.turn(plain, inputs, round, pieces)?;
            }
            if here.sum != there.sum {
                return Err(format!("{}: the sides found {} and {}", self.name, here.sum, there.sum).into());
            }
            of_plain.push(there.rate);
            of_haqlite.push(here.rate);
            ratios.push(here.rate / there.rate);
            cpu.push(there.cpu / here.cpu);
        }
        let ratio = median(&mut ratios);
        let range = format!("{ratio:.2} ({:.2}-{:.2})", ratios[0], ratios[ratios.len() - 1]);
        let behind =
            if self.kind == Kind::Read { "-".into() } else { format!("{:.2}s", median(&mut behind)) };
        let (of_plain, of_haqlite) = (median(&mut of_plain), median(&mut of_haqlite));
        println!(
            "{:<42} {of_plain:>10.0} {of_haqlite:>10.0} {range:>22} {:>6.2} {behind:>7}",
            self.name,
            median(&mut cpu)
        );
        Ok(ratio)
    }

    /// How many pieces take rusqlite about so many seconds.
    fn calibrate(&self, plain: &mut Plain, inputs: &Inputs, seconds: f64) -> Outcome<u64> {
        let mut pieces = 1;
        loop {
            let turn = self.turn(plain, inputs, 0, pieces)?;
            let took = (pieces * self.operations) as f64 / turn.rate;
            if took > seconds / 5.0 {
                return Ok(((pieces as f64 * seconds / took) as u64).max(1));
            }
            pieces *= 2;
        }
    }

    fn turn(&self, subject: &mut dyn Subject, inputs: &Inputs, round: u64, pieces: u64) -> Outcome<Measured> {
        let mut turn = Turn { inputs, state: round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 };
        let (begin, cpu, mut sum) = (now(), cpu_seconds(), 0_u64);
        for _ in 0..pieces {
            sum = sum.wrapping_add((self.piece)(subject, &mut turn)?);
        }
        let seconds = begin.elapsed().as_secs_f64();
        Ok(Measured { rate: (pieces * self.operations) as f64 / seconds, cpu: cpu_seconds() - cpu, sum })
    }
}

struct Measured {
    /// Operations a second.
    rate: f64,
    /// Seconds of the thread's processor time.
    cpu: f64,
    sum: u64,
}

/// What is measured: each method is one call of an application, and gives a number that tells the work.
trait Subject {
    fn lookup(&mut self, id: i64) -> Outcome<u64>;
    fn row(&mut self, id: i64) -> Outcome<u64>;
    fn range(&mut self, first: i64) -> Outcome<u64>;
    fn aggregate(&mut self) -> Outcome<u64>;
    fn all(&mut self) -> Outcome<u64>;
    fn insert(&mut self, k: i64, body: String) -> Outcome<u64>;
    fn update(&mut self, id: i64, k: i64, body: String) -> Outcome<u64>;
    fn batch(&mut self, sql: &str, rows: u64, turn: &mut Turn<'_>) -> Outcome<u64>;
}

/// rusqlite with the settings that haqlite has, and checkpoints as SQLite makes them by default.
struct Plain {
    db: Connection,
}

impl Plain {
    fn open(path: &Path) -> Outcome<Plain> {
        fill(&mut Plain::connect(path)?)?;
        // What filled it has everything in its cache; haqlite's readers have not either.
        Plain::connect(path)
    }

    fn connect(path: &Path) -> Outcome<Plain> {
        let db = Connection::open(path)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "NORMAL")?;
        db.pragma_update(None, "cache_size", -65_536)?;
        db.execute_batch(SCHEMA)?;
        Ok(Plain { db })
    }

    fn rows(&self, sql: &str, id: Option<i64>) -> Outcome<Vec<Vec<Value>>> {
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = match id {
            Some(id) => statement.query([id])?,
            None => statement.query([])?,
        };
        let mut values = Vec::new();
        while let Some(row) = rows.next()? {
            values.push(vec![row.get(0)?, row.get(1)?, row.get(2)?]);
        }
        Ok(values)
    }
}

impl Subject for Plain {
    fn lookup(&mut self, id: i64) -> Outcome<u64> {
        let body: String = self.db.prepare_cached(LOOKUP)?.query_row([id], |row| row.get(0))?;
        Ok(body.len() as u64)
    }

    fn row(&mut self, id: i64) -> Outcome<u64> {
        Ok(self.rows(ROW, Some(id))?.len() as u64)
    }

    fn range(&mut self, first: i64) -> Outcome<u64> {
        Ok(self.rows(RANGE, Some(first))?.len() as u64)
    }

    fn aggregate(&mut self) -> Outcome<u64> {
        let sum: i64 = self.db.prepare_cached(AGGREGATE)?.query_row([], |row| row.get(0))?;
        Ok(sum as u64)
    }

    fn all(&mut self) -> Outcome<u64> {
        Ok(self.rows(ALL, None)?.len() as u64)
    }

    fn insert(&mut self, k: i64, body: String) -> Outcome<u64> {
        Ok(self.db.prepare_cached(INSERT)?.execute(params![k, body])? as u64)
    }

    fn update(&mut self, id: i64, k: i64, body: String) -> Outcome<u64> {
        Ok(self.db.prepare_cached(UPDATE)?.execute(params![id, k, body])? as u64)
    }

    fn batch(&mut self, sql: &str, rows: u64, turn: &mut Turn<'_>) -> Outcome<u64> {
        let transaction = self.db.transaction()?;
        let mut sum = 0;
        for _ in 0..rows {
            sum += transaction.prepare_cached(sql)?.execute(params![turn.number(), turn.text()])? as u64;
        }
        transaction.commit()?;
        Ok(sum)
    }
}

/// haqlite as it comes: a leader with the default configuration whose bucket is a folder.
struct Replicated {
    db: HaQLite,
    newest: Bookmark,
}

impl Replicated {
    fn open(folder: &Path) -> Outcome<Replicated> {
        let builder = HaQLite::builder()
            .bucket(format!("file://{}", folder.join("bucket").display()))
            .forwarding_port(0);
        let db = builder.open_blocking(folder.join("haqlite.db"), SCHEMA)?;
        let mut haqlite = Replicated { db, newest: Bookmark::default() };
        fill(&mut haqlite)?;
        haqlite.settle()?;
        Ok(haqlite)
    }

    /// Waits until everything is shipped, and gives the seconds that this took.
    fn settle(&mut self) -> Outcome<f64> {
        let begin = now();
        self.db.wait_durable_blocking(&self.newest, Duration::from_secs(60))?;
        Ok(begin.elapsed().as_secs_f64())
    }
}

impl Subject for Replicated {
    fn lookup(&mut self, id: i64) -> Outcome<u64> {
        let body: String = self.db.query_row_local(LOOKUP, &[SqlValue::Integer(id)], |row| row.get(0))?;
        Ok(body.len() as u64)
    }

    fn row(&mut self, id: i64) -> Outcome<u64> {
        Ok(self.db.query(ROW, &[SqlValue::Integer(id)])?.len() as u64)
    }

    fn range(&mut self, first: i64) -> Outcome<u64> {
        Ok(self.db.query(RANGE, &[SqlValue::Integer(first)])?.len() as u64)
    }

    fn aggregate(&mut self) -> Outcome<u64> {
        let sum: i64 = self.db.query_row_local(AGGREGATE, &[], |row| row.get(0))?;
        Ok(sum as u64)
    }

    fn all(&mut self) -> Outcome<u64> {
        Ok(self.db.query_values_local(ALL, &[])?.len() as u64)
    }

    fn insert(&mut self, k: i64, body: String) -> Outcome<u64> {
        let done = self.db.execute(INSERT, &[SqlValue::Integer(k), SqlValue::Text(body)])?;
        self.newest = done.bookmark;
        Ok(done.rows_affected)
    }

    fn update(&mut self, id: i64, k: i64, body: String) -> Outcome<u64> {
        let values = [SqlValue::Integer(id), SqlValue::Integer(k), SqlValue::Text(body)];
        let done = self.db.execute(UPDATE, &values)?;
        self.newest = done.bookmark;
        Ok(done.rows_affected)
    }

    fn batch(&mut self, sql: &str, rows: u64, turn: &mut Turn<'_>) -> Outcome<u64> {
        let (sum, bookmark) = self.db.transaction(|transaction| {
            let (mut sum, mut bookmark) = (0, Bookmark::default());
            for _ in 0..rows {
                let values = [SqlValue::Integer(turn.number()), SqlValue::Text(turn.text())];
                let done = transaction.execute(sql, &values)?;
                sum += done.rows_affected;
                bookmark = done.bookmark;
            }
            Ok((sum, bookmark))
        })?;
        self.newest = bookmark;
        Ok(sum)
    }
}

fn fill(subject: &mut dyn Subject) -> Outcome<()> {
    let inputs = Inputs::new();
    let mut turn = Turn { inputs: &inputs, state: 1 };
    (0..ROWS / 1000).try_for_each(|_| subject.batch(FILL, 1000, &mut turn).map(drop))
}

/// Texts of about a hundred bytes, made beforehand.
struct Inputs {
    texts: Vec<String>,
}

impl Inputs {
    fn new() -> Inputs {
        let mut state = 7;
        let word = |_| format!("{:x} ", random(&mut state) >> 24);
        let words: Vec<String> = (0..10_000).map(word).collect();
        Inputs { texts: words.chunks(10).map(|words| words.concat()).collect() }
    }
}

/// What one turn works with: the same for both sides, another in each round.
struct Turn<'i> {
    inputs: &'i Inputs,
    state: u64,
}

impl Turn<'_> {
    /// The key of a row that has another hundred behind it.
    fn id(&mut self) -> i64 {
        1 + (random(&mut self.state) % (ROWS as u64 - 100)) as i64
    }

    fn number(&mut self) -> i64 {
        (random(&mut self.state) % 1_000_000) as i64
    }

    fn text(&mut self) -> String {
        let texts = &self.inputs.texts;
        texts[random(&mut self.state) as usize % texts.len()].clone()
    }
}

/// xorshift64*, from G. Marsaglia's "Xorshift RNGs" and S. Vigna's multiplier.
fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// Sorts the values.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
