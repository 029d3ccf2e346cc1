use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use haqlite::Restore;
use haqlite::bucket::{Body, Bucket, Key, MemoryBucket, PutMode, PutOptions, Range};
use haqlite::ltx::{After, Base, Decoder, Encoder, Merge, Source};
use haqlite::types::{Chain, Txid};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::ltx_support::{Pages, encode, origin, slot};

pub const ROOT: &str = "haqlite/app/";
pub const PAGE_SIZE: u32 = 1024;
/// The time of slot N is N seconds after this.
pub const START_MS: i64 = 1_790_000_000_000;

/// A log as a leader writes it, and the database as of each of its slots.
pub struct Written {
    pub folder: TempDir,
    pub bucket: Arc<dyn Bucket>,
    connection: Connection,
    pages: Pages,
    /// By slot; the first is empty.
    pub images: Vec<Vec<u8>>,
    /// The bytes of the slots' files.
    pub files: Vec<Vec<u8>>,
    /// The chain values; the first is the genesis's.
    pub chains: Vec<Chain>,
    pub epochs: Vec<u64>,
}

impl Written {
    pub fn new() -> Written {
        Written::in_bucket(Arc::new(MemoryBucket::new()))
    }

    pub fn in_bucket(bucket: Arc<dyn Bucket>) -> Written {
        let folder = TempDir::new().unwrap();
        let connection = Connection::open(folder.path().join("source.db")).unwrap();
        connection.pragma_update(None, "page_size", PAGE_SIZE).unwrap();
        let genesis = format!(
            r#"{{"haqlite":1,"database":"{}","page_size":{PAGE_SIZE},"base":"{}"}}"#,
            "ab".repeat(16),
            "cd".repeat(32)
        );
        let written = Written {
            folder,
            bucket,
            connection,
            pages: Pages::new(),
            images: vec![Vec::new()],
            files: vec![Vec::new()],
            chains: vec![Chain::of(genesis.as_bytes())],
            epochs: vec![1],
        };
        written.put(&Key::Genesis, genesis.into_bytes());
        written
    }

    /// A life of ten slots: it starts, grows, changes, gets another leader, shrinks, and grows again.
    pub fn with_a_life() -> Written {
        let mut written = Written::new();
        written.live();
        written
    }

    pub fn live(&mut self) {
        self.ship("CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)");
        self.ship(&insert(1, 40, 300));
        self.ship("UPDATE t SET b = 'changed' WHERE a % 7 = 0");
        self.ship(&insert(41, 120, 700));
        self.epochs.push(2);
        let last = self.epochs.len() - 1;
        assert_eq!(last, self.images.len(), "the epoch of the next slot");
        self.ship("UPDATE t SET b = 'of another leader' WHERE a = 1");
        self.ship("DELETE FROM t WHERE a > 30; VACUUM");
        assert!(self.images[6].len() < self.images[5].len());
        self.ship(&insert(121, 160, 500));
        self.ship("CREATE INDEX i ON t (b)");
        self.ship("UPDATE t SET b = 'again' WHERE a < 10");
        self.ship(&insert(161, 170, 900));
    }

    pub fn end(&self) -> u64 {
        self.images.len() as u64 - 1
    }

    /// Runs statements and ships the pages that they changed as the next slot.
    pub fn ship(&mut self, statements: &str) {
        self.connection.execute_batch(statements).unwrap();
        let image = fs::read(self.folder.path().join("source.db")).unwrap();
        let now: Pages = (1..).zip(image.chunks(PAGE_SIZE as usize).map(<[u8]>::to_vec)).collect();
        let mut changed = now.clone();
        changed.retain(|number, data| self.pages.get(number) != Some(data));
        let txid = self.images.len() as u64;
        if self.epochs.len() as u64 == txid {
            self.epochs.push(*self.epochs.last().unwrap());
        }
        let previous = *self.chains.last().unwrap();
        let mut header = slot(txid, PAGE_SIZE, now.len() as u32, previous);
        header.timestamp_ms = START_MS + 1000 * txid as i64;
        header.origin = Some(origin(self.epochs[txid as usize], previous));
        let (bytes, encoded) = encode(header, &changed).unwrap();
        self.put(&Key::slot(Txid::new(txid)), bytes.clone());
        self.pages = now;
        self.images.push(image);
        self.files.push(bytes);
        self.chains.push(encoded.chain);
    }

