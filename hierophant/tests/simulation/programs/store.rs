//! The real SQLite store, made to fit into simulated time.
//!
//! SQLite answers from a thread of its own, which simulated time would not wait for. So a call stops its
//! whole host until the answer is there, and takes its time in the simulated world before and after. A
//! store can also be made to fail: before it has done anything, or with the work done and the answer lost.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alloy_primitives::Address;
use async_trait::async_trait;
use hierophant_model::clients::{ClientRecords, Owner};
use hierophant_model::records::{
    Accepted, ArtifactRecord, AttemptRecord, AuditRecord, Change, DueRule, JobRecord, Millis,
    NoticeRecord, ProgramRecord, RequestFilter, RequestRecord, RequestView, Setting, TokenRecord,
    UnfinishedJob, UnfinishedSharding,
};
use hierophant_store::{
    ArtifactFilter, AuditLog, Browse, DividedJob, DueArtifact, EndedJob, JobFilter, JobStore,
    Notices, OldRecords, StoreError, Submission, TaskCounts, UsageStore, sqlite,
};
use network_lib::ids::{ArtifactId, AuditId, JobId, RequestId, Sha256Digest, VkHash, WorkerId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::Handle;

/// Longest time that a call takes on its way to the store, and back again.
const LONGEST_WAY_MS: u64 = 25;

/// How often a call looks whether the store hangs still.
const HANGING_CHECK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct SlowStore {
    real: Arc<dyn JobStore>,
    /// Where the store's own tasks run.
    runtime: Handle,
    seed: u64,
    broken: Arc<AtomicBool>,
    hanging: Arc<AtomicBool>,
}

impl SlowStore {
    /// Opens the database; while `broken` is set, it fails, and while `hanging` is set, it does not answer.
    pub fn open(
        file: &Path,
        runtime: Handle,
        seed: u64,
        broken: Arc<AtomicBool>,
        hanging: Arc<AtomicBool>,
    ) -> Self {
        let real = block_on(&runtime, sqlite::open(file, ())).expect("opens");
        Self { real, runtime, seed, broken, hanging }
    }

    /// Waits until nothing of it is open any more.
    pub fn close_now(&self) {
        block_on(&self.runtime, self.real.close());
    }

    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        while self.hanging.load(Ordering::Relaxed) {
            tokio::time::sleep(HANGING_CHECK).await;
        }
        self.travel().await;
        let (broken, done) = (self.broken.load(Ordering::Relaxed), self.draw(2) == 0);
        if broken && !done {
            return Err(out_of_reach());
        }
        let answer = block_on(&self.runtime, call);
        self.travel().await;
        if broken { Err(out_of_reach()) } else { answer }
    }

    async fn travel(&self) {
        let way = self.draw(LONGEST_WAY_MS);
        tokio::time::sleep(Duration::from_millis(way)).await;
    }

    /// By the clock and not by the call: which of two calls at the same instant comes first is up to
    /// threads of the real machine.
    fn draw(&self, below: u64) -> u64 {
        let now = turmoil::sim_elapsed().expect("a host").as_millis();
        let now = u64::try_from(now).expect("not that long");
        StdRng::seed_from_u64(self.seed.wrapping_add(now)).random_range(0..below)
    }
}

/// Stops this thread until the call is done.
pub fn block_on<T>(runtime: &Handle, call: impl Future<Output = T>) -> T {
    let _inside = runtime.enter();
    futures_executor::block_on(tokio::task::unconstrained(call))
}

fn out_of_reach() -> StoreError {
    StoreError::Unavailable { action: "pretending", source: "out of reach".into() }
}

#[async_trait]
impl AuditLog for SlowStore {
    async fn audit(
        &self,
        before: Option<(Millis, AuditId)>,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        self.call(self.real.audit(before, limit)).await
    }

    async fn audited_at(&self, id: AuditId) -> Result<Option<Millis>, StoreError> {
        self.call(self.real.audited_at(id)).await
    }
}

#[async_trait]
impl Browse for SlowStore {
    async fn jobs(
        &self,
        filter: &JobFilter,
    ) -> Result<Vec<(JobRecord, Vec<RequestRecord>)>, StoreError> {
        self.call(self.real.jobs(filter)).await
    }

