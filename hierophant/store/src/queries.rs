//! Queries of [`JobStore`], shared by both databases.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use async_trait::async_trait;
use hierophant_model::records::{
    Accepted, ArtifactRecord, Change, DueRule, ExecutionFilter, JobRecord, Millis, ProgramRecord,
    RequestFilter, RequestRecord, RequestState, RequestView, Setting, TokenRecord, UnfinishedJob,
    UnfinishedSharding,
};
use network_lib::ids::{ArtifactId, JobId, RequestId, Sha256Digest, VkHash, WorkerId};

use crate::browse::Browse;
use crate::driver::{Driver, ReadRow, SqlStore};
use crate::retention::{self, DueArtifact};
use crate::rows::{self, Columns};
use crate::statement::{MAX_PARAMETERS, Statement, push_page};
use crate::submission::{self, Submission};
use crate::tasks;
use crate::usage::push_client;
use crate::values::{UNFINISHED, UNSUCCESSFUL, capped, cause_number, mode_number};
use crate::{JobStore, StoreError, write};

impl<D: Driver> SqlStore<D> {
    /// Rows of unfinished jobs, unordered: sorting in memory is faster than in the database.
    async fn of_unfinished<T: Send + 'static>(
        &self,
        from: &str,
        read: impl ReadRow<T>,
    ) -> Result<Vec<T>, StoreError> {
        let query = Statement::new(format!("SELECT {from} jobs.state IN {UNFINISHED}"));
        self.many("reading unfinished jobs", query, read).await
    }
}

