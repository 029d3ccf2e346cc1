use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What a server answered, byte by byte.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn number(&self, field: &str) -> u64 {
        let json: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        json[field].as_u64().unwrap_or_else(|| panic!("no {field} in {self:?}"))
    }

    pub(crate) fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line == header)
    }
}

/// One request with these lines in its head, on a connection of its own.
pub(crate) fn ask(to: SocketAddr, first_line: &str, lines: &[&str], body: &str) -> Answer {
    let mut text = format!("{first_line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    for line in lines {
        text.push_str(&format!("{line}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
    }
    send(to, &format!("{text}\r\n{body}")).expect("there is an answer")
}

/// Sends these bytes and reads until the server is done with the connection; `None` if it says nothing.
pub(crate) fn send(to: SocketAddr, text: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    // A connection that is cut ends as well.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}

/// A server that gives every request the same answer, and counts.
pub(crate) struct Parrot {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Parrot {
    /// Its answers are made of a status line, more head lines and a body.
    pub(crate) fn start(status: &'static str, lines: &'static str, body: &str) -> Parrot {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let body = body.to_owned();
        // It ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let mut buffer = [0; 65_536];
                // The tests' requests are small, and the connection is closed after one.
                if !matches!(stream.read(&mut buffer), Ok(1..)) {
                    continue;
                }
                counter.fetch_add(1, Ordering::Relaxed);
                let head = format!("HTTP/1.1 {status}\r\n{lines}Connection: close\r\n");
                let head = format!("{head}Content-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
            }
        });
        Parrot { address, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}?token=hush", self.address)
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}
