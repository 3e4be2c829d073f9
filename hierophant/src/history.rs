//! History: records that are older than `retention.records` are archived and deleted.
//!
//! An ended job goes with its requests and attempts, once the deadlines of its requests have passed and its proof is
//! removed: until then a client may repeat its call, poll it or fetch the proof. The records of removed artifacts and
//! the audit log follow their own age. What is deleted was written to a file first, if an archive is kept. After a crash in
//! between, the archive contains a record twice.

mod archive;
mod lines;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hierophant_model::records::{Change, HistoryRow, Millis};
use hierophant_model::text::error_chain;
use hierophant_store::{JobStore, StoreError};
use network_lib::task;
use tokio_util::sync::CancellationToken;

use archive::Archive;

/// Interval between runs.
const INTERVAL: Duration = Duration::from_secs(3600);

/// Time from a start to the first run.
const FIRST: Duration = Duration::from_secs(60);

/// Maximum number of jobs, and of other records, per transaction, so that other writes get their turn.
const BATCH: u32 = 200;

/// Maximum number of requests or attempts of a batch of jobs that are held in memory.
const MAX_ROWS: u32 = 2000;

/// Age at which the tasks of a job are deleted. Like the bytes that they name they are of use only for a while.
const TASKS: Duration = Duration::from_secs(7 * 24 * 3600);

/// Maximum number of jobs whose tasks are deleted in one transaction: a job may have more than a thousand.
const TASKS_BATCH: u32 = 20;

/// Rules for old records.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Age of ended jobs and removed artifacts; `None` = kept forever.
    pub records: Option<Duration>,
    /// Age of entries of the audit log.
    pub audit: Duration,
    /// Folder of the archive; `None` = nothing is archived.
    pub archive: Option<PathBuf>,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The store could not be read or written.
    #[error("store unavailable")]
    Store(#[from] StoreError),
    /// The archive could not be written.
    #[error("the archive cannot be written")]
    Archive(#[from] std::io::Error),
}

/// What a run has deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Number of jobs.
    pub jobs: usize,
    /// Number of their requests and attempts, of records of removed artifacts, and of entries of the audit log.
    pub others: usize,
    /// Number of jobs whose tasks were deleted.
    pub divisions: usize,
}

/// Archives and deletes old records.
#[derive(Debug)]
pub struct History {
    store: Arc<dyn JobStore>,
    rules: Rules,
    archive: Option<Archive>,
}

impl History {
    /// A history by these rules.
    #[must_use]
    pub fn new(store: Arc<dyn JobStore>, rules: Rules) -> Self {
        let archive = rules.archive.clone().map(Archive::new);
        Self { store, rules, archive }
    }

