//! Mock workers by the thousand, and the check of what they were given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use network_lib::handshake::{Hello, Welcome};
use network_lib::ids::{Sha256Digest, WorkerId};
use network_lib::task;
use network_lib::wire::FromWorker;
use test_peers::{Addresses, Job, Worker, blob, execution_with, hello};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::requester::{expected_proof, public_values_of};

/// Jobs and the number of times that each was given out: none may be given out twice.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<BTreeMap<(u64, Sha256Digest), u32>>>);

impl Ledger {
    /// Records that a job was given out. Its cycle limit and its input identify it.
    pub fn note(&self, job: &Job) {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *given.entry((job.spec.cycle_limit, job.stdin.sha256)).or_default() += 1;
    }

    /// Number of different jobs that were given out.
    #[must_use]
    pub fn jobs(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Checks that this number of jobs was given out, each once.
    ///
    /// # Errors
    ///
    /// When it is otherwise.
    pub fn check(&self, jobs: usize) -> Result<()> {
        let given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let twice = given.values().filter(|times| **times > 1).count();
        ensure!(twice == 0, "{twice} of {} jobs were given out more than once", given.len());
        ensure!(given.len() == jobs, "{} jobs were given out, not {jobs}", given.len());
        Ok(())
    }
}

/// The hello of a mock worker with an id of its own.
#[must_use]
pub fn identity(number: usize) -> Hello {
    Hello { name: format!("mock-{number:05}"), worker_id: WorkerId::random(), ..hello() }
}

/// Connects a worker and waits for its welcome.
///
/// # Errors
///
/// When it is not welcome.
pub async fn join(
    network: Addresses,
    http: &reqwest::Client,
    hello: Hello,
) -> Result<(Worker, Welcome)> {
    let mut worker = Worker::connect(network.http, http.clone()).await?;
    let welcome = worker.greet(hello).await?;
    Ok((worker, welcome))
}

/// Fetches a job's input and hands in the proof that is expected of it. The message that says so is returned, still
/// to be sent.
///
/// # Errors
///
/// When input or proof is refused.
pub async fn prove(worker: &Worker, job: &Job) -> Result<FromWorker> {
    let input = worker.input(job).await?;
    let (execution, proof) = (execution_with(&public_values_of(&input)), expected_proof(&input));
    let completed = FromWorker::Completed { lease_id: job.lease, execution, proof: blob(&proof) };
    let status = worker.upload(job.lease, proof).await?;
    ensure!(status == 200, "a proof was answered with {status}");
    Ok(completed)
}

/// Does a job from its first report to its last.
///
/// # Errors
///
/// When any of it fails.
pub async fn work_on(worker: &mut Worker, job: &Job) -> Result<()> {
    worker.progress(job.lease, 0.0).await?;
    let completed = prove(worker, job).await?;
    worker.send(&completed).await
}

/// Mock workers that take every job, each in a task; they stop when this is dropped.
pub struct Fleet {
    tasks: Vec<JoinHandle<()>>,
    faults: mpsc::UnboundedReceiver<anyhow::Error>,
    /// The jobs that were given out.
    pub ledger: Ledger,
}

impl Fleet {
    /// Connects the workers.
    ///
    /// # Errors
    ///
    /// When one is not welcome.
    pub async fn start(network: Addresses, http: &reqwest::Client, workers: usize) -> Result<Self> {
        let (fault, faults) = mpsc::unbounded_channel();
        let ledger = Ledger::default();
        let mut tasks = Vec::new();
        for number in 0..workers {
            let (worker, welcome) = join(network, http, identity(number)).await?;
            let (fault, ledger) = (fault.clone(), ledger.clone());
            tasks.push(task::spawn("mock worker", async move {
                if let Err(error) = work(worker, &welcome, &ledger).await {
                    // At the end, when Hierophant closes the connections, the receiver is gone.
                    let _ = fault.send(error);
                }
            }));
        }
        Ok(Self { tasks, faults, ledger })
    }

    /// Checks that this number of jobs was given out, each once, and that nothing failed.
    ///
    /// # Errors
    ///
    /// When it is otherwise.
    pub fn check(mut self, jobs: usize) -> Result<()> {
        if let Ok(fault) = self.faults.try_recv() {
            return Err(fault.context("a mock worker failed"));
        }
        self.ledger.check(jobs)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn work(mut worker: Worker, welcome: &Welcome, ledger: &Ledger) -> Result<()> {
    let beat = heartbeat_interval(welcome);
    let mut clock = interval_at(Instant::now() + beat, beat);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let job = tokio::select! {
            job = worker.next_job() => job?,
            _ = clock.tick() => {
                worker.heartbeat(Vec::new()).await?;
                continue;
            }
        };
        ledger.note(&job);
        work_on(&mut worker, &job).await?;
    }
}

/// Pause between two heartbeats, as the welcome asks for.
#[must_use]
pub const fn heartbeat_interval(welcome: &Welcome) -> Duration {
    Duration::from_millis(welcome.heartbeat_interval_ms)
}
