//! Stored records: programs, artifacts, requests, jobs, attempts and more, as plain data.
//!
//! Times are [`Millis`] of the Unix clock. The store writes these records, the cores change them, and the API
//! translates them; none of the three knows the others' formats.

mod artifact;
mod attempt;
mod audit;
mod change;
mod claim;
mod job;
mod notice;
mod request;
mod retention;
mod setting;
mod sharding;
mod time;
mod token;
mod trace;
mod views;

pub use artifact::{ArtifactKind, ArtifactRecord, ProgramRecord, ProgramState};
pub use attempt::{AttemptOutcome, AttemptRecord, AttemptTask};
pub use audit::AuditRecord;
pub use change::{Change, HistoryRow};
pub use claim::Claim;
pub use job::{JobRecord, JobState, Priority, Prover, job_key};
pub use notice::{NoticeId, NoticeRecord};
pub use request::{NetworkMode, RequestRecord, RequestState, idempotency_key};
pub use retention::{ArtifactUse, Cutoffs, DueRule};
pub use setting::{Setting, SettingKind};
pub use sharding::{
    DeferredEvents, ShardingRecord, TaskLease, TaskRecord, TaskState, TaskWait, UnfinishedSharding,
};
pub use time::Millis;
pub use token::{Role, TokenRecord, TokenUse};
pub use trace::{attempt_span, attempt_traceparent};
pub use views::{
    Accepted, ExecutionFilter, ReceiverState, RequestFilter, RequestView, StorageLow, Trouble,
    UnfinishedJob, Usage, WorkerState,
};