    /// Runs once an hour until `stop`.
    pub fn start(self, stop: CancellationToken) {
        let running = async move {
            let mut pause = FIRST;
            while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
                pause = INTERVAL;
                match stop.run_until_cancelled(self.run(Millis::now())).await {
                    Some(Ok(deleted)) if deleted != Deleted::default() => {
                        let Deleted { jobs, others, divisions } = deleted;
                        tracing::info!(jobs, others, divisions, "old records deleted");
                    }
                    Some(Err(error)) => {
                        tracing::warn!(error = %error_chain(&error), "old records not deleted");
                    }
                    Some(Ok(_)) | None => {}
                }
            }
        };
        task::spawn("history", running);
    }

    /// Archives and deletes what is too old now.
    ///
    /// # Errors
    ///
    /// [`HistoryError`]; what was deleted until then is archived.
    pub async fn run(&self, now: Millis) -> Result<Deleted, HistoryError> {
        let before = |age: Duration| Millis(now.0.saturating_sub(Millis::from(age).0));
        let mut deleted = Deleted::default();
        if let Some(age) = self.rules.records {
            self.jobs(before(age), now, &mut deleted).await?;
            self.artifacts(before(age), now, &mut deleted).await?;
        }
        self.audit(before(self.rules.audit), now, &mut deleted).await?;
        self.tasks(before(TASKS), &mut deleted).await?;
        Ok(deleted)
    }

    async fn jobs(
        &self,
        before: Millis,
        now: Millis,
        deleted: &mut Deleted,
    ) -> Result<(), HistoryError> {
        let mut after = None;
        loop {
            let found = self.store.ended_jobs(before, after, BATCH, now).await?;
            let Some(last) = found.last() else { return Ok(()) };
            after = last.job.finished_at.map(|at| (at, last.job.id));
            let jobs: Vec<_> =
                found.into_iter().filter(|it| !it.is_needed).map(|it| it.job).collect();
            if jobs.is_empty() {
                continue;
            }
            let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
            loop {
                let requests = self.store.requests_of_jobs(&ids, MAX_ROWS).await?;
                let attempts = self.store.attempts_of_jobs(&ids, MAX_ROWS).await?;
                // A job with very many requests loses them part by part, and goes itself with the last ones.
                let most = MAX_ROWS as usize;
                let is_last = requests.len() < most && attempts.len() < most;
                let jobs = if is_last { &jobs[..] } else { &[] };
                let lines = requests.iter().map(lines::request);
                let lines = lines.chain(attempts.iter().map(lines::attempt));
                let lines = lines.chain(jobs.iter().map(lines::job)).collect();
                let rows = requests.iter().map(|it| HistoryRow::Request(it.id));
                let rows = rows.chain(attempts.iter().map(|it| HistoryRow::Attempt(it.lease)));
                let rows = rows.chain(jobs.iter().map(|it| HistoryRow::Job(it.id))).collect();
                self.delete(now, lines, rows).await?;
                deleted.jobs += jobs.len();
                deleted.others += requests.len() + attempts.len();
                if is_last {
                    break;
                }
            }
        }
    }

    /// Deletes the tasks of jobs whose division into tasks has ended. They are not archived: the attempts at them are.
    async fn tasks(&self, before: Millis, deleted: &mut Deleted) -> Result<(), HistoryError> {
        loop {
            let found = self.store.ended_shardings(before, TASKS_BATCH).await?;
            if found.is_empty() {
                return Ok(());
            }
            let removed = found
                .iter()
                .flat_map(|job| [Change::TasksRemoved(*job), Change::ShardingRemoved(*job)]);
            self.store.commit(&removed.collect::<Vec<_>>()).await?;
            deleted.divisions += found.len();
        }
    }

    async fn artifacts(
        &self,
        before: Millis,
        now: Millis,
        deleted: &mut Deleted,
    ) -> Result<(), HistoryError> {
        loop {
            let found = self.store.removed_artifacts(before, BATCH).await?;
            if found.is_empty() {
                return Ok(());
            }
            let lines = found.iter().map(lines::artifact).collect();
            let rows = found.iter().map(|it| HistoryRow::Artifact(it.id)).collect();
            self.delete(now, lines, rows).await?;
            deleted.others += found.len();
        }
    }

    async fn audit(
        &self,
        before: Millis,
        now: Millis,
        deleted: &mut Deleted,
    ) -> Result<(), HistoryError> {
        loop {
            let found = self.store.audit_before(before, BATCH).await?;
            if found.is_empty() {
                return Ok(());
            }
            let lines = found.iter().map(lines::audit).collect();
            let rows = found.iter().map(|it| HistoryRow::Audit(it.id)).collect();
            self.delete(now, lines, rows).await?;
            deleted.others += found.len();
        }
    }

    /// Archives lines, then deletes their rows.
    async fn delete(
        &self,
        now: Millis,
        lines: Vec<serde_json::Value>,
        rows: Vec<HistoryRow>,
    ) -> Result<(), HistoryError> {
        if rows.is_empty() {
            return Ok(());
        }
        if let Some(archive) = &self.archive {
            archive.append(now, lines).await?;
        }
        let changes: Vec<Change> = rows.into_iter().map(Change::HistoryDeleted).collect();
        Ok(self.store.commit(&changes).await?)
    }
}
