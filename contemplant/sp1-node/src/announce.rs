//! An execution that announces its shards, for a proof that several workers make. It needs no prover.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use shard_plan::{Key, ShardKind, ShardRange};
use sp1_core_machine::executor::ExecutionOutput;
use sp1_core_machine::io::SP1Stdin;
use sp1_core_machine::riscv::RiscvAir;
use sp1_prover::SP1VerifyingKey;
use sp1_prover::verify::{SP1Verifier, VerifierRecursionVks};
use sp1_prover::worker::{
    ProofData, ProofId, ProveShardTaskRequest, RawTaskRequest, RecursionDeferredTaskRequest,
    SP1Controller, SP1WorkerConfig, TaskId, TaskMetadata, WorkerClient,
};
use sp1_prover_types::{Artifact, ArtifactId, TaskType};
use sp1_verifier::SP1ProofMode;
use tokio::sync::mpsc;

use crate::BoxFuture;
use crate::depot::Depot;
use crate::events::check_index;
use crate::execution::{Executable, prepared};
use crate::kept::ENGINE;
use crate::link::{Order, TaskLink};
use crate::record::{Record, range_of};

/// Most shards that are cut and not yet announced.
const WINDOW: usize = 4;

/// A program to execute.
pub struct Execution {
    /// Kind of proof.
    pub mode: SP1ProofMode,
    /// The program.
    pub elf: Arc<Vec<u8>>,
    /// Its verifying key.
    pub key: SP1VerifyingKey,
    /// Its input.
    pub stdin: SP1Stdin,
    /// Trace area at which shards are cut, in cells. At most SP1's own counts.
    pub max_elements: u64,
}

/// A shard that was cut.
#[derive(Debug, Clone)]
pub struct FoundShard {
    /// Its kind.
    pub kind: ShardKind,
    /// Its key, the same in every execution.
    pub key: Key,
    /// The part of the execution that it proves.
    pub range: ShardRange,
    /// The record from which it is proved: bincode of SP1's `TraceData`; of its `SP1DeferredData` for a deferred shard.
    pub record: Vec<u8>,
    /// Names of the precompile events to which the record refers.
    pub events: Vec<String>,
}

/// The events of a core shard are known.
#[derive(Debug, Clone)]
pub struct ShardTraced {
    /// Number of the shard: how many were announced before it.
    pub no: usize,
    /// Bincode of SP1's `DeferredEvents`.
    pub index: Vec<u8>,
    /// Digests of the blobs that the index names.
    pub digests: Vec<(String, [u8; 32])>,
}

/// A receiver of the shards of an execution, one after the other.
pub trait Announce: Send + Sync {
    /// Bincode of SP1's `CommonProverInput`, before the first shard.
    fn common(&self, bytes: Vec<u8>) -> BoxFuture<()>;

    /// A shard. The execution continues when the future ends.
    fn shard(&self, shard: FoundShard) -> BoxFuture<()>;
}

/// Executes a program, cuts it into shards, and announces each to `to`. Returns the public values
/// once all shards are announced, for which `traced` must have passed on the events of all core shards. Dropping the future
/// stops it.
pub fn execute(
    execution: Execution,
    to: Arc<dyn Announce>,
    traced: mpsc::Receiver<ShardTraced>,
) -> BoxFuture<anyhow::Result<Vec<u8>>> {
    Box::pin(execute_now(execution, to, traced))
}

