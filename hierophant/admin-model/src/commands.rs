//! JSON of operator commands: what operators send, and the answers.

use hierophant_model::commands;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Priority, ProofMode};

/// Reason for a command; may be omitted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Text of at most 200 characters, stored and displayed.
    #[serde(default)]
    pub reason: String,
}

/// Priority to set.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPriority {
    /// `urgent` (ahead of all others), `normal` or `low` (behind all others).
    pub class: Priority,
}

/// Jobs to cancel; all conditions must hold. At least one of `state`, `mode`, `program`, `requester` and
/// `older_than_seconds` is required, or `all`, and none may be empty text.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClearQueue {
    /// Any of these states, separated by commas: `queued`, and with `running` also `leased`, `proving`,
    /// `uploaded` and `verifying`. Default: `queued`, with `running` all five.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Whether to include jobs in progress.
    pub running: bool,
    /// Only this kind of proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<ProofMode>,
    /// Only this program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Only requests of this address; a job that also serves other requesters continues for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requester: Option<String>,
    /// Only jobs created at least this many seconds ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than_seconds: Option<u64>,
    /// Whether to cancel every queued job, and with `running` also those in progress, without another condition.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// Whether to report the matching jobs without cancelling them.
    pub dry_run: bool,
}

/// Outcome of a command.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// Whether the command changed anything.
    pub changed: bool,
    /// Resulting state in one sentence.
    pub now: String,
    /// Id of the job that replaces this one, if one does.
    pub job: Option<String>,
}

/// Outcome of a queue clearing.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Cleared {
    /// Whether this was a dry run.
    pub dry_run: bool,
    /// Number of matching jobs.
    pub jobs: usize,
    /// Number of their matching requests.
    pub requests: usize,
    /// Ids of the first 100 matching jobs, oldest first.
    pub listed: Vec<String>,
}

/// A pause of dispatch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Paused {
    /// Reason given by the operator; may be empty.
    pub reason: String,
    /// Start of the pause.
    pub since: i64,
}

/// A blocked worker or address.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Blocked {
    /// Worker id or IP address.
    pub subject: String,
    /// Reason; may be empty.
    pub reason: String,
    /// Start of the block; absent for an entry of the configuration.
    pub since: Option<i64>,
}

impl Done {
    /// JSON of an outcome.
    #[must_use]
    pub fn of(done: commands::CommandOutcome) -> Self {
        let commands::CommandOutcome { changed, now, job } = done;
        Self { changed, now, job: job.map(|job| job.to_string()) }
    }
}

impl Cleared {
    /// Maximum number of listed ids.
    pub const LISTED: usize = 100;

    /// JSON of a clearing.
    #[must_use]
    pub fn of(cleared: &commands::Cleared, dry_run: bool) -> Self {
        let listed = cleared.jobs.iter().take(Self::LISTED).map(ToString::to_string);
        let (jobs, requests) = (cleared.jobs.len(), cleared.requests);
        Self { dry_run, jobs, requests, listed: listed.collect() }
    }
}

impl Paused {
    /// JSON of a pause.
    #[must_use]
    pub fn of(paused: &commands::Paused) -> Self {
        Self { reason: paused.reason.clone(), since: paused.since.0 }
    }
}

impl Blocked {
    /// JSON of a block.
    #[must_use]
    pub fn of(blocked: &commands::Blocked) -> Self {
        let commands::Blocked { subject, reason, since } = blocked.clone();
        Self { subject, reason, since: since.map(|at| at.0) }
    }
}
