//! Where facts survive: the [`JobStore`] trait, and what can go wrong with it.
//!
//! A promise to a client or a Contemplant leaves only after [`JobStore::commit`] has returned.

mod audit;
mod browse;
mod group;
mod measured;
mod notices;
pub mod postgres;
mod queries;
mod retention;
pub mod rows;
pub mod sqlite;
mod statement;
mod taken;
mod values;
mod write;

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;

use alloy_primitives::Address;
use async_trait::async_trait;
use backon::ExponentialBuilder;
use hierophant_model::records::{
    Accepted, ArtifactRecord, Change, Cutoffs, JobRecord, Millis, ProgramRecord, RequestFilter,
    RequestRecord, RequestView, Setting, TokenRecord, UnfinishedJob,
};
use network_lib::ids::{ArtifactId, JobId, RequestId, Sha256Digest, VkHash, WorkerId};

use crate::config::Config;
use crate::metrics::Metrics;

use group::Grouped;
use measured::Measured;
use queries::SqlStore;

pub use audit::AuditLog;
pub use browse::{ArtifactFilter, Browse, JobFilter};
pub use notices::Notices;
pub use retention::RetentionStep;
pub use taken::Taken;

/// What the driver of a database says went wrong.
pub type DriverError = Box<dyn Error + Send + Sync>;

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
        source: DriverError,
    },
    /// The database does not let us in.
    #[error("cannot open the database {location}; check `database_url` and the server")]
    Unreachable {
        /// Server and database, without user and password.
        location: String,
        /// The driver's error.
        #[source]
        source: DriverError,
    },
    /// The store holds something that this version cannot read.
    #[error("stored record is not readable: {reason}")]
    Corrupt {
        /// What is wrong with it.
        reason: String,
    },
    /// Another Hierophant writes here, so this one must not.
    #[error(
        "another Hierophant uses the database {location}; stop it or choose another `database_url`"
    )]
    Taken {
        /// File or server.
        location: String,
    },
    /// The database cannot be used as it is, and was left as it is.
    #[error("the database {location} {reason}")]
    Unusable {
        /// File or server.
        location: String,
        /// What is wrong with it, and what to do.
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

/// How a call is repeated that ran into [`StoreError::is_transient`]: seven times within about a minute.
#[must_use]
pub fn patience() -> ExponentialBuilder {
    ExponentialBuilder::default().with_max_times(6)
}

impl StoreError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Wraps a driver's error, saying what was being done.
    fn unavailable<E: Into<DriverError>>(action: &'static str) -> impl Fn(E) -> Self + Copy {
        move |source| Self::Unavailable { action, source: source.into() }
    }

    /// What a failed migration means to the operator.
    fn migration(location: &str, source: sqlx::migrate::MigrateError) -> Self {
        use sqlx::migrate::MigrateError;
        let location = location.to_owned();
        match source {
            MigrateError::VersionMissing(version) => Self::Unusable {
                location,
                reason: format!(
                    "comes from a newer version (it has schema change {version}, which this version \
                     does not know); run that version, or restore a backup made before the upgrade"
                ),
            },
            MigrateError::VersionMismatch(version) => Self::Unusable {
                location,
                reason: format!(
                    "was made by another program (its schema change {version} is not Hierophant's); \
                     choose another one"
                ),
            },
            source => Self::Schema { location, source },
        }
    }
}

/// Opens the store that the configuration names.
///
/// # Errors
///
/// When it cannot be reached, or used as it is; the text says where it is and what to do.
pub async fn open(config: &Config, metrics: Metrics) -> Result<Arc<dyn JobStore>, StoreError> {
    Ok(match &config.database_url {
        Some(url) => {
            let driver = postgres::connect(url.reveal()).await?;
            Arc::new(SqlStore(Grouped::new(Measured { driver, metrics })))
        }
        None => {
            let driver = sqlite::connect(&config.data_dir.join("hierophant.db")).await?;
            Arc::new(SqlStore(Grouped::new(Measured { driver, metrics })))
        }
    })
}

/// Durable memory. One writer calls [`commit`](Self::commit) for each kind of record; anybody reads.
#[async_trait]
pub trait JobStore: AuditLog + Browse + Notices + Taken + Debug {
    /// Writes all changes or none, durably.
    async fn commit(&self, changes: &[Change]) -> Result<(), StoreError>;

    /// All jobs that are not terminal, the oldest first.
    async fn unfinished_jobs(&self) -> Result<Vec<UnfinishedJob>, StoreError>;

    /// The attempts that failed by a worker's fault at `since` or later: whose, and when; the oldest
    /// first.
    async fn strikes(&self, since: Millis) -> Result<Vec<(WorkerId, Millis)>, StoreError>;

    /// One request with its job.
    async fn request(&self, id: RequestId) -> Result<Option<RequestView>, StoreError>;

    /// The request that an earlier try of the same call made, with its job.
    async fn request_by_idempotency_key(
        &self,
        key: Sha256Digest,
    ) -> Result<Option<Accepted>, StoreError>;

    /// The latest finished job with this content whose proof is kept.
    async fn proved_job(&self, key: Sha256Digest) -> Result<Option<JobRecord>, StoreError>;

    /// The latest job with this content that was given up after failing on Contemplants, if it ended
    /// at `since` or later.
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

    /// One job.
    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, StoreError>;

    /// Finished jobs with their requests, the latest first; the next page begins `before` the last job
    /// of this one.
    async fn finished_jobs(
        &self,
        limit: u32,
        before: Option<(Millis, JobId)>,
    ) -> Result<Vec<(JobRecord, Vec<RequestRecord>)>, StoreError>;

    /// One program.
    async fn program(&self, vk_hash: VkHash) -> Result<Option<ProgramRecord>, StoreError>;

    /// One artifact.
    async fn artifact(&self, id: ArtifactId) -> Result<Option<ArtifactRecord>, StoreError>;

    /// Which of these artifacts have a record whose bytes have not been removed.
    async fn kept_artifacts(&self, ids: &[ArtifactId]) -> Result<BTreeSet<ArtifactId>, StoreError>;

    /// The artifacts that a step of retention is about, the oldest first.
    async fn artifacts_to(
        &self,
        step: RetentionStep,
        cutoffs: &Cutoffs,
        limit: u32,
    ) -> Result<Vec<ArtifactRecord>, StoreError>;

    /// Size of all artifacts whose bytes have not been removed.
    async fn stored_bytes(&self) -> Result<u64, StoreError>;

    /// Whether no artifact was ever recorded: the store is new.
    async fn is_new(&self) -> Result<bool, StoreError>;

    /// What operators have set.
    async fn settings(&self) -> Result<Vec<Setting>, StoreError>;

    /// All tokens, also those that were revoked, the oldest first.
    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError>;

    /// How many signed bodies of this account were accepted.
    async fn nonce(&self, address: Address) -> Result<u64, StoreError>;

    /// Returns if the store answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Waits for what is being written and lets go of the store.
    async fn close(&self);
}
