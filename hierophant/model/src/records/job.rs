//! Jobs: the work behind requests.

use network_lib::handshake::Backend;
use network_lib::ids::{ArtifactId, JobId, Sha256Digest, WorkerId};
use network_lib::job::{BlobInfo, Execution, Failure, JobSpec};
use network_lib::named_enum;
use sha2::{Digest, Sha256};

use super::Millis;

named_enum! {
    /// State of a job. `ARCHITECTURE.md` lists the transitions.
    JobState {
        /// Waiting for a worker.
        Queued = "queued",
        /// Assigned to a worker that has not reported yet.
        Leased = "leased",
        /// In progress on a worker.
        Proving = "proving",
        /// The proof is stored; its worker has not completed the attempt yet.
        Uploaded = "uploaded",
        /// The proof is being verified.
        Verifying = "verifying",
        /// The proof is stored and verified.
        Proved = "proved",
        /// The program fails on this input, or exceeds the request's limits.
        Unexecutable = "unexecutable",
        /// Failed permanently: set aside after the retry budget, or malformed.
        Failed = "failed",
        /// All its requests were cancelled.
        Cancelled = "cancelled",
        /// All its deadlines have passed.
        Expired = "expired",
    }
}

impl JobState {
    /// Whether the job has ended.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Proved | Self::Unexecutable | Self::Failed | Self::Cancelled | Self::Expired
        )
    }
}

named_enum! {
    /// Priority of a job.
    Priority {
        /// Assigned before all others.
        Urgent = "urgent",
        /// Default.
        Normal = "normal",
        /// Assigned when no other job can be.
        Low = "low",
    }
}

/// Worker of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prover {
    /// Id.
    pub worker: WorkerId,
    /// Name.
    pub name: String,
    /// Backend.
    pub backend: Backend,
}

impl Prover {
    /// Id that represents all workers of a proof that several make. No worker can have it.
    pub const FLEET: WorkerId = WorkerId([u8::MAX; 16]);

    /// All workers with this backend that make one proof together.
    #[must_use]
    pub fn fleet(backend: Backend) -> Self {
        Self { worker: Self::FLEET, name: "several workers".to_owned(), backend }
    }

    /// Whether it represents several workers.
    #[must_use]
    pub fn is_fleet(&self) -> bool {
        self.worker == Self::FLEET
    }
}

/// Job: the work behind one or more requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRecord {
    /// Id.
    pub id: JobId,
    /// Digest of everything that decides the proof; jobs with the same key are the same job.
    pub key: Sha256Digest,
    /// Specification of the proof.
    pub spec: JobSpec,
    /// Program.
    pub program: ArtifactId,
    /// Size and digest of the program.
    pub program_blob: BlobInfo,
    /// Input.
    pub stdin: ArtifactId,
    /// Size and digest of the input.
    pub stdin_blob: BlobInfo,
    /// State.
    pub state: JobState,
    /// Priority set by an operator; without it the kind of proof decides.
    pub priority: Option<Priority>,
    /// Execution: that of the proof for a proved job, before that the latest report.
    pub execution: Option<Execution>,
    /// Failure of the job, or of its latest attempt.
    pub failure: Option<Failure>,
    /// Finished proof.
    pub proof: Option<ArtifactId>,
    /// Worker of the most advanced attempt; without a running attempt, the worker that made the proof or ran the
    /// latest attempt.
    pub prover: Option<Prover>,
    /// Number of started attempts.
    pub attempts: u32,
    /// Creation time.
    pub created_at: Millis,
    /// Time of the latest change of state.
    pub updated_at: Millis,
    /// Start of the attempt of `prover`.
    pub started_at: Option<Millis>,
    /// End of the job.
    pub finished_at: Option<Millis>,
}

impl JobRecord {
    /// A new queued job with the given content.
    #[must_use]
    pub const fn queued(
        id: JobId,
        key: Sha256Digest,
        spec: JobSpec,
        (program, program_blob): (ArtifactId, BlobInfo),
        (stdin, stdin_blob): (ArtifactId, BlobInfo),
        now: Millis,
    ) -> Self {
        Self {
            id,
            key,
            spec,
            program,
            program_blob,
            stdin,
            stdin_blob,
            state: JobState::Queued,
            priority: None,
            execution: None,
            failure: None,
            proof: None,
            prover: None,
            attempts: 0,
            created_at: now,
            updated_at: now,
            started_at: None,
            finished_at: None,
        }
    }
}

/// Digest of everything that decides a proof: program, input, mode, circuit version and limits, and the digest of the
/// public values that its clients have stated. Requests that state different ones have different jobs, so that a wrong
/// one affects no other request.
#[must_use]
pub fn job_key(spec: &JobSpec, stdin: &BlobInfo, stated: Option<Sha256Digest>) -> Sha256Digest {
    let mut hasher = Sha256::new();
    hasher.update(spec.vk_hash.as_bytes());
    hasher.update(stdin.sha256.as_bytes());
    hasher.update([spec.mode as u8]);
    hasher.update(spec.cycle_limit.to_be_bytes());
    hasher.update(spec.gas_limit.to_be_bytes());
    hasher.update(&spec.circuit_version);
    let content = hasher.finalize();
    let key = match stated {
        None => content,
        Some(stated) => {
            Sha256::new().chain_update(content).chain_update(stated.as_bytes()).finalize()
        }
    };
    Sha256Digest(key.into())
}
