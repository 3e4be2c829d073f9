//! Version 3 of the worker protocol: one proof as tasks of many workers.
//!
//! The messages are additions to those of [`crate::wire`], for workers whose capabilities contain [`Sharding`]. Bytes
//! travel by HTTP, under the lease of the task. `docs/worker-protocol.md` shows one example of each message.

use serde::{Deserialize, Serialize};
use shard_plan::{ShardKind, ShardRange};

use crate::ids::{JobId, LeaseId, Sha256Digest, TaskId};
use crate::job::{BlobInfo, Execution, Failure, JobSpec, ProofMode};
use crate::named_enum;
use crate::secret::Secret;

/// Greatest number of shards in one `shards` or `shards_known` message. A message whose frame would exceed
/// [`crate::codec::MAX_FRAME_BYTES`] has fewer.
pub const MAX_SHARDS_PER_MESSAGE: usize = 100;

/// Greatest number of digests in one `depot` or `forget` message.
pub const MAX_BLOBS_PER_MESSAGE: usize = 1_000;

/// Where a blob of a task is fetched (`GET`) and handed in (`PUT`).
#[must_use]
pub fn blob_path(lease: LeaseId, blob: Sha256Digest) -> String {
    format!("/leases/{lease}/blobs/{blob}")
}

named_enum! {
    /// Kind of a task.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    TaskKind {
        /// Executes the program and announces its shards.
        Execute = "execute",
        /// Executes the program to count cycles and gas.
        Measure = "measure",
        /// Proves a shard.
        ProveShard = "prove_shard",
        /// Verifies proofs of the input inside a proof.
        Deferred = "deferred",
        /// Reduces up to four proofs to one.
        Reduce = "reduce",
        /// Shrinks and wraps the complete proof.
        ShrinkWrap = "shrink_wrap",
        /// Makes the PLONK proof.
        Plonk = "plonk",
        /// Makes the Groth16 proof.
        Groth16 = "groth16",
        /// Traces a proved core shard again, because its precompile events are lost.
        Retrace = "retrace",
    }
}

/// What a worker offers beyond whole proofs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sharding {
    /// Software that makes and reads records, such as `sp1-6.10.0 native`. All workers of a job have the same.
    pub engine: String,
    /// Kinds of tasks that it takes.
    pub kinds: Vec<TaskKind>,
    /// Whether it proves shards in recursive form, as all kinds of proof but Core need them.
    #[serde(default)]
    pub recursion: bool,
    /// How many tasks it proves at once.
    pub prove_slots: u32,
    /// How many tasks it takes beyond its slots, to fetch their inputs meanwhile.
    #[serde(default)]
    pub prefetch: u32,
    /// Greatest trace area of a shard that its prover takes, in cells.
    pub max_elements: u64,
    /// Size of its depot, the store of intermediate data, in bytes.
    pub depot_bytes: u64,
    /// Port at which other workers fetch from its depot; absent if they cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depot_port: Option<u16>,
    /// SHA-256 of the certificate at that port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depot_fingerprint: Option<Sha256Digest>,
}

impl Sharding {
    /// Kinds of tasks that it takes of proofs of this kind.
    #[must_use]
    pub fn kinds_of(&self, mode: ProofMode) -> Vec<TaskKind> {
        let proves_shards = mode == ProofMode::Core || self.recursion;
        let kinds = self.kinds.iter().copied();
        kinds.filter(|kind| *kind != TaskKind::ProveShard || proves_shards).collect()
    }
}

/// Bytes, and where they are fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// Size and digest, which the receiver checks.
    pub info: BlobInfo,
    /// Sources, in the order in which they are tried.
    pub from: Vec<Source>,
}

/// Source of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Hierophant, at [`blob_path`].
    Hierophant,
    /// The depot of the worker that runs the task.
    Own,
    /// The depot of another worker.
    Peer {
        /// Its address, as Hierophant sees it.
        url: String,
        /// SHA-256 of its certificate.
        fingerprint: Sha256Digest,
        /// What opens this blob, for a limited time.
        ticket: Secret,
    },
}

