//! Where facts survive: the [`JobStore`] trait, and what can go wrong with it.
//!
//! A promise to a client or a Contemplant leaves only after [`JobStore::commit`] has returned.

mod rows;
pub mod sqlite;

use std::fmt::Debug;

use alloy_primitives::Address;
use async_trait::async_trait;
use network_lib::ids::{ArtifactId, RequestId, Sha256Digest, VkHash};
use network_lib::job::{ExecutionFailureCause, ProofMode};

use crate::records::{
    ArtifactRecord, AttemptRecord, Change, JobRecord, Millis, ProgramRecord, RequestRecord, RequestState,
};

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached or is busy; the same call may succeed later.
    #[error("store unavailable while {action}")]
    Unavailable {
        /// What was being done.
        action: &'static str,
        /// The driver's error.
        #[source]
        source: sqlx::Error,
    },
    /// The store holds something that this version cannot read.
    #[error("stored record is not readable: {reason}")]
    Corrupt {
        /// What is wrong with it.
        reason: String,
    },
    /// The store's schema cannot be brought to this version.
    #[error("cannot bring the database {location} to this version's schema")]
    Schema {
        /// File or server.
        location: String,
        /// The driver's error.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
}

/// A request with the job that it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestView {
    /// What the client asked for.
    pub request: RequestRecord,
    /// The work behind it.
    pub job: JobRecord,
}

/// A job that is not terminal, with all that a start needs to go on with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedJob {
    /// The job.
    pub job: JobRecord,
    /// Its open requests, the oldest first.
    pub requests: Vec<RequestRecord>,
    /// All its attempts, those included that have ended.
    pub attempts: Vec<AttemptRecord>,
}

/// Which requests to list; all conditions must hold. Every field mirrors one of
/// `GetFilteredProofRequests`.
#[derive(Debug, Clone, Default)]
pub struct RequestFilter {
    /// `sp1-` and circuit version.
    pub version: Option<String>,
    /// Any of these states; empty = none matches.
    pub states: Option<Vec<RequestState>>,
    /// Execution status as clients see it.
    pub execution: Option<ExecutionFilter>,
    /// Deadline at or after, unix seconds.
    pub minimum_deadline: Option<u64>,
    /// Program.
    pub vk_hash: Option<VkHash>,
    /// Who asked.
    pub requester: Option<Address>,
    /// Accepted at or after.
    pub from: Option<Millis>,
    /// Accepted at or before.
    pub to: Option<Millis>,
    /// Kind of proof.
    pub mode: Option<ProofMode>,
    /// Why the execution failed.
    pub execution_failure_cause: Option<ExecutionFailureCause>,
    /// At most so many.
    pub limit: u32,
    /// After leaving out so many.
    pub offset: u64,
}

/// Execution status as a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutionFilter {
    /// Not executed yet.
    Unexecuted,
    /// Executed with success.
    Executed,
    /// Executed and failed.
    Unexecutable,
}

/// Durable memory. One writer calls [`commit`](Self::commit) for each kind of record; anybody reads.
#[async_trait]
pub trait JobStore: Debug + Send + Sync {
    /// Writes all changes or none, durably.
    async fn commit(&self, changes: &[Change]) -> Result<(), StoreError>;

    /// All jobs that are not terminal, the oldest first.
    async fn unfinished_jobs(&self) -> Result<Vec<UnfinishedJob>, StoreError>;

    /// One request with its job.
    async fn request(&self, id: RequestId) -> Result<Option<RequestView>, StoreError>;

    /// The request that an earlier try of the same call made.
    async fn request_by_idempotency_key(
        &self,
        key: Sha256Digest,
    ) -> Result<Option<RequestId>, StoreError>;

    /// A finished job with this content, if its proof is stored.
    async fn proved_job(&self, key: Sha256Digest) -> Result<Option<JobRecord>, StoreError>;

    /// Requests, newest first.
    async fn requests(&self, filter: &RequestFilter) -> Result<Vec<RequestView>, StoreError>;

    /// Finished jobs with the ids of their requests, the latest first.
    async fn finished_jobs(
        &self,
        limit: u32,
    ) -> Result<Vec<(JobRecord, Vec<RequestRecord>)>, StoreError>;

    /// One program.
    async fn program(&self, vk_hash: VkHash) -> Result<Option<ProgramRecord>, StoreError>;

    /// One artifact.
    async fn artifact(&self, id: ArtifactId) -> Result<Option<ArtifactRecord>, StoreError>;

    /// How many signed bodies of this account were accepted.
    async fn nonce(&self, address: Address) -> Result<u64, StoreError>;

    /// Returns if the store answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Waits for what is being written and lets go of the store.
    async fn close(&self);
}
