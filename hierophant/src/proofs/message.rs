//! What the `proofs` actor is told and asked.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use hierophant_model::clients::OverQuota;
use hierophant_model::operate::{Action, ClearFilter, Cleared, Done, NotDone, Paused};
use hierophant_model::records::{Millis, NetworkMode, RequestState};
use network_lib::handshake::{Backend, Capabilities};
use network_lib::ids::{ArtifactId, JobId, LeaseId, RequestId, VkHash, WorkerId};
use network_lib::job::{BlobInfo, Execution, Failure, JobSpec, Progress, ProofMode};
use ractor::RpcReplyPort;

use super::core::{Arrival, Waiting, Why};
use super::lease::WorkerStats;
use crate::session::SessionHandle;

/// A request that has passed all checks of the API.
#[derive(Debug, Clone)]
pub struct NewRequest {
    /// Its id, drawn by the API.
    pub id: RequestId,
    /// Who asks.
    pub requester: Address,
    /// What to prove.
    pub spec: JobSpec,
    /// The program's bytes.
    pub program: ArtifactId,
    /// Size and digest of the program's bytes.
    pub program_blob: BlobInfo,
    /// The input's bytes.
    pub stdin: ArtifactId,
    /// Size and digest of the input's bytes.
    pub stdin_blob: BlobInfo,
    /// The client's network mode.
    pub network_mode: NetworkMode,
    /// As sent; without effect.
    pub strategy: i32,
    /// As sent: `sp1-` and circuit version.
    pub version: String,
    /// As sent.
    pub stdin_uri: String,
    /// Whether the input is private.
    pub stdin_private: bool,
    /// Unix seconds.
    pub deadline: u64,
    /// As sent; without effect.
    pub min_auction_period: u64,
    /// As sent; without effect.
    pub whitelist: Vec<Address>,
}

/// Why a request was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// As many jobs wait as this Hierophant holds; later there may be room.
    #[error("the queue is full ({waiting} jobs wait); try again later")]
    Busy {
        /// How many wait.
        waiting: usize,
    },
    /// The requester may take no more.
    #[error(transparent)]
    OverQuota(OverQuota),
    /// The store or the actor does not answer; later it may.
    #[error("the request could not be stored; try again later")]
    Unavailable,
}

/// Why a request was not cancelled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// No such request.
    #[error("no such request")]
    NotFound,
    /// Somebody else made it.
    #[error("only its requester may cancel a request")]
    NotYours,
    /// It has ended otherwise.
    #[error("the request is already {0}")]
    AlreadyEnded(RequestState),
    /// The store or the actor does not answer; later it may.
    #[error("the cancellation could not be stored; try again later")]
    Unavailable,
}

/// What the holder of a lease may fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseAccess {
    /// The program's bytes.
    pub program: ArtifactId,
    /// The input's bytes.
    pub stdin: ArtifactId,
}

/// A proof in the making, for people.
#[derive(Debug, Clone)]
pub struct RunningProof {
    /// The job.
    pub job: JobId,
    /// The requests that wait for it.
    pub requests: Vec<RequestId>,
    /// The program.
    pub program: VkHash,
    /// Kind of proof.
    pub mode: ProofMode,
    /// When the attempt started.
    pub began_at: Millis,
    /// Latest word from the worker.
    pub progress: Option<Progress>,
    /// Whether another worker is at the same job.
    pub raced: bool,
}

/// A worker as the scheduler sees it, for people.
#[derive(Debug, Clone)]
pub struct WorkerWork {
    /// Its id.
    pub worker: WorkerId,
    /// What makes its proofs.
    pub backend: Backend,
    /// What it can prove.
    pub capabilities: Capabilities,
    /// Whether it takes no more jobs.
    pub draining: bool,
    /// How it has done.
    pub stats: WorkerStats,
    /// What it is working on.
    pub running: Vec<RunningProof>,
}

/// The scheduler at a glance.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    /// Jobs that wait.
    pub waiting: usize,
    /// The same, by kind of proof.
    pub waiting_by_mode: BTreeMap<ProofMode, usize>,
    /// When the oldest of them was created.
    pub oldest_waiting: Option<Millis>,
    /// Jobs that are not terminal.
    pub unfinished: usize,
    /// Why nothing is given out, if so.
    pub paused: Option<Paused>,
    /// Connected workers.
    pub workers: Vec<WorkerWork>,
}

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
    /// Accept a request. If there is an artifact, it is a finished proof whose bytes are gone.
    Submit(Box<NewRequest>, Option<ArtifactId>, RpcReplyPort<Result<RequestId, SubmitError>>),
    /// Withdraw a request on behalf of an address.
    Cancel(RequestId, Address, RpcReplyPort<Result<(), CancelError>>),
    /// `registry`: a worker is there, and how it is talked to. Its first message is the welcome.
    WorkerJoined(Box<Arrival>, SessionHandle),
    /// `registry`: what a worker can prove has changed.
    CapabilitiesChanged(WorkerId, u64, Capabilities),
    /// `registry`: a worker wants no more jobs.
    WorkerDraining(WorkerId, u64),
    /// `registry`: a worker's connection broke; it may come back.
    WorkerAway(WorkerId, u64),
    /// `registry`: a worker is gone.
    WorkerLost(WorkerId, u64, String),
    /// Session: the attempts that a worker says it holds.
    Held(WorkerId, u64, Vec<LeaseId>),
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
    Lease(LeaseId, WorkerId, RpcReplyPort<Option<LeaseAccess>>),
    /// The scheduler at a glance.
    Overview(RpcReplyPort<Overview>),
    /// An operator has something done.
    Act(Action, RpcReplyPort<Result<Done, NotDone>>),
    /// What clearing the queue would cancel.
    ToClear(ClearFilter, RpcReplyPort<Cleared>),
    /// Cancel all that match; answers when all is stored.
    Clear(ClearFilter, RpcReplyPort<Cleared>),
    /// Go on with a clearing.
    ClearOn(Box<Clearing>),
    /// `registry`: an operator has a worker take no more jobs, for this reason, or again.
    WorkerDrained(WorkerId, u64, Option<String>),
    /// Why a job has no proof yet, `None` if it has ended or there is no such job.
    Why(JobId, RpcReplyPort<Option<Why>>),
    /// The waiting jobs in their order: how many to leave out, how many at most.
    Line(usize, usize, RpcReplyPort<Vec<Waiting>>),
    /// The store does not take what was decided.
    StoreLost,
    /// Time has passed.
    Sweep,
}

impl ProofsMsg {
    /// The worker of which it tells something that people see.
    #[must_use]
    pub fn tells_of(&self) -> Option<WorkerId> {
        match self {
            Self::WorkerJoined(arrival, _) => Some(arrival.worker),
            Self::CapabilitiesChanged(worker, ..)
            | Self::WorkerDraining(worker, _)
            | Self::WorkerAway(worker, _)
            | Self::WorkerLost(worker, ..)
            | Self::WorkerDrained(worker, ..)
            | Self::Progressed(worker, ..) => Some(*worker),
            _ => None,
        }
    }
}
