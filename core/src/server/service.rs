use async_trait::async_trait;

use crate::types::{NodeInfo, Result, Rows, Status};

use super::wire::{
    CampaignRequest, FollowRequest, FollowResponse, LookUpRequest, LookUpResponse, ProveRequest,
    QueryRequest, RelayRequest, RelayResponse, WriteRequest, WriteResponse,
};

/// What a node does with the requests that its server takes in.
///
/// A future is dropped when the asking side goes away, when the request's time is over, and at the end of
/// the drain: what it has begun must then come to an end that keeps the database whole, and nobody is told.
#[async_trait]
pub(crate) trait Service: Send + Sync + 'static {
    /// Runs the statements as one transaction, once per request id. `NotLeader` with the leader's address,
    /// if there is one, on a node that does not lead.
    async fn write(&self, request: WriteRequest) -> Result<WriteResponse>;

    /// Runs one statement that only reads.
    async fn query(&self, request: QueryRequest) -> Result<Rows>;

    /// Notes where a follower is, and says what this node knows.
    async fn follow(&self, request: FollowRequest) -> Result<FollowResponse>;

    /// Who is in the cluster; `NotLeader` with the leader's address, if there is one, on a node that does not lead.
    async fn nodes(&self) -> Result<Vec<NodeInfo>>;

    /// Takes the lease that was released for this node; returns without waiting for the promotion.
    async fn campaign(&self, request: CampaignRequest) -> Result<()>;

    /// Creates an object below the log's root, now, and deletes it: an error if that does not succeed.
    async fn prove(&self, request: ProveRequest) -> Result<()>;

    /// Creates the slot, for the leader that made it.
    async fn relay(&self, request: RelayRequest) -> Result<RelayResponse>;

    /// Reads a slot and then the floor for the leader.
    async fn look_up(&self, request: LookUpRequest) -> Result<LookUpResponse>;

    /// What the node knows of itself. Called on the server's threads: must not block.
    fn status(&self) -> Status;
}
