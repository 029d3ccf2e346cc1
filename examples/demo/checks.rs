//! After the end: is everything where it was promised to be?

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::BufReader;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use haqlite::ltx::Decoder;
use haqlite::{HaQLite, Restore};

use super::cluster::Cluster;
use super::ledger::Rows;
use super::{ENOUGH, NAMES, Place, Result};

/// A row: its node's name and its number.
type Row = (String, u64);

/// A copy of a database in the end.
struct Copy {
    path: PathBuf,
    /// How often each row is in it.
    rows: HashMap<Row, u64>,
    integrity: String,
}

/// Commits that a node had to give up: the file in which it kept them, and the rows that only they had.
struct Lost {
    file: PathBuf,
    rows: HashSet<Row>,
}

/// Checks everything and prints a line for each check; whether all were ok.
pub(crate) fn all(cluster: &Cluster, place: &Place) -> Result<bool> {
    fs::create_dir_all(place.checks())?;
    let mut copies = Vec::new();
    for node in 0..NAMES.len() {
        copies.push(Copy::read(copy_of_node(place, node)?)?);
    }
    let path = place.checks().join("restore.db");
    Restore::new(&place.bucket).db_name(&place.database).run(&path)?;
    copies.push(Copy::read(path)?);
    let lost = cluster.lost.iter().map(|file| Lost::read(place, file)).collect::<Result<Vec<Lost>>>()?;

    let ledger = &cluster.ledger;
    let (acknowledged, confirmed) = ledger.counts();
    let in_all = |row: &Row| copies.iter().all(|copy| copy.rows.contains_key(row));
    let in_any = |row: &Row| copies.iter().any(|copy| copy.rows.contains_key(row));
    let is_kept = |row: &Row| lost.iter().any(|lost| lost.rows.contains(row));
    let rows = |confirmed: bool| {
        let writes = ledger.acknowledged.iter().filter(move |write| write.confirmed == confirmed);
        writes.flat_map(|write| named(write.rows))
    };

    let mut checks = Checks { ok: true };
    checks.check(
        confirmed >= ENOUGH,
        format!("{confirmed} of {acknowledged} acknowledged rows were confirmed by their slot"),
    );
    let missing = rows(true).filter(|row| !in_all(row)).count();
    checks.check(
        missing == 0,
        format!(
            "every confirmed row is on every node and in a restore from the bucket alone ({missing} missing)"
        ),
    );
    let (in_log, gone): (Vec<Row>, Vec<Row>) = rows(false).partition(in_all);
    let nowhere = gone.iter().filter(|row| in_any(row) || !is_kept(row)).count();
    checks.check(
        nowhere == 0,
        format!(
            "of {} others {} reached the log and {} are kept in a reported file ({nowhere} are in neither)",
            in_log.len() + gone.len(),
            in_log.len(),
            gone.len()
        ),
    );
    for lost in &lost {
        let file = lost.file.file_name().unwrap_or_default().to_string_lossy();
        let rows = lost.rows.iter().filter(|row| !in_any(row)).count();
        println!("        {rows} rows were committed and not shipped: {file}");
    }
    let refused = ledger.refused.iter().copied().flat_map(named).filter(in_any).count();
    checks
        .check(refused == 0, format!("no row is there whose write was said to have failed ({refused} are)"));
    let twice = copies.iter().flat_map(|copy| copy.rows.values()).filter(|times| **times > 1).count();
    checks.check(twice == 0, format!("no row is there twice ({twice} are)"));
    let whole = copies.iter().all(|copy| copy.integrity == "ok");
    checks.check(whole, "integrity_check is ok on every node and on the restore".into());
    let differing = differing_pages(&copies)?;
    checks.check(
        differing == 0,
        format!("all nodes and the restore are equal, page by page ({differing} pages differ)"),
    );
    Ok(checks.ok)
}

struct Checks {
    ok: bool,
}

impl Checks {
    fn check(&mut self, ok: bool, what: String) {
        println!("{:<6}  {what}", if ok { "ok" } else { "FAILED" });
        self.ok &= ok;
    }
}

impl Copy {
    /// Looks at a copy, and leaves all of it in the main file.
    fn read(path: PathBuf) -> Result<Copy> {
        let db = HaQLite::local(&path, "")?;
        let integrity = db.query_row_local("PRAGMA integrity_check", &[], |row| row.get(0))?;
        let mut rows = HashMap::new();
        for row in rows_of(&db)? {
            *rows.entry(row).or_insert(0) += 1;
        }
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)", &[])?;
        db.close_blocking()?;
        Ok(Copy { path, rows, integrity })
    }
}

impl Lost {
    /// The file holds pages as they were when the node had to give up its commits. Over the log at the slot
    /// before them, they are the node's database of that moment.
    fn read(place: &Place, file: &Path) -> Result<Lost> {
        let mut pages = Decoder::new(BufReader::new(File::open(file)?))?;
        let header = pages.header().clone();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = place.checks().join(format!("{name}.db"));
        let before = header.min.get() - 1;
        Restore::new(&place.bucket).db_name(&place.database).txid(before).run(&path)?;
        let known: HashSet<Row> = rows_of(&HaQLite::local(&path, "")?)?.into_iter().collect();

        let database = OpenOptions::new().write(true).open(&path)?;
        let page_size = header.page_size;
        database.set_len(u64::from(header.commit.get()) * page_size.bytes() as u64)?;
        let mut data = Vec::new();
        while let Some(page) = pages.next_page(&mut data)? {
            database.write_all_at(&data, page.offset(page_size))?;
        }
        drop(database);
        let then = rows_of(&HaQLite::local(&path, "")?)?;
        let rows = then.into_iter().filter(|row| !known.contains(row)).collect();
        Ok(Lost { file: file.to_path_buf(), rows })
    }
}

fn named(rows: Rows) -> impl Iterator<Item = Row> {
    rows.numbers().map(move |number| (NAMES[rows.node].to_owned(), number))
}

fn rows_of(db: &HaQLite) -> Result<Vec<Row>> {
    let rows = db.query("SELECT node, number FROM rows", &[])?;
    let row = |row: &haqlite::Row| Ok((row.get(0)?, row.get::<i64>(1)?.cast_unsigned()));
    rows.iter().map(row).collect()
}

/// The node's database with its WAL.
fn copy_of_node(place: &Place, node: usize) -> Result<PathBuf> {
    let (from, to) = (place.node(node), place.checks());
    let copy = to.join(format!("{}.db", NAMES[node]));
    fs::copy(from.join("app.db"), &copy)?;
    if from.join("app.db-wal").exists() {
        fs::copy(from.join("app.db-wal"), to.join(format!("{}.db-wal", NAMES[node])))?;
    }
    Ok(copy)
}

/// How many pages are not the same in all copies.
fn differing_pages(copies: &[Copy]) -> Result<usize> {
    const PAGE: usize = 4096;
    let files = copies.iter().map(|copy| fs::read(&copy.path)).collect::<Result<Vec<_>, _>>()?;
    let longest = files.iter().map(Vec::len).max().unwrap_or(0);
    let mut differing = 0;
    for start in (0..longest).step_by(PAGE) {
        let page = |file: &Vec<u8>| file.get(start..start + PAGE).map(<[u8]>::to_vec);
        let first = files.first().and_then(page);
        differing += usize::from(first.is_none() || files.iter().any(|file| page(file) != first));
    }
    Ok(differing)
}
