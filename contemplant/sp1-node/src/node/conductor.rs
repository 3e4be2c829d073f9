//! The conductor of one proof: executes the program, runs the tasks that follow from it, and assembles the proof.
//!
//! It takes the place of SP1's controller, whose tree and waits cannot be continued by another process. Which proofs are
//! joined is decided by `shard_plan`; here are only the tasks.

use std::collections::HashMap;
use std::sync::Arc;

use shard_plan::{Plan, Reduce, ShardKind};
use sp1_core_machine::executor::ExecutionOutput;
use sp1_hypercube::air::PublicValues;
use sp1_hypercube::{SP1PcsProofInner, ShardProof};
use sp1_primitives::SP1GlobalContext;
use sp1_primitives::io::SP1PublicValues;
use sp1_prover::SP1_CIRCUIT_VERSION;
use sp1_prover::worker::{
    ProofData, ProofId, RangeProofs, RawTaskRequest, RecursionProof, ReduceTaskRequest, TaskId,
};
use sp1_prover_types::{Artifact, ArtifactClient, TaskType};
use sp1_verifier::{ProofFromNetwork, SP1Proof, SP1ProofMode};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tracing::Instrument;

use super::shard::{Origin, Shop};
use super::{Assignment, Worker, tasks};
use crate::attempt::Attempt;
use crate::depot::Depot;
use crate::execution::{Executable, context, prepared};
use crate::link::{Order, TaskLink};
use crate::record::{Record, range_of, to_sp1};
use crate::runtime::panic_message;
use crate::tally::{Step, Tally};

/// Number of a leaf or a reduce.
type Node = u32;

/// The conductor of one proof.
pub(super) struct Conductor {
    shop: Shop,
    proof: ProofId,
    mode: SP1ProofMode,
    attempt: Arc<Attempt>,
    running: JoinSet<Result<Done, String>>,
    leaves: HashMap<TaskId, Leaf>,
    /// The proof of each leaf and reduce.
    proofs: Vec<Artifact>,
    /// Unused in Core mode, in which nothing is reduced.
    plan: Plan<Node>,
    unfinished_leaves: usize,
    executed: Option<ExecutionOutput>,
}

/// A shard, or a proof of the input.
struct Leaf {
    node: Node,
    kind: ShardKind,
    /// The record of a shard.
    record: Option<Artifact>,
    step: Step,
    is_announced: bool,
    is_done: bool,
}

/// A task that has succeeded.
enum Done {
    Execution(ExecutionOutput),
    Leaf(TaskId, Origin),
    Reduce(Node),
}

impl Conductor {
    pub(super) fn new(
        worker: Worker,
        proof: ProofId,
        attempt: Arc<Attempt>,
        assignment: &Assignment,
    ) -> Self {
        let kept = assignment.kept.clone();
        let retracing = Arc::new(Semaphore::new(1));
        Self {
            shop: Shop { worker, proof: proof.clone(), kept, retracing },
            proof,
            mode: assignment.mode,
            attempt,
            running: JoinSet::new(),
            leaves: HashMap::new(),
            proofs: Vec::new(),
            plan: Plan::default(),
            unfinished_leaves: 0,
            executed: None,
        }
    }

    /// Makes the proof.
    pub(super) async fn conduct(
        &mut self,
        assignment: Assignment,
        mut orders: mpsc::UnboundedReceiver<Order>,
    ) -> Result<ProofFromNetwork, String> {
        self.start_execution(assignment).await?;
        while !self.is_joined() {
            tokio::select! {
                // The orders of the execution come before its end.
                biased;
                Some(order) = orders.recv() => self.follow(order)?,
                ended = self.running.join_next() => {
                    let ended = ended.ok_or("no task is left, and the proof is not complete")?;
                    self.ended(ended.map_err(panic_message)??)?;
                }
            }
        }
        self.assemble().await
    }

    /// Stops all tasks and waits until they have ended, except for steps that cannot be interrupted.
    pub(super) async fn stop(&mut self) {
        self.running.shutdown().await;
    }

    async fn start_execution(&mut self, assignment: Assignment) -> Result<(), String> {
        let Assignment { elf, key, stdin, mode, .. } = assignment;
        let executable = Executable { elf, key, stdin, mode };
        let request = prepared(self.depot(), &self.proof, executable).await.map_err(text)?;
        let (worker, task) = (self.shop.worker.clone(), TaskLink::execution(&self.proof));
        self.start(async move {
            let output = worker.controller().execute(task, request).await;
            output.map(Done::Execution).map_err(|error| format!("EXECUTE: {error}"))
        });
        Ok(())
    }

    fn follow(&mut self, order: Order) -> Result<(), String> {
        match order {
            Order::Task { id, kind: TaskType::ProveShard, request } => {
                self.start_shard(id, request)
            }
            Order::Task { id, kind: TaskType::RecursionDeferred, request } => {
                self.start_deferred(id, request);
                Ok(())
            }
            Order::Task { kind, .. } => {
                Err(format!("the execution has submitted a task of kind {}", kind.as_str_name()))
            }
            Order::Message(payload) => self.announce(&payload),
        }
    }

