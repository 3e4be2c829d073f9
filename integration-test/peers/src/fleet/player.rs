//! A worker that plays its part on its own.

use std::time::Duration;

use network_lib::handshake::{Gpu, GpuLoad};
use network_lib::ids::LeaseId;
use network_lib::job::{
    Execution, ExecutionFailureCause, Failure, FailureClass, Phase, Progress, ProofMode,
};
use network_lib::wire::{FromWorker, ToWorker};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{Addresses, Closed, Worker, blob, core_proof, execution, hello};

/// Interval of its reports of progress.
const REPORT: Duration = Duration::from_secs(1);

/// Interval of its heartbeats, in reports.
const HEARTBEAT: u32 = 4;

/// What it does with its jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Proves Core jobs in about this time, and never finishes others.
    Proves(Duration),
    /// Fails by its own fault.
    FailsItself,
    /// Finds that the program fails.
    FindsFaults,
    /// Cannot prove.
    Obstructed,
    /// Takes no more jobs after its first, which never ends.
    Drains,
    /// Loses its connection in its first job.
    Leaves,
}

/// A worker that plays its part on its own.
pub(super) struct Player {
    worker: Worker,
    role: Role,
    number: u64,
    job: Option<Job>,
}

struct Job {
    lease: LeaseId,
    mode: ProofMode,
    began: Instant,
    proves_in: Duration,
    cycles: u64,
}

impl Player {
    /// Joins with a name and hardware of its own.
    pub(super) async fn join(network: &Addresses, number: usize, role: Role) -> Self {
        const GPUS: [(&str, u64); 3] =
            [("NVIDIA H100 80GB HBM3", 80), ("NVIDIA L40S", 48), ("NVIDIA GeForce RTX 4090", 24)];
        let mut hello = hello();
        hello.name = format!("prover-{:03}", number + 1);
        let (model, gibibytes) = GPUS[number % GPUS.len()];
        let driver = Some("570.86.15".to_owned());
        let gpu = Gpu { model: model.to_owned(), memory_bytes: gibibytes << 30, driver };
        hello.capabilities.gpus = vec![gpu];
        // Jobs of other kinds never end, and must not occupy every worker.
        if number % 4 != 3 {
            hello.capabilities.modes = vec![ProofMode::Core];
        }
        if role == Role::Obstructed {
            hello.capabilities.unavailable_reason = Some("GPU 0 has fallen off the bus".to_owned());
            hello.capabilities.modes = vec![];
        }
        let worker = Worker::join(network, hello).await;
        Self { worker, role, number: number as u64, job: None }
    }

    /// Plays until the connection ends.
    pub(super) async fn play(mut self) {
        let mut clock = interval(REPORT);
        clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut reports = 0_u32;
        loop {
            tokio::select! {
                message = self.worker.receive() => match message {
                    Ok(message) => self.hear(message).await,
                    Err(Closed(_)) => return,
                },
                _ = clock.tick() => {
                    reports += 1;
                    if reports.is_multiple_of(HEARTBEAT) {
                        let held = self.job.iter().map(|job| job.lease).collect();
                        let gpus = vec![self.load()];
                        self.worker.say(FromWorker::Heartbeat { held, gpus }).await;
                    }
                    if self.role == Role::Leaves && self.job.is_some() {
                        return;
                    }
                    self.get_on().await;
                }
            }
        }
    }

    /// A GPU that computes is warm, one that does not is not.
    fn load(&self) -> GpuLoad {
        let own = self.number % 10;
        let (percent, celsius, gibibytes) = match self.job {
            Some(_) => (88 + own, 62 + own, 14 + own),
            None => (0, 34 + own, 1),
        };
        GpuLoad {
            utilisation_percent: Some(percent as u32),
            temperature_celsius: Some(celsius as u32),
            memory_used_bytes: Some(gibibytes << 30),
        }
    }

    async fn hear(&mut self, message: ToWorker) {
        match message {
            ToWorker::Prove { lease_id, spec, .. } => {
                // Every job is of another length, and the same in every run.
                let part = spec.cycle_limit.wrapping_mul(2_654_435_761) % 1000;
                let usual = match self.role {
                    Role::Proves(time) => time,
                    _ => Duration::from_secs(3),
                };
                self.job = Some(Job {
                    lease: lease_id,
                    mode: spec.mode,
                    began: Instant::now(),
                    proves_in: usual.mul_f64(0.5 + part as f64 / 1000.0),
                    cycles: 300_000 * (part + 20) * (self.number % 7 + 1),
                });
                if self.role == Role::Drains {
                    let reason = "its machine is to be restarted".to_owned();
                    self.worker.say(FromWorker::Draining { reason }).await;
                }
                self.get_on().await;
            }
            ToWorker::Cancel { lease_id, .. } => {
                self.job.take_if(|job| job.lease == lease_id);
                let failure = failure(FailureClass::Infrastructure, "it was cancelled");
                self.worker.say(FromWorker::Failed { lease_id, failure }).await;
            }
            _ => {}
        }
    }

    /// Tells how far it is, or ends the job.
    async fn get_on(&mut self) {
        let Some(job) = &self.job else { return };
        let (lease_id, part) = (job.lease, job.part());
        let ends = part >= 1.0 && job.mode == ProofMode::Core;
        let said = match self.role {
            Role::Proves(_) if ends => return self.prove().await,
            Role::FailsItself if part >= 1.0 => {
                failed(lease_id, FailureClass::Worker, "CUDA error: out of memory (GPU 0)")
            }
            Role::FindsFaults if part >= 1.0 => {
                failed(lease_id, FailureClass::Guest, "the program panicked: assertion failed")
            }
            _ => return self.report().await,
        };
        self.job = None;
        self.worker.say(said).await;
    }

    async fn prove(&mut self) {
        let Some(job) = self.job.take() else { return };
        let proof = core_proof();
        // Refused if the job was taken away meanwhile.
        if self.worker.hand_in(job.lease, &proof).await == 200 {
            let execution = Execution { cycles: job.cycles, ..execution() };
            let said =
                FromWorker::Completed { lease_id: job.lease, execution, proof: blob(&proof) };
            self.worker.say(said).await;
        }
    }

    async fn report(&mut self) {
        let Some(job) = &self.job else { return };
        let part = job.part().min(0.97);
        let left = job.proves_in.mul_f64(1.0 - part);
        let progress = if part < 0.08 {
            Progress::phase(Phase::Executing)
        } else {
            Progress {
                phase: Phase::Proving,
                fraction: Some(part as f32),
                cycles_done: Some((job.cycles as f64 * part) as u64),
                cycles_total: Some(job.cycles),
                eta_seconds: Some(left.as_secs()),
                estimated: self.number % 3 == 2,
                memory_bytes: None,
                steps_done: Some((100.0 * part) as u64),
            }
        };
        let lease_id = job.lease;
        self.worker.say(FromWorker::Progress { lease_id, progress }).await;
    }
}

impl Job {
    fn part(&self) -> f64 {
        self.began.elapsed().as_secs_f64() / self.proves_in.as_secs_f64()
    }
}

fn failed(lease_id: LeaseId, class: FailureClass, message: &str) -> FromWorker {
    FromWorker::Failed { lease_id, failure: failure(class, message) }
}

fn failure(class: FailureClass, message: &str) -> Failure {
    let cause =
        (class == FailureClass::Guest).then_some(ExecutionFailureCause::HaltWithNonZeroExitCode);
    Failure { cause, ..Failure::new(class, message) }
}
