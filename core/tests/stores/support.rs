#![allow(dead_code, reason = "not every set of features uses all of it")]
#![allow(clippy::disallowed_methods, reason = "tests wait in real time")]
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server of a test's own. It is killed when this value goes.
pub(crate) struct Server {
    make: Box<dyn Fn() -> Command + Send>,
    is_ready: Box<dyn Fn() -> bool + Send>,
    child: Option<Child>,
}

/// How long a server may take to start.
const READY: Duration = Duration::from_secs(60);

impl Server {
    /// Starts the command and waits until it is ready.
    pub(crate) fn start(
        make: impl Fn() -> Command + Send + 'static,
        is_ready: impl Fn() -> bool + Send + 'static,
    ) -> Server {
        let mut server = Server { make: Box::new(make), is_ready: Box::new(is_ready), child: None };
        server.restart();
        server
    }

    /// Starts it again after [`Server::kill`], and waits until it is ready.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let mut command = (self.make)();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let child = self.child.insert(child);
        let begun = Instant::now();
        while !(self.is_ready)() {
            assert!(begun.elapsed() < READY, "{command:?} is not ready after {READY:?}");
            if let Some(status) = child.try_wait().expect("a child can be asked") {
                panic!("{command:?} ended: {status}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `kill -9`, and waits for its end.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child can be killed");
            child.wait().expect("a child can be waited for");
        }
    }

    /// Stops it where it is, as a machine does that hangs; `false` lets it go on.
    pub(crate) fn pause(&self, paused: bool) {
        let id = self.child.as_ref().expect("it runs").id();
        let signal = if paused { "-STOP" } else { "-CONT" };
        let status = Command::new("kill").args([signal, &id.to_string()]).status().expect("`kill` is there");
        assert!(status.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port of loopback that nobody listens on now, below those that the system hands out.
pub(crate) fn free_port() -> u16 {
    let mut seed = u64::from(std::process::id()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    static CALLS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    seed ^= CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed).wrapping_mul(0xd134_2543_de82_ef95);
    for _ in 0..1000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let port = 20_000 + (seed >> 33) as u16 % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

/// The program that this variable of the environment names.
pub(crate) fn program(variable: &str) -> PathBuf {
    let path = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; `make test` does"));
    assert!(Path::new(&path).exists(), "{variable}: there is no {path}");
    PathBuf::from(path)
}

/// Runs a future on a runtime of its own.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime can be made").block_on(future)
}
