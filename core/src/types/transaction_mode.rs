/// How a transaction begins, as SQLite's `BEGIN` has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum TxMode {
    /// Takes the write lock at once. The default: it cannot fail half-way for want of the lock.
    #[default]
    Immediate,
    /// Takes the write lock at the first write.
    Deferred,
    /// As `Immediate` in WAL mode.
    Exclusive,
}
