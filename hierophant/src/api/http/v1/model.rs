//! The JSON of the API. Times are Unix milliseconds; what is not known yet is absent or `null`.

mod acts;
mod operators;
mod tokens;
mod told;

use std::collections::BTreeMap;
use std::iter;

use network_lib::handshake::{self, GpuLoad};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clients::Clients;
use crate::config::DashboardConfig;
use crate::proofs::actor::short;
use crate::proofs::core::Waiting as WaitingJob;
use crate::proofs::message::WorkerWork;
use crate::proofs::message::{Overview as Scheduler, RunningProof};
use crate::records::{
    ArtifactRecord, AttemptRecord, JobRecord, Millis, ProgramRecord, RequestRecord,
};
use crate::registry::{DeadWorker, KnownWorker};

pub use acts::{Blocked, ClearQueue, Cleared, Done, NewPriority, Paused, Reason};
pub use operators::{Audited, Caller, SignIn};
pub use tokens::{MadeToken, NewToken, Token};
pub use told::{Changes, Notice, Webhook};

/// The network at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Overview {
    /// Version of this Hierophant.
    pub version: String,
    /// Whether proofs that prove nothing are taken.
    pub mock_mode: bool,
    /// Jobs that wait, by kind of proof.
    pub waiting: BTreeMap<String, usize>,
    /// For how many seconds the oldest of them has waited.
    pub oldest_wait_seconds: Option<u64>,
    /// Attempts in progress.
    pub running: usize,
    /// Jobs that have not ended.
    pub unfinished: usize,
    /// Contemplants by state: `ready`, `draining`, `away`.
    pub workers: BTreeMap<String, usize>,
    /// Jobs that all Contemplants together take at once.
    pub slots: u32,
    /// What a Contemplant costs, if that is configured.
    pub price: Option<Price>,
    /// Bytes of all programs, inputs and proofs that are kept.
    pub stored_bytes: u64,
    /// Free bytes on the disk, if they can be found out.
    pub free_bytes: Option<u64>,
    /// Why new work is turned away, if it is.
    pub storage_low: Option<String>,
    /// Whether nothing is given out, and why.
    pub paused: Option<Paused>,
    /// Receivers of webhooks and what they are still to hear.
    #[serde(default)]
    pub webhooks: Vec<Webhook>,
}

/// A request.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Request {
    /// First 16 digits of its id.
    pub id: String,
    /// The job that it waits for.
    pub job: String,
    /// Address of who asked.
    pub requester: String,
    /// Its name in `[[clients]]`, if it has one.
    #[serde(default)]
    pub client: Option<String>,
    /// `reserved` or `mainnet`.
    pub network_mode: String,
    /// `open`, `fulfilled`, `unexecutable`, `failed`, `cancelled` or `expired`.
    pub state: String,
    /// When its client gives up.
    pub deadline: i64,
    /// When it was accepted.
    pub created_at: i64,
    /// When its state last changed.
    pub updated_at: i64,
    /// When it was fulfilled.
    pub fulfilled_at: Option<i64>,
}

/// A job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// `queued`, `leased`, `proving`, `uploaded`, `verifying`, `proved`, `unexecutable`, `failed`,
    /// `cancelled` or `expired`.
    pub state: String,
    /// Its priority, if an operator has set one: `urgent`, `normal` or `low`.
    pub priority: Option<String>,
    /// Kind of proof.
    pub mode: String,
    /// The program's id.
    pub program: String,
    /// SP1 circuit version.
    pub circuit_version: String,
    /// Most cycles that it may execute.
    pub cycle_limit: u64,
    /// Most prover gas that it may use.
    pub gas_limit: u64,
    /// Bytes of its input.
    pub input_bytes: u64,
    /// Who waits for it.
    pub requests: Vec<Request>,
    /// How many attempts were started.
    pub attempts: u32,
    /// Name of the Contemplant of the latest attempt.
    pub contemplant: Option<String>,
    /// Cycles of its execution.
    pub cycles: Option<u64>,
    /// Prover gas of its execution.
    pub gas: Option<u64>,
    /// Why it failed, or why its latest attempt did.
    pub failure: Option<String>,
    /// When it was created.
    pub created_at: i64,
    /// When its latest attempt started.
    pub started_at: Option<i64>,
    /// When it ended.
    pub finished_at: Option<i64>,
}

