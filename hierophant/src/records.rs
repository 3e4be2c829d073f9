//! What Hierophant remembers: programs, artifacts, requests, jobs and attempts, as plain data.
//!
//! Times are [`Millis`] of the Unix clock. The store writes these records, the cores change them, the
//! API translates them; none of the three knows the others' formats.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::Address;
use network_lib::handshake::Backend;
use network_lib::ids::{ArtifactId, JobId, LeaseId, RequestId, Sha256Digest, VkHash, WorkerId};
use network_lib::job::{BlobInfo, Execution, Failure, FailureClass, JobSpec, OutOfMemory};
use sha2::{Digest, Sha256};

/// What [`Millis::now`] reads instead of the system's clock.
static OTHER_CLOCK: OnceLock<fn() -> SystemTime> = OnceLock::new();

/// Milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub i64);

impl Millis {
    /// The current time.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub fn now() -> Self {
        let now = OTHER_CLOCK.get().map_or_else(SystemTime::now, |clock| clock());
        let elapsed = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
    }

    /// From now on this whole process lives by another clock: that of a simulation. Only the first call
    /// counts.
    pub fn live_by(clock: fn() -> SystemTime) {
        let _ = OTHER_CLOCK.set(clock);
    }

    /// Whole seconds, as clients count time.
    #[must_use]
    pub fn seconds(self) -> u64 {
        u64::try_from(self.0 / 1000).unwrap_or(0)
    }

    /// From whole seconds, saturating: clients may send any 64-bit number.
    #[must_use]
    pub fn from_seconds(seconds: u64) -> Self {
        Self(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000))
    }

    /// Moves it by so many milliseconds.
    pub fn shift(&mut self, by: i64) {
        self.0 = self.0.saturating_add(by);
    }

    /// Milliseconds from `earlier` to this, 0 if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

/// Defines an enum that is stored and shown by a fixed lower-case word.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// The word by which it is stored and shown.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { kind: stringify!($name), word: text.to_owned() }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// A stored word that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind} {word:?}")]
pub struct UnknownWord {
    kind: &'static str,
    word: String,
}

mod token;

pub use token::{Role, TokenRecord};

named! {
    /// What an artifact holds.
    ArtifactKind {
        /// A guest program as the client uploads it.
        Program = "program",
        /// An input that its URL may be read by.
        Stdin = "stdin",
        /// An input that only the leased Contemplant reads.
        PrivateStdin = "private_stdin",
        /// A finished proof.
        Proof = "proof",
    }
}

named! {
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

named! {
    /// Where a client's request stands.
    RequestState {
        /// Accepted; its job is still going on.
        Open = "open",
        /// The proof can be downloaded.
        Fulfilled = "fulfilled",
        /// The program fails on this input, or exceeds the request's limits.
        Unexecutable = "unexecutable",
        /// The job was given up.
        Failed = "failed",
        /// Its requester or an operator withdrew it.
        Cancelled = "cancelled",
        /// Its deadline passed.
        Expired = "expired",
    }
}

impl RequestState {
    /// Whether nothing more will happen to the request.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Open)
    }
}

named! {
    /// Which of the SDK's two network modes a request came in.
    NetworkMode {
        /// Schema "base", strategies hosted and reserved.
        Reserved = "reserved",
        /// Schema "auction".
        Mainnet = "mainnet",
    }
}

/// A registered program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramRecord {
    /// Its id.
    pub vk_hash: VkHash,
    /// Bincode of the verifying key, as the client sent it.
    pub vk: Vec<u8>,
    /// The uploaded program.
    pub artifact: ArtifactId,
    /// Size and digest of the upload.
    pub blob: BlobInfo,
    /// Who registered it.
    pub owner: Address,
    /// When.
    pub created_at: Millis,
}

