/// How far a restore or a verification is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Progress {
    /// Files of the log that were read.
    pub files_done: u64,
    /// Files that are to be read. It changes if damage makes another way necessary.
    pub files: u64,
    /// Bytes that were read.
    pub bytes_done: u64,
    /// Bytes that are to be read.
    pub bytes: u64,
}

/// How a restored database is checked before it gets its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Check {
    /// SQLite's `quick_check`: every page, not whether indexes match their tables.
    #[default]
    Quick,
    /// SQLite's `integrity_check`.
    Full,
    /// Not by SQLite. Every file's checksums and links are checked all the same.
    None,
}
