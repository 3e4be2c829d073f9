//! JSON of workers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Attempt, Backend, ProofMode, Running, RunningTask, WorkerState};

/// A worker that is connected or may reconnect.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Worker {
    /// Stable id of the installation.
    pub id: String,
    /// Name of the worker.
    pub name: String,
    /// Machine that it runs on, such as a pod or the id of a rented machine, if it reports one.
    pub instance: Option<String>,
    /// IP address that it connects from.
    pub ip: String,
    /// Credential that admitted it: `token` and the name of its own token, `worker_token`, or `this machine`
    /// where no token is required.
    #[serde(default)]
    pub admitted_by: String,
    /// Whether it may get private inputs.
    #[serde(default)]
    pub private_inputs: bool,
    /// Software version.
    pub version: String,
    /// Prover of the worker.
    pub backend: Backend,
    /// Kinds of proof that it currently offers.
    pub modes: Vec<ProofMode>,
    /// Number of jobs that it can run at once.
    pub slots: u32,
    /// State of the worker.
    pub state: WorkerState,
    /// Why it cannot prove although it should.
    pub obstacle: Option<String>,
    /// Reason given by the operator who drained it, if drained; may be empty.
    pub drained: Option<String>,
    /// Time of connection.
    pub joined_at: i64,
    /// Time of its last message.
    pub heard_at: i64,
    /// Failed attempts that currently count against it.
    pub strikes: usize,
    /// Proofs accepted from it since Hierophant started.
    pub proofs_completed: u64,
    /// Mean seconds from lease to accepted proof, once there is one.
    pub average_proof_seconds: Option<f64>,
    /// GPUs of the worker.
    pub gpus: Vec<Gpu>,
    /// Proofs in progress.
    pub running: Vec<Running>,
    /// Running tasks of proofs that several workers make.
    #[serde(default)]
    pub tasks: Vec<RunningTask>,
    /// Tasks whose results were stored since Hierophant started.
    #[serde(default)]
    pub tasks_completed: u64,
    /// Waiting jobs that it prepares: they are leased ahead and begin once a slot is free.
    #[serde(default)]
    pub ahead: Vec<String>,
}

/// A GPU of a worker.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Gpu {
    /// Model name.
    pub model: String,
    /// Memory size in bytes.
    pub memory_bytes: u64,
    /// Driver version, if known.
    pub driver: Option<String>,
    /// Recent utilisation in percent, if known.
    pub utilisation_percent: Option<u32>,
    /// Temperature in degrees Celsius, if known.
    pub temperature_celsius: Option<u32>,
    /// Memory in use in bytes, if known.
    pub memory_used_bytes: Option<u64>,
}

/// A worker with its history.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WholeWorker {
    /// The worker, if it is connected or may reconnect.
    pub worker: Option<Worker>,
    /// When and why it left, if it did.
    pub gone: Option<Gone>,
    /// Reason for which its id is blocked, if it is; may be empty.
    pub blocked: Option<String>,
    /// Recent attempts, newest first.
    pub history: Vec<Attempt>,
}

/// Departure of a worker.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Gone {
    /// Time of departure.
    pub at: i64,
    /// Reason for the departure.
    pub reason: String,
}