    /// Makes one file of slots, and what is kept beside it.
    pub fn compact(&self, level: u8, min: u64, max: u64) {
        let source = |file: &Vec<u8>| Source {
            decoder: Decoder::new(std::io::Cursor::new(file.clone())).unwrap(),
            after: After::OwnHash,
        };
        let sources = self.files[min as usize..=max as usize].iter().map(source).collect();
        let mut merge = Merge::new(Base::Anything, sources).unwrap();
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, merge.header()).unwrap();
        let mut data = Vec::new();
        while let Some(page) = merge.next_page(&mut data).unwrap() {
            encoder.page(page, &data).unwrap();
        }
        let encoded = encoder.finish().unwrap();
        let mut epochs: Vec<(u64, u64)> = Vec::new();
        for slot in min..=max {
            let epoch = self.epochs[slot as usize];
            if epochs.last().is_none_or(|(last, _)| *last != epoch) {
                epochs.push((epoch, slot));
            }
        }
        let epochs: Vec<String> = epochs.iter().map(|(epoch, first)| format!("[{epoch},{first}]")).collect();
        let facts = format!(
            r#"{{"min":{min},"max":{max},"file":"{}","before":"{}","after":"{}","epochs":[{}]}}"#,
            encoded.chain,
            self.chains[min as usize - 1],
            self.chains[max as usize],
            epochs.join(",")
        );
        self.put(&facts_key(level, min, max), facts.into_bytes());
        self.put(&file_key(level, min, max), bytes);
    }

    pub fn snapshot(&self, max: u64) {
        self.compact(9, 1, max);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn key(&self, key: &Key) -> String {
        key.path(ROOT, self.bucket.layout())
    }

    pub fn put(&self, key: &Key, bytes: Vec<u8>) {
        let options = PutOptions::new(PutMode::Overwrite);
        wait(self.bucket.put(&self.key(key), Body::Bytes(bytes.into()), options)).unwrap();
    }

    pub fn get(&self, key: &Key) -> Vec<u8> {
        wait(self.bucket.get(&self.key(key), Range::Whole)).unwrap().unwrap().body.to_vec()
    }

    pub fn delete(&self, key: &Key) {
        wait(self.bucket.delete(&self.key(key), None)).unwrap();
    }

    pub fn delete_slots(&self, slots: std::ops::RangeInclusive<u64>) {
        slots.for_each(|slot| self.delete(&slot_key(slot)));
    }

    /// Raises the floor and deletes the slots up to it, but the first of each epoch.
    pub fn retire(&self, floor: u64) {
        self.put(&Key::Floor, format!(r#"{{"floor":{floor}}}"#).into_bytes());
        for slot in 1..=floor as usize {
            if slot > 1 && self.epochs[slot] == self.epochs[slot - 1] {
                self.delete(&slot_key(slot as u64));
            }
        }
    }

    /// Flips one bit of an object.
    pub fn flip(&self, key: &Key, byte: usize) {
        let mut bytes = self.get(key);
        bytes[byte] ^= 0x10;
        self.put(key, bytes);
    }

    pub fn restore(&self) -> Restore {
        Restore::from_bucket(Arc::clone(&self.bucket)).db_name("app")
    }

    /// Restores to a new file and holds it against the database as of that slot.
    pub fn check(&self, restore: Restore, slot: u64) -> haqlite::RestoredDatabase {
        let path = self.path(&format!("restored-{}.db", uuid()));
        let restored = restore.run(&path).unwrap();
        assert!(fs::read(&path).unwrap() == self.images[slot as usize], "not as of slot {slot}");
        assert_eq!(restored.position.txid.get(), slot);
        assert_eq!(restored.position.chain, self.chains[slot as usize], "the chain value of slot {slot}");
        assert_eq!(restored.position.epoch.get(), self.epochs[slot as usize]);
        assert_eq!(restored.timestamp.unix_ms(), START_MS + 1000 * slot as i64);
        assert!(!restored.written_by_another_tool);
        assert_eq!(leftovers(self.folder.path()), Vec::<PathBuf>::new());
        fs::remove_file(&path).unwrap();
        restored
    }

    /// A restore that must fail, and leaves nothing behind.
    pub fn refused(&self, restore: Restore) -> haqlite::Error {
        let path = self.path(&format!("refused-{}.db", uuid()));
        let error = restore.run(&path).unwrap_err();
        assert!(!path.exists());
        assert_eq!(leftovers(self.folder.path()), Vec::<PathBuf>::new());
        error
    }
}

pub fn file_key(level: u8, min: u64, max: u64) -> Key {
    Key::File { level, min: Txid::new(min), max: Txid::new(max) }
}

pub fn facts_key(level: u8, min: u64, max: u64) -> Key {
    Key::Facts { level, min: Txid::new(min), max: Txid::new(max) }
}

pub fn slot_key(slot: u64) -> Key {
    Key::slot(Txid::new(slot))
}

/// What a restore left behind that has no name of its own.
pub fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains(".restoring")).collect()
}

pub fn insert(from: u32, to: u32, bytes: u32) -> String {
    format!(
        "WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to})
         INSERT INTO t SELECT i, randomblob({bytes}) FROM n"
    )
}

/// Runs a future to its end.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub fn uuid() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}