/// Blob under the name by which a record refers to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named<T> {
    /// SP1's artifact id.
    pub id: String,
    /// The blob.
    pub blob: T,
}

/// What a task works on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TaskInput {
    /// For [`TaskKind::Execute`].
    Execute {
        /// What is proved.
        spec: JobSpec,
        /// Program.
        program: BlobInfo,
        /// Input.
        stdin: BlobInfo,
        /// Trace area at which shards are cut, in cells.
        max_elements: u64,
        /// Greatest number of announced shards that are not done: the execution waits at the limit.
        window: u32,
        /// Greatest number of bytes of records of such shards.
        window_bytes: u64,
    },
    /// For [`TaskKind::Measure`].
    Measure {
        /// What is proved.
        spec: JobSpec,
        /// Program.
        program: BlobInfo,
        /// Input.
        stdin: BlobInfo,
    },
    /// For [`TaskKind::ProveShard`].
    ProveShard {
        /// Program.
        program: BlobInfo,
        /// SP1's `CommonProverInput`.
        common: Blob,
        /// The shard's record.
        record: Blob,
        /// What the record refers to.
        #[serde(default)]
        named: Vec<Named<Blob>>,
        /// Whether the precompile events of this core shard are wanted: `traced` is expected.
        defers: bool,
        /// Kind of proof: all but Core need the shard's proof in recursive form.
        mode: ProofMode,
    },
    /// For [`TaskKind::Deferred`].
    Deferred {
        /// SP1's `CommonProverInput`.
        common: Blob,
        /// Proofs of the input, with their keys.
        data: Blob,
    },
    /// For [`TaskKind::Reduce`].
    Reduce {
        /// SP1's `CommonProverInput`.
        common: Blob,
        /// Whether the result is the whole proof.
        complete: bool,
        /// Range of all children.
        range: ShardRange,
        /// Proofs to reduce, in their order.
        children: Vec<RangedBlob>,
    },
    /// For [`TaskKind::ShrinkWrap`].
    ShrinkWrap {
        /// SP1's `CommonProverInput`.
        common: Blob,
        /// The complete proof.
        proof: Blob,
    },
    /// For [`TaskKind::Plonk`].
    Plonk {
        /// SP1's `CommonProverInput`.
        common: Blob,
        /// The wrapped proof.
        proof: Blob,
    },
    /// For [`TaskKind::Groth16`].
    Groth16 {
        /// SP1's `CommonProverInput`.
        common: Blob,
        /// The wrapped proof.
        proof: Blob,
    },
    /// For [`TaskKind::Retrace`].
    Retrace {
        /// SP1's `CommonProverInput`.
        common: Blob,
        /// The core shard's record.
        record: Blob,
    },
}

/// Proof of a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangedBlob {
    /// The range.
    pub range: ShardRange,
    /// The proof.
    pub blob: Blob,
}

/// Shard that an execution announces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewShard {
    /// Number within this execution: 0, 1, 2 and so on, in the order of announcement.
    pub no: u32,
    /// Key, as `shard-plan` defines it.
    pub key: Sha256Digest,
    /// Kind.
    pub kind: ShardKind,
    /// Range.
    pub range: ShardRange,
    /// Record, which is in this worker's depot. For a deferred shard: the proofs of the input.
    pub record: BlobInfo,
    /// What the record refers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<Named<BlobInfo>>,
}

/// State of an announced shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardState {
    /// It waits, or is in progress: its record has to be kept.
    Waiting,
    /// It is a core shard whose precompile events are known. Sent in the order of clocks; the execution continues with
    /// them in this order.
    Traced {
        /// SP1's `DeferredEvents`.
        deferred: Named<Blob>,
        /// Event blobs that it refers to.
        named: Vec<Named<Blob>>,
    },
    /// Its proof is stored: its record may be deleted.
    Done,
}

/// Announced shard, as Hierophant knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownShard {
    /// Number within the execution.
    pub no: u32,
    /// Task.
    pub task: TaskId,
    /// State.
    pub state: ShardState,
}

