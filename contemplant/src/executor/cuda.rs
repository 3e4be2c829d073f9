//! The `cuda` backend: SP1 on GPUs, through prover servers, one for each GPU, over SP1's own protocol.
//!
//! A program is checked and executed here first, for its cycles, gas and public values, so that a server only
//! receives jobs that will succeed. [`crate::prover_server`] starts the servers or connects to external ones.

mod estimator;
mod queue;
mod session;
mod slot;
mod wire;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use network_lib::handshake::{Backend, Capabilities, Gpu, GpuLoad};
use network_lib::job::{Failure, FailureClass, ProofMode};
use network_lib::metrics::Counter;
use network_lib::task;
use sp1_prover::SP1_CIRCUIT_VERSION;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::estimator::{ProgressEstimator, Subject};
use self::queue::{Queue, Work};
use self::session::Session;
use self::slot::{Slot, State, obstacle, reject_work, unavailable_reason};
use super::encode::encode;
use super::helper::Helper;
use super::keys::KeyFiles;
use super::prepare::{Prepared, prepare};
use super::program::Programs;
use super::{EventSink, Executor, ProveJob, Proved, cancelled, unless_cancelled};
use crate::config::SelfTest;
use crate::machine::memory_bytes;
use crate::prover_server::ProverServer;

/// Time limit for all servers to end with the program.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Time limit for the answer to a ping.
const PING_LIMIT: Duration = Duration::from_secs(5);

/// The executor behind `backend = "cuda"`.
pub struct CudaExecutor {
    helper: Helper,
    programs: Programs,
    queue: Arc<Queue>,
    jobs_at_once: usize,
    states: Arc<watch::Sender<Vec<State>>>,
    capabilities: watch::Sender<Capabilities>,
    /// The slots until they are started.
    slots: Mutex<Vec<Slot>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    loads: watch::Receiver<Vec<GpuLoad>>,
    stop: CancellationToken,
    starts: Counter,
}

/// Settings of a [`CudaExecutor`].
pub struct CudaSettings {
    /// The servers, each of which makes one proof at a time.
    pub servers: Vec<Arc<dyn ProverServer>>,
    /// Kinds of proof to offer.
    pub modes: Vec<ProofMode>,
    /// Time limit for a server from its start to its first answer, and for each step of its self-test.
    pub start_limit: Duration,
    /// How long a server may be silent while it proves before it counts as hung.
    pub silence_limit: Duration,
    /// How a server is tested before it gets work.
    pub self_test: SelfTest,
    /// Whether one job is prepared ahead for each server, while it proves.
    pub prefetch: bool,
    /// The GPUs, one for each server if the assignment is known.
    pub gpus: Vec<Gpu>,
    /// Load of the GPUs.
    pub loads: watch::Receiver<Vec<GpuLoad>>,
    /// The execution of programs.
    pub helper: Helper,
    /// The files of verifying keys.
    pub keys: KeyFiles,
}

impl CudaExecutor {
    /// An executor whose servers are started by [`Executor::start`].
    #[must_use]
    pub fn new(settings: CudaSettings) -> Self {
        let count = settings.servers.len();
        let memories: Vec<u64> = settings.gpus.iter().map(|gpu| gpu.memory_bytes).collect();
        // The GPU of an external server is unknown, unless there is only one.
        let gpu_memory =
            |number: usize| memories.get(number).copied().filter(|_| memories.len() == count);
        let capabilities = watch::Sender::new(Capabilities {
            vm: "sp1".to_owned(),
            circuit_versions: vec![SP1_CIRCUIT_VERSION.to_owned()],
            modes: Vec::new(),
            backend: Backend::Cuda,
            slots: u32::try_from(count).unwrap_or(u32::MAX),
            prefetch: 0,
            memory_bytes: memory_bytes(),
            gpus: settings.gpus,
            unavailable_reason: obstacle(&[State::Starting]),
            sharding: None,
        });
        let states = Arc::new(watch::Sender::new(vec![State::Starting; count]));
        let queue = Arc::new(Queue::default());
        let estimator = Arc::new(ProgressEstimator::default());
        let starts = Counter::default();
        let slot = |(number, server)| Slot {
            server,
            number,
            queue: Arc::clone(&queue),
            estimator: Arc::clone(&estimator),
            states: Arc::clone(&states),
            starts: starts.clone(),
            start_limit: settings.start_limit,
            silence_limit: settings.silence_limit,
            self_test: settings.self_test,
            gpu_memory: gpu_memory(number),
        };
        let slots = settings.servers.into_iter().enumerate().map(slot).collect();
        let prefetch = settings.prefetch;
        let offer = offer(states.subscribe(), capabilities.clone(), settings.modes, prefetch);
        Self {
            helper: settings.helper,
            programs: Programs::new(settings.keys),
            queue,
            jobs_at_once: if prefetch { 2 * count } else { count }.max(1),
            states,
            capabilities,
            slots: Mutex::new(slots),
            tasks: Mutex::new(vec![task::spawn("offer", offer)]),
            loads: settings.loads,
            stop: CancellationToken::new(),
            starts,
        }
    }