    fn start_shard(&mut self, id: TaskId, request: RawTaskRequest) -> Result<(), String> {
        let incomplete = || "a shard's task is incomplete".to_owned();
        let [_, _, artifact, marker] = request.inputs.as_slice() else { return Err(incomplete()) };
        let (artifact, marker) = (artifact.clone(), marker.clone());
        let output = request.outputs.first().cloned().ok_or_else(incomplete)?;
        let depot = self.depot();
        depot.hold(&artifact);
        request.outputs.iter().for_each(|output| depot.hold(output));
        let record = Record::read(&depot.bytes(&artifact).map_err(text)?).map_err(text)?;
        let (kind, ticks) = match &record {
            Record::Core { clocks } => {
                self.link().place_marker(&self.proof, TaskId::new(marker.to_id()), *clocks);
                (ShardKind::Core, clocks.1.checked_sub(clocks.0))
            }
            Record::Precompile { .. } => (ShardKind::Precompile, None),
            Record::Memory => (ShardKind::Memory, None),
        };
        let step = Step::Shard { ticks };
        self.add_leaf(id.clone(), kind, Some(artifact), output, step);
        let work = self.shop.clone().shard(request, record);
        self.start(async move { work.await.map(|origin| Done::Leaf(id, origin)) });
        Ok(())
    }

    fn start_deferred(&mut self, id: TaskId, request: RawTaskRequest) {
        if self.mode == SP1ProofMode::Core {
            // Only recursion proves the proofs of the input.
            self.link().succeeded(&self.proof, &id);
            return;
        }
        let Some(output) = request.outputs.first().cloned() else { return };
        self.depot().hold(&output);
        let first = self.leaves.values().filter(|leaf| leaf.kind == ShardKind::Deferred).count();
        self.add_leaf(id.clone(), ShardKind::Deferred, None, output, Step::Deferred);
        let range = (first as u64, first as u64 + 1);
        let work = self.shop.clone().deferred(request, range);
        self.start(async move { work.await.map(|origin| Done::Leaf(id, origin)) });
    }

    fn add_leaf(
        &mut self,
        id: TaskId,
        kind: ShardKind,
        record: Option<Artifact>,
        output: Artifact,
        step: Step,
    ) {
        let node = self.add_node(output);
        let leaf = Leaf { node, kind, record, step, is_announced: false, is_done: false };
        self.leaves.insert(id, leaf);
        self.unfinished_leaves += 1;
        self.attempt.count(|tally| tally.submitted(step));
    }

    /// A message of the execution: the range of a leaf.
    fn announce(&mut self, payload: &[u8]) -> Result<(), String> {
        if self.mode == SP1ProofMode::Core {
            return Ok(());
        }
        let ProofData { task_id, range, .. } = bincode::deserialize(payload).map_err(text)?;
        let leaf = self.leaves.get_mut(&task_id).ok_or("a message about an unknown task")?;
        self.plan.announce(leaf.node, leaf.kind, range_of(range)).map_err(text)?;
        leaf.is_announced = true;
        if leaf.is_done {
            self.plan.done(leaf.node).map_err(text)?;
        }
        self.start_reduces()
    }

    fn ended(&mut self, done: Done) -> Result<(), String> {
        match done {
            Done::Execution(output) => {
                self.executed = Some(output);
                self.attempt.count(Tally::all_shards_submitted);
                if self.mode != SP1ProofMode::Core {
                    self.plan.execute_ended().map_err(text)?;
                }
            }
            Done::Leaf(id, origin) => {
                self.link().succeeded(&self.proof, &id);
                let leaf = self.leaves.get_mut(&id).ok_or("an unknown task has ended")?;
                leaf.is_done = true;
                self.unfinished_leaves -= 1;
                let (node, step) = (leaf.node, leaf.step);
                let (is_announced, record) = (leaf.is_announced, leaf.record.take());
                if let Some(record) = record {
                    self.depot().free(&record);
                }
                self.attempt.ended(step, origin == Origin::Kept);
                if is_announced {
                    self.plan.done(node).map_err(text)?;
                }
            }
            Done::Reduce(node) => {
                for child in self.plan.children(node) {
                    self.depot().free(&self.proofs[*child as usize]);
                }
                self.plan.done(node).map_err(text)?;
                self.attempt.ended(Step::Reduce, false);
            }
        }
        self.start_reduces()
    }