    async fn jobs_by_id(
        &self,
        ids: &[JobId],
    ) -> Result<Vec<(JobRecord, Vec<RequestRecord>)>, StoreError> {
        self.call(self.real.jobs_by_id(ids)).await
    }

    async fn requests_of(&self, job: JobId, limit: u32) -> Result<Vec<RequestRecord>, StoreError> {
        self.call(self.real.requests_of(job, limit)).await
    }

    async fn attempts(&self, job: JobId) -> Result<Vec<AttemptRecord>, StoreError> {
        self.call(self.real.attempts(job)).await
    }

    async fn divided_job(&self, job: JobId, limit: u32) -> Result<Option<DividedJob>, StoreError> {
        self.call(self.real.divided_job(job, limit)).await
    }

    async fn task_counts(&self, job: JobId) -> Result<TaskCounts, StoreError> {
        self.call(self.real.task_counts(job)).await
    }

    async fn attempts_of(
        &self,
        worker: WorkerId,
        limit: u32,
    ) -> Result<Vec<AttemptRecord>, StoreError> {
        self.call(self.real.attempts_of(worker, limit)).await
    }

    async fn requests_with_prefix(&self, prefix: &[u8]) -> Result<Vec<RequestView>, StoreError> {
        self.call(self.real.requests_with_prefix(prefix)).await
    }

    async fn programs(
        &self,
        before: Option<(Millis, VkHash)>,
        limit: u32,
    ) -> Result<Vec<ProgramRecord>, StoreError> {
        self.call(self.real.programs(before, limit)).await
    }

    async fn artifacts(&self, filter: &ArtifactFilter) -> Result<Vec<ArtifactRecord>, StoreError> {
        self.call(self.real.artifacts(filter)).await
    }
}

#[async_trait]
impl Notices for SlowStore {
    async fn notices(
        &self,
        receiver: Sha256Digest,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<NoticeRecord>, StoreError> {
        self.call(self.real.notices(receiver, now, limit)).await
    }

    async fn old_notices(
        &self,
        receiver: Sha256Digest,
        ended_before: Millis,
        limit: u32,
    ) -> Result<Vec<NoticeRecord>, StoreError> {
        self.call(self.real.old_notices(receiver, ended_before, limit)).await
    }

    async fn notice_counts(&self) -> Result<BTreeMap<(Sha256Digest, Owner), u64>, StoreError> {
        self.call(self.real.notice_counts()).await
    }
}

#[async_trait]
impl OldRecords for SlowStore {
    async fn ended_jobs(
        &self,
        before: Millis,
        after: Option<(Millis, JobId)>,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<EndedJob>, StoreError> {
        self.call(self.real.ended_jobs(before, after, limit, now)).await
    }

    async fn requests_of_jobs(
        &self,
        jobs: &[JobId],
        limit: u32,
    ) -> Result<Vec<RequestRecord>, StoreError> {
        self.call(self.real.requests_of_jobs(jobs, limit)).await
    }

    async fn attempts_of_jobs(
        &self,
        jobs: &[JobId],
        limit: u32,
    ) -> Result<Vec<AttemptRecord>, StoreError> {
        self.call(self.real.attempts_of_jobs(jobs, limit)).await
    }

    async fn ended_shardings(&self, before: Millis, limit: u32) -> Result<Vec<JobId>, StoreError> {
        self.call(self.real.ended_shardings(before, limit)).await
    }

    async fn removed_artifacts(
        &self,
        before: Millis,
        limit: u32,
    ) -> Result<Vec<ArtifactRecord>, StoreError> {
        self.call(self.real.removed_artifacts(before, limit)).await
    }

    async fn audit_before(
        &self,
        before: Millis,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        self.call(self.real.audit_before(before, limit)).await
    }
}

#[async_trait]
impl UsageStore for SlowStore {
    async fn cycles_executed(
        &self,
        client: &ClientRecords,
        since: Millis,
        now: Millis,
    ) -> Result<u64, StoreError> {
        self.call(self.real.cycles_executed(client, since, now)).await
    }

    async fn programs_registered(&self, client: &ClientRecords) -> Result<u64, StoreError> {
        self.call(self.real.programs_registered(client)).await
    }

    async fn open_tickets(&self) -> Result<Vec<(ArtifactId, Owner)>, StoreError> {
        self.call(self.real.open_tickets()).await
    }

