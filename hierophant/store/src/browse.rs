//! Lists for people, read page by page, newest first.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use async_trait::async_trait;
use hierophant_model::records::{
    ArtifactKind, ArtifactRecord, AttemptRecord, JobRecord, JobState, Millis, ProgramRecord,
    RequestRecord, RequestView, ShardingRecord, TaskRecord,
};
use network_lib::ids::{JobId, RequestId, TaskId, VkHash, WorkerId};
use network_lib::job::ProofMode;

use crate::driver::{Driver, SqlStore};
use crate::statement::{MAX_PARAMETERS, Statement, push_page};
use crate::values::{UNFINISHED, UNSUCCESSFUL, capped, mode_number};
use crate::{StoreError, rows, tasks};

/// Maximum number of requests of each job in a list: its oldest.
pub const LISTED_REQUESTS: u32 = 100;

/// Maximum number of selects in a statement; SQLite takes 500.
const MAX_SELECTS: usize = 100;

/// End of an attempt, for sorting. A job that fails is given out again in the same millisecond, so starts alone do
/// not say which attempt was first.
pub(crate) const ENDED_AT: &str = "COALESCE(ended_at, 9223372036854775807)";

/// Filter for jobs; all conditions must hold.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Any of these states; empty = any state.
    pub states: Vec<JobState>,
    /// Kind of proof.
    pub mode: Option<ProofMode>,
    /// Program.
    pub program: Option<VkHash>,
    /// Address of one of its requesters.
    pub requester: Option<Address>,
    /// Worker of the latest attempt.
    pub worker: Option<WorkerId>,
    /// Last job of the previous page.
    pub before: Option<(Millis, JobId)>,
    /// Maximum number of results.
    pub limit: u32,
}

/// Filter for artifacts; all conditions must hold.
#[derive(Debug, Clone, Default)]
pub struct ArtifactFilter {
    /// Kind of content.
    pub kind: Option<ArtifactKind>,
    /// Number of results to skip.
    pub offset: u64,
    /// Maximum number of results.
    pub limit: u32,
}

/// Division of a job into tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DividedJob {
    /// The division.
    pub sharding: ShardingRecord,
    /// Its end, with the job's or because the job is proved as a whole.
    pub ended_at: Option<Millis>,
    /// Its tasks, oldest first.
    pub tasks: Vec<TriedTask>,
}

/// Task with its attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriedTask {
    /// The task.
    pub task: TaskRecord,
    /// Number of started attempts.
    pub attempts: u32,
    /// The latest attempt.
    pub latest: Option<AttemptRecord>,
}

/// Numbers of a job's tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskCounts {
    /// Tasks whose results are stored.
    pub done: u64,
    /// All tasks whose results are needed.
    pub all: u64,
    /// Workers that made a stored result.
    pub workers: u64,
}

/// Paged lists.
#[async_trait]
pub trait Browse: Send + Sync {
    /// Jobs with their requests, at most [`LISTED_REQUESTS`] of each.
    async fn jobs(
        &self,
        filter: &JobFilter,
    ) -> Result<Vec<(JobRecord, Vec<RequestRecord>)>, StoreError>;

    /// Jobs by id with their requests, at most [`LISTED_REQUESTS`] of each, unordered; unknown ids are left out.
    async fn jobs_by_id(
        &self,
        ids: &[JobId],
    ) -> Result<Vec<(JobRecord, Vec<RequestRecord>)>, StoreError>;

    /// Requests of a job, the `limit` oldest of them, oldest first.
    async fn requests_of(&self, job: JobId, limit: u32) -> Result<Vec<RequestRecord>, StoreError>;

    /// Attempts at a whole job, oldest first; those at its tasks are left out.
    async fn attempts(&self, job: JobId) -> Result<Vec<AttemptRecord>, StoreError>;

    /// The latest division of a job into tasks, with at most `limit` of its tasks; `None` if it was never divided, or
    /// its tasks are deleted.
    async fn divided_job(&self, job: JobId, limit: u32) -> Result<Option<DividedJob>, StoreError>;

    /// Numbers of a job's tasks; all zero for a job without tasks.
    async fn task_counts(&self, job: JobId) -> Result<TaskCounts, StoreError>;

    /// Latest attempts of a worker, newest first: at whole jobs and at tasks.
    async fn attempts_of(
        &self,
        worker: WorkerId,
        limit: u32,
    ) -> Result<Vec<AttemptRecord>, StoreError>;

    /// Requests whose id starts with a prefix; at most two, which suffice to detect an ambiguous prefix.
    async fn requests_with_prefix(&self, prefix: &[u8]) -> Result<Vec<RequestView>, StoreError>;

    /// Programs, newest first; `before` is the last program of the previous page.
    async fn programs(
        &self,
        before: Option<(Millis, VkHash)>,
        limit: u32,
    ) -> Result<Vec<ProgramRecord>, StoreError>;

    /// Artifacts, newest first: tickets and stored bytes.
    async fn artifacts(&self, filter: &ArtifactFilter) -> Result<Vec<ArtifactRecord>, StoreError>;
}

