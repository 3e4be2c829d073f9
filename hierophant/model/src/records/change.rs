//! Writes to the store.

use alloy_primitives::Address;
use network_lib::ids::{ArtifactId, Sha256Digest};
use network_lib::job::JobSpec;

use super::{
    ArtifactRecord, AttemptRecord, AuditRecord, JobRecord, Millis, NoticeId, NoticeRecord,
    ProgramRecord, RequestRecord, Setting, SettingKind, TokenRecord,
};

/// One write to the store; several make one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Inserts or replaces a job.
    Job(JobRecord),
    /// Inserts or replaces a request of a job with the given specification.
    Request(RequestRecord, JobSpec),
    /// Inserts or replaces an attempt.
    Attempt(AttemptRecord),
    /// Inserts or replaces an artifact.
    Artifact(ArtifactRecord),
    /// An artifact's bytes were fetched whole by a client.
    Delivered(ArtifactId, Millis),
    /// An artifact's bytes are not promised any more since then, or (`None`) are promised again.
    Expired(ArtifactId, Option<Millis>),
    /// An artifact's bytes are gone.
    Removed(ArtifactId, Millis),
    /// A ticket to which nothing was uploaded is no longer open.
    Forgotten(ArtifactId),
    /// Inserts or replaces a program.
    Program(ProgramRecord),
    /// Counts one accepted signed body of an account.
    CountNonce(Address),
    /// Inserts or replaces what an operator has set.
    Set(Setting),
    /// Removes it, by kind and subject.
    Unset(SettingKind, String),
    /// Writes down what an operator has done.
    Audited(AuditRecord),
    /// What was done before this time is not remembered any more.
    AuditForgotten(Millis),
    /// Inserts a token, or writes down when it was revoked.
    Token(TokenRecord),
    /// Inserts or replaces a notice.
    Notice(NoticeRecord),
    /// A notice was delivered or given up.
    NoticeSettled(NoticeId),
    /// A receiver is not to hear of anything any more.
    ReceiverForgotten(Sha256Digest),
}
