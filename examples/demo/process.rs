use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use super::node::ARGUMENT;
use super::timeline::Timeline;
use super::{NAMES, Place, Result};

/// A node's process. It does not survive the demo: the drop kills it.
pub(crate) struct Process {
    child: Child,
    input: ChildStdin,
}

/// A line of a node, or its end.
pub(crate) struct Heard {
    pub(crate) node: usize,
    pub(crate) at: Duration,
    pub(crate) line: Option<String>,
}

impl Process {
    /// Starts the node; what it says goes to `heard`.
    pub(crate) fn start(
        node: usize,
        place: &Place,
        timeline: Timeline,
        heard: Sender<Heard>,
    ) -> Result<Process> {
        let folder = place.node(node);
        std::fs::create_dir_all(&folder)?;
        let mut child = Command::new(std::env::current_exe()?)
            .args([ARGUMENT.as_ref(), Path::new(NAMES[node]), &folder])
            .args([&place.bucket, &place.database])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let process = Process { child, input: input.ok_or("the node has no input")? };
        let output = BufReader::new(output.ok_or("the node has no output")?);
        thread::spawn(move || {
            for line in output.lines().map_while(|line| line.ok()) {
                let _ = heard.send(Heard { node, at: timeline.now(), line: Some(line) });
            }
            let _ = heard.send(Heard { node, at: timeline.now(), line: None });
        });
        Ok(process)
    }

    /// Tells the node a line.
    pub(crate) fn tell(&mut self, line: &str) -> Result<()> {
        self.input.write_all(format!("{line}\n").as_bytes())?;
        Ok(())
    }

    /// SIGKILL: the node gets no chance to do anything.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        Ok(())
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
