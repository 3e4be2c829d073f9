//! The JSON of what operators do: what they send and what they are answered.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::operate;

/// Why something is done; may be left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// In the operator's words; kept and shown, at most 200 characters.
    #[serde(default)]
    pub reason: String,
}

/// Which priority.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPriority {
    /// `urgent` (before all others), `normal` or `low` (after all others).
    pub class: String,
}

/// Which jobs to cancel; all conditions must hold.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClearQueue {
    /// Any of these states, separated by commas: `queued`, and with `running` also `leased`, `proving`,
    /// `uploaded` and `verifying`. By default `queued`, with `running` all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Whether jobs in progress are meant too.
    pub running: bool,
    /// Kind of proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Id of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Only requests of this address; a job for which others wait too goes on for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requester: Option<String>,
    /// Only jobs that were created at least so many seconds ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than_seconds: Option<u64>,
    /// Only say what would be cancelled.
    pub dry_run: bool,
}

/// How an action went.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// Whether anything is different from before.
    pub changed: bool,
    /// How things stand, in a sentence.
    pub now: String,
    /// Id of the job that stands for it from now on, if it is another one.
    pub job: Option<String>,
}

/// What was cancelled, or would be.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Cleared {
    /// Whether it was only looked at.
    pub dry_run: bool,
    /// How many jobs match.
    pub jobs: usize,
    /// How many of their requests.
    pub requests: usize,
    /// Ids of the first 100 of these jobs, the oldest first.
    pub listed: Vec<String>,
}

/// Dispatch stands still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Paused {
    /// Why, in the operator's words; may be empty.
    pub reason: String,
    /// Since when.
    pub since: i64,
}

/// Somebody who is turned away.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Blocked {
    /// Id of a Contemplant, or an IP address.
    pub subject: String,
    /// Why; may be empty.
    pub reason: String,
    /// Since when; none for an entry of the configuration.
    pub since: Option<i64>,
}

impl Done {
    pub(in super::super) fn of(done: operate::Done) -> Self {
        let operate::Done { changed, now, job } = done;
        Self { changed, now, job: job.map(|job| job.to_string()) }
    }
}

impl Cleared {
    /// Ids that are listed at most.
    pub(in super::super) const LISTED: usize = 100;

    pub(in super::super) fn of(cleared: &operate::Cleared, dry_run: bool) -> Self {
        let listed = cleared.jobs.iter().take(Self::LISTED).map(ToString::to_string);
        let (jobs, requests) = (cleared.jobs.len(), cleared.requests);
        Self { dry_run, jobs, requests, listed: listed.collect() }
    }
}

impl Paused {
    pub(in super::super) fn of(paused: &operate::Paused) -> Self {
        Self { reason: paused.reason.clone(), since: paused.since.0 }
    }
}

impl Blocked {
    pub(in super::super) fn of(blocked: &operate::Blocked) -> Self {
        let operate::Blocked { subject, reason, since } = blocked.clone();
        Self { subject, reason, since: since.map(|at| at.0) }
    }
}
