//! Old records: what ended long ago, read in batches to be archived and deleted.

use async_trait::async_trait;
use hierophant_model::records::{
    ArtifactRecord, AttemptRecord, AuditRecord, JobRecord, Millis, RequestRecord,
};
use network_lib::ids::JobId;

use crate::StoreError;
use crate::driver::{Driver, SqlStore};
use crate::rows::{self, Columns};
use crate::statement::Statement;

/// A job that ended long ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedJob {
    /// The job.
    pub job: JobRecord,
    /// Whether the deadline of one of its requests is ahead, or its proof is kept.
    pub is_needed: bool,
}

/// Reads of old records.
#[async_trait]
pub trait OldRecords: Send + Sync {
    /// Jobs that ended before a time, the longest ago first, after the given place.
    async fn ended_jobs(
        &self,
        before: Millis,
        after: Option<(Millis, JobId)>,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<EndedJob>, StoreError>;

    /// Requests of jobs, at most `limit`, in any order.
    async fn requests_of_jobs(
        &self,
        jobs: &[JobId],
        limit: u32,
    ) -> Result<Vec<RequestRecord>, StoreError>;

    /// Attempts of jobs, at most `limit`, in any order.
    async fn attempts_of_jobs(
        &self,
        jobs: &[JobId],
        limit: u32,
    ) -> Result<Vec<AttemptRecord>, StoreError>;

    /// Jobs whose division into tasks ended before a time, the longest ago first.
    async fn ended_shardings(&self, before: Millis, limit: u32) -> Result<Vec<JobId>, StoreError>;

    /// Artifacts whose bytes were removed before a time, the longest ago first.
    async fn removed_artifacts(
        &self,
        before: Millis,
        limit: u32,
    ) -> Result<Vec<ArtifactRecord>, StoreError>;

    /// Entries of the audit log before a time, the oldest first.
    async fn audit_before(
        &self,
        before: Millis,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError>;
}

#[async_trait]
impl<D: Driver> OldRecords for SqlStore<D> {
    async fn ended_jobs(
        &self,
        before: Millis,
        after: Option<(Millis, JobId)>,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<EndedJob>, StoreError> {
        let mut query = Statement::new(
            "SELECT j.*, CAST(CASE WHEN EXISTS \
             (SELECT 1 FROM requests r WHERE r.job = j.id AND r.deadline >= $1) OR EXISTS \
             (SELECT 1 FROM artifacts a WHERE a.id = j.proof AND a.removed_at IS NULL) \
             THEN 1 ELSE 0 END AS BIGINT) AS needed FROM jobs j \
             WHERE j.finished_at IS NOT NULL AND j.finished_at < $2",
        )
        .bind(now.0.div_euclid(1000))
        .bind(before.0);
        if let Some((at, id)) = after {
            query.push_bind(" AND (j.finished_at, j.id) > (", at.0);
            query.push_bind(", ", id.0.as_slice());
            query.push(")");
        }
        query.push_bind(" ORDER BY j.finished_at, j.id LIMIT ", i64::from(limit));
        let read = |row: &dyn Columns| {
            Ok(EndedJob { job: rows::job(row)?, is_needed: rows::int(row, "needed")? != 0 })
        };
        self.many("reading old jobs", query.by_index(), read).await
    }

    async fn requests_of_jobs(
        &self,
        jobs: &[JobId],
        limit: u32,
    ) -> Result<Vec<RequestRecord>, StoreError> {
        let query = of_jobs("requests", jobs, limit);
        self.many("reading old requests", query.by_index(), rows::request).await
    }

    async fn attempts_of_jobs(
        &self,
        jobs: &[JobId],
        limit: u32,
    ) -> Result<Vec<AttemptRecord>, StoreError> {
        let query = of_jobs("attempts", jobs, limit);
        self.many("reading old attempts", query.by_index(), rows::attempt).await
    }

    async fn ended_shardings(&self, before: Millis, limit: u32) -> Result<Vec<JobId>, StoreError> {
        let mut query = Statement::new(
            "SELECT job FROM shardings WHERE ended_at IS NOT NULL AND ended_at < $1",
        )
        .bind(before.0);
        query.push_bind(" ORDER BY ended_at LIMIT ", i64::from(limit));
        let read = |row: &dyn Columns| rows::id::<JobId>(row, "job");
        self.many("reading old divisions into tasks", query.by_index(), read).await
    }

    async fn removed_artifacts(
        &self,
        before: Millis,
        limit: u32,
    ) -> Result<Vec<ArtifactRecord>, StoreError> {
        let mut query = Statement::new(
            "SELECT * FROM artifacts WHERE removed_at IS NOT NULL AND removed_at < $1",
        )
        .bind(before.0);
        query.push_bind(" ORDER BY removed_at LIMIT ", i64::from(limit));
        self.many("reading removed artifacts", query.by_index(), rows::artifact).await
    }

    async fn audit_before(
        &self,
        before: Millis,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let mut query = Statement::new("SELECT * FROM audit WHERE at < $1").bind(before.0);
        query.push_bind(" ORDER BY at, id LIMIT ", i64::from(limit));
        self.many("reading the audit log", query, rows::audited).await
    }
}

fn of_jobs(table: &str, jobs: &[JobId], limit: u32) -> Statement {
    let mut query = Statement::new(format!("SELECT * FROM {table} WHERE "));
    query.push_list("job IN ", jobs.iter().map(|job| job.0.as_slice()));
    query.push_bind(" LIMIT ", i64::from(limit));
    query
}
