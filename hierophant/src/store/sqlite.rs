//! The default store: one SQLite file in write-ahead mode, every commit synced to disk.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use alloy_primitives::Address;
use async_trait::async_trait;
use network_lib::ids::{ArtifactId, JobId, RequestId, Sha256Digest, VkHash};
use network_lib::job::FailureClass;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::rows::{bits, capped, cause_number, mode_number};
use super::{
    ExecutionFilter, JobStore, RequestFilter, RequestView, StoreError, UnfinishedJob, rows,
};
use crate::records::{
    ArtifactRecord, AttemptRecord, Change, JobRecord, Millis, ProgramRecord, RequestRecord,
};

/// Connections that only read; SQLite's write-ahead mode lets them go on beside the writer.
const READERS: u32 = 4;

const UNFINISHED: &str = "('queued', 'leased', 'proving', 'uploaded', 'verifying')";

/// A store in one file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, creating it or bringing it to this version's schema.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, is no database, or comes from a newer version.
    pub async fn open(file: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10));
        let opening = unavailable("opening it");
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await
            .map_err(opening)?;
        sqlx::migrate!("migrations/sqlite").run(&writer).await.map_err(|source| {
            StoreError::Schema { location: file.display().to_string(), source }
        })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true))
            .await
            .map_err(opening)?;
        Ok(Self { writer, readers })
    }
}

fn unavailable(action: &'static str) -> impl Fn(sqlx::Error) -> StoreError + Copy {
    move |source| StoreError::Unavailable { action, source }
}

#[async_trait]
impl JobStore for SqliteStore {
    async fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let failed = unavailable("writing");
        let mut transaction = self.writer.begin().await.map_err(failed)?;
        for change in changes {
            write(&mut transaction, change).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    async fn unfinished_jobs(&self) -> Result<Vec<UnfinishedJob>, StoreError> {
        let failed = unavailable("reading unfinished jobs");
        let rows_of = async |select: &str| {
            let sql = format!("{select} j.state IN {UNFINISHED} ORDER BY j.created_at, j.id");
            sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&self.readers).await.map_err(failed)
        };
        let mut jobs = Vec::new();
        let mut places = HashMap::new();
        for row in &rows_of("SELECT j.* FROM jobs j WHERE").await? {
            let job = rows::job(row)?;
            places.insert(job.id, jobs.len());
            jobs.push(UnfinishedJob { job, requests: Vec::new(), attempts: Vec::new() });
        }
        let select =
            "SELECT r.* FROM jobs j JOIN requests r ON r.job = j.id WHERE r.state = 'open' AND";
        for row in &rows_of(select).await? {
            let request = rows::request(row)?;
            if let Some(place) = places.get(&request.job) {
                jobs[*place].requests.push(request);
            }
        }
        for row in &rows_of("SELECT a.* FROM jobs j JOIN attempts a ON a.job = j.id WHERE").await? {
            let attempt = rows::attempt(row)?;
            if let Some(place) = places.get(&attempt.job) {
                jobs[*place].attempts.push(attempt);
            }
        }
        Ok(jobs)
    }

    async fn request(&self, id: RequestId) -> Result<Option<RequestView>, StoreError> {
        let failed = unavailable("reading a request");
        let row = sqlx::query("SELECT * FROM requests WHERE id = ?")
            .bind(id.0.as_slice())
            .fetch_optional(&self.readers)
            .await
            .map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        let request = rows::request(&row)?;
        let job = self.job(request.job).await?;
        Ok(Some(RequestView { request, job }))
    }