#[async_trait]
impl<D: Driver> Browse for SqlStore<D> {
    async fn jobs(
        &self,
        filter: &JobFilter,
    ) -> Result<Vec<(JobRecord, Vec<RequestRecord>)>, StoreError> {
        let jobs = self.list("listing jobs", jobs_query(filter), rows::job).await?;
        self.with_requests(jobs).await
    }

    async fn jobs_by_id(
        &self,
        ids: &[JobId],
    ) -> Result<Vec<(JobRecord, Vec<RequestRecord>)>, StoreError> {
        let mut jobs = Vec::with_capacity(ids.len());
        for part in ids.chunks(MAX_PARAMETERS) {
            let mut query = Statement::new("SELECT * FROM jobs WHERE ");
            query.push_list("id IN ", part.iter().map(|id| id.0.as_slice()));
            jobs.extend(self.many("reading jobs", query, rows::job).await?);
        }
        self.with_requests(jobs).await
    }

    async fn requests_of(&self, job: JobId, limit: u32) -> Result<Vec<RequestRecord>, StoreError> {
        let mut query =
            Statement::new("SELECT * FROM requests WHERE job = $1 ORDER BY created_at, id")
                .bind(job.0.as_slice());
        query.push_bind(" LIMIT ", i64::from(limit));
        self.many("reading a job's requests", query, rows::request).await
    }

    async fn attempts(&self, job: JobId) -> Result<Vec<AttemptRecord>, StoreError> {
        let mut query = Statement::new("SELECT * FROM attempts WHERE job = $1 AND task IS NULL")
            .bind(job.0.as_slice());
        query.push(&format!(" ORDER BY started_at, {ENDED_AT}, lease"));
        self.many("reading a job's attempts", query, rows::attempt).await
    }

    async fn divided_job(&self, job: JobId, limit: u32) -> Result<Option<DividedJob>, StoreError> {
        let query = Statement::new("SELECT * FROM shardings WHERE job = $1").bind(job.0.as_slice());
        let Some((sharding, ended_at)) =
            self.one("reading the division of a job", query, tasks::read_division).await?
        else {
            return Ok(None);
        };
        let (tasks, latest) = tokio::try_join!(
            self.list("listing tasks", tasks::tasks_query(job, limit), tasks::read_task),
            self.list(
                "listing attempts at tasks",
                tasks::latest_query(job, limit),
                tasks::read_latest
            ),
        )?;
        let of_task =
            |(attempt, made): (AttemptRecord, u32)| Some((attempt.task?.id, (attempt, made)));
        let mut latest: BTreeMap<TaskId, _> = latest.into_iter().filter_map(of_task).collect();
        let with_attempts = |task: TaskRecord| {
            let (latest, attempts) = latest.remove(&task.id).unzip();
            TriedTask { task, attempts: attempts.unwrap_or(0), latest }
        };
        let tasks = tasks.into_iter().map(with_attempts).collect();
        Ok(Some(DividedJob { sharding, ended_at, tasks }))
    }

    async fn task_counts(&self, job: JobId) -> Result<TaskCounts, StoreError> {
        let counts = self.list("counting tasks", tasks::counts_query(job), tasks::read_counts);
        Ok(counts.await?.into_iter().next().unwrap_or_default())
    }

    async fn attempts_of(
        &self,
        worker: WorkerId,
        limit: u32,
    ) -> Result<Vec<AttemptRecord>, StoreError> {
        let mut query =
            Statement::new("SELECT * FROM attempts WHERE worker = $1").bind(worker.0.as_slice());
        let order = format!(" ORDER BY started_at DESC, {ENDED_AT} DESC, lease LIMIT ");
        query.push_bind(&order, i64::from(limit));
        self.list("reading a worker's attempts", query, rows::attempt).await
    }

    async fn requests_with_prefix(&self, prefix: &[u8]) -> Result<Vec<RequestView>, StoreError> {
        let mut query = Statement::new("SELECT id FROM requests");
        query.push_bind(" WHERE id >= ", prefix);
        if let Some(end) = prefix_end(prefix) {
            query.push_bind(" AND id < ", end.as_slice());
        }
        query.push(" ORDER BY id LIMIT 2");
        let id = |row: &dyn rows::Columns| rows::id(row, "id");
        let ids = self.many("looking for a request", query.point_read(), id).await?;
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            // A request may have been deleted meanwhile.
            found.extend(self.view(id).await?);
        }
        Ok(found)
    }

    async fn programs(
        &self,
        before: Option<(Millis, VkHash)>,
        limit: u32,
    ) -> Result<Vec<ProgramRecord>, StoreError> {
        let mut query = Statement::new("SELECT * FROM programs WHERE 1 = 1");
        push_page(&mut query, "created_at", "vk_hash", before.map(|(at, id)| (at, id.0)));
        query.push_bind(" LIMIT ", i64::from(limit));
        self.list("listing programs", query, rows::program).await
    }

    async fn artifacts(&self, filter: &ArtifactFilter) -> Result<Vec<ArtifactRecord>, StoreError> {
        let mut query = Statement::new("SELECT * FROM artifacts WHERE 1 = 1");
        if let Some(kind) = filter.kind {
            query.push_bind(" AND kind = ", kind.as_str());
        }
        query.push_bind(" ORDER BY created_at DESC, id DESC LIMIT ", i64::from(filter.limit));
        query.push_bind(" OFFSET ", capped(filter.offset));
        self.list("listing artifacts", query, rows::artifact).await
    }
}