    async fn bytes_by_owner(&self) -> Result<Vec<(Owner, u64)>, StoreError> {
        self.call(self.real.bytes_by_owner()).await
    }
}

#[async_trait]
impl JobStore for SlowStore {
    async fn strikes(
        &self,
        since: Millis,
        now: Millis,
    ) -> Result<Vec<(WorkerId, Millis)>, StoreError> {
        self.call(self.real.strikes(since, now)).await
    }

    async fn submission(
        &self,
        call: Sha256Digest,
        key: Sha256Digest,
        since: Millis,
    ) -> Result<Submission, StoreError> {
        self.call(self.real.submission(call, key, since)).await
    }

    async fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.call(self.real.commit(changes)).await
    }

    async fn unfinished_jobs(&self) -> Result<Vec<UnfinishedJob>, StoreError> {
        self.call(self.real.unfinished_jobs()).await
    }

    async fn unfinished_shardings(&self) -> Result<Vec<UnfinishedSharding>, StoreError> {
        self.call(self.real.unfinished_shardings()).await
    }

    async fn request(&self, id: RequestId) -> Result<Option<RequestView>, StoreError> {
        self.call(self.real.request(id)).await
    }

    async fn request_by_idempotency_key(
        &self,
        key: Sha256Digest,
    ) -> Result<Option<Accepted>, StoreError> {
        self.call(self.real.request_by_idempotency_key(key)).await
    }

    async fn proved_job(&self, key: Sha256Digest) -> Result<Option<JobRecord>, StoreError> {
        self.call(self.real.proved_job(key)).await
    }

    async fn set_aside(
        &self,
        key: Sha256Digest,
        since: Millis,
    ) -> Result<Option<JobRecord>, StoreError> {
        self.call(self.real.set_aside(key, since)).await
    }

    async fn job_of(
        &self,
        request: RequestId,
    ) -> Result<Option<(JobRecord, Vec<RequestRecord>)>, StoreError> {
        self.call(self.real.job_of(request)).await
    }

    async fn requests(&self, filter: &RequestFilter) -> Result<Vec<RequestView>, StoreError> {
        self.call(self.real.requests(filter)).await
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, StoreError> {
        self.call(self.real.job(id)).await
    }

    async fn finished_jobs(
        &self,
        limit: u32,
        before: Option<(Millis, JobId)>,
    ) -> Result<Vec<(JobRecord, Vec<RequestRecord>)>, StoreError> {
        self.call(self.real.finished_jobs(limit, before)).await
    }

    async fn program(&self, vk_hash: VkHash) -> Result<Option<ProgramRecord>, StoreError> {
        self.call(self.real.program(vk_hash)).await
    }

    async fn artifact(&self, id: ArtifactId) -> Result<Option<ArtifactRecord>, StoreError> {
        self.call(self.real.artifact(id)).await
    }

    async fn some_artifacts(&self, limit: u32) -> Result<Vec<ArtifactRecord>, StoreError> {
        self.call(self.real.some_artifacts(limit)).await
    }

    async fn kept_artifacts(&self, ids: &[ArtifactId]) -> Result<BTreeSet<ArtifactId>, StoreError> {
        self.call(self.real.kept_artifacts(ids)).await
    }

    async fn due_artifacts(
        &self,
        rule: DueRule,
        before: Millis,
        after: Option<(Millis, ArtifactId)>,
        limit: u32,
    ) -> Result<Vec<DueArtifact>, StoreError> {
        self.call(self.real.due_artifacts(rule, before, after, limit)).await
    }

    async fn stored_bytes(&self) -> Result<u64, StoreError> {
        self.call(self.real.stored_bytes()).await
    }

    async fn is_new(&self) -> Result<bool, StoreError> {
        self.call(self.real.is_new()).await
    }

    async fn settings(&self) -> Result<Vec<Setting>, StoreError> {
        self.call(self.real.settings()).await
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        self.call(self.real.tokens()).await
    }

    async fn nonce(&self, address: Address) -> Result<u64, StoreError> {
        self.call(self.real.nonce(address)).await
    }

    async fn damaged(&self) -> StoreError {
        std::future::pending().await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.call(self.real.ping()).await
    }

    async fn close(&self) {
        self.close_now();
    }
}