    async fn request_by_idempotency_key(
        &self,
        key: Sha256Digest,
    ) -> Result<Option<RequestId>, StoreError> {
        let row = sqlx::query("SELECT id FROM requests WHERE idempotency_key = ?")
            .bind(key.0.as_slice())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable("looking for an earlier request"))?;
        row.map(|row| rows::id(&row, "id")).transpose()
    }

    async fn proved_job(&self, key: Sha256Digest) -> Result<Option<JobRecord>, StoreError> {
        let row = sqlx::query(
            "SELECT * FROM jobs WHERE key = ? AND state = 'proved' ORDER BY finished_at DESC LIMIT 1",
        )
        .bind(key.0.as_slice())
        .fetch_optional(&self.readers)
        .await
        .map_err(unavailable("looking for a finished job"))?;
        row.map(|row| rows::job(&row)).transpose()
    }

    async fn set_aside(
        &self,
        key: Sha256Digest,
        since: Millis,
    ) -> Result<Option<JobRecord>, StoreError> {
        let row = sqlx::query(
            "SELECT * FROM jobs WHERE key = ? AND state = 'failed' AND failure_class = 'worker' \
             AND finished_at >= ? ORDER BY finished_at DESC LIMIT 1",
        )
        .bind(key.0.as_slice())
        .bind(since.0)
        .fetch_optional(&self.readers)
        .await
        .map_err(unavailable("looking for a job that was set aside"))?;
        row.map(|row| rows::job(&row)).transpose()
    }

    async fn job_of(
        &self,
        request: RequestId,
    ) -> Result<Option<(JobRecord, Vec<RequestRecord>)>, StoreError> {
        let Some(view) = self.request(request).await? else { return Ok(None) };
        let requests = self.requests_of(view.job.id).await?;
        Ok(Some((view.job, requests)))
    }

    async fn requests(&self, filter: &RequestFilter) -> Result<Vec<RequestView>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT r.* FROM requests r JOIN jobs j ON j.id = r.job WHERE 1 = 1",
        );
        push_conditions(&mut query, filter);
        query.push(" ORDER BY r.created_at DESC, r.id LIMIT ").push_bind(i64::from(filter.limit));
        query.push(" OFFSET ").push_bind(capped(filter.offset));
        let found = query
            .build()
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable("listing requests"))?;
        let mut views = Vec::with_capacity(found.len());
        for row in &found {
            let request = rows::request(row)?;
            let job = self.job(request.job).await?;
            views.push(RequestView { request, job });
        }
        Ok(views)
    }

    async fn finished_jobs(
        &self,
        limit: u32,
    ) -> Result<Vec<(JobRecord, Vec<RequestRecord>)>, StoreError> {
        let failed = unavailable("reading finished jobs");
        let found = sqlx::query(
            "SELECT * FROM jobs WHERE finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT ?",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        let mut jobs = Vec::with_capacity(found.len());
        for row in &found {
            let job = rows::job(row)?;
            let requests = self.requests_of(job.id).await?;
            jobs.push((job, requests));
        }
        Ok(jobs)
    }

    async fn program(&self, vk_hash: VkHash) -> Result<Option<ProgramRecord>, StoreError> {
        let row = sqlx::query("SELECT * FROM programs WHERE vk_hash = ?")
            .bind(vk_hash.0.as_slice())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable("reading a program"))?;
        row.map(|row| rows::program(&row)).transpose()
    }

    async fn artifact(&self, id: ArtifactId) -> Result<Option<ArtifactRecord>, StoreError> {
        let row = sqlx::query("SELECT * FROM artifacts WHERE id = ?")
            .bind(id.0.as_slice())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable("reading an artifact"))?;
        row.map(|row| rows::artifact(&row)).transpose()
    }

    async fn nonce(&self, address: Address) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT nonce FROM accounts WHERE address = ?")
            .bind(address.as_slice())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable("reading a nonce"))?;
        Ok(row.map_or(0, |row| row.get::<i64, _>("nonce").cast_unsigned()))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let answering = unavailable("answering");
        sqlx::query("SELECT 1").execute(&self.readers).await.map(drop).map_err(answering)
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

impl SqliteStore {
    async fn requests_of(&self, job: JobId) -> Result<Vec<RequestRecord>, StoreError> {
        let found = sqlx::query("SELECT * FROM requests WHERE job = ? ORDER BY created_at, id")
            .bind(job.0.as_slice())
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable("reading a job's requests"))?;
        found.iter().map(rows::request).collect()
    }

    async fn job(&self, id: JobId) -> Result<JobRecord, StoreError> {
        let row = sqlx::query("SELECT * FROM jobs WHERE id = ?")
            .bind(id.0.as_slice())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable("reading a job"))?;
        let missing = || StoreError::Corrupt { reason: format!("request without its job {id}") };
        rows::job(&row.ok_or_else(missing)?)
    }
}

