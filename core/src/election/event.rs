use crate::types::{Epoch, NodeId, Result};

/// Something that happened, for `Election::handle`.
///
/// Events that speak of a leadership carry the tenure that its [`Effect::Promote`](super::Effect::Promote)
/// had; what comes late, of a tenure that is over, changes nothing.
#[derive(Debug)]
pub(crate) enum Event {
    /// Time passed. The first one sets the machine off; later ones are due at `wake_at()`, and one that is
    /// early, late or superfluous does no harm.
    Timer,
    /// The answer to `Effect::Read`: what the register holds, or an error (a timeout too).
    ReadDone(Result<Option<Found>>),
    /// The answer to `Effect::Create` or `Effect::Replace`. An error (a timeout too) leaves open whether the
    /// write took place or will.
    SwapDone(Result<SwapOutcome>),
    /// The runtime has read the log to its tail and leads with this epoch: the highest of the log's and the
    /// lease's and one more. Lower than the lease's changes nothing. The next renewal carries it.
    EpochSettled { tenure: Tenure, epoch: Epoch },
    /// The fence is confirmed: writes may begin.
    Promoted { tenure: Tenure },
    /// The promotion failed or missed its deadline. The lease is released and not sought for longer than
    /// the TTL.
    PromotionFailed { tenure: Tenure },
    /// The leader's work has missed a deadline (a slot, a local commit): as a failed promotion, but the gate
    /// is closed first.
    Stalled { tenure: Tenure },
    /// The log holds a slot of another leader, of epoch `by`.
    Fenced { tenure: Tenure, by: Epoch },
    /// The register may have changed, or the leader told us to take over: read it now. Any number of them
    /// costs at most fifty reads per poll interval.
    Look,
    /// The leader let go for this node: read the register now, even if a hint was followed a moment ago. Any number
    /// of them costs at most another fifty reads per poll interval.
    Called,
    /// Give the leadership to `to`, or to whoever comes first. The gate is closed and the lease kept, for the
    /// runtime to ship the rest; then comes `Release`. Changes nothing on a node that does not lead.
    Handoff { to: Option<NodeId> },
    /// The hand-over to `to` came to nothing before it was released: open the gate again. Changes nothing if no
    /// hand-over to it is under way.
    Resume { tenure: Tenure, to: NodeId },
    /// The rest is shipped: release the lease. Without a `Handoff` before it, it is one to nobody.
    Release,
    /// Release the lease if it is ours, and end with `Effect::Closed`, at the latest after a handful of
    /// operation timeouts.
    Close,
}

/// What a read of the register found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// The bytes.
    pub(crate) body: Vec<u8>,
    /// What a replacement names.
    pub(crate) version: Version,
}

/// The register's own name for one of its contents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Version(pub(crate) String);

/// The definite answer to a write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum SwapOutcome {
    /// It was stored, and this is its version.
    Done(Version),
    /// The register held something else; nothing was changed.
    Lost,
}

/// One time of holding the lease by this session: counted from 1, only meaningful in this process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct Tenure(pub(crate) u64);
