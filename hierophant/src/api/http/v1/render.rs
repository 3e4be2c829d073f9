//! Conversion of what the actors report to the JSON of the API.

use std::iter;

use hierophant_admin_model::{
    Caller, Gone, Gpu, Job, Phase, Price, ProofMode, Running, RunningTask, TaskSummary, Waiting,
    Webhook, Worker,
};
use hierophant_model::clients::Clients;
use hierophant_model::records::{Prover, ReceiverState, Role};
use hierophant_scheduler::proofs::{
    self as scheduler, DividedProof, Overview as Scheduler, QueuedJob, RunningProof, TaskNumbers,
    WorkerWork,
};
use hierophant_scheduler::registry::{KnownWorker, RemovedWorker};
use network_lib::handshake::{self, GpuLoad};
use network_lib::ids::WorkerId;

use crate::config::DashboardConfig;
use crate::operators::Operator;

/// The configured price of a worker, if there is one.
#[must_use]
pub fn price(config: &DashboardConfig) -> Option<Price> {
    let price = Price { per_hour: config.price_per_hour, currency: config.currency.clone() };
    (price.per_hour > 0.0).then_some(price)
}

/// A queued job at this position.
pub(super) fn queued(position: usize, job: &QueuedJob, clients: &Clients) -> Waiting {
    Waiting {
        job: Job::of(&job.record, &job.requests, clients),
        position,
        eta_seconds: job.eta_ms.map(|millis| millis.div_ceil(1000)),
    }
}

/// A proof in progress on a worker.
fn running(worker: WorkerId, proof: &RunningProof) -> Running {
    let progress = proof.progress;
    Running {
        job: proof.job.to_string(),
        worker: worker.to_string(),
        mode: proof.mode.into(),
        program: proof.program.to_string(),
        phase: progress.map(|progress| Phase::Known(progress.phase)),
        fraction: progress.and_then(|progress| progress.fraction),
        cycles_done: progress.and_then(|progress| progress.cycles_done),
        cycles_total: progress.and_then(|progress| progress.cycles_total),
        eta_seconds: progress.and_then(|progress| progress.eta_seconds),
        estimated: progress.is_some_and(|progress| progress.estimated),
        tasks: None,
        started_at: proof.started_at.0,
    }
}

/// A proof in progress that several workers make.
pub(super) fn divided(divided: &DividedProof) -> Running {
    let tasks = Some(summary(&divided.tasks));
    Running { tasks, ..running(Prover::FLEET, &divided.proof) }
}

/// Numbers of the tasks of a running job.
fn summary(tasks: &TaskNumbers) -> TaskSummary {
    TaskSummary {
        done: tasks.done as u64,
        all: tasks.all as u64,
        running: tasks.running as u64,
        workers: tasks.workers as u64,
    }
}

fn task(task: &scheduler::RunningTask) -> RunningTask {
    RunningTask {
        job: task.job.to_string(),
        task: task.task.to_string(),
        kind: task.kind.into(),
        started_at: task.started_at.0,
    }
}

/// All proofs in progress.
pub(super) fn all_running(scheduler: &Scheduler) -> impl Iterator<Item = Running> + '_ {
    let on = |work: &WorkerWork| {
        let worker = work.worker;
        move |proof| running(worker, proof)
    };
    let whole = scheduler.workers.iter().flat_map(move |work| work.running.iter().map(on(work)));
    whole.chain(scheduler.divided.iter().map(divided))
}

/// A worker as the registry and the scheduler know it.
#[allow(clippy::cast_precision_loss, reason = "milliseconds of proofs are far below 2^52")]
pub(in crate::api::http) fn worker(known: &KnownWorker, work: &WorkerWork) -> Worker {
    let stats = &work.stats;
    let mean = || stats.proof_millis as f64 / stats.completed as f64 / 1000.0;
    Worker {
        id: known.worker.to_string(),
        name: known.name.clone(),
        instance: known.instance.clone(),
        ip: known.ip.to_canonical().to_string(),
        admitted_by: known.credential.to_string(),
        private_inputs: work.private_inputs,
        version: known.version.clone(),
        backend: work.backend.into(),
        modes: work.capabilities.modes.iter().copied().map(ProofMode::Known).collect(),
        slots: work.capabilities.slots,
        state: known.state().into(),
        obstacle: work.capabilities.unavailable_reason.clone().or_else(|| stats.rest.obstacle()),
        drained: known.drained.clone(),
        joined_at: known.joined_at.0,
        heard_at: known.heard_at.0,
        strikes: stats.strikes.len(),
        proofs_completed: stats.completed,
        average_proof_seconds: (stats.completed > 0).then(mean),
        gpus: gpus(known, work),
        running: work.running.iter().map(|proof| running(work.worker, proof)).collect(),
        tasks: work.tasks.iter().map(task).collect(),
        tasks_completed: stats.tasks,
        ahead: work.ahead.iter().map(ToString::to_string).collect(),
    }
}

fn gpus(known: &KnownWorker, work: &WorkerWork) -> Vec<Gpu> {
    let loads = known.gpus.iter().copied().chain(iter::repeat(GpuLoad::default()));
    let with_loads = work.capabilities.gpus.iter().zip(loads);
    let gpu = |(gpu, load): (&handshake::Gpu, GpuLoad)| Gpu {
        model: gpu.model.clone(),
        memory_bytes: gpu.memory_bytes,
        driver: gpu.driver.clone(),
        utilisation_percent: load.utilisation_percent,
        temperature_celsius: load.temperature_celsius,
        memory_used_bytes: load.memory_used_bytes,
    };
    with_loads.map(gpu).collect()
}

/// The departure of a worker.
pub(super) fn gone(dead: &RemovedWorker) -> Gone {
    Gone { at: dead.removed_at.0, reason: dead.reason.clone() }
}

/// The identity of a caller.
pub(super) fn caller(operator: &Operator) -> Caller {
    let role = if operator.may_act() { Role::Act } else { Role::Read };
    Caller {
        name: operator.name().to_owned(),
        token: operator.by.as_ref().map(|bearer| bearer.id.to_string()),
        role: role.into(),
        session: operator.session.is_some(),
    }
}

/// The state of a webhook receiver.
pub(super) fn webhook(state: ReceiverState) -> Webhook {
    let ReceiverState { receiver, undelivered, dropped, trouble } = state;
    let (since, failure) = trouble.map(|trouble| (trouble.since.0, trouble.reason)).unzip();
    Webhook { receiver, undelivered, dropped, failing_since: since, failure }
}