async fn execute_now(
    execution: Execution,
    to: Arc<dyn Announce>,
    mut traced: mpsc::Receiver<ShardTraced>,
) -> anyhow::Result<Vec<u8>> {
    let Execution { mode, elf, key, stdin, max_elements } = execution;
    let (depot, link) = (Depot::new(u64::MAX), TaskLink::default());
    let scope = depot.open_for_engine(WINDOW);
    let proof = ProofId::new(scope.number().to_string());
    let mut orders = link.open(&proof);
    let _closing = Closing { link: link.clone(), proof: proof.clone() };
    let machine = RiscvAir::machine();
    let mut config = SP1WorkerConfig::new(machine.clone()).controller_config;
    let threshold = &mut config.opts.sharding_threshold;
    threshold.element_threshold = threshold.element_threshold.min(max_elements);
    let verifier = SP1Verifier::new_with_machine(VerifierRecursionVks::default(), machine);
    let controller = SP1Controller::new(config, depot.clone(), link.clone(), verifier);
    let executable = Executable { elf, key, stdin, mode };
    let request = prepared(&depot, &proof, executable).await?;
    to.common(depot.bytes(&request.common_input)?.to_vec()).await;

    let mut announcer = Announcer::new(depot, link, proof.clone(), mode, to);
    let running = controller.execute(TaskLink::execution(&proof), request);
    let mut running = std::pin::pin!(running);
    let mut output: Option<ExecutionOutput> = None;
    let mut announcing: Option<BoxFuture<anyhow::Result<TaskId>>> = None;
    loop {
        // The orders that were sent before the end of the execution have arrived by now.
        while let Ok(order) = orders.try_recv() {
            announcer.follow(order)?;
        }
        if announcing.is_none() {
            announcing = announcer.next();
        }
        if let (Some(output), None) = (&output, &announcing) {
            return Ok(output.public_value_stream.clone());
        }
        tokio::select! {
            Some(order) = orders.recv() => announcer.follow(order)?,
            news = traced.recv(), if output.is_none() => {
                announcer.hear(news.context("the states of the shards are no longer reported")?).await?;
            }
            announced = poll(&mut announcing), if announcing.is_some() => {
                announcing = None;
                announcer.announced(&announced?);
            }
            ended = &mut running, if output.is_none() => output = Some(ended?),
        }
    }
}

/// The result of the future, which exists.
async fn poll<T>(future: &mut Option<BoxFuture<T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Closes an execution's board when it is dropped, so that nothing waits for it.
struct Closing {
    link: TaskLink,
    proof: ProofId,
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.link.close(&self.proof);
    }
}

/// A shard that SP1 has cut, on its way to be announced.
struct Cut {
    record: Artifact,
    /// Whether it verifies proofs of the input.
    is_deferred: bool,
    /// Marker and artifact of the events of a core shard.
    marker: Option<(TaskId, Artifact)>,
}

/// Announces shards in the order in which SP1 reports them.
struct Announcer {
    depot: Depot,
    link: TaskLink,
    proof: ProofId,
    mode: SP1ProofMode,
    to: Arc<dyn Announce>,
    /// Submitted tasks whose ranges SP1 has not reported yet.
    submitted: HashMap<TaskId, Cut>,
    queue: VecDeque<(TaskId, Cut, ShardRange)>,
    /// Markers of the shards that are announced or are being announced, by their numbers.
    markers: Vec<Option<(TaskId, Artifact)>>,
    /// Digests of the events of traced shards.
    digests: BTreeMap<String, [u8; 32]>,
}

impl Announcer {
    fn new(
        depot: Depot,
        link: TaskLink,
        proof: ProofId,
        mode: SP1ProofMode,
        to: Arc<dyn Announce>,
    ) -> Self {
        Self {
            depot,
            link,
            proof,
            mode,
            to,
            submitted: HashMap::new(),
            queue: VecDeque::new(),
            markers: Vec::new(),
            digests: BTreeMap::new(),
        }
    }

    fn follow(&mut self, order: Order) -> anyhow::Result<()> {
        match order {
            Order::Task { id, kind: TaskType::ProveShard, request } => self.submitted(id, request),
            Order::Task { id, kind: TaskType::RecursionDeferred, request } => {
                self.submitted_deferred(id, request)
            }
            Order::Task { kind, .. } => {
                bail!(
                    "the execution has submitted a task of kind {}: expected a shard or a deferred proof",
                    kind.as_str_name()
                )
            }
            Order::Message(payload) => {
                let ProofData { task_id, range, .. } = bincode::deserialize(&payload)?;
                if let Some(cut) = self.submitted.remove(&task_id) {
                    self.queue.push_back((task_id, cut, range_of(range)));
                }
                Ok(())
            }
        }
    }