    async fn run(
        &self,
        job: ProveJob,
        events: EventSink,
        cancel: CancellationToken,
    ) -> Result<Proved, Failure> {
        let (digest, mode) = (job.program_digest, job.spec.mode);
        let preparation = prepare(&self.helper, &self.programs, job, false, &events);
        let Prepared { program, stdin, executed } = unless_cancelled(&cancel, preparation).await?;

        if let Some(reason) = unavailable_reason(&self.states.borrow()) {
            return Err(Failure::new(FailureClass::Infrastructure, reason));
        }
        // While the server works on another job: encoding a large input takes longer than sending it.
        let stdin = cancel.run_until_cancelled(encode(stdin)).await;
        let stdin = stdin.ok_or_else(cancelled)?.map_err(|reason| {
            Failure::new(FailureClass::Worker, format!("the input cannot be prepared: {reason}"))
        })?;
        let (reply, mut answer) = oneshot::channel();
        let cycles = executed.execution.cycles;
        let subject = Subject { program: digest, mode, cycles };
        let stdin = Arc::new(stdin);
        let work = Work { subject, program, stdin, events, cancel: cancel.clone(), reply };
        self.queue.push(work);
        // The last server may have failed meanwhile.
        reject_work(&self.queue, &self.states.borrow());
        let gone = || Failure::new(FailureClass::Infrastructure, "the worker is shutting down");
        let answered = tokio::select! {
            answered = &mut answer => answered,
            () = cancel.cancelled() => {
                self.queue.end_cancelled();
                answer.await
            }
            () = self.stop.cancelled() => return Err(gone()),
        };
        let proof = answered.map_err(|_| gone())??;

        let not_made = |reason: String| {
            Failure::new(FailureClass::Worker, format!("the proof could not be made: {reason}"))
        };
        if proof.public_values.as_slice() != executed.public_values.as_slice() {
            return Err(not_made(
                "its public values differ from those of the execution".to_owned(),
            ));
        }
        let proof = encode(proof).await.map_err(not_made)?;
        Ok(Proved { execution: executed.execution, proof })
    }
}

#[async_trait]
impl Executor for CudaExecutor {
    fn capabilities(&self) -> watch::Receiver<Capabilities> {
        self.capabilities.subscribe()
    }

    fn jobs_at_once(&self) -> usize {
        self.jobs_at_once
    }

    fn server_starts(&self) -> Counter {
        self.starts.clone()
    }

    fn gpu_loads(&self) -> watch::Receiver<Vec<GpuLoad>> {
        self.loads.clone()
    }

    fn start(&self) {
        self.helper.start();
        let slots = std::mem::take(&mut *self.slots.lock().unwrap_or_else(PoisonError::into_inner));
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in slots {
            let run = slot.run(self.stop.clone());
            tasks.push(task::spawn("prover server", run));
        }
    }

    async fn stop(&self) {
        self.stop.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = async {
            // The first only watches the states.
            for task in tasks.into_iter().skip(1) {
                let _ = task.await;
            }
        };
        if timeout(STOP_LIMIT, ended).await.is_err() {
            tracing::warn!("some prover servers did not end in time");
        }
    }

    async fn prove(
        &self,
        job: ProveJob,
        events: EventSink,
        cancel: CancellationToken,
    ) -> Result<Proved, Failure> {
        self.run(job, events, cancel).await
    }
}

/// Pings the prover server on `socket`.
///
/// # Errors
///
/// Why it did not answer.
pub async fn ping(socket: &Path) -> Result<(), String> {
    match timeout(PING_LIMIT, Session::open(socket)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the prover server does not answer".to_owned()),
    }
}

/// Keeps the offered capabilities equal to those of the servers that are ready.
async fn offer(
    mut states: watch::Receiver<Vec<State>>,
    capabilities: watch::Sender<Capabilities>,
    modes: Vec<ProofMode>,
    prefetch: bool,
) {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    loop {
        let (all, ready, obstacle) = {
            let states = states.borrow_and_update();
            let ready = states.iter().filter(|state| **state == State::Ready).count();
            (states.len(), ready, obstacle(&states))
        };
        capabilities.send_if_modified(|known| {
            let before = known.clone();
            known.modes = if ready > 0 { modes.clone() } else { Vec::new() };
            // While no server is ready, the number of all slots is offered.
            let slots = if ready > 0 { ready } else { all };
            known.slots = number(slots);
            known.prefetch = if prefetch { number(ready) } else { 0 };
            known.unavailable_reason = obstacle;
            *known != before
        });
        if states.changed().await.is_err() {
            return;
        }
    }
}