impl<D: Driver> SqlStore<D> {
    /// A request with its job.
    pub(crate) async fn view(&self, id: RequestId) -> Result<Option<RequestView>, StoreError> {
        let query = Statement::new(rows::SELECT_VIEW.as_str()).bind(id.0.as_slice());
        self.one("reading a request", query, rows::view).await
    }

    /// Jobs with their requests, at most [`LISTED_REQUESTS`] of each, in the order given. One select for each job
    /// reads no more than that of a content that was requested a hundred thousand times.
    pub(crate) async fn with_requests(
        &self,
        jobs: Vec<JobRecord>,
    ) -> Result<Vec<(JobRecord, Vec<RequestRecord>)>, StoreError> {
        let mut requests: BTreeMap<JobId, Vec<RequestRecord>> = BTreeMap::new();
        for part in jobs.chunks(MAX_SELECTS) {
            let mut query = Statement::new(String::new());
            for (place, job) in part.iter().enumerate() {
                query.push(if place == 0 { "" } else { " UNION ALL " });
                query.push_bind(
                    "SELECT * FROM (SELECT * FROM requests WHERE job = ",
                    job.id.0.as_slice(),
                );
                query.push(&format!(" ORDER BY created_at, id LIMIT {LISTED_REQUESTS}) r"));
            }
            for request in self.many("reading the requests of jobs", query, rows::request).await? {
                requests.entry(request.job).or_default().push(request);
            }
        }
        let with_requests = |job: JobRecord| {
            let mut requests = requests.remove(&job.id).unwrap_or_default();
            requests.sort_by_key(|request| (request.created_at, request.id));
            (job, requests)
        };
        Ok(jobs.into_iter().map(with_requests).collect())
    }
}

/// The query for a page of jobs.
fn jobs_query(filter: &JobFilter) -> Statement {
    let mut query = Statement::new("SELECT j.* FROM jobs j WHERE 1 = 1");
    if !filter.states.is_empty() {
        query.push_list(" AND j.state IN ", filter.states.iter().map(|state| state.as_str()));
        // As the indexes `jobs_unproved` and `jobs_unfinished` have it.
        if filter.states.iter().all(|state| !state.is_terminal()) {
            query.push(&format!(" AND j.state IN {UNFINISHED}"));
        } else if filter.states.iter().all(|it| it.is_terminal() && *it != JobState::Proved) {
            query.push(&format!(" AND j.state IN {UNSUCCESSFUL}"));
        }
    }
    if let Some(mode) = filter.mode {
        query.push_bind(" AND j.mode = ", mode_number(mode));
    }
    if let Some(program) = filter.program {
        query.push_bind(" AND j.vk_hash = ", program.0.as_slice());
    }
    if let Some(requester) = filter.requester {
        query.push(" AND EXISTS (SELECT 1 FROM requests r WHERE r.job = j.id AND");
        query.push_bind(" r.requester = ", requester.as_slice());
        query.push(")");
    }
    if let Some(worker) = filter.worker {
        query.push_bind(" AND j.worker = ", worker.0.as_slice());
    }
    push_page(&mut query, "j.created_at", "j.id", filter.before.map(|(at, id)| (at, id.0)));
    query.push_bind(" LIMIT ", i64::from(filter.limit));
    query
}

/// The smallest byte string greater than every string with this prefix, if there is one.
fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(prefix_end(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(prefix_end(&[1, 255]), Some(vec![2]));
        assert_eq!(prefix_end(&[255, 255]), None);
    }

    #[tokio::test]
    async fn jobs_of_a_rare_state_are_found_by_an_index() {
        let folder = tempfile::tempdir().expect("temp dir");
        let driver = sqlite::connect(&folder.path().join("db")).await.expect("opens");
        let plan = async |states: &[JobState]| {
            let filter = JobFilter { states: states.to_vec(), limit: 10, ..JobFilter::default() };
            let mut query = jobs_query(&filter);
            query.sql = format!("EXPLAIN QUERY PLAN {}", query.sql).into();
            let read = |row: &dyn rows::Columns| rows::text(row, "detail");
            driver.read("planning", query, read).await.expect("plans").join("; ")
        };
        let failed = plan(&[JobState::Failed]).await;
        assert!(failed.contains("USING INDEX jobs_unproved (state=?)"), "{failed}");
        let ended = plan(&[JobState::Failed, JobState::Expired]).await;
        assert!(ended.contains("USING INDEX jobs_unproved (state=?)"), "{ended}");
        let going_on = plan(&[JobState::Queued, JobState::Proving]).await;
        assert!(going_on.contains("USING INDEX jobs_unfinished (state=?)"), "{going_on}");
        let all = plan(&[JobState::Proved]).await;
        assert!(all.contains("USING INDEX jobs_by_creation"), "{all}");
    }
}
