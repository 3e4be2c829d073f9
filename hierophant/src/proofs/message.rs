//! Messages of the `proofs` actor.

use std::sync::Arc;

use alloy_primitives::Address;
use hierophant_model::clients::Client;
use hierophant_model::commands::{ClearFilter, Cleared, Command, CommandOutcome};
use hierophant_model::records::Accepted;
use hierophant_scheduler::SessionId;
use hierophant_scheduler::proofs::core::{Rejection, StoreLookup};
use hierophant_scheduler::proofs::{
    AssemblyError, CancelError, HandIn, LeaseAccess, NewRequest, Overview, PartCheck, PartVerdict,
    QueuedJob, SubmitError, TaskBlob, WaitingTask, Why, WorkerJoined,
};
use network_lib::handshake::Capabilities;
use network_lib::ids::{ArtifactId, JobId, LeaseId, RequestId, Sha256Digest, WorkerId};
use network_lib::job::{BlobInfo, Execution, Failure};
use network_lib::shard::TaskFromWorker;
use ractor::RpcReplyPort;

use super::lookup::{AsOf, EndedJob, Outdated};
use crate::session::SessionHandle;
use crate::session::inbox::{Inbox, Turn};

/// Clearing of the queue in progress. It runs in batches, between which other messages are handled.
#[derive(Debug)]
pub struct Clearing {
    /// Jobs left to cancel.
    pub left: Vec<JobId>,
    /// Only requests of this address.
    pub requester: Option<Address>,
    /// Result so far.
    pub cleared: Cleared,
    /// Port of the answer.
    pub port: RpcReplyPort<Cleared>,
}

/// Messages of the `proofs` actor.
#[derive(Debug)]
pub enum ProofsMsg {
    /// Accept a request, about which the store knows this.
    Submit(
        Box<NewRequest>,
        Box<AsOf<StoreLookup>>,
        RpcReplyPort<Result<Result<Accepted, SubmitError>, Outdated>>,
    ),
    /// Cancel an open request on behalf of a client. An answer of "not found" is given when its end is stored.
    Cancel(RequestId, Client, RpcReplyPort<Result<(), CancelError>>),
    /// Registry: a worker has connected, with its session. The first message to it is the welcome.
    WorkerJoined(Box<WorkerJoined>, SessionHandle),
    /// Registry: the capabilities of a worker have changed.
    CapabilitiesChanged(WorkerId, SessionId, Capabilities, Turn),
    /// Registry: a worker accepts no more jobs.
    WorkerDraining(WorkerId, SessionId, Turn),
    /// Registry: a worker's connection broke; it may reconnect.
    WorkerAway(WorkerId, SessionId),
    /// Registry: a worker was removed, for this reason.
    WorkerRemoved(WorkerId, SessionId, String),
    /// Session: a heartbeat, or progress of attempts, waits in the inbox.
    Reported(WorkerId, SessionId, Arc<Inbox>),
    /// Session: execution of an attempt.
    Executed(WorkerId, LeaseId, Execution, Turn),
    /// Session: an attempt is complete and its proof uploaded.
    Completed(WorkerId, LeaseId, Execution, BlobInfo, Turn),
    /// Session: an attempt has failed.
    Failed(WorkerId, LeaseId, Failure, Turn),
    /// Session: a message about a task.
    TaskWord(WorkerId, TaskFromWorker, Turn),
    /// Messages with these attempts were sent to their workers.
    JobsSent(Vec<LeaseId>),
    /// API: the proof of an attempt is stored. Answers whether the attempt is still active.
    ProofStored(LeaseId, ArtifactId, BlobInfo, RpcReplyPort<bool>),
    /// API: program or input of an attempt is missing.
    InputLost(LeaseId),
    /// API: the proof of this proved job is missing; queue it again for these requests.
    Reopen(Box<AsOf<EndedJob>>, RpcReplyPort<Result<(), Outdated>>),
    /// Verdict on the proof of an attempt.
    Checked(LeaseId, Result<(), Failure>),
    /// Verdicts on results of tasks, in their order.
    PartsChecked(Box<PartCheck>, Vec<PartVerdict>),
    /// Data that the holder of a lease may fetch; `None` if the lease is not active.
    LeaseAccess(LeaseId, WorkerId, RpcReplyPort<Option<LeaseAccess>>),
    /// API: whether a worker may fetch a blob under the lease of its task.
    TaskBlob(LeaseId, WorkerId, Sha256Digest, RpcReplyPort<TaskBlob>),
    /// API: whether a worker may hand in a blob under a lease; `None` if it may not.
    MayHandIn(LeaseId, WorkerId, Sha256Digest, RpcReplyPort<Option<HandIn>>),
    /// API: a blob that a worker handed in under a lease is stored. Answers whether the lease still counts.
    HandedIn(LeaseId, WorkerId, JobId, BlobInfo, RpcReplyPort<bool>),
    /// API: a blob of a job's tasks that counts as stored is missing.
    TaskBlobMissing(JobId, Sha256Digest),
    /// The proof of an attempt is assembled from its parts and stored, or could not be assembled.
    Assembled(LeaseId, Result<(ArtifactId, BlobInfo), AssemblyError>),
    /// Answers when all earlier decisions are stored.
    Alive(RpcReplyPort<()>),
    /// Summary of the scheduler, at most a second old.
    Overview(RpcReplyPort<Arc<Overview>>),
    /// Execute an operator's command. An answer of "not open" is given when the end is stored.
    Command(Command, RpcReplyPort<Result<CommandOutcome, Rejection>>),
    /// Create this failed job again for these requests.
    Recreate(Box<AsOf<EndedJob>>, RpcReplyPort<Result<CommandOutcome, Outdated>>),
    /// Preview of clearing the queue.
    PreviewClear(ClearFilter, RpcReplyPort<Cleared>),
    /// Cancel all matching jobs; answers once everything is stored.
    Clear(ClearFilter, RpcReplyPort<Cleared>),
    /// Continue a clearing.
    ContinueClear(Box<Clearing>),
    /// Registry: the drain of a worker has changed: its reason, or `None` if it has ended.
    WorkerDrained(WorkerId, SessionId, Option<String>),
    /// Explanation why a job has no proof yet; `None` if it has ended or does not exist.
    Why(JobId, RpcReplyPort<Option<Why>>),
    /// What the unfinished tasks of a job wait for.
    WaitingTasks(JobId, RpcReplyPort<Vec<WaitingTask>>),
    /// Waiting jobs in the order of assignment: number to skip, maximum number.
    QueueSnapshot(usize, usize, RpcReplyPort<Vec<QueuedJob>>),
    /// The store has failed.
    StoreLost,
    /// Timer.
    Sweep,
    /// The last sweep could not take everything that is due, and its part is stored.
    SweepOn,
}

impl ProofsMsg {
    /// Worker whose displayed state the message changes.
    #[must_use]
    pub fn affected_worker(&self) -> Option<WorkerId> {
        match self {
            Self::WorkerJoined(joined, _) => Some(joined.worker),
            Self::CapabilitiesChanged(worker, ..)
            | Self::WorkerDraining(worker, ..)
            | Self::WorkerAway(worker, _)
            | Self::WorkerRemoved(worker, ..)
            | Self::WorkerDrained(worker, ..) => Some(*worker),
            _ => None,
        }
    }
}
