use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::log::{Log, limited};
use crate::bucket::{Bucket, Range, Version};
use crate::replication::LogFile;
use crate::types::{Error, ErrorKind, Result};

/// Bytes that all readers which are read at one time hold together, about.
const BUDGET: u64 = 32 << 20;
/// The largest and the smallest request.
const PIECE: u64 = 4 << 20;
const SMALLEST_PIECE: u64 = 64 << 10;
/// Requests of one reader at one time, at most.
const PIECES: u64 = 8;
/// A request that brings nothing is made so often in a row, then the read fails.
const TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Log {
    /// A reader of the file, which is fetched ahead in several requests at a time. Nothing is asked for
    /// before the first read, or [`ObjectReader::start`]. `Internal` outside of a tokio runtime.
    pub(crate) fn open(&self, file: &LogFile) -> Result<ObjectReader> {
        self.open_among(file, 1)
    }

    /// As [`Log::open`], for one of so many readers that are read side by side: together they hold as much
    /// memory as one alone, or a small piece each.
    pub(crate) fn open_among(&self, file: &LogFile, readers: usize) -> Result<ObjectReader> {
        let share = BUDGET / readers.max(1) as u64;
        let piece = (share / PIECES).clamp(SMALLEST_PIECE, PIECE);
        self.reader(file, piece, (share / piece).clamp(1, PIECES) as usize)
    }

    /// As [`Log::open`], with one request at a time: for whom nobody waits.
    pub(crate) fn open_slowly(&self, file: &LogFile) -> Result<ObjectReader> {
        self.reader(file, PIECE, 1)
    }

    fn reader(&self, file: &LogFile, piece: u64, ahead: usize) -> Result<ObjectReader> {
        let runtime = Handle::try_current()
            .map_err(|e| Error::new(ErrorKind::Internal, e.to_string()).with_source(e))?;
        let object = Arc::new(OpenObject {
            bucket: Arc::clone(self.bucket()),
            key: self.file_key(file),
            size: file.size,
            version: OnceLock::new(),
            gone: AtomicBool::new(false),
        });
        Ok(ObjectReader {
            object,
            runtime,
            piece,
            ahead,
            next: 0,
            pieces: VecDeque::new(),
            current: Bytes::new(),
            failed: None,
        })
    }
}

/// Reads one object of the log from its first byte to its last, on a thread that may block.
///
/// It holds a bounded number of pieces. A request that fails or is cut short is made again for what is
/// missing, with growing pauses, and all pieces are of one version of the object. An error keeps its kind
/// inside of the `io::Error`: `StoreUnavailable` if the store did not answer in time, or the object was
/// deleted or changed meanwhile.
pub(crate) struct ObjectReader {
    object: Arc<OpenObject>,
    runtime: Handle,
    piece: u64,
    ahead: usize,
    /// The first byte that was not asked for yet.
    next: u64,
    pieces: VecDeque<JoinHandle<Result<Bytes>>>,
    current: Bytes,
    failed: Option<ErrorKind>,
}

/// What is known of an object while it is read.
pub(crate) struct OpenObject {
    bucket: Arc<dyn Bucket>,
    key: String,
    size: u64,
    version: OnceLock<Version>,
    gone: AtomicBool,
}

/// Makes a request of a restore again, with growing pauses, while its failure may pass.
pub(super) async fn persistently<T, F: Future<Output = Result<T>>>(request: impl Fn() -> F) -> Result<T> {
    let mut failures = 0;
    loop {
        match request().await {
            Ok(answer) => return Ok(answer),
            Err(error) => {
                failures += 1;
                pause_after(failures, error).await?;
            }
        }
    }
}

/// Waits before another try; the error, if it is not worth one or these were enough.
async fn pause_after(failures: u32, error: Error) -> Result<()> {
    let may_pass = matches!(error.kind(), ErrorKind::StoreUnavailable | ErrorKind::Timeout | ErrorKind::Io);
    if failures >= TRIES || !may_pass {
        return Err(error);
    }
    tracing::debug!(%error, "a read is repeated");
    let pause = FIRST_PAUSE * 2u32.saturating_pow(failures - 1);
    tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
    Ok(())
}

impl ObjectReader {
    /// Asks for the first bytes, so that they are there when they are read.
    pub(crate) fn start(&mut self) {
        // The first answer tells the version that the others must have.
        let ahead = if self.object.version.get().is_some() { self.ahead } else { 1 };
        while self.pieces.len() < ahead && self.next < self.object.size {
            let length = self.piece.min(self.object.size - self.next);
            let object = Arc::clone(&self.object);
            let offset = self.next;
            self.pieces.push_back(self.runtime.spawn(async move { object.piece(offset, length).await }));
            self.next += length;
        }
    }

    /// How many bytes it holds at most.
    pub(crate) fn window(&self) -> u64 {
        self.object.size.min(self.piece * self.ahead as u64)
    }

    /// What there is to know of the object, also when the reader is gone.
    pub(crate) fn object(&self) -> Arc<OpenObject> {
        Arc::clone(&self.object)
    }

    fn advance(&mut self) -> Result<()> {
        self.start();
        let Some(piece) = self.pieces.pop_front() else { return Ok(()) };
        let ended = |e| Error::new(ErrorKind::Internal, format!("a fetch ended early: {e}"));
        self.current = self.runtime.block_on(piece).map_err(ended)??;
        self.start();
        Ok(())
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() && !buffer.is_empty() {
            if let Some(kind) = self.failed {
                return Err(io::Error::other(Error::new(kind, "the object could not be read before")));
            }
            if let Err(error) = self.advance() {
                self.failed = Some(error.kind());
                return Err(io::Error::other(error));
            }
        }
        let length = buffer.len().min(self.current.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        self.pieces.iter().for_each(JoinHandle::abort);
    }
}

impl OpenObject {
    /// The object's key.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Whether a read failed because there is no such object any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// `length` bytes from `offset` on, which the object has.
    async fn piece(&self, offset: u64, length: u64) -> Result<Bytes> {
        let mut parts = BytesMut::new();
        let mut failures = 0;
        loop {
            let done = parts.len() as u64;
            let error = match self.request(offset + done, length - done).await {
                Ok(body) if body.len() as u64 == length && parts.is_empty() => return Ok(body),
                Ok(body) if !body.is_empty() => {
                    parts.extend_from_slice(&body);
                    failures = 0;
                    if parts.len() as u64 >= length {
                        return Ok(parts.freeze());
                    }
                    continue;
                }
                Ok(_) => {
                    Error::new(ErrorKind::StoreUnavailable, format!("{}: an answer without bytes", self.key))
                }
                Err(error) => error,
            };
            failures += 1;
            if self.is_gone() {
                return Err(error);
            }
            pause_after(failures, error).await?;
        }
    }

    async fn request(&self, offset: u64, length: u64) -> Result<Bytes> {
        let object = limited(self.bucket.get(&self.key, Range::Part { offset, length })).await?;
        let unavailable = |what: &str| {
            Error::new(ErrorKind::StoreUnavailable, format!("{} was {what} while it was read", self.key))
        };
        let Some(object) = object else {
            self.gone.store(true, Ordering::Relaxed);
            return Err(unavailable("deleted"));
        };
        if *self.version.get_or_init(|| object.version.clone()) != object.version || object.size != self.size
        {
            self.gone.store(true, Ordering::Relaxed);
            return Err(unavailable("replaced"));
        }
        let mut body = object.body;
        body.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(body)
    }
}
