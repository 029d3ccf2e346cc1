use super::super::LeaseVersion;

/// What a register's version says: `<revision>-<mark>`, in decimal and 32 hexadecimal digits.
///
/// The revision is etcd's `mod_revision`, which counts the writes to the whole store, so it does not come back when a
/// key is deleted and made again. It does come back in a store that was restored from a backup, or begun anew in the
/// same place. The mark is random, made for each write, and part of the value: the two together name one write, and a
/// version from before such an accident is the version of nothing, or of the very bytes that it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Version {
    pub(super) revision: i64,
    pub(super) mark: String,
}

const MARK: usize = 32;

impl Version {
    /// A mark that no other write has.
    pub(super) fn new_mark() -> String {
        uuid::Uuid::new_v4().simple().to_string()
    }

    /// `None` if no write of ours has such a version.
    pub(super) fn parse(version: &LeaseVersion) -> Option<Version> {
        let (revision, mark) = version.0.split_once('-')?;
        let revision = revision.parse().ok().filter(|revision: &i64| *revision > 0)?;
        is_mark(mark.as_bytes()).then(|| Version { revision, mark: mark.to_owned() })
    }
}

impl From<Version> for LeaseVersion {
    fn from(version: Version) -> LeaseVersion {
        LeaseVersion(format!("{}-{}", version.revision, version.mark))
    }
}

/// The value of a body: its mark, a line feed, and the body.
pub(super) fn marked(mark: &str, body: &[u8]) -> Vec<u8> {
    [mark.as_bytes(), b"\n", body].concat()
}

/// Mark and body of a value; `None` if it is not ours.
pub(super) fn unmarked(value: &[u8]) -> Option<(String, &[u8])> {
    let (mark, rest) = value.split_at_checked(MARK)?;
    let body = rest.strip_prefix(b"\n")?;
    let mark = is_mark(mark).then(|| String::from_utf8_lossy(mark).into_owned())?;
    Some((mark, body))
}

fn is_mark(bytes: &[u8]) -> bool {
    bytes.len() == MARK && bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_values_are_read_as_they_were_made() {
        let version = Version { revision: 7, mark: Version::new_mark() };
        let text = LeaseVersion::from(version.clone());
        assert_eq!(Version::parse(&text), Some(version.clone()));
        for body in [&b""[..], b"\n", b"{}"] {
            assert_eq!(unmarked(&marked(&version.mark, body)), Some((version.mark.clone(), body)));
        }
        assert_ne!(Version::new_mark(), Version::new_mark());
    }

    #[test]
    fn nothing_else_is_a_version_or_a_value() {
        let mark = "0123456789abcdef0123456789abcdef";
        for text in ["", "7", "7-", &format!("0-{mark}"), &format!("-1-{mark}"), &format!("7-{mark}0")] {
            assert_eq!(Version::parse(&LeaseVersion(text.to_owned())), None, "{text}");
        }
        for value in ["", "{}", mark, &format!("{}\n", mark.to_uppercase()), &format!("{mark}{{}}")] {
            assert_eq!(unmarked(value.as_bytes()), None, "{value}");
        }
    }
}
