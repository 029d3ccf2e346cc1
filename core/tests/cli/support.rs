use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use haqlite::{Compaction, CoordinatorConfig, Durability, HaQLite, LeaseConfig};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v TEXT);";

/// What every liveness limit is: generous, because the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with a bucket in it, and whatever a test makes.
pub(crate) struct Site {
    folder: TempDir,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Site {
    /// A bucket without a log.
    pub(crate) fn empty() -> Site {
        let site = Site { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(site.path("bucket")).unwrap();
        site
    }

    /// A log named `my` of some slots in two epochs, whose node is closed.
    pub(crate) fn with_log() -> Site {
        let site = Site::empty();
        for epoch in 0..2 {
            let node = site.node();
            for row in 0..3 {
                write(&node, &format!("{epoch}.{row}"));
            }
            node.close_blocking().unwrap();
        }
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn bucket(&self) -> String {
        format!("file://{}", self.path("bucket").display())
    }

    /// The file that is a slot.
    pub(crate) fn slot(&self, txid: u64) -> PathBuf {
        self.path(&format!("bucket/haqlite/my/ltx/0/{txid:016x}-{txid:016x}.ltx"))
    }

    pub(crate) fn slots(&self) -> u64 {
        (1..).take_while(|txid| self.slot(*txid).exists()).count() as u64
    }

    /// The node of the log `my`.
    pub(crate) fn node(&self) -> HaQLite {
        node(&self.bucket()).open_blocking(self.path("node.db"), SCHEMA).unwrap()
    }

    /// Runs the command in the site's folder.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        finish(self.command(args).spawn().unwrap())
    }

    /// As `run`, for the log `my`: the command, then where the log is, then the rest.
    pub(crate) fn on_log(&self, command: &str, rest: &[&str]) -> Said {
        self.run(&[&[command, &self.bucket(), "--name", "my"], rest].concat())
    }

    /// The command, of nothing but its arguments: no variable of this process has a say.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haqlite"));
        command.args(args).env_clear().env("HOME", self.folder.path()).current_dir(self.folder.path());
        // A command that is cut off leaves what it stages.
        command.env("TMPDIR", self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// A node that ships at once and has a short lease.
pub(crate) fn node(bucket: &str) -> haqlite::Builder {
    let lease = LeaseConfig { ttl: Some(Duration::from_secs(30)), ..LeaseConfig::new("n1", "") };
    HaQLite::builder()
        .bucket(bucket)
        .db_name("my")
        .instance_id("n1")
        .forwarding_port(0)
        .durability(Durability::Continuous { interval: Duration::from_millis(10) })
        // At a moment that the clock decides it would make files that no test expects.
        .compaction(Compaction { levels: Vec::new(), snapshots: None })
        .coordinator_config(CoordinatorConfig { lease: Some(lease), ..Default::default() })
}

/// One row, and waits until a slot has it.
pub(crate) fn write(node: &HaQLite, text: &str) -> u64 {
    let done = node.execute("INSERT INTO t (v) VALUES (?1)", &[text.into()]).unwrap();
    node.wait_durable_blocking(&done.bookmark, PATIENCE).unwrap();
    done.bookmark.txid.get()
}

/// Waits for the end of a command, and for all that it said.
pub(crate) fn finish(child: Child) -> Said {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

impl Said {
    /// The document, of a command that ended well and said nothing else.
    #[track_caller]
    pub(crate) fn document(&self) -> Value {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self.only_line()
    }

    /// The one line on the standard output.
    #[track_caller]
    pub(crate) fn only_line(&self) -> Value {
        let lines = self.lines();
        assert_eq!(lines.len(), 1, "{self:?}");
        lines[0].clone()
    }

    /// The lines on the standard output.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Holds that the command failed in this way, and that it said so as it must.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, kind: &str) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.starts_with("error: ") && self.stderr.lines().count() == 1, "{self:?}");
        let lines = self.lines();
        let error = &lines.last().unwrap()["error"];
        assert_eq!((&error["kind"], &error["exit_code"]), (&kind.into(), &code.into()), "{self:?}");
        let reason = error["reason"].as_str().unwrap().to_owned();
        assert!(self.stderr.contains(&reason), "{self:?}");
        reason
    }
}

/// The texts in `t`, read by another SQLite than that of any node.
pub(crate) fn texts(path: &Path) -> Vec<String> {
    let connection =
        rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let mut statement = connection.prepare("SELECT v FROM t ORDER BY id").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

pub(crate) fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Waits until it is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut test: impl FnMut() -> bool) {
    #[expect(clippy::disallowed_methods, reason = "a test waits in real time")]
    let start = Instant::now();
    while !test() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
