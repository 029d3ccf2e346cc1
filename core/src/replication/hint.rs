use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::types::{Epoch, Error, Result, Txid};

/// How far the log is, as a manifest tells it. It decides nothing: what the log is, only its slots say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Hint {
    pub(crate) epoch: Epoch,
    pub(crate) txid: Txid,
}

/// What the body of a manifest says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ManifestWord {
    /// How far the log is.
    pub(crate) hint: Option<Hint>,
    /// The body is the log's commit point, which only those may write who know the rules of that.
    pub(crate) is_commit_point: bool,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(default)]
    format: u32,
    #[serde(default)]
    hint: Option<WireHint>,
    #[serde(default, skip_serializing)]
    epochs: Option<IgnoredAny>,
}

#[derive(Serialize, Deserialize)]
struct WireHint {
    epoch: u64,
    txid: u64,
}

const FORMAT: u32 = 1;

/// How many polls a follower may leave out while its manifest tells of every slot, ...
const POLLS_IN_ONE: u32 = 5;

/// ... and how far apart they may get by that.
const MOST_BETWEEN_POLLS: Duration = Duration::from_secs(10);

impl Hint {
    /// The body of a manifest that is nothing but a hint.
    pub(crate) fn encode(self) -> Vec<u8> {
        let hint = WireHint { epoch: self.epoch.get(), txid: self.txid.get() };
        let wire = Wire { format: FORMAT, hint: Some(hint), epochs: None };
        serde_json::to_vec(&wire).expect("BUG: a hint is always valid JSON")
    }
}

impl ManifestWord {
    /// What these bytes say; `Corrupt` if they are no manifest's body that this version can read.
    pub(crate) fn decode(body: &[u8]) -> Result<ManifestWord> {
        let wire: Wire = serde_json::from_slice(body)
            .map_err(|e| Error::corrupt("the manifest's body is none").with_source(e))?;
        let is_commit_point = wire.epochs.is_some();
        if wire.format != FORMAT && !is_commit_point {
            let message =
                format!("the manifest's body has format {}, which this version cannot read", wire.format);
            return Err(Error::corrupt(message));
        }
        let hint = wire.hint.and_then(|hint| {
            let epoch = Epoch::new(hint.epoch)?;
            Some(Hint { epoch, txid: Txid::new(hint.txid) })
        });
        Ok(ManifestWord { hint, is_commit_point })
    }
}

/// How long a follower waits from one look at the log to the next, if nobody tells it anything: `pull`, and longer
/// while the last word of its manifest is just what it has. A manifest that is behind, ahead or silent (`None`)
/// leaves it at `pull`. It is never above ten seconds, or `pull` if that is longer: so much a lie can delay.
pub(crate) fn poll_after(pull: Duration, told: Option<Txid>, applied: Txid) -> Duration {
    match told {
        Some(told) if told == applied => (pull * POLLS_IN_ONE).min(MOST_BETWEEN_POLLS).max(pull),
        Some(_) | None => pull,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_read_as_it_was_written_and_anything_else_is_no_hint() {
        let hint = Hint { epoch: Epoch::FIRST, txid: Txid::new(7) };
        assert_eq!(hint.encode(), br#"{"format":1,"hint":{"epoch":1,"txid":7}}"#);
        let word = ManifestWord { hint: Some(hint), is_commit_point: false };
        assert_eq!(ManifestWord::decode(&hint.encode()).unwrap(), word);
        let word = ManifestWord { hint: None, is_commit_point: true };
        for format in [r#""format":1"#, r#""format":2"#, r#""other":1"#] {
            let table = format!("{{{format},\"genesis\":\"00\",\"floor\":0,\"epochs\":[]}}");
            assert_eq!(ManifestWord::decode(table.as_bytes()).unwrap(), word);
        }
        for damaged in [&b"{}"[..], b"7", b"", br#"{"format":2}"#, br#"{"format":1,"hint":7}"#] {
            assert!(ManifestWord::decode(damaged).is_err());
        }
    }

    #[test]
    fn polls_are_spared_only_while_the_manifest_says_what_is_here() {
        let (second, here) = (Duration::from_secs(1), Txid::new(3));
        assert_eq!(poll_after(second, Some(here), here), 5 * second);
        for told in [None, Some(Txid::new(2)), Some(Txid::new(4)), Some(Txid::ZERO)] {
            assert_eq!(poll_after(second, told, here), second);
        }
        assert_eq!(poll_after(4 * second, Some(here), here), 10 * second);
        assert_eq!(poll_after(60 * second, Some(here), here), 60 * second);
    }
}
