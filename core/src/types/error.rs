use std::error::Error as StdError;
use std::fmt;

/// The result of anything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, what became of the write, and what to do about it.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    outcome: Outcome,
    sqlite_code: Option<i32>,
    leader: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What a caller should do about an error.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// This node does not lead and cannot forward: ask the leader.
    NotLeader,
    /// No leader could be reached: try again later.
    LeaderUnavailable,
    /// This node led and another has taken over: the handle goes on as a follower.
    Fenced,
    /// Whether the write took place cannot be known: look before repeating it.
    OutcomeUnknown,
    /// The transaction was rolled back: run it again.
    TransactionAborted,
    /// The write that the bookmark names was lost: read without it.
    BookmarkLost,
    /// The database is locked by somebody: try again.
    Busy,
    /// The log cannot take more at the moment: write slower, or later.
    Backpressure,
    /// A limit of time passed.
    Timeout,
    /// The statement was interrupted.
    Interrupted,
    /// A constraint of the schema refused the write.
    Constraint,
    /// SQLite refused the statement.
    Sql,
    /// A write where only reads are allowed.
    ReadOnly,
    /// An argument that makes no sense.
    InvalidArgument,
    /// A configuration that makes no sense or lacks something.
    InvalidConfig,
    /// Something that is planned and not built; the message names it.
    NotImplemented,
    /// The file, the port or the role is taken.
    InUse,
    /// The database at the path is not the one in the bucket.
    ForeignDatabase,
    /// The store does not keep the promises that the log stands on.
    StoreUnfit,
    /// The store cannot be reached: try again later.
    StoreUnavailable,
    /// The secret is missing or wrong.
    Unauthorized,
    /// A limit on sizes or counts.
    LimitExceeded,
    /// Data that cannot be right.
    Corrupt,
    /// The operating system refused something.
    Io,
    /// The handle was closed.
    Closed,
    /// A broken invariant of this library: report it.
    Internal,
}

/// What became of a write that ended with an error.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// It did not take place and never will.
    NotCommitted,
    /// It took place.
    Committed,
    /// It may have taken place, or may still.
    Unknown,
}

impl ErrorKind {
    /// The name of the kind, as in the source.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::NotLeader => "NotLeader",
            ErrorKind::LeaderUnavailable => "LeaderUnavailable",
            ErrorKind::Fenced => "Fenced",
            ErrorKind::OutcomeUnknown => "OutcomeUnknown",
            ErrorKind::TransactionAborted => "TransactionAborted",
            ErrorKind::BookmarkLost => "BookmarkLost",
            ErrorKind::Busy => "Busy",
            ErrorKind::Backpressure => "Backpressure",
            ErrorKind::Timeout => "Timeout",
            ErrorKind::Interrupted => "Interrupted",
            ErrorKind::Constraint => "Constraint",
            ErrorKind::Sql => "Sql",
            ErrorKind::ReadOnly => "ReadOnly",
            ErrorKind::InvalidArgument => "InvalidArgument",
            ErrorKind::InvalidConfig => "InvalidConfig",
            ErrorKind::NotImplemented => "NotImplemented",
            ErrorKind::InUse => "InUse",
            ErrorKind::ForeignDatabase => "ForeignDatabase",
            ErrorKind::StoreUnfit => "StoreUnfit",
            ErrorKind::StoreUnavailable => "StoreUnavailable",
            ErrorKind::Unauthorized => "Unauthorized",
            ErrorKind::LimitExceeded => "LimitExceeded",
            ErrorKind::Corrupt => "Corrupt",
            ErrorKind::Io => "Io",
            ErrorKind::Closed => "Closed",
            ErrorKind::Internal => "Internal",
        }
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<ErrorKind> {
        ErrorKind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Every kind, in the order of their declaration.
    pub const ALL: [ErrorKind; 26] = [
        ErrorKind::NotLeader,
        ErrorKind::LeaderUnavailable,
        ErrorKind::Fenced,
        ErrorKind::OutcomeUnknown,
        ErrorKind::TransactionAborted,
        ErrorKind::BookmarkLost,
        ErrorKind::Busy,
        ErrorKind::Backpressure,
        ErrorKind::Timeout,
        ErrorKind::Interrupted,
        ErrorKind::Constraint,
        ErrorKind::Sql,
        ErrorKind::ReadOnly,
        ErrorKind::InvalidArgument,
        ErrorKind::InvalidConfig,
        ErrorKind::NotImplemented,
        ErrorKind::InUse,
        ErrorKind::ForeignDatabase,
        ErrorKind::StoreUnfit,
        ErrorKind::StoreUnavailable,
        ErrorKind::Unauthorized,
        ErrorKind::LimitExceeded,
        ErrorKind::Corrupt,
        ErrorKind::Io,
        ErrorKind::Closed,
        ErrorKind::Internal,
    ];
}

impl Error {
    /// An error of this kind. The outcome is `Unknown` for `OutcomeUnknown` and `NotCommitted` otherwise,
    /// until [`Error::with_outcome`] says more.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        let outcome =
            if kind == ErrorKind::OutcomeUnknown { Outcome::Unknown } else { Outcome::NotCommitted };
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            outcome,
            sqlite_code: None,
            leader: None,
            source: None,
        }))
    }

    /// An I/O error with what was being done. If a reader or writer of this library failed, the error that
    /// it put into `source` keeps its kind.
    pub fn io(doing: impl fmt::Display, source: std::io::Error) -> Error {
        let inner = source.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let kind = inner.map_or(ErrorKind::Io, Error::kind);
        Error::new(kind, format!("{doing}: {source}")).with_source(source)
    }

    /// Data that cannot be right.
    pub fn corrupt(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Corrupt, message)
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// The same error with what became of the write.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Error {
        self.0.outcome = outcome;
        self
    }

    /// The same error with SQLite's extended result code.
    #[must_use]
    pub fn with_sqlite_code(mut self, code: i32) -> Error {
        self.0.sqlite_code = Some(code);
        self
    }

    /// The same error with the address of the leader.
    #[must_use]
    pub fn with_leader(mut self, leader: impl Into<String>) -> Error {
        self.0.leader = Some(leader.into());
        self
    }

    /// The same error with words before its message.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Error {
        self.0.message = format!("{doing}: {}", self.0.message);
        self
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What became of the write.
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// SQLite's extended result code, if SQLite refused.
    pub fn sqlite_code(&self) -> Option<i32> {
        self.0.sqlite_code
    }

    /// The leader's address, if it is known and could help.
    pub fn leader(&self) -> Option<&str> {
        self.0.leader.as_deref()
    }

    /// The message without the kind.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.0.kind).field("message", &self.0.message).field("outcome", &self.0.outcome);
        if let Some(code) = self.0.sqlite_code {
            out.field("sqlite_code", &code);
        }
        if let Some(leader) = &self.0.leader {
            out.field("leader", leader);
        }
        if let Some(source) = &self.0.source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
