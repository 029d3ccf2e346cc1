use std::fmt;

/// What is wrong with an object of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Problem {
    /// The object's key in the bucket.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

impl Problem {
    /// A problem of the object at this key.
    pub(crate) fn new(key: impl Into<String>, message: impl fmt::Display) -> Problem {
        Problem { key: key.into(), message: message.to_string() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}