#[async_trait]
impl<D: Driver> JobStore for SqlStore<D> {
    async fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let announced = self.recent.writing(changes);
        self.driver.write(vec![write::writes(changes).into()]).await?;
        self.recent.written(&announced, changes);
        Ok(())
    }

    async fn unfinished_jobs(&self) -> Result<Vec<UnfinishedJob>, StoreError> {
        let of_requests = "requests.* FROM jobs JOIN requests ON requests.job = jobs.id \
                           WHERE requests.state = 'open' AND";
        // Those of jobs that were being queued again after the loss of their proof.
        let of_reopened = "requests.* FROM jobs JOIN requests ON requests.job = jobs.id \
                           WHERE requests.state = 'fulfilled' \
                           AND (jobs.finished_at IS NULL OR jobs.proof IS NULL) AND";
        let of_attempts = "attempts.* FROM jobs JOIN attempts ON attempts.job = jobs.id WHERE";
        let (mut found, mut requests, reopened, mut attempts) = tokio::try_join!(
            self.of_unfinished("jobs.* FROM jobs WHERE", rows::job),
            self.of_unfinished(of_requests, rows::request),
            self.of_unfinished(of_reopened, rows::request),
            self.of_unfinished(of_attempts, rows::attempt),
        )?;
        found.sort_by_key(|job| (job.created_at, job.id));
        requests.extend(reopened);
        requests.sort_by_key(|request| (request.created_at, request.id));
        attempts.sort_by_key(|attempt| {
            // Several may start in the same millisecond; one that has not ended is the latest.
            let ended_at = attempt.ended_at.unwrap_or(Millis(i64::MAX));
            (attempt.started_at, ended_at, attempt.lease)
        });
        let mut index_of = BTreeMap::new();
        let mut jobs = Vec::with_capacity(found.len());
        for job in found {
            index_of.insert(job.id, jobs.len());
            jobs.push(UnfinishedJob { job, requests: Vec::new(), attempts: Vec::new() });
        }
        for request in requests {
            if let Some(index) = index_of.get(&request.job) {
                jobs[*index].requests.push(request);
            }
        }
        for attempt in attempts {
            if let Some(index) = index_of.get(&attempt.job) {
                jobs[*index].attempts.push(attempt);
            }
        }
        Ok(jobs)
    }

    async fn unfinished_shardings(&self) -> Result<Vec<UnfinishedSharding>, StoreError> {
        let of_jobs = "shardings.* FROM jobs JOIN shardings ON shardings.job = jobs.id \
                       WHERE shardings.ended_at IS NULL AND";
        let of_tasks = "tasks.* FROM jobs JOIN shardings ON shardings.job = jobs.id \
                        JOIN tasks ON tasks.job = jobs.id WHERE shardings.ended_at IS NULL AND";
        let (shardings, tasks) = tokio::try_join!(
            self.of_unfinished(of_jobs, tasks::read_sharding),
            self.of_unfinished(of_tasks, tasks::read_task),
        )?;
        let all = shardings
            .into_iter()
            .map(|sharding| (sharding.job, UnfinishedSharding { sharding, tasks: Vec::new() }));
        let mut all: BTreeMap<_, _> = all.collect();
        for task in tasks {
            if let Some(found) = all.get_mut(&task.job) {
                found.tasks.push(task);
            }
        }
        all.values_mut().for_each(|found| found.tasks.sort_by_key(|task| task.id));
        Ok(all.into_values().collect())
    }

    async fn strikes(
        &self,
        since: Millis,
        now: Millis,
    ) -> Result<Vec<(WorkerId, Millis)>, StoreError> {
        let query = Statement::new(
            "SELECT worker, ended_at FROM attempts WHERE outcome = 'failed' \
             AND failure_class = 'worker' AND ended_at >= $1 AND ended_at <= $2 \
             ORDER BY ended_at, lease",
        )
        .bind(since.0)
        .bind(now.0);
        self.many("reading strikes", query, rows::strike).await
    }

    async fn request(&self, id: RequestId) -> Result<Option<RequestView>, StoreError> {
        self.view(id).await
    }

    async fn request_by_idempotency_key(
        &self,
        key: Sha256Digest,
    ) -> Result<Option<Accepted>, StoreError> {
        let query = Statement::new("SELECT id, job FROM requests WHERE idempotency_key = $1")
            .bind(key.0.as_slice());
        let accepted = |row: &dyn Columns| {
            Ok(Accepted { request: rows::id(row, "id")?, job: rows::id(row, "job")? })
        };
        self.one("looking for an earlier request", query, accepted).await
    }

    async fn proved_job(&self, key: Sha256Digest) -> Result<Option<JobRecord>, StoreError> {
        let query = Statement::new(
            "SELECT j.* FROM jobs j WHERE j.key = $1 AND j.state = 'proved' \
             AND (SELECT a.expired_at IS NULL FROM artifacts a WHERE a.id = j.proof) \
             ORDER BY j.finished_at DESC LIMIT 1",
        )
        .bind(key.0.as_slice());
        self.one("looking for a finished job", query, rows::job).await
    }

    async fn submission(
        &self,
        call: Sha256Digest,
        key: Sha256Digest,
        since: Millis,
    ) -> Result<Submission, StoreError> {
        let query = submission::query(call, key, since);
        let rows = self.many("looking for what is known of a request", query, submission::row);
        Ok(submission::collected(rows.await?))
    }

    async fn set_aside(
        &self,
        key: Sha256Digest,
        since: Millis,
    ) -> Result<Option<JobRecord>, StoreError> {
        let query = Statement::new(
            "SELECT * FROM jobs WHERE key = $1 AND COALESCE(state, '') = 'failed' AND failure_class = 'worker' \
             AND COALESCE(finished_at, -1) >= $2 ORDER BY finished_at DESC LIMIT 1",
        )
        .bind(key.0.as_slice())
        .bind(since.0);
        self.one("looking for a job that was set aside", query, rows::job).await
    }

    async fn job_of(
        &self,
        request: RequestId,
    ) -> Result<Option<(JobRecord, Vec<RequestRecord>)>, StoreError> {
        let Some(view) = self.request(request).await? else { return Ok(None) };
        let requests = self.requests_of(view.job.id, u32::MAX).await?;
        Ok(Some((view.job, requests)))
    }

    async fn requests(&self, filter: &RequestFilter) -> Result<Vec<RequestView>, StoreError> {
        let mut filter = filter.clone();
        if let Some(examined) = filter.examined
            && let Some(oldest) = self.oldest_of(&filter, examined).await?
        {
            filter.from = filter.from.max(Some(oldest));
        }
        self.list("listing requests", requests_query(&filter), rows::view).await
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, StoreError> {
        let query = Statement::new("SELECT * FROM jobs WHERE id = $1").bind(id.0.as_slice());
        self.one("reading a job", query, rows::job).await
    }

    async fn finished_jobs(
        &self,
        limit: u32,
        before: Option<(Millis, JobId)>,
    ) -> Result<Vec<(JobRecord, Vec<RequestRecord>)>, StoreError> {
        let mut query = Statement::new("SELECT * FROM jobs WHERE finished_at IS NOT NULL");
        if let Some((end, id)) = before {
            query.push_bind(" AND (finished_at, id) < (", end.0);
            query.push_bind(", ", id.0.as_slice());
            query.push(")");
        }
        query.push_bind(" ORDER BY finished_at DESC, id DESC LIMIT ", i64::from(limit));
        let jobs = self.list("reading finished jobs", query, rows::job).await?;
        self.with_requests(jobs).await
    }

    async fn program(&self, vk_hash: VkHash) -> Result<Option<ProgramRecord>, StoreError> {
        let known = self.recent.program(vk_hash);
        if known.is_some() {
            return Ok(known);
        }
        let announced = self.recent.looking(vk_hash);
        let query =
            Statement::new("SELECT * FROM programs WHERE vk_hash = $1").bind(vk_hash.0.as_slice());
        let found = self.one("reading a program", query, rows::program).await?;
        if let Some(program) = &found {
            self.recent.found(&announced, program);
        }
        Ok(found)
    }

    async fn artifact(&self, id: ArtifactId) -> Result<Option<ArtifactRecord>, StoreError> {
        let known = self.recent.artifact(id);
        if known.is_some() {
            return Ok(known);
        }
        let query = Statement::new("SELECT * FROM artifacts WHERE id = $1").bind(id.0.as_slice());
        self.one("reading an artifact", query, rows::artifact).await
    }

    async fn kept_artifacts(&self, ids: &[ArtifactId]) -> Result<BTreeSet<ArtifactId>, StoreError> {
        let mut kept = BTreeSet::new();
        for part in ids.chunks(MAX_PARAMETERS) {
            let mut query = Statement::new("SELECT id FROM artifacts WHERE removed_at IS NULL");
            query.push_list(" AND id IN ", part.iter().map(|id| id.0.as_slice()));
            let read = |row: &dyn Columns| rows::id::<ArtifactId>(row, "id");
            kept.extend(self.many("looking for artifacts", query, read).await?);
        }
        Ok(kept)
    }

    async fn some_artifacts(&self, limit: u32) -> Result<Vec<ArtifactRecord>, StoreError> {
        let mut query = Statement::new(
            "SELECT * FROM artifacts WHERE removed_at IS NULL AND expired_at IS NULL AND size IS NOT NULL",
        );
        query.push_bind(" LIMIT ", i64::from(limit));
        self.many("looking for artifacts", query, rows::artifact).await
    }

    async fn due_artifacts(
        &self,
        rule: DueRule,
        before: Millis,
        after: Option<(Millis, ArtifactId)>,
        limit: u32,
    ) -> Result<Vec<DueArtifact>, StoreError> {
        let query = retention::due(rule, before, after, limit).by_index();
        self.many("looking for due artifacts", query, retention::due_artifact).await
    }

    async fn stored_bytes(&self) -> Result<u64, StoreError> {
        let query = Statement::new(
            "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) AS total FROM artifacts \
             WHERE removed_at IS NULL",
        );
        let total = self.many("adding up artifacts", query, |row| rows::int(row, "total")).await?;
        Ok(total.first().map_or(0, |total| total.cast_unsigned()))
    }

    async fn is_new(&self) -> Result<bool, StoreError> {
        let query = Statement::new("SELECT id FROM artifacts LIMIT 1");
        let any = self.one("looking for artifacts", query, |_| Ok(())).await?;
        Ok(any.is_none())
    }

    async fn settings(&self) -> Result<Vec<Setting>, StoreError> {
        let query = Statement::new("SELECT * FROM settings ORDER BY kind, subject");
        self.many("reading settings", query, rows::setting).await
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        let query = Statement::new("SELECT * FROM tokens ORDER BY created_at, id");
        self.many("reading tokens", query, rows::token).await
    }

    async fn nonce(&self, address: Address) -> Result<u64, StoreError> {
        let query = Statement::new("SELECT nonce FROM accounts WHERE address = $1")
            .bind(address.as_slice());
        let nonce = self.one("reading a nonce", query, |row| rows::int(row, "nonce")).await?;
        Ok(nonce.map_or(0, i64::cast_unsigned))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.driver.ping().await
    }

    async fn damaged(&self) -> StoreError {
        self.driver.damaged().await
    }

    async fn close(&self) {
        self.driver.close().await;
    }
}

