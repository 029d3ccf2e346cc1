use super::replica::{Boundary, Replica};
use crate::replication::{RecordKind, SlotFacts};
use crate::types::{Result, Txid};
use crate::wal::WalPoint;

/// What the frames beyond the boundary are, with those that became the spool, in the light of the slot after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// There are none: slots may be applied.
    Clean,
    /// The log ends at the boundary: they are commits that a new leader's fence can carry.
    Tail,
    /// The slot is our own: the boundary has moved to it, and the question is put again.
    Advanced,
    /// They came from the log, or from our own slot that the WAL holds only a part of: applying the log
    /// over them loses nothing, if it rewrites all their pages.
    Residue,
    /// Commits of our own that the log went on without.
    Diverged,
}

impl Replica {
    /// Judges the frames beyond the boundary. `next` is the slot after the boundary, `None` if the log is
    /// proven to end there.
    pub(crate) fn settle(&mut self, next: Option<&SlotFacts>) -> Result<Standing> {
        let Some(next) = next else {
            return Ok(if self.has_frames_beyond()? { Standing::Tail } else { Standing::Clean });
        };
        if self.spool.first().is_some_and(|first| first.boundary.position.chain == next.chain) {
            self.confirm_spooled()?;
            return Ok(Standing::Advanced);
        }
        let intents = self.journal.journal().intents_after(self.boundary.position.txid);
        let ours = |r: &&crate::replication::Record| {
            matches!(r.kind, RecordKind::Intent(_)) && r.position.chain == next.chain
        };
        let own = intents.iter().find(ours).copied();
        if let Some(own) = own {
            if self.reaches(&own.point)? {
                let size = self.wal.commit_size(own.point.frame)?;
                self.set_boundary(Boundary { point: own.point, position: own.position, size })?;
                self.abandon_spool()?;
                return Ok(Standing::Advanced);
            }
            // A power cut took the end of the frames that we sent: the slot has them all.
            if self.spool.is_empty() {
                return Ok(if self.has_frames_beyond()? { Standing::Residue } else { Standing::Clean });
            }
        }
        if !self.spool.is_empty() {
            return Ok(Standing::Diverged);
        }
        if !self.has_frames_beyond()? {
            return Ok(Standing::Clean);
        }
        let own_commits = self.journal.journal().was_leading();
        Ok(if own_commits { Standing::Diverged } else { Standing::Residue })
    }

    /// Whether the WAL proves the point, at or beyond the edge.
    fn reaches(&mut self, point: &WalPoint) -> Result<bool> {
        let founding = self.boundary.position.txid == Txid::ZERO;
        let edge = self.edge().point;
        let behind = point.salts != edge.salts || point.frame < edge.frame;
        if behind && !founding {
            return Ok(false);
        }
        if *point == edge {
            return Ok(true);
        }
        Ok(self.wal.prove(&[*point])?.is_some())
    }
}
