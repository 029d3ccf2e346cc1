use std::fmt;
use std::time::Duration;

use super::cluster::Cluster;
use super::{NAMES, Result};

/// For how long writes waited for the next leader.
pub(crate) struct Pause {
    what: String,
    /// By node: from the last acknowledgement by the old leader to the first by the new one.
    nodes: Vec<(usize, Duration)>,
    /// From the event to the last node's first acknowledgement by the new leader.
    resumed: Duration,
    bar: Duration,
}

impl Pause {
    /// What these nodes' writes saw of the change of the leader that began at `begin`.
    pub(crate) fn measure(
        cluster: &mut Cluster,
        what: String,
        begin: Duration,
        nodes: Vec<usize>,
        bar: Duration,
    ) -> Result<Pause> {
        let before = cluster.ledger.epoch_at(begin);
        cluster.until("every node writes again", |cluster| {
            nodes.iter().all(|&node| cluster.ledger.around(node, before).is_some())
        })?;
        let around = |node| cluster.ledger.around(node, before).map(|(last, first)| (node, last, first));
        let seen: Vec<_> = nodes.into_iter().filter_map(around).collect();
        let resumed = seen.iter().map(|(.., first)| first.saturating_sub(begin)).max().unwrap_or_default();
        let nodes = seen.into_iter().map(|(node, last, first)| (node, first.saturating_sub(last))).collect();
        Ok(Pause { what, nodes, resumed, bar })
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.resumed <= self.bar { "ok" } else { "late" };
        write!(f, "{:<14} every node writes again after {:>4} ms", self.what, self.resumed.as_millis())?;
        write!(f, " (at most {} ms: {verdict}); pauses:", self.bar.as_millis())?;
        for (node, pause) in &self.nodes {
            write!(f, " {} {} ms", NAMES[*node], pause.as_millis())?;
        }
        Ok(())
    }
}