/// What a task has used, for statistics and placement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskUsage {
    /// Time from `run` to its end, in milliseconds.
    pub wall_ms: u64,
    /// Time of the prover alone, in milliseconds.
    pub prove_ms: u64,
    /// Greatest main memory that the prover has used, in bytes, divided by the number of tasks that it then worked on;
    /// `None` if it is unknown. It decides how many tasks at once a machine gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    /// Bytes that were fetched from elsewhere.
    pub fetched_bytes: u64,
}

/// From Hierophant to a worker, about tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "a message lives until it is written")]
pub enum TaskToWorker {
    /// Start a task.
    Run {
        /// The attempt at the task.
        lease_id: LeaseId,
        /// Job.
        job: JobId,
        /// Task.
        task: TaskId,
        /// What it works on.
        input: TaskInput,
        /// The task's place in the job's trace, as W3C's `traceparent`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        traceparent: Option<String>,
    },
    /// Announced shards are stored, or their states have changed.
    ShardsKnown {
        /// The execution.
        lease_id: LeaseId,
        /// The shards.
        shards: Vec<KnownShard>,
    },
    /// Hand in a blob of the depot, because another worker needs it.
    Provide {
        /// Lease under which it is handed in: the one of the task that needs it, which is another worker's.
        lease_id: LeaseId,
        /// The blob.
        blob: Sha256Digest,
    },
    /// Delete blobs of a job from the depot.
    Forget {
        /// Job.
        job: JobId,
        /// The blobs; absent for all of the job.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        blobs: Option<Vec<Sha256Digest>>,
    },
}

impl TaskFromWorker {
    /// Whether its lists have as many entries as are allowed.
    #[must_use]
    pub const fn is_within_limits(&self) -> bool {
        match self {
            Self::Shards { shards, .. } => shards.len() <= MAX_SHARDS_PER_MESSAGE,
            Self::Depot { blobs, .. } => blobs.len() <= MAX_BLOBS_PER_MESSAGE,
            Self::TaskFailed { lost, suspect, .. } => {
                lost.len() + suspect.len() <= MAX_BLOBS_PER_MESSAGE
            }
            Self::Traced { .. } | Self::ExecuteEnded { .. } | Self::TaskDone { .. } => true,
        }
    }
}

/// From a worker to Hierophant, about tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TaskFromWorker {
    /// The execution has found shards.
    Shards {
        /// The execution.
        lease_id: LeaseId,
        /// SP1's `CommonProverInput`, which all shards have in common. It is handed in before the first message.
        common: BlobInfo,
        /// The shards.
        shards: Vec<NewShard>,
    },
    /// A core shard is traced, and its precompile events are handed in. Its proof follows.
    Traced {
        /// The attempt at the shard.
        lease_id: LeaseId,
        /// SP1's `DeferredEvents`.
        deferred: Named<BlobInfo>,
        /// Event blobs that it refers to.
        named: Vec<Named<BlobInfo>>,
    },
    /// The execution has ended and all its shards are announced.
    ExecuteEnded {
        /// The execution.
        lease_id: LeaseId,
        /// Number of shards.
        shards: u32,
        /// What the execution found.
        execution: Execution,
        /// Public values, which are handed in.
        public_values: BlobInfo,
    },
    /// The task's result is handed in.
    TaskDone {
        /// The attempt.
        lease_id: LeaseId,
        /// Size and digest of the result.
        output: BlobInfo,
        /// What the task has used.
        used: TaskUsage,
    },
    /// The task has failed.
    TaskFailed {
        /// The attempt.
        lease_id: LeaseId,
        /// How, and who is to blame.
        failure: Failure,
        /// Inputs that no source has.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lost: Vec<Sha256Digest>,
        /// Inputs with the right digest that this worker has verified and found false.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        suspect: Vec<Sha256Digest>,
    },
    /// A part of the list of what the depot holds.
    Depot {
        /// Job.
        job: JobId,
        /// Blobs.
        blobs: Vec<Sha256Digest>,
        /// Whether further messages about this job follow.
        more: bool,
        /// Bytes in use in the whole depot.
        used_bytes: u64,
        /// Free bytes in the whole depot.
        free_bytes: u64,
    },
}
