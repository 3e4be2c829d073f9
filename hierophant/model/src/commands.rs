//! What operators ask for, and what they are answered: the language between the API and the owners of state.
//!
//! An action that finds everything as it is to be is done too: asking twice is asking once.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use alloy_primitives::Address;
use network_lib::ids::{JobId, RequestId, VkHash, WorkerId};
use network_lib::job::ProofMode;

use crate::records::{JobState, Millis, Priority};

/// Characters of a reason that are kept.
const MAX_REASON_CHARS: usize = 200;

/// What is to happen to a request, to a job, or to dispatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Withdraw a request; its job stops when nobody else waits for it.
    CancelRequest(RequestId),
    /// Withdraw all requests of a job.
    CancelJob(JobId),
    /// Take a job away from whoever works on it, or make anew one that was given up.
    Requeue(JobId),
    /// Give a job a priority.
    Prioritise(JobId, Priority),
    /// Give nothing out, for this reason.
    Pause(String),
    /// Give out again.
    Resume,
}

/// What is to happen to a Contemplant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerCommand {
    /// It takes no more jobs, finishes what it holds and leaves, for this reason.
    Drain(WorkerId, String),
    /// It takes jobs again.
    Undrain(WorkerId),
    /// Its connection is closed for this reason, and what it works on waits again.
    Drop(WorkerId, String),
    /// It is turned away for this reason, dropped if it is there.
    Block(Subject, String),
    /// It is not turned away any more.
    Unblock(Subject),
}

/// How an action went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutcome {
    /// Whether anything is different from before.
    pub changed: bool,
    /// How things stand, in a sentence.
    pub now: String,
    /// The job that stands for it from now on, if it is another one.
    pub job: Option<JobId>,
}

impl CommandOutcome {
    /// Something was done.
    #[must_use]
    pub fn changed(now: impl Into<String>) -> Self {
        Self { changed: true, now: now.into(), job: None }
    }

    /// There was nothing to do.
    #[must_use]
    pub fn unchanged(now: impl Into<String>) -> Self {
        Self { changed: false, now: now.into(), job: None }
    }
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It is not such that this could be done with it; says how it is.
    #[error("{0}")]
    Conflict(String),
    /// The store or the actor does not answer; later it may.
    #[error("it could not be stored; try again later")]
    Unavailable,
}

/// Which unfinished jobs to cancel; all conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClearFilter {
    /// Any of these states.
    pub states: Vec<JobState>,
    /// Kind of proof.
    pub mode: Option<ProofMode>,
    /// Program.
    pub program: Option<VkHash>,
    /// Only the requests of this address; a job goes on for those of others.
    pub requester: Option<Address>,
    /// Created then or before.
    pub created_by: Option<Millis>,
}

/// What was cleared, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleared {
    /// The jobs, the oldest first. One that others wait for as well goes on.
    pub jobs: Vec<JobId>,
    /// How many requests.
    pub requests: usize,
}

/// Dispatch stands still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// Why, in the operator's words; may be empty.
    pub reason: String,
    /// Since when.
    pub since: Millis,
}

/// Who is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A Contemplant, wherever it comes from.
    Worker(WorkerId),
    /// Every Contemplant that comes from there.
    Address(IpAddr),
}

impl Subject {
    /// A Contemplant's address as one.
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

/// A text names neither a Contemplant nor an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither the id of a Contemplant (32 hexadecimal digits) nor an IP address")]
pub struct InvalidSubject;

/// Somebody who is turned away, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// Who.
    pub subject: String,
    /// Why; empty if the operator has not said it.
    pub reason: String,
    /// Since when; `None` for an entry of the configuration.
    pub since: Option<Millis>,
}

/// An operator's words as they are kept: on one line, of bounded length.
#[must_use]
pub fn reason(text: &str) -> String {
    let line = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(MAX_REASON_CHARS).collect()
}

/// `what`, and the reason behind it if there is one.
#[must_use]
pub fn with_reason(what: &str, reason: &str) -> String {
    if reason.is_empty() { what.to_owned() } else { format!("{what}: {reason}") }
}