fn push_conditions(query: &mut QueryBuilder<Sqlite>, filter: &RequestFilter) {
    if let Some(version) = &filter.version {
        query.push(" AND r.version = ").push_bind(version.clone());
    }
    if let Some(states) = &filter.states {
        query.push(" AND r.state IN (");
        let mut list = query.separated(", ");
        for state in states {
            list.push_bind(state.as_str());
        }
        query.push(")");
    }
    if let Some(execution) = filter.execution {
        query.push(match execution {
            ExecutionFilter::Unexecutable => " AND r.state = 'unexecutable'",
            ExecutionFilter::Executed => " AND r.state != 'unexecutable' AND j.cycles IS NOT NULL",
            ExecutionFilter::Unexecuted => " AND r.state != 'unexecutable' AND j.cycles IS NULL",
        });
    }
    if let Some(deadline) = filter.minimum_deadline {
        query.push(" AND r.deadline >= ").push_bind(capped(deadline));
    }
    if let Some(vk_hash) = filter.vk_hash {
        query.push(" AND j.vk_hash = ").push_bind(vk_hash.0.to_vec());
    }
    if let Some(requester) = filter.requester {
        query.push(" AND r.requester = ").push_bind(requester.to_vec());
    }
    if let Some(from) = filter.from {
        query.push(" AND r.created_at >= ").push_bind(from.0);
    }
    if let Some(to) = filter.to {
        query.push(" AND r.created_at <= ").push_bind(to.0);
    }
    if let Some(mode) = filter.mode {
        query.push(" AND j.mode = ").push_bind(mode_number(mode));
    }
    if let Some(cause) = filter.execution_failure_cause {
        query.push(" AND r.state = 'unexecutable' AND j.failure_cause = ");
        query.push_bind(cause_number(Some(cause)));
    }
}

async fn write(connection: &mut SqliteConnection, change: &Change) -> Result<(), sqlx::Error> {
    match change {
        Change::Job(job) => write_job(connection, job).await,
        Change::Request(request, spec) => {
            let key = request.idempotency_key(spec);
            write_request(connection, request, key).await
        }
        Change::Attempt(attempt) => write_attempt(connection, attempt).await,
        Change::Artifact(artifact) => write_artifact(connection, artifact).await,
        Change::Program(program) => write_program(connection, program).await,
        Change::CountNonce(address) => sqlx::query(
            "INSERT INTO accounts (address, nonce) VALUES (?, 1) \
             ON CONFLICT (address) DO UPDATE SET nonce = nonce + 1",
        )
        .bind(address.as_slice())
        .execute(connection)
        .await
        .map(drop),
    }
}

