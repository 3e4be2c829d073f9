//! Operator commands and their outcomes, between the API and the actors.
//!
//! Commands are idempotent: one that finds the intended state succeeds without a change.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use alloy_primitives::Address;
use network_lib::ids::{JobId, RequestId, VkHash, WorkerId};
use network_lib::job::ProofMode;

use crate::records::{JobState, Millis, Priority};

/// Maximum length of a reason in characters.
const MAX_REASON_CHARS: usize = 200;

/// Command about a request, a job or the dispatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Cancel a request, and its job if it was the last request.
    CancelRequest(RequestId),
    /// Cancel a job with all its requests.
    CancelJob(JobId),
    /// Take a job from its workers, or create a failed job again.
    Requeue(JobId),
    /// Set the priority of a job.
    Prioritise(JobId, Priority),
    /// Pause dispatch, for this reason.
    Pause(String),
    /// Resume dispatch.
    Resume,
}

/// Command about a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerCommand {
    /// Let the worker finish its attempts and leave, for this reason.
    Drain(WorkerId, String),
    /// End the drain.
    Undrain(WorkerId),
    /// Close its connection for this reason; its jobs are queued again.
    Drop(WorkerId, String),
    /// Refuse it for this reason, and drop it if it is connected.
    Block(Subject, String),
    /// End the block.
    Unblock(Subject),
}

/// Outcome of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutcome {
    /// Whether the command changed anything.
    pub changed: bool,
    /// Resulting state in one sentence.
    pub now: String,
    /// Job that replaces the original one, if one does.
    pub job: Option<JobId>,
}

impl CommandOutcome {
    /// Outcome of a command that changed the state.
    #[must_use]
    pub fn changed(now: impl Into<String>) -> Self {
        Self { changed: true, now: now.into(), job: None }
    }

    /// Outcome of a command that found the intended state.
    #[must_use]
    pub fn unchanged(now: impl Into<String>) -> Self {
        Self { changed: false, now: now.into(), job: None }
    }
}

/// Reason why a command was not executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Its subject does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The current state does not allow it; the text describes the state.
    #[error("{0}")]
    Conflict(String),
    /// The store or the actor does not answer. A retry may succeed.
    #[error("the command could not be stored; try again later")]
    Unavailable,
}

/// Filter of the jobs to cancel; all conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClearFilter {
    /// Any of these states.
    pub states: Vec<JobState>,
    /// Kind of proof.
    pub mode: Option<ProofMode>,
    /// Program.
    pub program: Option<VkHash>,
    /// Only requests of this address; a job continues for its other requests.
    pub requester: Option<Address>,
    /// Latest creation time.
    pub created_by: Option<Millis>,
}

/// Result or preview of clearing the queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Affected jobs, the oldest first. A job with other requests continues.
    pub jobs: Vec<JobId>,
    /// Number of cancelled requests.
    pub requests: usize,
}

/// Pause of the dispatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// Operator's reason; may be empty.
    pub reason: String,
    /// Start of the pause.
    pub since: Millis,
}

/// Subject of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A worker at any address.
    Worker(WorkerId),
    /// All workers at an address.
    Address(IpAddr),
}

impl Subject {
    /// The subject that blocks a worker's address.
    #[must_use]
    pub const fn address(ip: IpAddr) -> Self {
        Self::Address(ip.to_canonical())
    }
}

impl FromStr for Subject {
    type Err = InvalidSubject;

    fn from_str(text: &str) -> Result<Self, InvalidSubject> {
        let address = || text.parse().map(Self::address).map_err(|_| InvalidSubject);
        text.parse().map(Self::Worker).or_else(|_| address())
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker(id) => id.fmt(f),
            Self::Address(ip) => ip.fmt(f),
        }
    }
}

/// Error for a text that is neither a worker id nor an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a worker id (32 hexadecimal digits) or an IP address")]
pub struct InvalidSubject;

/// Block, for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// Blocked subject.
    pub subject: String,
    /// Reason; may be empty.
    pub reason: String,
    /// Start of the block; `None` for an entry of the configuration.
    pub since: Option<Millis>,
}

/// Operator's reason in the form in which it is stored: one line of bounded length.
#[must_use]
pub fn reason(text: &str) -> String {
    let line = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(MAX_REASON_CHARS).collect()
}

/// `what`, followed by the reason if it is not empty.
#[must_use]
pub fn with_reason(what: &str, reason: &str) -> String {
    if reason.is_empty() { what.to_owned() } else { format!("{what}: {reason}") }
}
