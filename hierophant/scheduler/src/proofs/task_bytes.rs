//! What the scheduler says about the bytes of tasks, and what it learns about them.

use std::collections::BTreeMap;

use hierophant_model::clients::{Client, ClientName};
use network_lib::ids::{JobId, LeaseId, Sha256Digest};
use network_lib::job::BlobInfo;

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
    /// Proofs of the shards, in their order.
    pub parts: Vec<BlobInfo>,
    /// Public values.
    pub public_values: BlobInfo,
    /// Circuit version of the job.
    pub circuit_version: String,
    /// Whether the workers make mock proofs: then the proof has no shards.
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