/// A job with all that is known of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WholeJob {
    /// The job.
    #[serde(flatten)]
    pub job: Job,
    /// Its attempts, the first one first.
    pub history: Vec<Attempt>,
    /// Those in progress.
    pub running: Vec<Running>,
}

/// A job that waits, in its place.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Waiting {
    /// The job.
    #[serde(flatten)]
    pub job: Job,
    /// How many jobs go before it.
    pub position: usize,
    /// Seconds until its proof may be there, estimated from the latest proofs of its kind, where it can be
    /// told.
    pub eta_seconds: Option<u64>,
}

/// Why a job has no proof yet, or how it ended.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Why {
    /// Its state.
    pub state: String,
    /// In a sentence.
    pub why: String,
    /// How many jobs go before it, if it waits.
    pub ahead: Option<usize>,
}

/// One job given to one Contemplant.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// The job.
    pub job: String,
    /// Id of the Contemplant.
    pub worker: String,
    /// Its name.
    pub contemplant: String,
    /// What makes its proofs.
    pub backend: String,
    /// `running`, `completed`, `failed`, `lost` or `cancelled`.
    pub outcome: String,
    /// For a failed one, who is to blame: `guest`, `request`, `worker` or `infrastructure`.
    pub failure_class: Option<String>,
    /// What happened.
    pub message: Option<String>,
    /// When it was given.
    pub started_at: i64,
    /// When it ended.
    pub ended_at: Option<i64>,
}

/// A proof in the making.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Running {
    /// The job.
    pub job: String,
    /// Id of the Contemplant.
    pub worker: String,
    /// Kind of proof.
    pub mode: String,
    /// The program's id.
    pub program: String,
    /// Current step, once the Contemplant has reported.
    pub phase: Option<String>,
    /// Done part of the step, 0 to 1, where it can be known.
    pub fraction: Option<f32>,
    /// Cycles handled so far in the step, where it can be known.
    pub cycles_done: Option<u64>,
    /// Cycles of the whole execution, once it is known.
    pub cycles_total: Option<u64>,
    /// Seconds until the proof is expected, where it can be told.
    pub eta_seconds: Option<u64>,
    /// Whether fraction and ETA are estimated from past proofs.
    pub estimated: bool,
    /// When the attempt started.
    pub started_at: i64,
}

/// A Contemplant that is connected or may come back.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Worker {
    /// Stable id of the installation.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it connects from.
    pub ip: String,
    /// By what it was admitted: `token` and the name of its own, `worker_token`, or `this machine` where no
    /// token is asked for.
    #[serde(default)]
    pub admitted_by: String,
    /// Its software version.
    pub version: String,
    /// What makes its proofs: `cpu`, `cuda` or `mock`.
    pub backend: String,
    /// Kinds of proof that it offers now.
    pub modes: Vec<String>,
    /// How many jobs it takes at once.
    pub slots: u32,
    /// `ready`, `draining` when it takes no more jobs, or `away` when its connection broke and it may come
    /// back.
    pub state: String,
    /// Why it cannot prove though it is meant to.
    pub obstacle: Option<String>,
    /// Why an operator has it take no more jobs, if so; may be empty.
    pub drained: Option<String>,
    /// When it connected.
    pub joined_at: i64,
    /// When it was last heard.
    pub heard_at: i64,
    /// Attempts that failed by its fault, as far as they still count against it.
    pub strikes: usize,
    /// Proofs that were accepted from it since Hierophant started.
    pub proofs_completed: u64,
    /// Mean seconds from lease to accepted proof, if there was one.
    pub average_proof_seconds: Option<f64>,
    /// Its GPUs.
    pub gpus: Vec<Gpu>,
    /// What it is working on.
    pub running: Vec<Running>,
}

/// One GPU of a Contemplant.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Gpu {
    /// Model name.
    pub model: String,
    /// Its memory in bytes.
    pub memory_bytes: u64,
    /// Version of its driver, where it is known.
    pub driver: Option<String>,
    /// How much of the time it has computed of late, in percent, where it is known.
    pub utilisation_percent: Option<u32>,
    /// Its temperature in degrees Celsius, where it is known.
    pub temperature_celsius: Option<u32>,
    /// Bytes of its memory that are in use, where it is known.
    pub memory_used_bytes: Option<u64>,
}