impl<D: Driver> SqlStore<D> {
    /// Time of the request before which no other is examined; none if there are fewer.
    async fn oldest_of(
        &self,
        filter: &RequestFilter,
        examined: u32,
    ) -> Result<Option<Millis>, StoreError> {
        let mut query = Statement::new("SELECT r.created_at FROM requests r WHERE 1 = 1");
        push_scope(&mut query, filter);
        query.push_bind(" ORDER BY r.created_at DESC LIMIT 1 OFFSET ", i64::from(examined));
        let found = self.list("listing requests", query, |row| rows::time(row, "created_at"));
        Ok(found.await?.into_iter().next())
    }
}

/// The query for a page of requests.
fn requests_query(filter: &RequestFilter) -> Statement {
    let mut query = Statement::new(rows::SELECT_VIEWS.as_str());
    query.push(" WHERE 1 = 1");
    push_scope(&mut query, filter);
    push_conditions(&mut query, filter);
    push_page(&mut query, "r.created_at", "r.id", filter.before.map(|(at, id)| (at, id.0)));
    query.push_bind(" LIMIT ", i64::from(filter.limit));
    query.push_bind(" OFFSET ", capped(filter.offset));
    query
}

/// Adds the conditions that an index answers. A time is always among them: it keeps SQLite on an index in the order
/// of the page.
fn push_scope(query: &mut Statement, filter: &RequestFilter) {
    if let Some(requester) = filter.requester {
        query.push_bind(" AND r.requester = ", requester.as_slice());
    }
    if let Some(client) = &filter.client {
        push_client(query, client, "r.client", "r.requester");
    }
    query.push_bind(" AND r.created_at >= ", filter.from.unwrap_or(Millis(i64::MIN)).0);
    if let Some(to) = filter.to {
        query.push_bind(" AND r.created_at <= ", to.0);
    }
}