async fn write_job(connection: &mut SqliteConnection, job: &JobRecord) -> Result<(), sqlx::Error> {
    let failure = job.failure.as_ref();
    let prover = job.prover.as_ref();
    let execution = job.execution.as_ref();
    sqlx::query(
        "INSERT OR REPLACE INTO jobs (id, key, vk_hash, circuit_version, mode, cycle_limit, \
         gas_limit, program, program_size, program_sha256, stdin, stdin_size, stdin_sha256, state, \
         cycles, gas, public_values_hash, failure, failure_cause, failure_class, proof, worker, \
         worker_name, worker_backend, attempts, created_at, updated_at, started_at, finished_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(job.id.0.as_slice())
    .bind(job.key.0.as_slice())
    .bind(job.spec.vk_hash.0.as_slice())
    .bind(&job.spec.circuit_version)
    .bind(mode_number(job.spec.mode))
    .bind(bits(job.spec.cycle_limit))
    .bind(bits(job.spec.gas_limit))
    .bind(job.program.0.as_slice())
    .bind(bits(job.program_blob.size))
    .bind(job.program_blob.sha256.0.as_slice())
    .bind(job.stdin.0.as_slice())
    .bind(bits(job.stdin_blob.size))
    .bind(job.stdin_blob.sha256.0.as_slice())
    .bind(job.state.as_str())
    .bind(execution.map(|e| bits(e.cycles)))
    .bind(execution.and_then(|e| e.gas).map(bits))
    .bind(execution.map(|e| e.public_values_hash.0.to_vec()))
    .bind(failure.map(|f| f.message.as_str()))
    .bind(cause_number(failure.and_then(|f| f.cause)))
    .bind(failure.map(|f| f.class.as_str()))
    .bind(job.proof.map(|id| id.0.to_vec()))
    .bind(prover.map(|p| p.worker.0.to_vec()))
    .bind(prover.map(|p| p.name.as_str()))
    .bind(prover.map(|p| p.backend.as_str()))
    .bind(i64::from(job.attempts))
    .bind(job.created_at.0)
    .bind(job.updated_at.0)
    .bind(job.started_at.map(|t| t.0))
    .bind(job.finished_at.map(|t| t.0))
    .execute(connection)
    .await
    .map(drop)
}

async fn write_request(
    connection: &mut SqliteConnection,
    request: &RequestRecord,
    key: Sha256Digest,
) -> Result<(), sqlx::Error> {
    let whitelist: Vec<u8> = request.whitelist.iter().flat_map(|a| a.to_vec()).collect();
    sqlx::query(
        "INSERT INTO requests (id, idempotency_key, job, requester, network_mode, strategy, \
         version, stdin_uri, stdin_private, deadline, min_auction_period, whitelist, state, \
         created_at, updated_at, fulfilled_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (id) DO UPDATE SET job = excluded.job, state = excluded.state, \
         updated_at = excluded.updated_at, fulfilled_at = excluded.fulfilled_at",
    )
    .bind(request.id.0.as_slice())
    .bind(key.0.to_vec())
    .bind(request.job.0.as_slice())
    .bind(request.requester.as_slice())
    .bind(request.network_mode.as_str())
    .bind(i64::from(request.strategy))
    .bind(&request.version)
    .bind(&request.stdin_uri)
    .bind(i64::from(request.stdin_private))
    .bind(capped(request.deadline))
    .bind(bits(request.min_auction_period))
    .bind(whitelist)
    .bind(request.state.as_str())
    .bind(request.created_at.0)
    .bind(request.updated_at.0)
    .bind(request.fulfilled_at.map(|t| t.0))
    .execute(connection)
    .await
    .map(drop)
}

async fn write_attempt(
    connection: &mut SqliteConnection,
    attempt: &AttemptRecord,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT OR REPLACE INTO attempts (lease, job, worker, worker_name, worker_backend, \
         started_at, ended_at, outcome, failure_class, message, proof, proof_size, proof_sha256) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(attempt.lease.0.as_slice())
    .bind(attempt.job.0.as_slice())
    .bind(attempt.prover.worker.0.as_slice())
    .bind(&attempt.prover.name)
    .bind(attempt.prover.backend.as_str())
    .bind(attempt.started_at.0)
    .bind(attempt.ended_at.map(|t| t.0))
    .bind(attempt.outcome.as_str())
    .bind(attempt.failure_class.map(FailureClass::as_str))
    .bind(&attempt.message)
    .bind(attempt.proof.map(|(id, _)| id.0.to_vec()))
    .bind(attempt.proof.map(|(_, blob)| bits(blob.size)))
    .bind(attempt.proof.map(|(_, blob)| blob.sha256.0.to_vec()))
    .execute(connection)
    .await
    .map(drop)
}

async fn write_artifact(
    connection: &mut SqliteConnection,
    artifact: &ArtifactRecord,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT OR REPLACE INTO artifacts (id, kind, owner, size, sha256, created_at) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(artifact.id.0.as_slice())
    .bind(artifact.kind.as_str())
    .bind(artifact.owner.as_slice())
    .bind(artifact.blob.map(|blob| bits(blob.size)))
    .bind(artifact.blob.map(|blob| blob.sha256.0.to_vec()))
    .bind(artifact.created_at.0)
    .execute(connection)
    .await
    .map(drop)
}

async fn write_program(
    connection: &mut SqliteConnection,
    program: &ProgramRecord,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT OR REPLACE INTO programs (vk_hash, vk, artifact, size, sha256, owner, created_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(program.vk_hash.0.as_slice())
    .bind(&program.vk)
    .bind(program.artifact.0.as_slice())
    .bind(bits(program.blob.size))
    .bind(program.blob.sha256.0.as_slice())
    .bind(program.owner.as_slice())
    .bind(program.created_at.0)
    .execute(connection)
    .await
    .map(drop)
}
