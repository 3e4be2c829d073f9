//! The [`JobStore`] trait: all facts that must survive a restart.

use std::collections::BTreeSet;
use std::fmt::Debug;

use alloy_primitives::Address;
use async_trait::async_trait;
use hierophant_model::records::{
    Accepted, ArtifactRecord, Change, Cutoffs, JobRecord, Millis, ProgramRecord, RequestFilter,
    RequestRecord, RequestView, Setting, TokenRecord, UnfinishedJob,
};
use network_lib::ids::{ArtifactId, JobId, RequestId, Sha256Digest, VkHash, WorkerId};

use crate::StoreError;
use crate::audit::AuditLog;
use crate::browse::Browse;
use crate::notices::Notices;
use crate::retention::RetentionStep;
use crate::usage::UsageStore;

/// Durable storage of all records. Each kind of record has one writer, which calls [`commit`](Self::commit);
/// any task may read.
#[async_trait]
pub trait JobStore: AuditLog + Browse + Notices + UsageStore + Debug {
    /// Commits changes durably: all or none.
    async fn commit(&self, changes: &[Change]) -> Result<(), StoreError>;

    /// All jobs that are not terminal, oldest first.
    async fn unfinished_jobs(&self) -> Result<Vec<UnfinishedJob>, StoreError>;

    /// Worker and time of each attempt that failed by the worker's fault at `since` or later, oldest first.
    async fn strikes(&self, since: Millis) -> Result<Vec<(WorkerId, Millis)>, StoreError>;

    /// A request with its job.
    async fn request(&self, id: RequestId) -> Result<Option<RequestView>, StoreError>;

    /// The request that an earlier try of the same call created, with its job.
    async fn request_by_idempotency_key(
        &self,
        key: Sha256Digest,
    ) -> Result<Option<Accepted>, StoreError>;

    /// The latest finished job with this content whose proof is kept.
    async fn proved_job(&self, key: Sha256Digest) -> Result<Option<JobRecord>, StoreError>;

    /// The latest job with this content that failed by its workers' fault, if it ended at `since` or later.
    async fn set_aside(
        &self,
        key: Sha256Digest,
        since: Millis,
    ) -> Result<Option<JobRecord>, StoreError>;

    /// The job of a request, with all its requests.
    async fn job_of(
        &self,
        request: RequestId,
    ) -> Result<Option<(JobRecord, Vec<RequestRecord>)>, StoreError>;

    /// Requests, newest first.
    async fn requests(&self, filter: &RequestFilter) -> Result<Vec<RequestView>, StoreError>;

    /// A job.
    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, StoreError>;

    /// Finished jobs with their requests, at most a hundred of each, latest first; `before` is the last job of the previous page.
    async fn finished_jobs(
        &self,
        limit: u32,
        before: Option<(Millis, JobId)>,
    ) -> Result<Vec<(JobRecord, Vec<RequestRecord>)>, StoreError>;

    /// A program.
    async fn program(&self, vk_hash: VkHash) -> Result<Option<ProgramRecord>, StoreError>;

    /// An artifact.
    async fn artifact(&self, id: ArtifactId) -> Result<Option<ArtifactRecord>, StoreError>;

    /// Those of the given artifacts that have a record and whose bytes have not been removed.
    async fn kept_artifacts(&self, ids: &[ArtifactId]) -> Result<BTreeSet<ArtifactId>, StoreError>;

    /// Some artifacts whose bytes are stored and promised, in any order.
    async fn some_artifacts(&self, limit: u32) -> Result<Vec<ArtifactRecord>, StoreError>;

    /// Artifacts that a step of retention applies to, oldest first.
    async fn artifacts_to(
        &self,
        step: RetentionStep,
        cutoffs: &Cutoffs,
        limit: u32,
    ) -> Result<Vec<ArtifactRecord>, StoreError>;

    /// Total size of all artifacts whose bytes have not been removed.
    async fn stored_bytes(&self) -> Result<u64, StoreError>;

    /// Whether the store is new: no artifact was ever recorded.
    async fn is_new(&self) -> Result<bool, StoreError>;

    /// Settings made by operators.
    async fn settings(&self) -> Result<Vec<Setting>, StoreError>;

    /// All tokens including revoked ones, oldest first.
    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError>;

    /// Number of accepted signed bodies of an account.
    async fn nonce(&self, address: Address) -> Result<u64, StoreError>;

    /// Checks that the store answers and accepts writes.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Waits for running writes and closes the store.
    async fn close(&self);
}
