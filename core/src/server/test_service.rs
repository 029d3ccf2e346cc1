//! A node for tests: answers as told, and remembers what it was asked.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use crate::replication::{Floor, SlotFacts};
use crate::types::{
    BatchResult, Bookmark, Chain, Epoch, Error, ErrorKind, ExecuteResult, NodeId, NodeInfo, Position, Result,
    Role, Row, Rows, SqlValue, Statement, Status, Txid,
};

use super::wire::{
    CampaignRequest, FollowRequest, FollowResponse, LookUpRequest, LookUpResponse, ProveRequest,
    QueryRequest, RelayRequest, RelayResponse, Relayed, WriteRequest, WriteResponse,
};
use super::{Listen, Secret, Server, ServerLimits, Service};

type Script = Box<dyn Fn(&WriteRequest) -> Result<WriteResponse> + Send + Sync>;

/// What happens to a write that starts with one of the words `wait`, `sleep` and `panic`; any other is
/// answered by the script, and a query returns its parameters as one row.
pub(crate) struct TestService {
    pub(crate) writes: Mutex<Vec<WriteRequest>>,
    pub(crate) queries: Mutex<Vec<QueryRequest>>,
    pub(crate) follows: Mutex<Vec<FollowRequest>>,
    pub(crate) campaigns: Mutex<Vec<CampaignRequest>>,
    pub(crate) proofs: Mutex<Vec<ProveRequest>>,
    pub(crate) relayed: Mutex<Vec<RelayRequest>>,
    pub(crate) gate: Semaphore,
    script: Script,
}

impl TestService {
    /// Every write succeeds with 7 rows.
    pub(crate) fn obliging() -> Arc<TestService> {
        TestService::scripted(|request| {
            let bookmark = bookmark();
            let result = |_: &Statement| (ExecuteResult::new(7, Some(1 << 60), bookmark), Rows::empty());
            let results = request.statements.iter().map(result).collect();
            Ok(WriteResponse { result: BatchResult::new(results, bookmark), replayed: true })
        })
    }

    pub(crate) fn failing(error: impl Fn() -> Error + Send + Sync + 'static) -> Arc<TestService> {
        TestService::scripted(move |_| Err(error()))
    }

    fn scripted(
        script: impl Fn(&WriteRequest) -> Result<WriteResponse> + Send + Sync + 'static,
    ) -> Arc<TestService> {
        Arc::new(TestService {
            writes: Mutex::default(),
            queries: Mutex::default(),
            follows: Mutex::default(),
            campaigns: Mutex::default(),
            proofs: Mutex::default(),
            relayed: Mutex::default(),
            gate: Semaphore::new(0),
            script: Box::new(script),
        })
    }
}

#[async_trait]
impl Service for TestService {
    async fn write(&self, request: WriteRequest) -> Result<WriteResponse> {
        self.writes.lock().push(request.clone());
        match request.statements[0].sql.as_str() {
            "wait" => self.gate.acquire().await.unwrap().forget(),
            "panic" => panic!("a test wants it"),
            _ => {}
        }
        (self.script)(&request)
    }

    async fn query(&self, request: QueryRequest) -> Result<Rows> {
        self.queries.lock().push(request.clone());
        if let Some(size) = request.sql.strip_prefix("blob ") {
            return Ok(one_row(vec![SqlValue::Blob(vec![7; size.parse().unwrap()])]));
        }
        match request.params {
            crate::types::Params::Positional(values) => Ok(one_row(values.into_owned())),
            _ => Err(Error::new(ErrorKind::Sql, "no such table: t").with_sqlite_code(1)),
        }
    }

