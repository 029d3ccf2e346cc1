use std::time::Duration;

use super::NodeId;

/// Timing of the coordination. Constructible with `..Default::default()`.
#[derive(Clone, PartialEq, Debug)]
pub struct CoordinatorConfig {
    /// How often a follower looks for new slots.
    pub follower_pull_interval: Duration,
    /// The lease's timing; the defaults of [`LeaseConfig`] if not given.
    pub lease: Option<LeaseConfig>,
    /// The hard limit of the WAL in bytes, which only one transaction goes beyond. From half of it on writers wait
    /// for the log to catch up, then hear `Backpressure`.
    pub wal_cap_bytes: u64,
}

impl Default for CoordinatorConfig {
    fn default() -> CoordinatorConfig {
        CoordinatorConfig {
            follower_pull_interval: Duration::from_secs(1),
            lease: None,
            wal_cap_bytes: 128 << 20,
        }
    }
}

/// Timing of the lease, and what it says of this node.
#[derive(Clone, PartialEq, Debug)]
pub struct LeaseConfig {
    /// The node's name in the lease record.
    pub instance_id: NodeId,
    /// The address in the lease record, where followers forward to.
    pub address: String,
    /// How long a lease holds after the renewal that made it, in seconds.
    pub ttl_secs: u64,
    /// The time to live to the millisecond, instead of `ttl_secs`; renewals and polls then follow it in the
    /// proportions of the defaults.
    pub ttl: Option<Duration>,
    /// How often the leader renews.
    pub renew_interval: Duration,
    /// How often a follower reads the lease.
    pub follower_poll_interval: Duration,
    /// How many reads in a row must show the lease expired before it is taken over.
    pub required_expired_reads: u32,
    /// How many renewals in a row may fail before the leader steps down ahead of its deadline.
    pub max_consecutive_renewal_errors: u32,
}

impl LeaseConfig {
    /// The defaults: 5 s to live, renewed every 2 s, polled every second.
    pub fn new(instance_id: impl Into<NodeId>, address: impl Into<String>) -> LeaseConfig {
        LeaseConfig {
            instance_id: instance_id.into(),
            address: address.into(),
            ttl_secs: 5,
            ttl: None,
            renew_interval: Duration::from_secs(2),
            follower_poll_interval: Duration::from_secs(1),
            required_expired_reads: 1,
            max_consecutive_renewal_errors: 3,
        }
    }
}