/// A Contemplant with all that is known of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WholeWorker {
    /// The Contemplant, if it is connected or may come back.
    pub worker: Option<Worker>,
    /// When and why it went, if it did.
    pub gone: Option<Gone>,
    /// Why it is turned away by its id, if it is; may be empty.
    pub blocked: Option<String>,
    /// Its latest attempts, the latest first.
    pub history: Vec<Attempt>,
}

/// When and why a Contemplant went.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Gone {
    /// When.
    pub at: i64,
    /// Why.
    pub reason: String,
}

/// What a Contemplant costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Price {
    /// For an hour.
    pub per_hour: f64,
    /// In which currency.
    pub currency: String,
}

/// A registered program.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Program {
    /// Its id: the hash of its verifying key.
    pub vk_hash: String,
    /// Who registered it.
    pub owner: String,
    /// Bytes as uploaded.
    pub bytes: u64,
    /// When it was registered.
    pub created_at: i64,
}

/// An upload ticket, or the stored bytes behind it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Artifact {
    /// First 8 digits of its id: who knows the whole may fetch it.
    pub id: String,
    /// `program`, `stdin`, `private_stdin` or `proof`.
    pub kind: String,
    /// Who opened the ticket; none for a proof.
    pub owner: Option<String>,
    /// Size, once something was uploaded.
    pub bytes: Option<u64>,
    /// When the ticket was opened.
    pub created_at: i64,
    /// When a client last fetched it whole.
    pub delivered_at: Option<i64>,
    /// Since when it is not promised any more.
    pub expired_at: Option<i64>,
    /// When its bytes were removed.
    pub removed_at: Option<i64>,
}

impl Overview {
    /// Whether it tells the same, apart from what changes with time alone.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let free_bytes = other.free_bytes;
        let timeless =
            Self { oldest_wait_seconds: other.oldest_wait_seconds, free_bytes, ..self.clone() };
        timeless == *other
    }
}

impl Price {
    /// As configured; `None` if it is not known.
    #[must_use]
    pub fn of(config: &DashboardConfig) -> Option<Self> {
        let price = Self { per_hour: config.price_per_hour, currency: config.currency.clone() };
        (price.per_hour > 0.0).then_some(price)
    }
}

impl Request {
    pub(super) fn of(record: &RequestRecord, clients: &Clients) -> Self {
        Self {
            id: short(record.id),
            job: record.job.to_string(),
            requester: record.requester.to_string(),
            client: clients.name(record.requester).map(str::to_owned),
            network_mode: record.network_mode.to_string(),
            state: record.state.to_string(),
            deadline: Millis::from_seconds(record.deadline).0,
            created_at: record.created_at.0,
            updated_at: record.updated_at.0,
            fulfilled_at: record.fulfilled_at.map(|at| at.0),
        }
    }
}

impl Job {
    pub(super) fn of(record: &JobRecord, requests: &[RequestRecord], clients: &Clients) -> Self {
        Self {
            id: record.id.to_string(),
            state: record.state.to_string(),
            priority: record.priority.map(|priority| priority.to_string()),
            mode: record.spec.mode.to_string(),
            program: record.spec.vk_hash.to_string(),
            circuit_version: record.spec.circuit_version.clone(),
            cycle_limit: record.spec.cycle_limit,
            gas_limit: record.spec.gas_limit,
            input_bytes: record.stdin_blob.size,
            requests: requests.iter().map(|request| Request::of(request, clients)).collect(),
            attempts: record.attempts,
            contemplant: record.prover.as_ref().map(|prover| prover.name.clone()),
            cycles: record.execution.map(|found| found.cycles),
            gas: record.execution.and_then(|found| found.gas),
            failure: record.failure.as_ref().map(ToString::to_string),
            created_at: record.created_at.0,
            started_at: record.started_at.map(|at| at.0),
            finished_at: record.finished_at.map(|at| at.0),
        }
    }
}

impl Waiting {
    pub(super) fn of(position: usize, waiting: &WaitingJob, clients: &Clients) -> Self {
        Self {
            job: Job::of(&waiting.record, &waiting.requests, clients),
            position,
            eta_seconds: waiting.eta_ms.map(|millis| millis.div_ceil(1000)),
        }
    }
}

