use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::blocking::run_blocking;
use super::clock;
use super::confirmations::LocalReader;
use super::peers::Peer;
use super::shared::Shared;
use super::succession;
use crate::server::Service;
use crate::server::wire::{
    CampaignRequest, FollowRequest, FollowResponse, LookUpRequest, LookUpResponse, ProveRequest,
    QueryRequest, RelayRequest, RelayResponse, WriteRequest, WriteResponse,
};
use crate::types::{NodeInfo, ReadOptions, Result, Rows, Status, Txid};

/// What a node does with the requests of others.
pub(super) struct NodeService(pub(super) Arc<Shared>);

#[async_trait]
impl Service for NodeService {
    async fn write(&self, request: WriteRequest) -> Result<WriteResponse> {
        succession::wait_to_lead(&self.0).await?;
        let shared = Arc::clone(&self.0);
        run_blocking(move || super::forward::write_here(&shared, &request)).await
    }

    async fn query(&self, request: QueryRequest) -> Result<Rows> {
        let shared = Arc::clone(&self.0);
        run_blocking(move || {
            let timeout = Some(request.timeout.unwrap_or(Duration::from_secs(60)));
            let options = ReadOptions { timeout, ..ReadOptions::default() };
            LocalReader::new(&shared).read(|pool| pool.query(&request.sql, &request.params, &options))
        })
        .await
    }

    async fn follow(&self, request: FollowRequest) -> Result<FollowResponse> {
        let peer = Peer {
            session: request.session,
            can_lead: request.can_lead,
            address: request.address,
            position: request.position,
            seen: clock::now(),
        };
        self.0.peers.report(request.node_id, peer);
        let view = self.0.view.borrow().clone();
        let covers = request.unreadable.is_some_and(|slot| self.hear_complaint(slot, view.confirmed.txid));
        Ok(FollowResponse {
            node_id: self.0.node.clone(),
            role: view.role,
            epoch: view.epoch,
            leader: view.leader,
            confirmed: view.confirmed,
            covers,
        })
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>> {
        succession::check_leads(&self.0)?;
        Ok(super::roster::list(&self.0))
    }

    async fn campaign(&self, request: CampaignRequest) -> Result<()> {
        succession::called(&self.0, &request);
        Ok(())
    }

    async fn prove(&self, request: ProveRequest) -> Result<()> {
        super::relay::prove(&self.0, &request).await
    }

    async fn relay(&self, request: RelayRequest) -> Result<RelayResponse> {
        super::relay::relay(&self.0, request).await
    }

    async fn look_up(&self, request: LookUpRequest) -> Result<LookUpResponse> {
        super::relay::look_up(&self.0, request).await
    }

    fn status(&self) -> Status {
        self.0.status()
    }
}

impl NodeService {
    /// A follower cannot read this slot; whether this node, as the leader, sees to it.
    fn hear_complaint(&self, slot: Txid, confirmed: Txid) -> bool {
        let makes_snapshots = self.0.settings.compaction.snapshots.is_some();
        let heard = self.0.gate.is_open()
            && makes_snapshots
            && self.0.complaints.lock().hear(slot, confirmed, clock::now());
        if heard {
            self.0.complained.notify_one();
        }
        heard
    }
}