    async fn follow(&self, request: FollowRequest) -> Result<FollowResponse> {
        let confirmed = request.position;
        self.follows.lock().push(request);
        Ok(FollowResponse {
            node_id: NodeId::new("a"),
            role: Role::Leader,
            epoch: Epoch::new(4).unwrap(),
            leader: Some("http://a:1".into()),
            confirmed: Position { txid: confirmed.txid.next(), ..confirmed },
            covers: true,
        })
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>> {
        Ok(vec![NodeInfo::new(NodeId::new("a"), Role::Leader, Txid::new(7))])
    }

    async fn campaign(&self, request: CampaignRequest) -> Result<()> {
        self.campaigns.lock().push(request);
        Ok(())
    }

    async fn prove(&self, request: ProveRequest) -> Result<()> {
        self.proofs.lock().push(request);
        Ok(())
    }

    /// The first one is stored, the others are there already.
    async fn relay(&self, request: RelayRequest) -> Result<RelayResponse> {
        let mut relayed = self.relayed.lock();
        relayed.push(request);
        let answer = if relayed.len() == 1 { Relayed::Stored } else { Relayed::Refused };
        Ok(RelayResponse { answer })
    }

    /// Even slots are there, and the floor is below all.
    async fn look_up(&self, request: LookUpRequest) -> Result<LookUpResponse> {
        let txid = request.txid;
        let facts = SlotFacts {
            txid,
            chain: Chain::from_bytes([1; 16]),
            previous: Chain::from_bytes([2; 16]),
            epoch: Epoch::new(4).unwrap(),
            session: [3; 6],
        };
        let slot = txid.get().is_multiple_of(2).then_some(facts);
        Ok(LookUpResponse { slot, floor: Floor(Txid::new(txid.get() - 1)) })
    }

    fn status(&self) -> Status {
        let mut status = Status::new(Role::Leader);
        status.committed = Txid::new(41);
        status
    }
}

/// A server in its own task; [`Running::stop`] shuts it down.
pub(crate) struct Running {
    pub(crate) address: String,
    pub(crate) port: u16,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(
        service: Arc<TestService>,
        secret: Option<Secret>,
        limits: ServerLimits,
    ) -> Running {
        Running::start_at(0, service, secret, limits).await
    }

    pub(crate) async fn start_at(
        port: u16,
        service: Arc<TestService>,
        secret: Option<Secret>,
        limits: ServerLimits,
    ) -> Running {
        let loopback = ([127, 0, 0, 1], port).into();
        let server = Server::bind(Listen::At(loopback), secret, limits).await.unwrap();
        let port = server.local_addr().port();
        let (stop, stopped) = oneshot::channel();
        let serving = server.serve(service, async move { drop(stopped.await) });
        #[expect(clippy::disallowed_methods, reason = "the test is the runtime")]
        let task = tokio::spawn(serving);
        Running { address: format!("http://127.0.0.1:{port}"), port, stop, task }
    }

    pub(crate) async fn stop(self) {
        drop(self.stop);
        tokio::time::timeout(Duration::from_secs(20), self.task).await.expect("the server stops").unwrap();
    }
}

pub(crate) fn bookmark() -> Bookmark {
    Bookmark { epoch: Epoch::new(4).unwrap(), txid: Txid::new(42) }
}

pub(crate) fn write(sql: &str) -> WriteRequest {
    WriteRequest {
        request_id: Some("id-1".into()),
        seen: Txid::new(3),
        returning: true,
        script: false,
        statements: vec![Statement::from(sql)],
    }
}

pub(crate) fn secret() -> Secret {
    Secret::new("correct-horse").unwrap()
}

fn one_row(values: Vec<SqlValue>) -> Rows {
    let columns: Arc<[String]> = (0..values.len()).map(|number| format!("c{number}")).collect();
    Rows { columns: columns.clone(), rows: vec![Row::new(columns, values)] }
}

/// Sends one request as text and returns the status and the body of the answer.
pub(crate) async fn raw(port: u16, head: &str, body: &[u8]) -> (u16, serde_json::Value) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let length = body.len();
    let head = format!("{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server that refuses a request by its head may close before the body is there.
    drop(stream.write_all(body).await);
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(serde_json::Value::Null))
}
