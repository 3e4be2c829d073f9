//! Tasks of a proof that many workers make: the interface to provers.
//!
//! As for whole proofs, an executor receives bytes and returns bytes, and knows nothing of leases and connections. What
//! it announces is sent, stored and repeated by its caller.

use std::sync::Arc;

use async_trait::async_trait;
use network_lib::ids::Sha256Digest;
use network_lib::job::{BlobInfo, Execution, Failure, JobSpec, ProofMode};
use network_lib::shard::{Sharding, TaskKind};
use shard_plan::{Key, ShardKind, ShardRange};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// A prover of single tasks.
#[async_trait]
pub trait TaskExecutor: Send + Sync {
    /// What it offers, once its prover is ready. `depot_bytes`, `depot_port` and `depot_fingerprint` are its caller's.
    fn offered(&self) -> watch::Receiver<Option<Sharding>>;

    /// Executes a program and announces its shards, each as soon as it is cut. Returns when all shards are announced,
    /// which needs the precompile events of all core shards.
    ///
    /// # Errors
    ///
    /// A [`Failure`] whose class names the cause.
    async fn execute(
        &self,
        task: ExecuteTask,
        shards: ShardSink,
        states: mpsc::Receiver<ShardNews>,
        cancel: CancellationToken,
    ) -> Result<Executed, Failure>;

    /// Proves a shard. The precompile events of a core shard are sent as soon as it is traced, before the proof.
    ///
    /// # Errors
    ///
    /// A [`Failure`] whose class names the cause.
    async fn prove_shard(
        &self,
        task: ShardTask,
        traced: mpsc::Sender<Traced>,
        cancel: CancellationToken,
    ) -> Result<TaskProof, Failure>;

    /// Joins or wraps proofs of other workers, which are verified first.
    ///
    /// # Errors
    ///
    /// [`JoinFailure`] names inputs that are false.
    async fn join(
        &self,
        task: JoinTask,
        cancel: CancellationToken,
    ) -> Result<TaskProof, JoinFailure>;
}

/// A program to execute.
#[derive(Debug, Clone)]
pub struct ExecuteTask {
    /// The proof that is made.
    pub spec: JobSpec,
    /// Digest of the program as uploaded: the same digest means the same program.
    pub program_digest: Sha256Digest,
    /// The program's ELF.
    pub elf: Arc<Vec<u8>>,
    /// Bincode of SP1's `SP1Stdin`, not compressed.
    pub stdin: Vec<u8>,
    /// Trace area at which shards are cut, in cells.
    pub max_elements: u64,
}

/// The receiver of an execution's shards. A call returns when the next shard may be cut: it waits while the window is full.
#[async_trait]
pub trait ShardReceiver: Send + Sync {
    /// SP1's `CommonProverInput`, before the first shard.
    async fn common(&self, bytes: Vec<u8>);

    /// A shard. Its number is the number of earlier calls.
    async fn shard(&self, shard: CutShard);
}

/// The receiver of an execution's shards, shared.
pub type ShardSink = Arc<dyn ShardReceiver>;

/// A shard that the execution has cut.
#[derive(Debug, Clone)]
pub struct CutShard {
    /// Key.
    pub key: Key,
    /// Kind.
    pub kind: ShardKind,
    /// Range.
    pub range: ShardRange,
    /// Bincode of SP1's record.
    pub record: Vec<u8>,
    /// Ids of the event blobs to which the record of a precompile shard refers.
    pub named: Vec<String>,
}

/// What has become of an announced shard.
#[derive(Debug, Clone)]
pub enum ShardNews {
    /// Its precompile events are known. The news of core shards come in the order of clocks.
    Traced {
        /// Number of the shard.
        no: u32,
        /// Id and bytes of SP1's `DeferredEvents`.
        deferred: (String, Vec<u8>),
        /// Ids, sizes and digests of the event blobs to which they refer; their bytes are not needed.
        named: Vec<(String, BlobInfo)>,
    },
    /// Its proof is stored.
    Done {
        /// Number of the shard.
        no: u32,
    },
}

/// Result of an execution of which all shards are announced.
#[derive(Debug, Clone)]
pub struct Executed {
    /// What it found.
    pub execution: Execution,
    /// Public values as the program has committed them.
    pub public_values: Vec<u8>,
}

