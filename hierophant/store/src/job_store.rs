//! The [`JobStore`] trait: all facts that must survive a restart.

use std::collections::BTreeSet;
use std::fmt::Debug;

use alloy_primitives::Address;
use async_trait::async_trait;
use hierophant_model::records::{
    Accepted, ArtifactRecord, Change, DueRule, JobRecord, Millis, ProgramRecord, RequestFilter,
    RequestRecord, RequestView, Setting, TokenRecord, UnfinishedJob, UnfinishedSharding,
};
use network_lib::ids::{ArtifactId, JobId, RequestId, Sha256Digest, VkHash, WorkerId};

use crate::StoreError;
use crate::audit::AuditLog;
use crate::browse::Browse;
use crate::history::OldRecords;
use crate::notices::Notices;
use crate::retention::DueArtifact;
use crate::submission::Submission;
use crate::usage::UsageStore;

/// Durable storage of all records. Each kind of record has one writer, which calls [`commit`](Self::commit);
/// any task may read.
#[async_trait]
pub trait JobStore: AuditLog + Browse + Notices + OldRecords + UsageStore + Debug {
    /// Commits changes durably: all or none.
    async fn commit(&self, changes: &[Change]) -> Result<(), StoreError>;

    /// All jobs that are not terminal, oldest first.
    async fn unfinished_jobs(&self) -> Result<Vec<UnfinishedJob>, StoreError>;

    /// Divisions into tasks that have not ended, of jobs that are not terminal, in the order of the jobs' ids.
    async fn unfinished_shardings(&self) -> Result<Vec<UnfinishedSharding>, StoreError>;

    /// Worker and time of each attempt that failed by the worker's fault from `since` until `now`, oldest first.
    /// Later ones were recorded while the clock was ahead.
    async fn strikes(
        &self,
        since: Millis,
        now: Millis,
    ) -> Result<Vec<(WorkerId, Millis)>, StoreError>;

    /// A request with its job.
    async fn request(&self, id: RequestId) -> Result<Option<RequestView>, StoreError>;

    /// The request that an earlier try of the same call created, with its job.
    async fn request_by_idempotency_key(
        &self,
        key: Sha256Digest,
    ) -> Result<Option<Accepted>, StoreError>;

    /// The latest finished job with this content whose proof is kept.
    async fn proved_job(&self, key: Sha256Digest) -> Result<Option<JobRecord>, StoreError>;

    /// What is known of a submission, in one look-up: the request that an earlier try of the same `call` created, and
    /// the jobs with this content that [`proved_job`](Self::proved_job) and [`set_aside`](Self::set_aside) find.
    async fn submission(
        &self,
        call: Sha256Digest,
        key: Sha256Digest,
        since: Millis,
    ) -> Result<Submission, StoreError>;

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

    /// Kept artifacts to which a rule applies since before a time, the longest first, after the given place.
    async fn due_artifacts(
        &self,
        rule: DueRule,
        before: Millis,
        after: Option<(Millis, ArtifactId)>,
        limit: u32,
    ) -> Result<Vec<DueArtifact>, StoreError>;

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

    /// Waits until the store is found to be damaged: after an unclean stop it is checked in the background.
    async fn damaged(&self) -> StoreError;

    /// Waits for running writes and closes the store.
    async fn close(&self);
}