    fn start_reduces(&mut self) -> Result<(), String> {
        if self.mode == SP1ProofMode::Core {
            return Ok(());
        }
        while let Some(reduce) = self.plan.next() {
            let output = self.depot().name();
            self.depot().hold(&output);
            let node = self.add_node(output.clone());
            self.plan.begin(node, &reduce).map_err(text)?;
            let request = self.reduce_request(&reduce, output)?;
            self.attempt.count(|tally| tally.submitted(Step::Reduce));
            let worker = self.shop.worker.clone();
            self.start(async move {
                let reduced = tasks::run(&worker, TaskType::RecursionReduce, &request).await;
                reduced.map(|_| Done::Reduce(node)).map_err(text)
            });
        }
        Ok(())
    }

    fn reduce_request(
        &self,
        reduce: &Reduce<Node>,
        output: Artifact,
    ) -> Result<RawTaskRequest, String> {
        let child = |child: &Node| {
            let shard_range = to_sp1(self.plan.range(*child)?);
            Some(RecursionProof { shard_range, proof: self.proofs[*child as usize].clone() })
        };
        let proofs = reduce.children.iter().map(child).collect::<Option<_>>();
        let proofs = proofs.ok_or("a reduce of an unknown proof")?;
        let request = ReduceTaskRequest {
            range_proofs: RangeProofs::new(to_sp1(reduce.range), proofs),
            is_complete: reduce.complete,
            output,
            context: context(&self.proof),
        };
        request.into_raw().map_err(text)
    }

    /// Whether nothing but the wraps and the assembly is left.
    fn is_joined(&self) -> bool {
        match self.mode {
            SP1ProofMode::Core => self.executed.is_some() && self.unfinished_leaves == 0,
            _ => self.plan.finished().is_some(),
        }
    }

    async fn assemble(&mut self) -> Result<ProofFromNetwork, String> {
        let executed = self.executed.take().ok_or("the execution has no result")?;
        let proof = match self.mode {
            SP1ProofMode::Core => SP1Proof::Core(self.shard_proofs().await?),
            SP1ProofMode::Compressed => {
                let compressed = self.joined_proof()?;
                SP1Proof::Compressed(Box::new(
                    self.depot().download(&compressed).await.map_err(text)?,
                ))
            }
            SP1ProofMode::Plonk => {
                let wrapped = self.wrapped(TaskType::PlonkWrap).await?;
                SP1Proof::Plonk(self.depot().download(&wrapped).await.map_err(text)?)
            }
            SP1ProofMode::Groth16 => {
                let wrapped = self.wrapped(TaskType::Groth16Wrap).await?;
                SP1Proof::Groth16(self.depot().download(&wrapped).await.map_err(text)?)
            }
        };
        Ok(ProofFromNetwork {
            proof,
            public_values: SP1PublicValues::from(&executed.public_value_stream),
            sp1_version: SP1_CIRCUIT_VERSION.to_owned(),
        })
    }

    /// All shard proofs, in the order of the ranges that they prove.
    async fn shard_proofs(
        &self,
    ) -> Result<Vec<ShardProof<SP1GlobalContext, SP1PcsProofInner>>, String> {
        let mut proofs: Vec<ShardProof<_, _>> = Vec::with_capacity(self.proofs.len());
        for proof in &self.proofs {
            proofs.push(self.depot().download(proof).await.map_err(text)?);
            self.depot().free(proof);
        }
        proofs.sort_by_key(|proof| {
            let values: &PublicValues<[_; 4], [_; 3], [_; 4], _> =
                std::borrow::Borrow::borrow(proof.public_values.as_slice());
            values.range()
        });
        Ok(proofs)
    }

    fn joined_proof(&self) -> Result<Artifact, String> {
        let root = self.plan.finished().ok_or("the proof is not complete")?;
        Ok(self.proofs[root as usize].clone())
    }

    /// Shrinks and wraps the joined proof, then makes the proof of this kind.
    async fn wrapped(&self, kind: TaskType) -> Result<Artifact, String> {
        let mut proof = self.joined_proof()?;
        for kind in [TaskType::ShrinkWrap, kind] {
            let output = self.depot().name();
            let (inputs, outputs) = (vec![proof], vec![output.clone()]);
            let request = RawTaskRequest { inputs, outputs, context: context(&self.proof) };
            self.attempt.count(|tally| tally.submitted(Step::Wrap));
            tasks::run(&self.shop.worker, kind, &request).await.map_err(text)?;
            self.attempt.ended(Step::Wrap, false);
            proof = output;
        }
        Ok(proof)
    }

    fn add_node(&mut self, output: Artifact) -> Node {
        self.proofs.push(output);
        // A proof has far fewer tasks.
        self.proofs.len() as Node - 1
    }

    fn start(&mut self, work: impl Future<Output = Result<Done, String>> + Send + 'static) {
        self.running.spawn(work.in_current_span());
    }

    fn depot(&self) -> &Depot {
        self.shop.worker.artifact_client()
    }

    fn link(&self) -> &TaskLink {
        self.shop.worker.worker_client()
    }
}

fn text(error: impl std::fmt::Display) -> String {
    format!("{error:#}")
}