/// A shard to prove.
#[derive(Debug, Clone)]
pub struct ShardTask {
    /// Digest of the program as uploaded: the same digest means the same program.
    pub program_digest: Sha256Digest,
    /// The program's ELF.
    pub elf: Arc<Vec<u8>>,
    /// SP1's `CommonProverInput`.
    pub common: Vec<u8>,
    /// Bincode of SP1's record.
    pub record: Vec<u8>,
    /// Event blobs to which the record refers, by id.
    pub named: Vec<(String, Vec<u8>)>,
    /// Prefix of the ids of the event blobs that are made: unique over all workers and attempts.
    pub events_prefix: String,
    /// Whether precompile events are wanted.
    pub defers: bool,
    /// Kind of proof: all but Core need the shard's proof in recursive form.
    pub mode: ProofMode,
}

/// Precompile events of a core shard.
#[derive(Debug, Clone)]
pub struct Traced {
    /// Id and bytes of SP1's `DeferredEvents`.
    pub deferred: (String, Vec<u8>),
    /// Event blobs to which they refer, by id.
    pub named: Vec<(String, Vec<u8>)>,
}

/// A task above the shards.
#[derive(Debug, Clone)]
pub struct JoinTask {
    /// SP1's `CommonProverInput`.
    pub common: Vec<u8>,
    /// What it joins or wraps.
    pub inputs: JoinInputs,
}

/// What a task above the shards works on. All proofs are bincode of SP1's types.
#[derive(Debug, Clone)]
pub enum JoinInputs {
    /// Proofs of the program's input, which are verified inside a proof.
    Deferred(Vec<u8>),
    /// Proofs that are reduced to one.
    Reduce {
        /// Whether the result is the whole proof.
        complete: bool,
        /// Range of all children.
        range: ShardRange,
        /// The proofs, in the order of their ranges.
        children: Vec<(ShardRange, Vec<u8>)>,
    },
    /// The complete proof, which is shrunk and wrapped.
    ShrinkWrap(Vec<u8>),
    /// The wrapped proof of a PLONK proof.
    Plonk(Vec<u8>),
    /// The wrapped proof of a Groth16 proof.
    Groth16(Vec<u8>),
}

/// Failure of a task above the shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinFailure {
    /// How, and who is to blame. Class request says that the inputs do not belong together, although each is right.
    pub failure: Failure,
    /// Numbers of the inputs that are false, in the order of the task's inputs.
    pub false_inputs: Vec<usize>,
}

impl From<Failure> for JoinFailure {
    fn from(failure: Failure) -> Self {
        Self { failure, false_inputs: Vec::new() }
    }
}

/// Result of a task.
#[derive(Debug, Clone)]
pub struct TaskProof {
    /// Bincode of SP1's proof: of a shard, in recursive form for all modes but Core, or of what was joined or wrapped.
    pub bytes: Vec<u8>,
    /// Time of the prover alone, in milliseconds.
    pub prove_ms: u64,
}

/// What a prover of tasks offers: at most `prove_slots` at once, and one more whose inputs are fetched meanwhile. Its
/// caller adds the depot. With `recursion` it proves shards of all kinds of proof, otherwise of Core proofs alone; `joins`
/// are the kinds of tasks above the shards.
pub(super) fn offer_tasks(
    engine: &str,
    prove_slots: u32,
    max_elements: u64,
    recursion: bool,
    joins: &[TaskKind],
) -> Sharding {
    Sharding {
        engine: engine.to_owned(),
        kinds: [&[TaskKind::Execute, TaskKind::ProveShard], joins].concat(),
        recursion,
        prove_slots,
        prefetch: 1,
        max_elements,
        depot_bytes: 0,
        depot_port: None,
        depot_fingerprint: None,
    }
}

/// Kinds of tasks above the shards that a prover of these kinds of proof takes.
pub(super) fn joins_of(modes: &[ProofMode]) -> Vec<TaskKind> {
    let has = |mode: ProofMode| modes.contains(&mode);
    let wraps = has(ProofMode::Plonk) || has(ProofMode::Groth16);
    let joins = wraps || has(ProofMode::Compressed);
    let kinds = [
        (TaskKind::Deferred, joins),
        (TaskKind::Reduce, joins),
        (TaskKind::ShrinkWrap, wraps),
        (TaskKind::Plonk, has(ProofMode::Plonk)),
        (TaskKind::Groth16, has(ProofMode::Groth16)),
    ];
    kinds.into_iter().filter_map(|(kind, is_taken)| is_taken.then_some(kind)).collect()
}
