//! What the `proofs` actor is told and asked.

use alloy_primitives::Address;
use hierophant_model::commands::{ClearFilter, Cleared, Command, CommandError, CommandOutcome};
use hierophant_model::records::Accepted;
use hierophant_scheduler::SessionId;
use hierophant_scheduler::proofs::{
    CancelError, LeaseAccess, NewRequest, Overview, QueuedJob, SubmitError, Why, WorkerJoined,
};
use network_lib::handshake::Capabilities;
use network_lib::ids::{ArtifactId, JobId, LeaseId, RequestId, WorkerId};
use network_lib::job::{BlobInfo, Execution, Failure, Progress};
use ractor::RpcReplyPort;

use crate::session::SessionHandle;

/// A clearing of the queue that goes on, a batch at a time: others are answered in between.
#[derive(Debug)]
pub struct Clearing {
    /// What is left to cancel.
    pub left: Vec<JobId>,
    /// Only the requests of this address.
    pub requester: Option<Address>,
    /// What is cancelled.
    pub cleared: Cleared,
    /// Who is to hear of it.
    pub port: RpcReplyPort<Cleared>,
}

/// Messages of the `proofs` actor.
#[derive(Debug)]
pub enum ProofsMsg {
    /// Accept a request. The artifact is a finished proof whose data is missing.
    Submit(Box<NewRequest>, Option<ArtifactId>, RpcReplyPort<Result<Accepted, SubmitError>>),
    /// Withdraw a request on behalf of an address.
    Cancel(RequestId, Address, RpcReplyPort<Result<(), CancelError>>),
    /// `registry`: a worker is there, and how it is talked to. Its first message is the welcome.
    WorkerJoined(Box<WorkerJoined>, SessionHandle),
    /// `registry`: what a worker can prove has changed.
    CapabilitiesChanged(WorkerId, SessionId, Capabilities),
    /// `registry`: a worker wants no more jobs.
    WorkerDraining(WorkerId, SessionId),
    /// `registry`: a worker's connection broke; it may come back.
    WorkerAway(WorkerId, SessionId),
    /// `registry`: a worker is gone.
    WorkerRemoved(WorkerId, SessionId, String),
    /// Session: the attempts that a worker says it holds.
    HeldLeases(WorkerId, SessionId, Vec<LeaseId>),
    /// Session: an attempt has gone on.
    Progressed(WorkerId, LeaseId, Progress),
    /// Session: the program has been executed.
    Executed(WorkerId, LeaseId, Execution),
    /// Session: the worker says that the proof is made and handed in.
    Completed(WorkerId, LeaseId, Execution, BlobInfo),
    /// Session: an attempt has failed.
    Failed(WorkerId, LeaseId, Failure),
    /// API: the proof's bytes of an attempt are stored. Answers whether the attempt still counts.
    ProofStored(LeaseId, ArtifactId, BlobInfo, RpcReplyPort<bool>),
    /// API: the program's or input's bytes of an attempt are gone.
    InputLost(LeaseId),
    /// API: the bytes of this request's finished proof are gone. Answers whether it is being made again.
    ProofLost(RequestId, ArtifactId, RpcReplyPort<bool>),
    /// A check of a proof has ended.
    Checked(LeaseId, Result<(), Failure>),
    /// What the holder of a lease may fetch, `None` if it does not count (any more).
    LeaseAccess(LeaseId, WorkerId, RpcReplyPort<Option<LeaseAccess>>),
    /// The scheduler at a glance.
    Overview(RpcReplyPort<Overview>),
    /// An operator has something done.
    Command(Command, RpcReplyPort<Result<CommandOutcome, CommandError>>),
    /// What clearing the queue would cancel.
    PreviewClear(ClearFilter, RpcReplyPort<Cleared>),
    /// Cancel all that match; answers when all is stored.
    Clear(ClearFilter, RpcReplyPort<Cleared>),
    /// Go on with a clearing.
    ContinueClear(Box<Clearing>),
    /// `registry`: an operator has a worker take no more jobs, for this reason, or again.
    WorkerDrained(WorkerId, SessionId, Option<String>),
    /// Why a job has no proof yet, `None` if it has ended or there is no such job.
    Why(JobId, RpcReplyPort<Option<Why>>),
    /// The waiting jobs in their order: how many to leave out, how many at most.
    QueueSnapshot(usize, usize, RpcReplyPort<Vec<QueuedJob>>),
    /// The store does not take what was decided.
    StoreLost,
    /// Time has passed.
    Sweep,
}

impl ProofsMsg {
    /// The worker of which it tells something that people see.
    #[must_use]
    pub fn affected_worker(&self) -> Option<WorkerId> {
        match self {
            Self::WorkerJoined(joined, _) => Some(joined.worker),
            Self::CapabilitiesChanged(worker, ..)
            | Self::WorkerDraining(worker, _)
            | Self::WorkerAway(worker, _)
            | Self::WorkerRemoved(worker, ..)
            | Self::WorkerDrained(worker, ..)
            | Self::Progressed(worker, ..) => Some(*worker),
            _ => None,
        }
    }
}
