use std::time::Duration;

use super::LeaseRecord;
use crate::types::{Error, ErrorKind, LeaseConfig, NodeId, Result, Role, SessionId};

/// Who takes part in an election, and its timing.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ElectionConfig {
    /// The node's name in the record. At most 1 KiB.
    pub(crate) node: NodeId,
    /// This opening of the database; no two openings have the same.
    pub(crate) session: SessionId,
    /// The address in the record. At most 4 KiB.
    pub(crate) address: String,
    /// Names the local database file on this host, given only while this process holds its file lock.
    /// A record of the same node with the same token is taken over at once. At most 1 KiB.
    pub(crate) lock: Option<String>,
    /// `None`: campaigns. `Leader`: the same, but fails if somebody else holds the lease at the open.
    /// Any other: never campaigns.
    pub(crate) role: Option<Role>,
    /// What the record says of this node.
    pub(crate) sleeping: bool,
    /// How long a lease holds after the renewal that made it. Whole milliseconds.
    pub(crate) ttl: Duration,
    /// How long before its lease ends a leader closes its gate, and how much longer a challenger waits.
    pub(crate) margin: Duration,
    /// How long an operation on the register may take. Shorter than the margin.
    pub(crate) operation_timeout: Duration,
    /// How often a leader renews.
    pub(crate) renew_interval: Duration,
    /// How often a follower reads.
    pub(crate) poll_interval: Duration,
    /// How many reads in a row must show the lease expired before it is taken over. At least 1.
    pub(crate) required_expired_reads: u32,
    /// How many operations in a row may fail before a leader steps down. At least 1.
    pub(crate) max_renewal_errors: u32,
}

impl ElectionConfig {
    /// The timing of `lease`, with a margin of a fifth of the TTL, at most three seconds.
    pub(crate) fn new(lease: &LeaseConfig, session: SessionId, role: Option<Role>) -> ElectionConfig {
        let ttl = Duration::from_secs(lease.ttl_secs);
        let margin = margin_for(ttl);
        ElectionConfig {
            node: lease.instance_id.clone(),
            session,
            address: lease.address.clone(),
            lock: None,
            role,
            sleeping: false,
            ttl,
            margin,
            operation_timeout: timeout_for(margin),
            renew_interval: lease.renew_interval,
            poll_interval: lease.follower_poll_interval,
            required_expired_reads: lease.required_expired_reads,
            max_renewal_errors: lease.max_consecutive_renewal_errors,
        }
    }

    /// The same node with another TTL and everything else in the proportions of the defaults: renewed every
    /// 2/5 of it, read every 1/5.
    #[must_use]
    pub(crate) fn with_ttl(self, ttl: Duration) -> ElectionConfig {
        let margin = margin_for(ttl);
        ElectionConfig {
            ttl,
            margin,
            operation_timeout: timeout_for(margin),
            renew_interval: ttl * 2 / 5,
            poll_interval: ttl / 5,
            ..self
        }
    }

