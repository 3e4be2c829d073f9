//! Jobs: the work behind requests.

use network_lib::handshake::Backend;
use network_lib::ids::{ArtifactId, JobId, Sha256Digest, WorkerId};
use network_lib::job::{BlobInfo, Execution, Failure, JobSpec};
use network_lib::named_enum;
use sha2::{Digest, Sha256};

use super::Millis;

named_enum! {
    /// Where a job stands. See `ARCHITECTURE.md` for the transitions.
    JobState {
        /// Waits for a Contemplant.
        Queued = "queued",
        /// Given to a Contemplant that has not reported yet.
        Leased = "leased",
        /// The Contemplant works on it.
        Proving = "proving",
        /// The proof's bytes are stored, its Contemplant has not closed the attempt yet.
        Uploaded = "uploaded",
        /// The proof is being checked.
        Verifying = "verifying",
        /// The proof is stored and checked.
        Proved = "proved",
        /// The program fails on this input, or exceeds the request's limits.
        Unexecutable = "unexecutable",
        /// Given up after the retry budget, or malformed.
        Failed = "failed",
        /// Nobody wants it any more.
        Cancelled = "cancelled",
        /// All its deadlines passed.
        Expired = "expired",
    }
}

impl JobState {
    /// Whether nothing more will happen to the job.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Proved | Self::Unexecutable | Self::Failed | Self::Cancelled | Self::Expired
        )
    }
}

named_enum! {
    /// Which jobs go first.
    Priority {
        /// Before all others.
        Urgent = "urgent",
        /// In their turn.
        Normal = "normal",
        /// When nothing else can be given out.
        Low = "low",
    }
}

/// The Contemplant that runs or ran an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prover {
    /// Its id.
    pub worker: WorkerId,
    /// Its name.
    pub name: String,
    /// What makes its proofs.
    pub backend: Backend,
}

/// The work behind one or more requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// Digest of everything that decides the proof: same key, same job.
    pub key: Sha256Digest,
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
    /// Where it stands.
    pub state: JobState,
    /// Its priority, if an operator has set one; else its kind of proof decides.
    pub priority: Option<Priority>,
    /// What the execution found: for a proved job that of the proof, before that the latest word.
    pub execution: Option<Execution>,
    /// Why it failed, or why its latest attempt did.
    pub failure: Option<Failure>,
    /// The finished proof.
    pub proof: Option<ArtifactId>,
    /// Who is furthest with it; when nobody works on it, who made the proof or was at it last.
    pub prover: Option<Prover>,
    /// How many attempts were started.
    pub attempts: u32,
    /// When it was created.
    pub created_at: Millis,
    /// When its state last changed.
    pub updated_at: Millis,
    /// When the attempt of `prover` started.
    pub started_at: Option<Millis>,
    /// When it became terminal.
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

/// Digest of everything that decides a proof: program, input, mode, circuit version and limits.
#[must_use]
pub fn job_key(spec: &JobSpec, stdin: &BlobInfo) -> Sha256Digest {
    let mut hasher = Sha256::new();
    hasher.update(spec.vk_hash.as_bytes());
    hasher.update(stdin.sha256.as_bytes());
    hasher.update([spec.mode as u8]);
    hasher.update(spec.cycle_limit.to_be_bytes());
    hasher.update(spec.gas_limit.to_be_bytes());
    hasher.update(&spec.circuit_version);
    Sha256Digest(hasher.finalize().into())
}