fn push_conditions(query: &mut Statement, filter: &RequestFilter) {
    if let Some(version) = &filter.version {
        query.push_bind(" AND r.version = ", version.as_str());
    }
    if let Some(states) = &filter.states {
        query.push_list(" AND r.state IN ", states.iter().map(|state| state.as_str()));
        if states.iter().all(|state| !matches!(state, RequestState::Open | RequestState::Fulfilled))
        {
            // As the index `requests_unfulfilled` has it.
            query.push(&format!(" AND r.state IN {UNSUCCESSFUL}"));
        }
    }
    if let Some(execution) = filter.execution {
        query.push(match execution {
            ExecutionFilter::Unexecutable => " AND r.state = 'unexecutable'",
            ExecutionFilter::Executed => " AND r.state != 'unexecutable' AND j.cycles IS NOT NULL",
            ExecutionFilter::Unexecuted => " AND r.state != 'unexecutable' AND j.cycles IS NULL",
        });
    }
    if let Some(deadline) = filter.minimum_deadline {
        query.push_bind(" AND r.deadline >= ", capped(deadline));
    }
    if let Some(vk_hash) = filter.vk_hash {
        query.push_bind(" AND j.vk_hash = ", vk_hash.0.as_slice());
    }
    if let Some(mode) = filter.mode {
        query.push_bind(" AND j.mode = ", mode_number(mode));
    }
    if let Some(cause) = filter.execution_failure_cause {
        let condition = " AND r.state = 'unexecutable' AND j.failure_cause = ";
        query.push_bind(condition, cause_number(Some(cause)));
    }
}

#[cfg(test)]
mod tests {
    use hierophant_model::records::RequestState;
    use network_lib::job::ProofMode;

    use super::*;
    use crate::sqlite;

    #[tokio::test]
    async fn every_list_of_requests_walks_an_index_in_the_order_of_its_page() {
        let folder = tempfile::tempdir().expect("temp dir");
        let driver = sqlite::connect(&folder.path().join("db")).await.expect("opens");
        let plan = async |filter: RequestFilter| {
            let mut query = requests_query(&RequestFilter { limit: 10, ..filter });
            query.sql = format!("EXPLAIN QUERY PLAN {}", query.sql).into();
            let read = |row: &dyn Columns| rows::text(row, "detail");
            driver.read("planning", query, read).await.expect("plans").join("; ")
        };
        let all = RequestFilter::default;
        let states =
            |states: &[RequestState]| RequestFilter { states: Some(states.to_vec()), ..all() };
        for (filter, index) in [
            (all(), "r USING INDEX requests_by_creation"),
            (states(&[RequestState::Open]), "r USING INDEX requests_by_creation"),
            (
                states(&[RequestState::Open, RequestState::Failed]),
                "r USING INDEX requests_by_creation",
            ),
            (states(&[RequestState::Failed]), "r USING INDEX requests_unfulfilled"),
            (
                RequestFilter { vk_hash: Some(VkHash([1; 32])), ..all() },
                "r USING INDEX requests_by_creation",
            ),
            (
                RequestFilter { mode: Some(ProofMode::Core), ..all() },
                "r USING INDEX requests_by_creation",
            ),
            (
                RequestFilter { requester: Some(Address::ZERO), ..all() },
                "r USING INDEX requests_by_requester",
            ),
            (
                RequestFilter { before: Some((Millis(1), RequestId([1; 32]))), ..all() },
                "r USING INDEX requests_by_creation",
            ),
        ] {
            let plan = plan(filter.clone()).await;
            assert!(plan.contains(index), "{filter:?}: {plan}");
            assert!(!plan.contains("SCAN r;") && !plan.contains("FOR ORDER BY"), "{plan}");
        }
    }
}
