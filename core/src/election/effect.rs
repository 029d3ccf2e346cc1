use std::time::Duration;

use super::{LeaseRecord, Tenure, Version};
use crate::types::{Epoch, Error, Monotonic, NodeId};

/// Something for the driver to do, in the order given.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Read the register; answer with `Event::ReadDone`, after `timeout` with an error.
    Read { timeout: Duration },
    /// Store `body` if the register was never written; answer with `Event::SwapDone`. Not to be retried: a
    /// retry hides whether the first try took place.
    Create { body: Vec<u8>, timeout: Duration },
    /// Store `body` if the register still has `version`; otherwise as `Create`.
    Replace { body: Vec<u8>, version: Version, timeout: Duration },
    /// The lease is ours: catch up with the log, report `EpochSettled`, fence, and report `Promoted` or
    /// `PromotionFailed`. The lease is renewed meanwhile; the gate stays closed.
    Promote { tenure: Tenure, epoch: Epoch },
    /// The gate may let writes through until `until`, which the gate itself compares with the clock: before
    /// a commit and again before it is acknowledged. Replaces what was said before.
    ExtendGate { until: Monotonic },
    /// Let no write through from now on. Comes before anything else that ends a leadership.
    CloseGate { reason: Reason },
    /// The leadership or the promotion of this tenure is over: stop shipping, judge the tail, follow.
    Demote { tenure: Tenure, reason: Reason },
    /// Who leads, as far as this follower knows: the record, or nobody. Only when it changes.
    Following { leader: Option<Box<LeaseRecord>> },
    /// The register cannot be used at the moment; it is being tried again. At every failure.
    Degraded(Error),
    /// It can be used again.
    Recovered,
    /// The election has ended with an error, and this node takes no part in it.
    Failed(Error),
    /// The election has ended, as asked for.
    Closed,
}

/// Why a leadership ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    /// The lease was not renewed in time.
    Expired,
    /// Too many operations on the register failed one after the other.
    RenewalsFailed,
    /// The register holds somebody else's lease, or nothing that is ours.
    LeaseLost { to: Option<NodeId> },
    /// Another leader has written to the log.
    Fenced { by: Epoch },
    /// The runtime gave up the promotion.
    PromotionFailed,
    /// The leader's work missed a deadline.
    Stalled,
    /// The leadership was handed to another node, or to anyone.
    HandedOff,
    /// The database is being closed.
    Closing,
}
