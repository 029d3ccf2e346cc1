use crate::types::ErrorKind;

/// How a command ended, for scripts. The numbers are a promise, and stand in `haqlite --help`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ExitCode {
    /// It did what it was asked for.
    Ok = 0,
    /// It failed, in a way that has no code of its own.
    Failed = 1,
    /// The arguments or the configuration make no sense.
    Usage = 2,
    /// The log is damaged.
    Damaged = 3,
    /// There is no such log, slot or moment.
    NotFound = 4,
    /// The bucket does not answer.
    Unavailable = 5,
    /// The bucket refuses the key, or there is none.
    Refused = 6,
    /// Something is in the way: a file that exists, is open, or is another database.
    InTheWay = 7,
}

impl ExitCode {
    /// The code of an error of the library. Arguments are checked before it is called, so that what it calls
    /// invalid is what the log does not have.
    pub(super) fn of(kind: ErrorKind) -> ExitCode {
        match kind {
            ErrorKind::InvalidConfig | ErrorKind::NotImplemented => ExitCode::Usage,
            ErrorKind::Corrupt => ExitCode::Damaged,
            ErrorKind::InvalidArgument => ExitCode::NotFound,
            ErrorKind::StoreUnavailable | ErrorKind::LeaderUnavailable | ErrorKind::Timeout => {
                ExitCode::Unavailable
            }
            ErrorKind::Unauthorized => ExitCode::Refused,
            ErrorKind::InUse | ErrorKind::ForeignDatabase => ExitCode::InTheWay,
            _ => ExitCode::Failed,
        }
    }

    /// What may help.
    pub(super) fn hint(self) -> Option<&'static str> {
        match self {
            ExitCode::Ok | ExitCode::Failed | ExitCode::InTheWay => None,
            ExitCode::Usage => Some("`haqlite help` shows how it is used, `explain` what was understood"),
            ExitCode::Damaged => Some("`haqlite verify` shows all damage"),
            ExitCode::NotFound => {
                Some("`haqlite explain` shows where it is looked for, `haqlite info` what it has")
            }
            ExitCode::Unavailable => Some("try again; `haqlite explain` shows where the log is looked for"),
            ExitCode::Refused => Some(
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to a key that may read it",
            ),
        }
    }
}