/// An upload ticket, or the stored bytes behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRecord {
    /// Its id.
    pub id: ArtifactId,
    /// What it holds.
    pub kind: ArtifactKind,
    /// Who opened the ticket; zero for proofs, which the network itself stores.
    pub owner: Address,
    /// Size and digest once the bytes are stored; `None` for an open ticket.
    pub blob: Option<BlobInfo>,
    /// When the ticket was opened.
    pub created_at: Millis,
    /// When the bytes were last fetched whole by a client.
    pub delivered_at: Option<Millis>,
    /// When the bytes stopped being promised; they may be there for a while yet.
    pub expired_at: Option<Millis>,
    /// When the bytes were removed; the record stays as a tombstone.
    pub removed_at: Option<Millis>,
}

impl ArtifactRecord {
    /// A ticket to which nothing was uploaded yet.
    #[must_use]
    pub const fn ticket(id: ArtifactId, kind: ArtifactKind, owner: Address, now: Millis) -> Self {
        Self {
            id,
            kind,
            owner,
            blob: None,
            created_at: now,
            delivered_at: None,
            expired_at: None,
            removed_at: None,
        }
    }
}

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// What the client polls.
    pub id: RequestId,
    /// The work that it waits for.
    pub job: JobId,
    /// Who asked.
    pub requester: Address,
    /// The client's network mode.
    pub network_mode: NetworkMode,
    /// The client's strategy, as sent: a hint without effect.
    pub strategy: i32,
    /// `sp1-` and the circuit version, as sent.
    pub version: String,
    /// The input's URI, as sent.
    pub stdin_uri: String,
    /// Whether the input is private.
    pub stdin_private: bool,
    /// Unix seconds after which the client gives up.
    pub deadline: u64,
    /// Seconds, as sent; without effect here.
    pub min_auction_period: u64,
    /// Addresses, as sent; without effect here.
    pub whitelist: Vec<Address>,
    /// Where it stands.
    pub state: RequestState,
    /// When it was accepted.
    pub created_at: Millis,
    /// When its state last changed.
    pub updated_at: Millis,
    /// When it was fulfilled.
    pub fulfilled_at: Option<Millis>,
}

impl RequestRecord {
    /// What a retry of the same call has in common with it (contract, section 3.3).
    #[must_use]
    pub fn idempotency_key(&self, spec: &JobSpec) -> Sha256Digest {
        idempotency_key(self.requester, spec, &self.stdin_uri, self.deadline)
    }
}

/// Digest of what every retry of one SDK call repeats: signer, program, mode, input URI, deadline.
#[must_use]
pub fn idempotency_key(
    requester: Address,
    spec: &JobSpec,
    stdin_uri: &str,
    deadline: u64,
) -> Sha256Digest {
    let mut hasher = Sha256::new();
    hasher.update(requester);
    hasher.update(spec.vk_hash.as_bytes());
    hasher.update([spec.mode as u8]);
    hasher.update(deadline.to_be_bytes());
    hasher.update(stdin_uri);
    Sha256Digest(hasher.finalize().into())
}

named! {
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

named! {
    /// How an attempt ended.
    AttemptOutcome {
        /// Still going on.
        Running = "running",
        /// Its proof was accepted.
        Completed = "completed",
        /// It failed; the class and message say how.
        Failed = "failed",
        /// Its Contemplant went away.
        Lost = "lost",
        /// It was stopped because nobody wants the result.
        Cancelled = "cancelled",
    }
}

/// One job leased to one Contemplant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Its id, and the Contemplant's key to the job's bytes.
    pub lease: LeaseId,
    /// The job.
    pub job: JobId,
    /// Who works on it.
    pub prover: Prover,
    /// When it was leased.
    pub started_at: Millis,
    /// When the Contemplant first said a word about it.
    pub begun_at: Option<Millis>,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// For a failed one: who is to blame.
    pub failure_class: Option<FailureClass>,
    /// For a failed one: which memory ran out and how much of it there was, if that is why.
    pub out_of_memory: Option<OutOfMemory>,
    /// For a failed or lost one: what happened.
    pub message: Option<String>,
    /// What this attempt's execution found: its proof must fit it.
    pub execution: Option<Execution>,
    /// The proof's bytes, once they were handed in, before they are checked.
    pub proof: Option<(ArtifactId, BlobInfo)>,
}