    fn submitted(&mut self, id: TaskId, request: RawTaskRequest) -> anyhow::Result<()> {
        let shard = ProveShardTaskRequest::from_raw(request)?;
        self.depot.hold(&shard.record);
        let marker = shard.deferred_output.map(|events| {
            let marker = TaskId::new(shard.deferred_marker_task.to_id());
            (marker, events)
        });
        self.submitted.insert(id, Cut { record: shard.record, is_deferred: false, marker });
        Ok(())
    }

    fn submitted_deferred(&mut self, id: TaskId, request: RawTaskRequest) -> anyhow::Result<()> {
        if self.mode == SP1ProofMode::Core {
            // Only recursion proves the proofs of the input.
            self.link.succeeded(&self.proof, &id);
            return Ok(());
        }
        let data = RecursionDeferredTaskRequest::from_raw(request)?.deferred_data;
        self.depot.hold(&data);
        self.submitted.insert(id, Cut { record: data, is_deferred: true, marker: None });
        Ok(())
    }

    /// The announcement of the next shard, if there is one. Its end is reported to [`Announcer::announced`].
    fn next(&mut self) -> Option<BoxFuture<anyhow::Result<TaskId>>> {
        let (id, cut, range) = self.queue.pop_front()?;
        let found = self.find(cut, range);
        let to = Arc::clone(&self.to);
        Some(Box::pin(async move {
            let found = tokio::task::spawn_blocking(found?).await??;
            to.shard(found).await;
            Ok(id)
        }))
    }

    /// What computes the shard's key.
    fn find(
        &mut self,
        cut: Cut,
        range: ShardRange,
    ) -> anyhow::Result<impl FnOnce() -> anyhow::Result<FoundShard> + Send + 'static> {
        let bytes = self.depot.bytes(&cut.record)?;
        self.depot.free(&cut.record);
        // The record of a deferred shard is not one of SP1's, and its range is its name.
        let record = if cut.is_deferred { None } else { Some(Record::read(&bytes)?) };
        let (kind, events) = match &record {
            None => (ShardKind::Deferred, Vec::new()),
            Some(Record::Core { clocks }) => {
                let (marker, _) = cut.marker.as_ref().context("a core shard without a marker")?;
                self.link.place_marker(&self.proof, marker.clone(), *clocks);
                (ShardKind::Core, Vec::new())
            }
            Some(Record::Memory) => (ShardKind::Memory, Vec::new()),
            Some(Record::Precompile { slices, .. }) => {
                let events = slices.iter().map(|slice| slice.artifact.id().to_owned());
                (ShardKind::Precompile, events.collect())
            }
        };
        self.markers.push(cut.marker.filter(|_| kind == ShardKind::Core));
        let digests: Vec<_> =
            events.iter().map(|name: &String| self.digests.get(name).copied()).collect();
        Ok(move || {
            let digest_of = |events_of: &Artifact| {
                let name = events_of.id().to_owned();
                let at = events.iter().position(|known| *known == name);
                at.and_then(|at| digests[at])
                    .with_context(|| format!("the events {name} are unknown"))
            };
            let key = match record {
                Some(record) => record.key(ENGINE, &bytes, digest_of)?,
                None => {
                    let (first, end) = range.deferred_proof_range;
                    Key::deferred(ENGINE, first, end)
                }
            };
            let record = Arc::unwrap_or_clone(bytes);
            let mut events = events.clone();
            events.dedup();
            Ok(FoundShard { kind, key, range, record, events })
        })
    }

    fn announced(&self, task: &TaskId) {
        // The execution may cut the next one: nothing else waits for the task's end.
        self.link.succeeded(&self.proof, task);
    }

    async fn hear(&mut self, traced: ShardTraced) -> anyhow::Result<()> {
        let ShardTraced { no, index, digests } = traced;
        ensure!(no < self.markers.len(), "events of shard {no}: expected an announced shard");
        // A repetition changes nothing.
        let Some((marker, events)) = self.markers[no].take() else { return Ok(()) };
        self.digests.extend(digests);
        // SP1 takes an index that it cannot read for one without events.
        check_index(&index, &self.digests)?;
        self.depot.put(&events, index)?;
        let done = TaskMetadata { gpu_ms: None };
        self.link.complete_task(self.proof.clone(), marker, done).await
    }
}