impl Attempt {
    pub(super) fn of(record: &AttemptRecord) -> Self {
        Self {
            job: record.job.to_string(),
            worker: record.prover.worker.to_string(),
            contemplant: record.prover.name.clone(),
            backend: record.prover.backend.as_str().to_owned(),
            outcome: record.outcome.to_string(),
            failure_class: record.failure_class.map(|class| class.as_str().to_owned()),
            message: record.message.clone(),
            started_at: record.started_at.0,
            ended_at: record.ended_at.map(|at| at.0),
        }
    }
}

impl Running {
    pub(super) fn of(worker: &WorkerWork, proof: &RunningProof) -> Self {
        let progress = proof.progress;
        Self {
            job: proof.job.to_string(),
            worker: worker.worker.to_string(),
            mode: proof.mode.to_string(),
            program: proof.program.to_string(),
            phase: progress.map(|progress| progress.phase.as_str().to_owned()),
            fraction: progress.and_then(|progress| progress.fraction),
            cycles_done: progress.and_then(|progress| progress.cycles_done),
            cycles_total: progress.and_then(|progress| progress.cycles_total),
            eta_seconds: progress.and_then(|progress| progress.eta_seconds),
            estimated: progress.is_some_and(|progress| progress.estimated),
            started_at: proof.began_at.0,
        }
    }

    /// Everything in progress.
    pub(super) fn all(scheduler: &Scheduler) -> impl Iterator<Item = Self> + '_ {
        let of = |work| move |proof| Self::of(work, proof);
        scheduler.workers.iter().flat_map(move |work| work.running.iter().map(of(work)))
    }
}

impl Worker {
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of proofs are far below 2^52")]
    pub(super) fn of(known: &KnownWorker, work: &WorkerWork) -> Self {
        let stats = &work.stats;
        let mean = || stats.proof_millis as f64 / stats.completed as f64 / 1000.0;
        Self {
            id: known.worker.to_string(),
            name: known.name.clone(),
            ip: known.ip.to_canonical().to_string(),
            admitted_by: known.credential.to_string(),
            version: known.version.clone(),
            backend: work.backend.as_str().to_owned(),
            modes: work.capabilities.modes.iter().map(ToString::to_string).collect(),
            slots: work.capabilities.slots,
            state: known.state().to_owned(),
            obstacle: work.capabilities.obstacle.clone(),
            drained: known.drained.clone(),
            joined_at: known.joined_at.0,
            heard_at: known.heard_at.0,
            strikes: stats.strikes.len(),
            proofs_completed: stats.completed,
            average_proof_seconds: (stats.completed > 0).then(mean),
            gpus: Gpu::all(known, work),
            running: work.running.iter().map(|proof| Running::of(work, proof)).collect(),
        }
    }
}

impl Gpu {
    fn all(known: &KnownWorker, work: &WorkerWork) -> Vec<Self> {
        let loads = known.gpus.iter().copied().chain(iter::repeat(GpuLoad::default()));
        let with_loads = work.capabilities.gpus.iter().zip(loads);
        let of = |(gpu, load): (&handshake::Gpu, GpuLoad)| Self {
            model: gpu.model.clone(),
            memory_bytes: gpu.memory_bytes,
            driver: gpu.driver.clone(),
            utilisation_percent: load.utilisation_percent,
            temperature_celsius: load.temperature_celsius,
            memory_used_bytes: load.memory_used_bytes,
        };
        with_loads.map(of).collect()
    }
}

impl Gone {
    pub(super) fn of(dead: &DeadWorker) -> Self {
        Self { at: dead.died_at.0, reason: dead.reason.clone() }
    }
}

impl Program {
    pub(super) fn of(record: &ProgramRecord) -> Self {
        Self {
            vk_hash: record.vk_hash.to_string(),
            owner: record.owner.to_string(),
            bytes: record.blob.size,
            created_at: record.created_at.0,
        }
    }
}

impl Artifact {
    pub(super) fn of(record: &ArtifactRecord) -> Self {
        Self {
            id: crate::artifacts::short(record.id),
            kind: record.kind.to_string(),
            owner: (!record.owner.is_zero()).then(|| record.owner.to_string()),
            bytes: record.blob.map(|blob| blob.size),
            created_at: record.created_at.0,
            delivered_at: record.delivered_at.map(|at| at.0),
            expired_at: record.expired_at.map(|at| at.0),
            removed_at: record.removed_at.map(|at| at.0),
        }
    }
}
