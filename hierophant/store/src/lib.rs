//! The store: durable records of jobs, requests, attempts, artifacts, programs, tokens and settings, in SQLite or
//! Postgres.
//!
//! A promise to a client or a worker leaves only after [`JobStore::commit`] has returned.

mod audit;
mod browse;
mod driver;
mod error;
mod group;
mod history;
mod job_store;
mod measured;
mod notices;
pub mod postgres;
mod queries;
mod recent;
mod retention;
pub mod rows;
pub mod sqlite;
mod stages;
mod statement;
mod submission;
mod table_write;
mod tasks;
mod turns;
mod usage;
mod values;
mod write;

pub use audit::AuditLog;
pub use browse::{ArtifactFilter, Browse, DividedJob, JobFilter, LISTED_REQUESTS, TriedTask};
pub use error::{DriverError, LIST_LIMIT, StoreError, retry_policy};
pub use history::{EndedJob, OldRecords};
pub use job_store::JobStore;
pub use measured::CallObserver;
pub use notices::Notices;
pub use retention::DueArtifact;
pub use submission::Submission;
pub use tasks::{TaskCounts, read_sharding, read_task};
pub use usage::UsageStore;
