use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::child::{CHILD, Settings};
use crate::support::{PATIENCE, SHIP, Site, eventually, now};

/// A node in another process, and everything that it has said.
pub(crate) struct Process {
    child: Child,
    /// Closed, it ends the process.
    input: ChildStdin,
    said: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

/// Where `strace` kills: at the `when`th of these calls that one thread makes, on this path if there is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KillAt<'a> {
    pub(crate) calls: &'a str,
    pub(crate) path: Option<&'a Path>,
    pub(crate) when: u32,
}

impl Site {
    /// The settings of a node of this site.
    pub(crate) fn settings(&self, node: &str) -> Settings {
        Settings {
            node: node.to_owned(),
            bucket: self.bucket(),
            database: self.database(node).to_str().unwrap().to_owned(),
            ship_ms: u64::try_from(SHIP.as_millis()).unwrap(),
            ttl_ms: self.ttl_ms(),
            follower: false,
            cut: None,
            cloud: false,
            wal_cap: None,
            hasty: false,
            kill_at_chore: None,
        }
    }

    /// As `start`, of a node in `Durability::Cloud`.
    #[track_caller]
    pub(crate) fn start_cloud(&self, node: &str) -> Process {
        let process = Process::start(&Settings { cloud: true, ..self.settings(node) }, None);
        process.wait_for("open");
        process
    }

    /// Starts the node and waits until it is open.
    #[track_caller]
    pub(crate) fn start(&self, node: &str) -> Process {
        let process = Process::start(&self.settings(node), None);
        process.wait_for("open");
        process
    }
}

impl Process {
    pub(crate) fn start(settings: &Settings, kill_at: Option<KillAt<'_>>) -> Process {
        let this = std::env::current_exe().unwrap();
        let mut command = match kill_at {
            None => Command::new(&this),
            Some(kill_at) => {
                let mut strace = Command::new("strace");
                strace.args(["-f", "-qqq", "-o", "/dev/null", "-e", &format!("trace={}", kill_at.calls)]);
                strace
                    .args(["-e", &format!("inject={}:signal=SIGKILL:when={}", kill_at.calls, kill_at.when)]);
                if let Some(path) = kill_at.path {
                    strace.arg("-P").arg(path);
                }
                strace.arg(&this);
                strace
            }
        };
        let mut child = command
            .args(["--exact", "child::entry", "--nocapture", "--test-threads=1"])
            .env(CHILD, serde_json::to_string(settings).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // The harness writes the test's name without a line end before the first line.
                if let Some((_, line)) = line.split_once('@') {
                    heard.lock().unwrap().push(line.to_owned());
                }
            }
        });
        Process { child, input, said, reader: Some(reader) }
    }

    /// Gives a command; nothing happens if the process is gone.
    pub(crate) fn tell(&mut self, command: &str) {
        let _ = writeln!(self.input, "{command}");
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// Waits until the node is open, or was killed before.
    #[track_caller]
    pub(crate) fn wait_until_open_or_ended(&mut self) {
        eventually("open, or at its end", || {
            !self.said().is_empty() || self.child.try_wait().is_ok_and(|status| status.is_some())
        });
    }

    /// Waits for a line that begins so, and gives it.
    #[track_caller]
    pub(crate) fn wait_for(&self, start: &str) -> String {
        self.wait_after(0, start)
    }

    /// As `wait_for`, among the lines after the first `skip`.
    #[track_caller]
    pub(crate) fn wait_after(&self, skip: usize, start: &str) -> String {
        let began = now();
        loop {
            let said = self.said();
            if let Some(line) = said.iter().skip(skip).find(|line| line.starts_with(start)) {
                return line.clone();
            }
            assert!(began.elapsed() < PATIENCE, "no line {start:?} but {:?}", said.iter().rev().take(20));
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Asks, and waits for the line of the answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, command: &str, start: &str) -> String {
        let skip = self.said().len();
        self.tell(command);
        self.wait_after(skip, start)
    }

    /// The numbers in the lines that begin so, in order.
    pub(crate) fn numbers(&self, start: &str) -> Vec<i64> {
        numbers(&self.said(), start)
    }

    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Stops it, and returns when none of its threads runs any more: the signal alone reaches them one by one.
    #[track_caller]
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
        eventually("stopped", || self.is_stopped());
    }

    /// Whether every thread is in the state "T" of `proc(5)`.
    fn is_stopped(&self) -> bool {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", self.child.id())) else { return true };
        threads.flatten().all(|thread| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('T'))
        })
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        // It may have ended.
        let _ = kill_process(pid, signal);
    }

    /// Waits until the process has ended and all that it said is read.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let began = now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                if let Some(reader) = self.reader.take() {
                    reader.join().unwrap();
                }
                return status;
            }
            if began.elapsed() > PATIENCE {
                let _ = self.child.kill();
                panic!("the process does not end; it said {:?}", self.said());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.signal(Signal::CONT);
        let _ = self.child.wait();
    }
}

/// Whether the process was killed.
pub(crate) fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(9) || status.code() == Some(137)
}

/// The numbers in the lines that begin so, in order.
pub(crate) fn numbers(lines: &[String], start: &str) -> Vec<i64> {
    let number = |line: &String| line.strip_prefix(start)?.split(' ').nth(1)?.parse().ok();
    lines.iter().filter_map(number).collect()
}
