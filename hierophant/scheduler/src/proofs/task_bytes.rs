//! What the scheduler says about the bytes of tasks, and what it learns about them.

use std::collections::BTreeMap;

use hierophant_model::clients::{Client, ClientName};
use network_lib::ids::{JobId, LeaseId, Sha256Digest, TaskId, VkHash, WorkerId};
use network_lib::job::{BlobInfo, Failure, ProofMode};
use serde::{Deserialize, Serialize};
use shard_plan::ShardRange;

use super::shards;
use super::shards::policy::ShardingMode;

/// Configuration of proofs that are made as tasks of many workers.
#[derive(Debug, Clone)]
pub struct ShardingLimits {
    /// When a proof is made as tasks.
    pub mode: ShardingMode,
    /// Modes of named clients that have one of their own.
    pub modes_by_client: BTreeMap<ClientName, ShardingMode>,
    /// Bytes that one attempt at a task may hand in together.
    pub max_blob_bytes: u64,
    /// Limits of a single job.
    pub job: shards::Limits,
}

impl ShardingLimits {
    /// When proofs of this client are made as tasks.
    #[must_use]
    pub fn mode_of(&self, client: &Client) -> ShardingMode {
        match client {
            Client::Named(name) => self.modes_by_client.get(name).copied().unwrap_or(self.mode),
            Client::Address(_) => self.mode,
        }
    }
}

/// No proof is made as tasks.
impl Default for ShardingLimits {
    fn default() -> Self {
        Self {
            mode: ShardingMode::Never,
            modes_by_client: BTreeMap::new(),
            max_blob_bytes: 2 << 30,
            job: shards::Limits {
                max_attempts: 3,
                max_retries: 200,
                max_restarts: 3,
                race_after: 1.25,
                window_bytes: 8 << 30,
            },
        }
    }
}

/// Answer to a worker that fetches a blob under the lease of its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskBlob {
    /// The lease has ended, belongs to another worker, or is one of a whole proof.
    Refused,
    /// The blob is an input of the task, and stored.
    Readable {
        /// Job of the task.
        job: JobId,
        /// Size in bytes.
        size: u64,
    },
    /// The blob is an input of the task, and another worker has been asked to hand it in.
    Expected {
        /// Job of the task.
        job: JobId,
    },
    /// The blob is not an input of the task, or no source has it.
    Gone,
}

/// Permission to hand in a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandIn {
    /// Job to which the blob belongs.
    pub job: JobId,
    /// Largest permitted size in bytes.
    pub most_bytes: u64,
}

/// Parts of a finished proof, from which its file is assembled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembly {
    /// Attempt that the assembled proof counts for.
    pub lease: LeaseId,
    /// Job.
    pub job: JobId,
    /// Kind of proof.
    pub mode: ProofMode,
    /// For a Core proof the proofs of its shards, in their order. For others, the proof alone.
    pub parts: Vec<BlobInfo>,
    /// Public values.
    pub public_values: BlobInfo,
    /// Circuit version of the job.
    pub circuit_version: String,
    /// Whether the workers make mock proofs: then a Core proof has no shards.
    pub is_mock: bool,
}

/// Why a proof could not be assembled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssemblyError {
    /// A part is missing, or has another size or digest: it has to be made again. Its damaged bytes are removed.
    #[error("a part of the proof is missing or damaged")]
    Lost(Sha256Digest),
    /// The parts cannot be read, or the proof cannot be stored, for the time being.
    #[error("the proof cannot be assembled for the time being")]
    Unavailable,
}

/// Results of tasks that are to be verified, because one of them may be false.
#[derive(Debug, Clone, PartialEq)]
pub struct PartCheck {
    /// Job.
    pub job: JobId,
    /// Program of the job.
    pub program: VkHash,
    /// SP1's `CommonProverInput`, from which the results were made. If the execution handed in that of another program,
    /// the makers of the results are not to blame.
    pub common: BlobInfo,
    /// Why they are verified.
    pub doubt: Doubt,
    /// The results.
    pub parts: Vec<DoubtedPart>,
}

/// Why results of tasks are verified.
#[derive(Debug, Clone, PartialEq)]
pub enum Doubt {
    /// This worker has found its inputs false.
    Accused(WorkerId),
    /// The proof that this attempt assembled from them was rejected.
    Rejected(LeaseId, Failure),
}

/// Result of a task that may be false.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoubtedPart {
    /// Task.
    pub task: TaskId,
    /// The result.
    pub blob: BlobInfo,
    /// What it should be.
    pub kind: PartKind,
}

/// What the result of a task proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// Proof of a shard of a Core proof.
    Shard(ShardRange),
    /// Recursive proof of a range.
    Recursive(ShardRange),
    /// Wrapped proof of the whole execution.
    Wrapped,
}

/// Verdict on the result of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartVerdict {
    /// It proves what it should.
    Right,
    /// It does not.
    False,
    /// It could not be verified, or its maker may have been misled by the execution.
    Unknown,
}
