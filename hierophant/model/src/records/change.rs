//! Writes to the store.

use alloy_primitives::Address;
use network_lib::ids::{
    ArtifactId, AuditId, JobId, LeaseId, RequestId, Sha256Digest, TokenId, VkHash,
};
use network_lib::job::JobSpec;

use super::{
    ArtifactRecord, AttemptRecord, AuditRecord, DueRule, JobRecord, Millis, NoticeId, NoticeRecord,
    ProgramRecord, ProgramState, RequestRecord, Setting, SettingKind, ShardingRecord, TaskRecord,
    TokenRecord, TokenUse,
};
use crate::clients::Owner;

/// Write to the store; several form one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Inserts or replaces a job.
    Job(JobRecord),
    /// Inserts or replaces a request of a job with the given specification.
    Request(RequestRecord, JobSpec),
    /// Inserts or replaces an attempt.
    Attempt(AttemptRecord),
    /// Inserts or replaces the division of a job into tasks, which has not ended.
    Sharding(ShardingRecord),
    /// The division of a job has ended at this time: its rows are kept for a while, and not loaded at a start.
    ShardingEnded(JobId, Millis),
    /// Removes the division of a job.
    ShardingRemoved(JobId),
    /// Inserts or replaces a task.
    Task(TaskRecord),
    /// Removes all tasks of a job.
    TasksRemoved(JobId),
    /// Inserts or replaces an artifact.
    Artifact(ArtifactRecord),
    /// A client has downloaded an artifact completely. Not stored for an expired one.
    Delivered(ArtifactId, Millis),
    /// When an artifact is looked at next. Without effect if it was delivered since it was looked at.
    Rescheduled {
        /// The artifact.
        id: ArtifactId,
        /// Its last delivery, as it was known.
        delivered_at: Option<Millis>,
        /// Limit that decides.
        rule: DueRule,
        /// Time that the limit is compared with.
        since: Millis,
    },
    /// An artifact has expired at this time, or (`None`) is available again.
    Expired(ArtifactId, Option<Millis>),
    /// The data of an artifact was removed.
    Removed(ArtifactId, Millis),
    /// An unused ticket was closed.
    Forgotten(ArtifactId),
    /// Inserts or replaces a program.
    Program(ProgramRecord),
    /// Stores what is known about this upload of a program. Has no effect if the program has another upload by now,
    /// or is confirmed.
    ProgramState(VkHash, ArtifactId, ProgramState),
    /// Makes a signer's client the owner of a program.
    ProgramOwner(VkHash, Owner),
    /// Removes a program from the registered ones.
    ProgramRemoved(VkHash),
    /// Counts one accepted signed body of an account.
    CountNonce(Address),
    /// Inserts or replaces a setting of operators.
    Set(Setting),
    /// Removes a setting by kind and subject.
    Unset(SettingKind, String),
    /// Adds an entry to the audit log.
    Audited(AuditRecord),
    /// Removes entries of the audit log before this time.
    AuditForgotten(Millis),
    /// Inserts a token, or stores its revocation.
    Token(TokenRecord),
    /// Last use of a token.
    TokenUsed(TokenId, TokenUse),
    /// Inserts or replaces a notice.
    Notice(NoticeRecord),
    /// Removes a notice that was delivered or abandoned.
    NoticeSettled(NoticeId),
    /// Moves the next delivery attempts of all notices for a receiver by this many milliseconds, to this time at the
    /// latest: the wall clock was set.
    NoticesMoved(Sha256Digest, i64, Millis),
    /// Removes all notices for a receiver.
    ReceiverForgotten(Sha256Digest),
    /// Removes an old record.
    HistoryDeleted(HistoryRow),
}

/// An old record that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryRow {
    /// A job that has ended.
    Job(JobId),
    /// A request of such a job.
    Request(RequestId),
    /// An attempt at such a job.
    Attempt(LeaseId),
    /// An artifact whose data was removed.
    Artifact(ArtifactId),
    /// An entry of the audit log.
    Audit(AuditId),
}
