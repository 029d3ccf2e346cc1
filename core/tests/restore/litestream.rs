use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use haqlite::bucket::S3Credentials;
use haqlite::types::Timestamp;
use haqlite::{Durability, HaQLite, Restore, Verify, VerifyReport};
use rusqlite::Connection;
use tempfile::TempDir;

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY, b TEXT)";
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two writes, and twice as long as between a write and a moment that is asked for.
const GAP: Duration = Duration::from_millis(600);

/// Where a log is, in the words of both tools.
struct Place {
    folder: TempDir,
    ours: String,
    theirs: String,
    name: &'static str,
    credentials: Option<S3Credentials>,
}

/// A state of the database, and a moment at which it was the newest.
struct State {
    rows: i64,
    moment: Timestamp,
}

impl Place {
    fn folder(name: &'static str) -> Place {
        let folder = TempDir::new().unwrap();
        let url = format!("file://{}", folder.path().join("bucket").display());
        Place { theirs: format!("{url}/{name}"), ours: url, folder, name, credentials: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn litestream(&self, arguments: &[&str], path: &Path) {
        let binary = std::env::var_os("HAQLITE_LITESTREAM").expect("HAQLITE_LITESTREAM leads to the binary");
        let mut command = Command::new(binary);
        if let Some(key) = &self.credentials {
            // The server speaks plain HTTP, and litestream cannot use a bundle of certificates.
            command.env_remove("AWS_CA_BUNDLE");
            command.env("AWS_ACCESS_KEY_ID", &key.access_key_id);
            command.env("AWS_SECRET_ACCESS_KEY", &key.secret_access_key);
        }
        let output = command.args(arguments).arg(path).arg(&self.theirs).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Holds both tools' restores against one another and against what there was.
    fn check(&self, states: &[State]) {
        for (number, state) in states.iter().enumerate() {
            let moment = state.moment.to_string();
            let mut restore = Restore::new(&self.ours).prefix("").db_name(self.name);
            if let Some(key) = &self.credentials {
                restore = restore.credentials(key.clone());
            }
            let (ours, theirs) = self.targets(&format!("moment-{number}"));
            let restored = restore.clone().timestamp(state.moment).run(&ours).unwrap();
            if number + 1 < states.len() {
                self.litestream(&["restore", "-timestamp", &moment, "-o"], &theirs);
            } else {
                // It refuses a moment after the newest file.
                self.litestream(&["restore", "-o"], &theirs);
            }
            assert_eq!(rows(&ours), state.rows, "at {moment}");
            assert!(fs::read(&ours).unwrap() == fs::read(&theirs).unwrap(), "at {moment}");

            let txid = restored.position.txid.get();
            let (ours, theirs) = self.targets(&format!("slot-{number}"));
            restore.txid(txid).run(&ours).unwrap();
            self.litestream(&["restore", "-txid", &format!("{txid:016x}"), "-o"], &theirs);
            assert_eq!(rows(&ours), state.rows, "at slot {txid}");
            assert!(fs::read(&ours).unwrap() == fs::read(&theirs).unwrap(), "at slot {txid}");
        }
    }

    fn targets(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.path(&format!("{name}-ours.db")), self.path(&format!("{name}-theirs.db")))
    }

    /// A node writes the log.
    fn live(&self) -> Vec<State> {
        let mut builder = HaQLite::builder();
        if let Some(key) = &self.credentials {
            builder = builder.credentials(key.clone());
        }
        let db = builder
            .bucket(&self.ours)
            .prefix("")
            .db_name(self.name)
            .forwarding_port(0)
            .durability(Durability::Continuous { interval: Duration::from_millis(10) })
            .open_timeout(PATIENCE)
            .open_blocking(self.path("app.db"), SCHEMA)
            .unwrap();
        let mut states = Vec::new();
        for rows in 1..=4 {
            let bookmark = db.execute("INSERT INTO t (b) VALUES ('ours')", &[]).unwrap().bookmark;
            db.wait_durable_blocking(&bookmark, PATIENCE).unwrap();
            states.push(after_a_pause(rows));
        }
        db.close_blocking().unwrap();
        states
    }

    fn verify(&self) -> VerifyReport {
        let mut verify = Verify::new(&self.ours).prefix("").db_name(self.name);
        if let Some(key) = &self.credentials {
            verify = verify.credentials(key.clone());
        }
        verify.run().unwrap()
    }

    /// Litestream writes the log.
    fn replicate(&self) -> Vec<State> {
        let database = self.path("source.db");
        let connection = Connection::open(&database).unwrap();
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        let mut states = Vec::new();
        for rows in 1..=4 {
            connection.execute("INSERT INTO t (b) VALUES ('theirs')", []).unwrap();
            self.litestream(&["replicate", "-once"], &database);
            states.push(after_a_pause(rows));
        }
        states
    }
}

fn after_a_pause(rows: i64) -> State {
    sleep(GAP / 2);
    #[expect(clippy::disallowed_methods, reason = "the test asks for a moment")]
    let moment = Timestamp::from(SystemTime::now());
    sleep(GAP / 2);
    State { rows, moment }
}

fn rows(path: &Path) -> i64 {
    Connection::open(path).unwrap().query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

#[test]
fn litestream_and_we_restore_the_same_from_a_folder_whoever_wrote_it() {
    let place = Place::folder("app");
    place.check(&place.live());
    let place = Place::folder("theirs");
    let states = place.replicate();
    place.check(&states);
    let report = place.verify();
    assert_eq!(report.problems, [], "a healthy log of litestream");
    assert!(report.slots >= 4);
}

#[cfg(feature = "s3")]
#[test]
fn litestream_and_we_restore_the_same_from_s3_whoever_wrote_it() {
    let variable = |name: &str| {
        std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: `.ci/servers start` says how"))
    };
    let server = variable("HAQLITE_TEST_S3_SEAWEED");
    let bucket = variable("HAQLITE_TEST_S3_BUCKET");
    for name in ["ours", "theirs"] {
        let folder = TempDir::new().unwrap();
        let run =
            format!("restore-{}", folder.path().file_name().unwrap().to_string_lossy().trim_matches('.'));
        let place = Place {
            ours: format!("s3://{bucket}/{run}?endpoint={server}&region=us-east-1"),
            theirs: format!(
                "s3://{bucket}/{run}/{name}?endpoint={server}&region=us-east-1&forcePathStyle=true"
            ),
            folder,
            name,
            credentials: Some(S3Credentials {
                access_key_id: variable("HAQLITE_TEST_S3_ACCESS_KEY_ID"),
                secret_access_key: variable("HAQLITE_TEST_S3_SECRET_ACCESS_KEY"),
                session_token: None,
            }),
        };
        let states = if name == "ours" { place.live() } else { place.replicate() };
        place.check(&states);
        assert_eq!(place.verify().problems, []);
    }
}
