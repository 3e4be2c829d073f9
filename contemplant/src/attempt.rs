//! An attempt: what Hierophant hands out, the events while it runs, and its end.

use network_lib::ids::LeaseId;
use network_lib::job::{BlobInfo, Execution, Failure, JobSpec, Progress};

/// An attempt as Hierophant hands it out.
#[derive(Debug, Clone)]
pub struct Job {
    /// The attempt.
    pub lease_id: LeaseId,
    /// What to prove.
    pub spec: JobSpec,
    /// The program as it will arrive.
    pub program: BlobInfo,
    /// The input as it will arrive.
    pub stdin: BlobInfo,
    /// The attempt's place in the job's trace, as W3C's `traceparent`.
    pub traceparent: Option<String>,
}

/// What an attempt tells about itself.
#[derive(Debug, Clone, PartialEq)]
pub enum JobEvent {
    /// It has gone on.
    Progress(Progress),
    /// The program has been executed.
    Executed(Execution),
    /// It is over, and the machine is free again.
    Ended(Outcome),
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The proof has been handed in.
    Completed {
        /// What the execution found.
        execution: Execution,
        /// Size and digest of the proof.
        proof: BlobInfo,
    },
    /// There is no proof.
    Failed(Failure),
    /// Nothing is to be said of it: it was cancelled, or the program ends.
    Abandoned,
}