impl AttemptRecord {
    /// An attempt that starts at `started_at`.
    #[must_use]
    pub const fn starting(lease: LeaseId, job: JobId, prover: Prover, started_at: Millis) -> Self {
        Self {
            lease,
            job,
            prover,
            started_at,
            begun_at: None,
            ended_at: None,
            outcome: AttemptOutcome::Running,
            failure_class: None,
            out_of_memory: None,
            message: None,
            execution: None,
            proof: None,
        }
    }
}

named! {
    /// What an operator can set for longer than Hierophant runs.
    SettingKind {
        /// Nothing is given out; without a subject.
        Paused = "paused",
        /// A Contemplant is turned away, by its id or its address.
        Blocked = "blocked",
        /// A Contemplant, by its id, finishes what it holds and leaves.
        Drained = "drained",
    }
}

/// What an operator has set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// What it is about.
    pub kind: SettingKind,
    /// Whom or what it holds for; empty if for everything.
    pub subject: String,
    /// Why, in the operator's words.
    pub reason: String,
    /// Since when.
    pub since: Millis,
}

/// A request's end of which a receiver of webhooks is still to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeRecord {
    /// The same in every try: by it a receiver tells what it has got already.
    pub id: NoticeId,
    /// Whom to tell: the digest of its URL.
    pub receiver: Sha256Digest,
    /// The request.
    pub request: RequestId,
    /// How it ended.
    pub state: RequestState,
    /// When it ended.
    pub ended_at: Millis,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next.
    pub next_at: Millis,
}

impl NoticeRecord {
    /// The first notice of this end of a request.
    #[must_use]
    pub fn of(receiver: Sha256Digest, request: &RequestRecord) -> Self {
        let (state, ended_at) = (request.state, request.updated_at);
        let mut hasher = Sha256::new();
        hasher.update(receiver.as_bytes());
        hasher.update(request.id.as_bytes());
        hasher.update(ended_at.0.to_be_bytes());
        hasher.update(state.as_str());
        let digest: [u8; 32] = hasher.finalize().into();
        let mut id = NoticeId::default();
        id.copy_from_slice(&digest[..16]);
        let request = request.id;
        Self { id, receiver, request, state, ended_at, attempts: 0, next_at: ended_at }
    }
}

/// Names a [`NoticeRecord`].
pub type NoticeId = [u8; 16];

/// One write to the store; several make one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Inserts or replaces a job.
    Job(JobRecord),
    /// Inserts or replaces a request of a job with the given specification.
    Request(RequestRecord, JobSpec),
    /// Inserts or replaces an attempt.
    Attempt(AttemptRecord),
    /// Inserts or replaces an artifact.
    Artifact(ArtifactRecord),
    /// An artifact's bytes were fetched whole by a client.
    Delivered(ArtifactId, Millis),
    /// An artifact's bytes are not promised any more since then, or (`None`) are promised again.
    Expired(ArtifactId, Option<Millis>),
    /// An artifact's bytes are gone.
    Removed(ArtifactId, Millis),
    /// A ticket to which nothing was uploaded is no longer open.
    Forgotten(ArtifactId),
    /// Inserts or replaces a program.
    Program(ProgramRecord),
    /// Counts one accepted signed body of an account.
    CountNonce(Address),
    /// Inserts or replaces what an operator has set.
    Set(Setting),
    /// Removes it, by kind and subject.
    Unset(SettingKind, String),
    /// Inserts a token, or writes down when it was revoked.
    Token(TokenRecord),
    /// Inserts or replaces a notice.
    Notice(NoticeRecord),
    /// A notice was delivered or given up.
    NoticeSettled(NoticeId),
    /// A receiver is not to hear of anything any more.
    ReceiverForgotten(Sha256Digest),
}
