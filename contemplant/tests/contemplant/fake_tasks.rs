//! An executor of tasks that does what the test says.

use async_trait::async_trait;
use contemplant::executor::cancelled;
use contemplant::executor::tasks::{
    ExecuteTask, Executed, JoinFailure, JoinTask, ShardNews, ShardSink, ShardTask, TaskExecutor,
    TaskProof, Traced,
};
use network_lib::job::Failure;
use network_lib::shard::{Sharding, TaskKind};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::waiting::PATIENCE;

pub(crate) struct FakeTasks {
    offered: watch::Receiver<Option<Sharding>>,
    executions: mpsc::UnboundedSender<ExecutionCall>,
    shards: mpsc::UnboundedSender<ShardCall>,
    joins: mpsc::UnboundedSender<JoinCall>,
}

/// The test's hold on an executor of tasks.
pub(crate) struct TaskControl {
    pub(crate) offered: watch::Sender<Option<Sharding>>,
    executions: mpsc::UnboundedReceiver<ExecutionCall>,
    shards: mpsc::UnboundedReceiver<ShardCall>,
    joins: mpsc::UnboundedReceiver<JoinCall>,
}

/// A program that is being executed.
pub(crate) struct ExecutionCall {
    pub(crate) task: ExecuteTask,
    pub(crate) sink: ShardSink,
    states: mpsc::Receiver<ShardNews>,
    cancel: CancellationToken,
    finish: oneshot::Sender<Result<Executed, Failure>>,
}

/// A shard that is being proved.
pub(crate) struct ShardCall {
    pub(crate) task: ShardTask,
    pub(crate) traced: mpsc::Sender<Traced>,
    pub(crate) cancel: CancellationToken,
    finish: oneshot::Sender<Result<TaskProof, Failure>>,
}

/// Proofs that are being joined.
pub(crate) struct JoinCall {
    pub(crate) task: JoinTask,
    finish: oneshot::Sender<Result<TaskProof, JoinFailure>>,
}

/// What the executor offers at first.
pub(crate) fn sharding() -> Sharding {
    Sharding {
        engine: "scripted".to_owned(),
        kinds: vec![TaskKind::Execute, TaskKind::ProveShard],
        recursion: false,
        prove_slots: 1,
        prefetch: 1,
        max_elements: 1 << 20,
        depot_bytes: 0,
        depot_port: None,
        depot_fingerprint: None,
    }
}

impl FakeTasks {
    pub(crate) fn new() -> (Self, TaskControl) {
        let (sender, offered) = watch::channel(Some(sharding()));
        let (executions_sender, executions) = mpsc::unbounded_channel();
        let (shards_sender, shards) = mpsc::unbounded_channel();
        let (joins_sender, joins) = mpsc::unbounded_channel();
        let fake = Self {
            offered,
            executions: executions_sender,
            shards: shards_sender,
            joins: joins_sender,
        };
        (fake, TaskControl { offered: sender, executions, shards, joins })
    }
}

impl TaskControl {
    pub(crate) async fn next_execution(&mut self) -> ExecutionCall {
        let call = timeout(PATIENCE, self.executions.recv()).await;
        call.expect("no program is executed").unwrap()
    }

    pub(crate) async fn next_shard(&mut self) -> ShardCall {
        let call = timeout(PATIENCE, self.shards.recv()).await;
        call.expect("no shard is proved").unwrap()
    }

    pub(crate) async fn next_join(&mut self) -> JoinCall {
        let call = timeout(PATIENCE, self.joins.recv()).await;
        call.expect("nothing is joined").unwrap()
    }

    /// Whether a shard is in the prover that the test has not seen yet.
    pub(crate) fn has_shard(&self) -> bool {
        !self.shards.is_empty()
    }
}

impl ExecutionCall {
    /// The next news about a shard.
    pub(crate) async fn next_news(&mut self) -> ShardNews {
        timeout(PATIENCE, self.states.recv()).await.expect("no news comes").unwrap()
    }

    /// Waits for the cancellation.
    pub(crate) async fn expect_cancelled(&self) {
        timeout(PATIENCE, self.cancel.cancelled()).await.expect("it is not cancelled");
    }

    pub(crate) fn finish(self, outcome: Result<Executed, Failure>) {
        // After a cancellation there is no receiver.
        let _ = self.finish.send(outcome);
    }
}

impl ShardCall {
    /// Waits for the cancellation.
    pub(crate) async fn expect_cancelled(&self) {
        timeout(PATIENCE, self.cancel.cancelled()).await.expect("it is not cancelled");
    }

    pub(crate) fn finish(self, outcome: Result<TaskProof, Failure>) {
        // After a cancellation there is no receiver.
        let _ = self.finish.send(outcome);
    }
}

impl JoinCall {
    pub(crate) fn finish(self, outcome: Result<TaskProof, JoinFailure>) {
        self.finish.send(outcome).unwrap();
    }
}

#[async_trait]
impl TaskExecutor for FakeTasks {
    fn offered(&self) -> watch::Receiver<Option<Sharding>> {
        self.offered.clone()
    }

    async fn execute(
        &self,
        task: ExecuteTask,
        sink: ShardSink,
        states: mpsc::Receiver<ShardNews>,
        cancel: CancellationToken,
    ) -> Result<Executed, Failure> {
        let (finish, finished) = oneshot::channel();
        self.executions.send(ExecutionCall { task, sink, states, cancel, finish }).unwrap();
        finished.await.unwrap_or_else(|_| Err(cancelled()))
    }

    async fn prove_shard(
        &self,
        task: ShardTask,
        traced: mpsc::Sender<Traced>,
        cancel: CancellationToken,
    ) -> Result<TaskProof, Failure> {
        let (finish, finished) = oneshot::channel();
        self.shards.send(ShardCall { task, traced, cancel, finish }).unwrap();
        finished.await.unwrap_or_else(|_| Err(cancelled()))
    }

    async fn join(
        &self,
        task: JoinTask,
        _cancel: CancellationToken,
    ) -> Result<TaskProof, JoinFailure> {
        let (finish, finished) = oneshot::channel();
        self.joins.send(JoinCall { task, finish }).unwrap();
        finished.await.unwrap_or_else(|_| Err(cancelled().into()))
    }
}
