use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::statement::Prepared;

/// Compiled statements by their text. At the limit the one that was used longest ago goes.
pub(super) struct StatementCache {
    slots: HashMap<Box<str>, usize, BuildHasherDefault<TextHasher>>,
    statements: Vec<Prepared>,
    capacity: usize,
    clock: u64,
}

impl StatementCache {
    pub(super) fn new(capacity: usize) -> StatementCache {
        StatementCache {
            slots: HashMap::default(),
            statements: Vec::new(),
            capacity: capacity.max(1),
            clock: 0,
        }
    }

    /// The slot of the statement with this text, good until the next insert.
    #[inline]
    pub(super) fn find(&self, sql: &str) -> Option<usize> {
        self.slots.get(sql).copied()
    }

    /// The statement in a slot that [`StatementCache::find`] or [`StatementCache::insert`] gave.
    #[inline]
    pub(super) fn at(&mut self, slot: usize) -> &mut Prepared {
        self.clock += 1;
        let statement = &mut self.statements[slot];
        statement.used = self.clock;
        statement
    }

    /// Keeps a statement that is not here yet, and gives its slot.
    pub(super) fn insert(&mut self, sql: &str, statement: Prepared) -> usize {
        let slot = if self.statements.len() < self.capacity {
            self.statements.push(statement);
            self.statements.len() - 1
        } else {
            self.replace_oldest(statement)
        };
        self.slots.insert(sql.into(), slot);
        slot
    }

    /// Looks at every entry: compiling the statement that needs the room costs far more.
    fn replace_oldest(&mut self, statement: Prepared) -> usize {
        let oldest = (0..self.statements.len()).min_by_key(|&slot| self.statements[slot].used).unwrap_or(0);
        self.slots.retain(|_, slot| *slot != oldest);
        self.statements[oldest] = statement;
        oldest
    }
}

/// A quick hash for SQL text. The application writes the text, so nobody gains by making it collide.
#[derive(Default)]
struct TextHasher(u64);

impl Hasher for TextHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
        let mut word = [0; 8];
        let rest = chunks.remainder();
        word[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(word) ^ ((rest.len() as u64) << 56));
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
}

impl TextHasher {
    #[inline]
    fn mix(&mut self, word: u64) {
        // An odd constant with its bits spread: 2^64 divided by the golden ratio.
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
