use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Runtime;

use super::log::Log;
use crate::bucket::{
    Body, Bucket, Call, Fault, FaultyBucket, Key, Layout, MemoryBucket, PutMode, PutOptions,
};
use crate::replication::LogFile;
use crate::types::{Error, ErrorKind, Txid};

const SIZE: usize = (9 << 20) + 77;

struct Fixture {
    runtime: Runtime,
    bucket: MemoryBucket,
    bytes: Vec<u8>,
    file: LogFile,
}

impl Fixture {
    fn new(size: usize) -> Fixture {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let bucket = MemoryBucket::new();
        let bytes: Vec<u8> = (0..size).map(|i| ((i * 31) >> 3) as u8).collect();
        let txid = Txid::new(7);
        let fixture = Fixture {
            file: LogFile { level: 0, min: txid, max: txid, size: size as u64, modified_ms: 0 },
            runtime,
            bucket,
            bytes,
        };
        fixture.store(&fixture.bytes);
        fixture
    }

    fn store(&self, bytes: &[u8]) {
        let key = Key::slot(self.file.min).path("", Layout::Directory);
        let put =
            self.bucket.put(&key, Body::Bytes(bytes.to_vec().into()), PutOptions::new(PutMode::Overwrite));
        self.runtime.block_on(put).unwrap();
    }

    /// What a reader gives under a script that is told the number of the request.
    fn read(
        &self,
        script: impl Fn(usize) -> Fault + Send + Sync + 'static,
    ) -> (Result<Vec<u8>, Error>, usize) {
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        let bucket = FaultyBucket::new(self.bucket.clone(), move |call| match call {
            Call::Get { .. } => script(counter.fetch_add(1, Ordering::SeqCst)),
            _ => Fault::None,
        });
        let log = Log::new(Arc::new(bucket), String::new(), PathBuf::new());
        let _entered = self.runtime.enter();
        let mut reader = log.open(&self.file).unwrap();
        let mut out = Vec::new();
        let result = match reader.read_to_end(&mut out) {
            Ok(_) => Ok(out),
            Err(error) => Err(Error::io("reading", error)),
        };
        (result, requests.load(Ordering::SeqCst))
    }
}

#[test]
fn an_object_comes_in_pieces_in_their_order_and_a_small_one_in_one() {
    let large = Fixture::new(SIZE);
    let (read, requests) = large.read(|_| Fault::None);
    assert!(read.unwrap() == large.bytes);
    assert_eq!(requests, 3);
    let small = Fixture::new(1000);
    let (read, requests) = small.read(|_| Fault::None);
    assert_eq!((read.unwrap(), requests), (small.bytes.clone(), 1));
    let empty = Fixture::new(0);
    assert_eq!(empty.read(|_| Fault::None).0.unwrap(), b"");
}

#[test]
fn failed_lost_and_cut_answers_are_made_good() {
    let fixture = Fixture::new(SIZE);
    let (read, requests) = fixture.read(|request| match request % 4 {
        0 => Fault::Refuse,
        1 => Fault::Truncate(100_000),
        2 => Fault::LoseAnswer,
        _ => Fault::Truncate(3_000_000),
    });
    assert!(read.unwrap() == fixture.bytes);
    assert!(requests > 6, "{requests}");
}

#[test]
fn a_store_that_never_answers_ends_a_read_after_some_tries() {
    let fixture = Fixture::new(SIZE);
    let (read, requests) =
        fixture.read(|request| if request == 0 { Fault::None } else { Fault::Truncate(0) });
    assert_eq!(read.unwrap_err().kind(), ErrorKind::StoreUnavailable);
    assert!((8..=16).contains(&(requests - 1)), "{requests}");
}

#[test]
fn pieces_of_two_versions_are_never_put_together() {
    let fixture = Fixture::new(SIZE);
    let log = Log::new(Arc::new(fixture.bucket.clone()), String::new(), PathBuf::new());
    let _entered = fixture.runtime.enter();
    let mut reader = log.open_slowly(&fixture.file).unwrap();
    let mut piece = vec![0; 1000];
    reader.read_exact(&mut piece).unwrap();
    let mut other = fixture.bytes.clone();
    other[SIZE - 1] ^= 1;
    fixture.store(&other);
    let mut rest = Vec::new();
    let error = Error::io("reading", reader.read_to_end(&mut rest).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
    assert!(reader.object().is_gone() && error.message().contains("replaced"), "{error}");
    assert!(reader.read(&mut piece).is_err(), "a failure is no end");
}