    /// `InvalidConfig`, with what is wrong, for a configuration with which nobody could lead, or two could.
    pub(crate) fn validate(&self) -> Result<()> {
        let renewed_by = self.renew_interval.saturating_add(self.operation_timeout);
        let rules = [
            (self.ttl >= Duration::from_millis(10), "the lease's TTL is below 10 ms"),
            (
                self.ttl.subsec_nanos().is_multiple_of(1_000_000),
                "the lease's TTL is not in whole milliseconds",
            ),
            (self.ttl <= LeaseRecord::MAX_TTL, "the lease's TTL is above 24 hours"),
            (!self.margin.is_zero() && self.margin < self.ttl / 2, "the lease's margin is not below TTL / 2"),
            (
                !self.operation_timeout.is_zero() && self.operation_timeout < self.margin,
                "a lease operation's timeout is not below the margin",
            ),
            (
                !self.renew_interval.is_zero() && renewed_by <= self.ttl - self.margin.min(self.ttl),
                "the lease's renew interval leaves no time to renew: make it at most half of the TTL",
            ),
            (!self.poll_interval.is_zero(), "the follower's poll interval is zero"),
            (self.required_expired_reads >= 1, "required_expired_reads is zero"),
            (self.max_renewal_errors >= 1, "max_consecutive_renewal_errors is zero"),
            (!self.node.as_str().is_empty(), "the instance id is empty"),
            (self.node.as_str().len() <= 1 << 10, "the instance id has more than 1 KiB"),
            (self.address.len() <= 4 << 10, "the address has more than 4 KiB"),
            (
                self.lock.as_ref().is_none_or(|lock| lock.len() <= 1 << 10),
                "the lock token has more than 1 KiB",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            None => Ok(()),
            Some((_, broken)) => Err(Error::new(ErrorKind::InvalidConfig, *broken)),
        }
    }

    /// After a failed operation on the register.
    pub(super) fn retry_interval(&self) -> Duration {
        (self.renew_interval / 4).min(self.poll_interval)
    }

    /// The shortest time between two operations that hints or lost races call for.
    pub(super) fn shortest_gap(&self) -> Duration {
        self.poll_interval / 50
    }

    /// How long others leave a tombstone to the successor that it names.
    pub(super) fn successor_grace(&self) -> Duration {
        self.poll_interval * 2 + self.margin
    }

    /// For how long a node that gave up the lease does not campaign: longer than the TTL, and not the same
    /// for every session.
    pub(super) fn back_off(&self) -> Duration {
        let share = u32::from(self.session.to_bytes()[15]);
        self.ttl + self.margin * 2 + self.ttl / 2 * share / 256
    }
}

fn margin_for(ttl: Duration) -> Duration {
    (ttl / 5).min(Duration::from_secs(3))
}

fn timeout_for(margin: Duration) -> Duration {
    margin * 3 / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ElectionConfig {
        ElectionConfig::new(&LeaseConfig::new("n1", "http://n1"), SessionId::default(), None)
    }

    #[test]
    fn the_defaults_are_valid_and_so_are_short_leases() {
        config().validate().unwrap();
        assert_eq!(config().margin, Duration::from_secs(1));
        assert_eq!(config().with_ttl(Duration::from_secs(5)), config());
        for ttl in [10, 100, 500, 60_000, 86_400_000] {
            config().with_ttl(Duration::from_millis(ttl)).validate().unwrap();
        }
    }

    #[test]
    fn a_timing_that_two_could_lead_with_or_nobody_is_refused() {
        let refused = |change: fn(&mut ElectionConfig)| {
            let mut config = config();
            change(&mut config);
            assert_eq!(config.validate().unwrap_err().kind(), ErrorKind::InvalidConfig, "{config:?}");
        };
        refused(|c| c.ttl = Duration::ZERO);
        refused(|c| c.ttl = Duration::from_secs(90_000));
        refused(|c| c.ttl += Duration::from_nanos(1));
        refused(|c| c.margin = Duration::ZERO);
        refused(|c| c.margin = Duration::from_secs(3));
        refused(|c| c.operation_timeout = c.margin);
        refused(|c| c.renew_interval = Duration::from_secs(4));
        refused(|c| c.poll_interval = Duration::ZERO);
        refused(|c| c.required_expired_reads = 0);
        refused(|c| c.max_renewal_errors = 0);
        refused(|c| c.address = "x".repeat(5 << 10));
        refused(|c| c.node = NodeId::new(""));
    }

    #[test]
    fn the_back_off_is_longer_than_the_ttl() {
        for byte in [0, 1, 255] {
            let back_off =
                ElectionConfig { session: SessionId::from_bytes([byte; 16]), ..config() }.back_off();
            assert!(back_off > Duration::from_secs(6) && back_off < Duration::from_secs(10), "{back_off:?}");
        }
    }
}
