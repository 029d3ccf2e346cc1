use std::io::{self, Read};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::log::Log;
use super::object_reader::{ObjectReader, OpenObject, persistently};
use crate::ltx::{Decoder, Header};
use crate::replication::{Facts, LogFile, WholeFile, check_name};
use crate::types::{Error, ErrorKind, PageNumber, Result};

/// Why a file of the log could not be used.
#[derive(Debug)]
pub(super) enum Failure {
    /// These files are damaged, or do not fit together; the error names their keys.
    Damaged(Vec<LogFile>, Error),
    /// The file is not there any more.
    Gone(LogFile, Error),
    /// Something else: the store, the disk, the caller.
    Other(Error),
}

/// A file of the log that is about to be read.
pub(super) struct OpenFile {
    file: LogFile,
    reader: ObjectReader,
    facts: Option<JoinHandle<Result<Option<Facts>>>>,
    runtime: Handle,
}

/// A file of the log that is being read, with all that can be held against it.
pub(super) struct FileReader {
    file: LogFile,
    object: Arc<OpenObject>,
    decoder: Decoder<Counted>,
    facts: Option<Facts>,
}

impl OpenFile {
    /// Asks for the file's first bytes, and for what is kept beside it.
    pub(super) fn start(log: &Log, file: LogFile, mut reader: ObjectReader) -> OpenFile {
        let runtime = Handle::current();
        reader.start();
        let facts = (file.level > 0).then(|| {
            let log = log.clone();
            runtime.spawn(async move { persistently(|| log.facts(&file)).await })
        });
        OpenFile { file, reader, facts, runtime }
    }

    /// How many bytes it holds at most.
    pub(super) fn window(&self) -> u64 {
        self.reader.window()
    }

    /// Reads the header and holds it against the name. Blocks.
    pub(super) fn begin(self) -> Result<FileReader, Failure> {
        let OpenFile { file, reader, facts, runtime } = self;
        let object = reader.object();
        let fail = |error| fail(&file, &object, error);
        let facts = match facts {
            Some(task) => runtime.block_on(task).map_err(ended).and_then(|facts| facts).map_err(fail)?,
            None => None,
        };
        let decoder = Decoder::new(Counted { reader, bytes: 0 }).map_err(fail)?;
        check_name(&file, decoder.header()).map_err(fail)?;
        Ok(FileReader { file, object, decoder, facts })
    }
}

impl FileReader {
    /// The file's name.
    pub(super) fn file(&self) -> &LogFile {
        &self.file
    }

    /// Its header.
    pub(super) fn header(&self) -> &Header {
        self.decoder.header()
    }

    /// How many bytes were read.
    pub(super) fn bytes(&self) -> u64 {
        self.decoder.reader().bytes
    }

    /// The next page. Not to be relied on before the file was read to its end.
    pub(super) fn next_page(&mut self, data: &mut Vec<u8>) -> Result<Option<PageNumber>, Failure> {
        self.decoder.next_page(data).map_err(|error| fail(&self.file, &self.object, error))
    }

    /// Reads and checks what is left.
    pub(super) fn finish(self) -> Result<WholeFile, Failure> {
        let header = self.decoder.header().clone();
        self.decoder
            .finish()
            .and_then(|decoded| WholeFile::new(self.file, header, decoded, self.facts))
            .map_err(|error| fail(&self.file, &self.object, error))
    }

    /// That the file does not fit to others.
    pub(super) fn misfit(&self, error: Error) -> Failure {
        fail(&self.file, &self.object, error)
    }
}

fn fail(file: &LogFile, object: &OpenObject, error: Error) -> Failure {
    let error = error.context(object.key());
    match error.kind() {
        _ if object.is_gone() => Failure::Gone(*file, error),
        ErrorKind::Corrupt => Failure::Damaged(vec![*file], error),
        _ => Failure::Other(error),
    }
}

fn ended(error: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, format!("a fetch ended early: {error}"))
}

/// Counts what was read.
struct Counted {
    reader: ObjectReader,
    bytes: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.bytes += length as u64;
        Ok(length)
    }
}
