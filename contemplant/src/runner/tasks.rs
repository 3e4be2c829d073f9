//! Running tasks of proofs that many workers make (version 3 of the worker protocol).
//!
//! Each attempt at a task has two parts, which run at the same time. Its *work* fetches inputs, calls the executor, and
//! puts results and messages into the attempt's *parcel*. Its *courier* delivers the parcel over the
//! current connection, and again from the beginning over each later one, until Hierophant settles the attempt: a
//! Hierophant that was restarted may have lost what was handed in before.

mod announced;
mod attempt;
mod courier;
mod execution;
mod join;
mod memory;
mod offer;
mod parcel;
mod provide;
mod shard;
mod sources;
mod stop;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use network_lib::handshake::Capabilities;
use network_lib::ids::{JobId, LeaseId, Sha256Digest};
use network_lib::job::{Failure, FailureClass, Phase};
use network_lib::shard::{KnownShard, MAX_BLOBS_PER_MESSAGE, TaskFromWorker, TaskInput, TaskKind};
use network_lib::task;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::attempt::Attempt;
use self::execution::ExecutionInputs;
use self::memory::Proving;
pub use self::offer::with_tasks;
use self::shard::ShardInputs;
use self::stop::TaskStop;
use super::Runner;
use super::inputs::Inputs;
use super::transfer::Transfer;
use crate::attempt::{Outcome, TaskOrder};
use crate::depot::Depot;
use crate::depot::results::TaskResult;
use crate::executor::EventSink;
use crate::executor::tasks::TaskExecutor;
use crate::metrics::Metrics;
use crate::observer::task::TaskObserver;

/// Number of records that are handed in for other workers at the same time.
const PROVIDED_AT_ONCE: usize = 4;

/// A message to send, over one connection only.
#[derive(Debug)]
pub struct Said {
    /// Number of the connection.
    pub connection: u64,
    /// The message.
    pub message: TaskFromWorker,
}

/// Runs attempts at tasks.
pub struct TaskRunner {
    executor: Arc<dyn TaskExecutor>,
    capabilities: watch::Receiver<Capabilities>,
    transfer: Arc<Transfer>,
    inputs: Arc<Inputs>,
    depot: Depot,
    heard: watch::Sender<()>,
    leaving: CancellationToken,
    metrics: Metrics,
    /// Number of the current connection; none while there is none that supports tasks.
    connection: watch::Sender<Option<u64>>,
    said: mpsc::UnboundedSender<Said>,
    attempts: Mutex<BTreeMap<LeaseId, Arc<Attempt>>>,
    /// Jobs whose programs this process has executed, until Hierophant reports that they have ended: only executions put
    /// records into the depot.
    executed: Mutex<BTreeSet<JobId>>,
    /// Slots of the prover, once its offer is known.
    slots: OnceLock<Semaphore>,
    proving: Proving,
    /// Records that are being handed in for other workers, by the leases under which that happens.
    provided: Mutex<BTreeSet<(LeaseId, Sha256Digest)>>,
    providing: Semaphore,
}

impl TaskRunner {
    /// A runner of tasks that uses the transfers of `runner`, and the channel of its messages. Must be called on a tokio
    /// runtime.
    #[must_use]
    pub fn new(
        runner: &Runner,
        executor: Arc<dyn TaskExecutor>,
        depot: Depot,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Said>) {
        let (said, messages) = mpsc::unbounded_channel();
        let tasks = Self {
            executor,
            capabilities: runner.executor.capabilities(),
            transfer: Arc::clone(&runner.transfer),
            inputs: Arc::clone(&runner.inputs),
            depot,
            heard: runner.heard.clone(),
            leaving: runner.leaving.clone(),
            metrics: runner.metrics.clone(),
            connection: watch::Sender::new(None),
            said,
            attempts: Mutex::default(),
            executed: Mutex::default(),
            slots: OnceLock::new(),
            proving: Proving::default(),
            provided: Mutex::default(),
            providing: Semaphore::new(PROVIDED_AT_ONCE),
        };
        let (used, metrics) = (tasks.depot.used(), tasks.metrics.clone());
        task::spawn("depot figures", figures(used, metrics));
        (Arc::new(tasks), messages)
    }

    /// Starts an attempt.
    pub fn start(self: &Arc<Self>, order: TaskOrder, events: EventSink, cancel: CancellationToken) {
        if order.kind() == TaskKind::Execute {
            self.executed().insert(order.job);
        }
        let attempt = self.begin(&order, events, cancel);
        let (runner, working) = (Arc::clone(self), Arc::clone(&attempt));
        let work = async move {
            match order.input {
                TaskInput::Execute { spec, program, stdin, max_elements, .. } => {
                    let inputs = ExecutionInputs { spec, program, stdin, max_elements };
                    runner.execute(&working, inputs).await
                }
                TaskInput::ProveShard { program, common, record, named, defers, mode } => {
                    let inputs = ShardInputs { program, common, record, named, defers, mode };
                    runner.prove_shard(&working, inputs).await
                }
                input => runner.join(&working, input).await,
            }
        };
        self.follow(attempt, work);
    }

    /// Ends an attempt before it starts.
    pub fn reject(
        self: &Arc<Self>,
        order: &TaskOrder,
        failure: Failure,
        events: EventSink,
        cancel: CancellationToken,
    ) {
        let attempt = self.begin(order, events, cancel);
        self.follow(attempt, async move { Err(failure.into()) });
    }

    /// Hands in the result of an earlier process.
    pub fn resume(
        self: &Arc<Self>,
        result: TaskResult,
        events: EventSink,
        cancel: CancellationToken,
    ) {
        let observer = TaskObserver::resume(result.lease_id, result.kind, self.metrics.clone());
        let (lease, job, kind) = (result.lease_id, result.job, result.kind);
        let attempt = Attempt::new((lease, job, kind), None, observer, events, cancel);
        let attempt = self.add(attempt);
        for delivery in result.deliveries {
            attempt.deliver(delivery);
        }
        self.follow(attempt, async { Ok(()) });
    }

    /// A connection that supports tasks is established.
    pub fn connected(&self, number: u64) {
        self.connection.send_replace(Some(number));
    }

    /// The connection has ended.
    pub fn disconnected(&self) {
        self.connection.send_replace(None);
    }

    /// The lists of the records in the depot, for each job that has any.
    #[must_use]
    pub fn depot_lists(&self) -> Vec<TaskFromWorker> {
        self.depot.jobs().into_iter().flat_map(|job| self.depot_list(job)).collect()
    }

    /// Hierophant has stored announced shards, or their states have changed.
    pub fn shards_known(&self, lease: LeaseId, shards: Vec<KnownShard>) {
        let attempt = self.attempts().get(&lease).cloned();
        let announced = attempt.as_ref().and_then(|attempt| attempt.announced.as_ref());
        let (Some(attempt), Some(announced)) = (&attempt, announced) else {
            tracing::debug!(lease = lease.hint(), "shards of an execution that is not held");
            return;
        };
        let done = announced.known(shards);
        if !done.is_empty() {
            attempt.events.steps(Phase::Executing, announced.steps());
            let (depot, job) = (self.depot.clone(), attempt.job);
            tokio::task::spawn_blocking(move || depot.remove(job, &done));
        }
    }

    /// Blobs of a job are no longer needed; without `blobs`, the whole job has ended.
    pub fn forget(&self, job: JobId, blobs: Option<Vec<Sha256Digest>>) {
        if blobs.is_none() {
            self.executed().remove(&job);
        }
        let depot = self.depot.clone();
        tokio::task::spawn_blocking(move || match blobs {
            Some(blobs) => depot.remove(job, &blobs),
            None => depot.remove_job(job),
        });
    }

    /// Hierophant has stored the end of an attempt.
    pub fn settled(&self, lease: LeaseId) {
        if let Some(attempt) = self.attempts().get(&lease) {
            attempt.settled.cancel();
        }
    }

    /// Hierophant does not want the result of an attempt.
    pub fn abandon(&self, lease: LeaseId) {
        if let Some(attempt) = self.attempts().get(&lease) {
            attempt.cancel.cancel();
        }
    }

    /// Removes a result of an earlier process that Hierophant does not want.
    pub fn discard(&self, result: &TaskResult) {
        let (depot, job, lease) = (self.depot.clone(), result.job, result.lease_id);
        tokio::task::spawn_blocking(move || depot.remove_result(job, lease));
    }

    /// Whether an attempt at a task is held under this lease.
    #[must_use]
    pub fn holds(&self, lease: LeaseId) -> bool {
        self.attempts().contains_key(&lease)
    }

    /// Whether this attempt's result is on disk, and so survives a restart.
    #[must_use]
    pub fn holds_result(&self, lease: LeaseId) -> bool {
        let attempt = self.attempts().get(&lease).cloned();
        attempt.is_some_and(|attempt| self.depot.has_result(attempt.job, lease))
    }

    /// Whether this attempt occupies a slot, or waits for one.
    #[must_use]
    pub fn takes_slot(&self, lease: LeaseId) -> bool {
        self.attempts().get(&lease).is_some_and(|attempt| attempt.kind != TaskKind::Execute)
    }

    /// Whether the depot holds records, which tasks of other workers may need.
    #[must_use]
    pub fn holds_records(&self) -> bool {
        self.depot.usage().0 > 0
    }

    fn begin(
        &self,
        order: &TaskOrder,
        events: EventSink,
        cancel: CancellationToken,
    ) -> Arc<Attempt> {
        let observer = TaskObserver::start(order, self.metrics.clone());
        let window = match order.input {
            TaskInput::Execute { window, window_bytes, .. } => Some((window, window_bytes)),
            _ => None,
        };
        let about = (order.lease_id, order.job, order.kind());
        self.add(Attempt::new(about, window, observer, events, cancel))
    }

    fn add(&self, attempt: Attempt) -> Arc<Attempt> {
        let attempt = Arc::new(attempt);
        self.attempts().insert(attempt.lease, Arc::clone(&attempt));
        attempt
    }

    /// Runs an attempt's `work` and delivers its parcel, each as a task of its own.
    fn follow(
        self: &Arc<Self>,
        attempt: Arc<Attempt>,
        work: impl Future<Output = Result<(), TaskStop>> + Send + 'static,
    ) {
        let runner = Arc::clone(self);
        let span = attempt.observer.log().clone();
        let followed = async move {
            let working = async {
                let ended = task::spawn("work", work).await;
                let ended = ended.unwrap_or_else(|error| {
                    tracing::error!(%error, "an attempt at a task panicked");
                    let message = "internal error of the Contemplant";
                    Err(Failure::new(FailureClass::Worker, message).into())
                });
                if let Err(stop) = ended {
                    attempt.fail(stop);
                }
            };
            let ((), is_settled) = tokio::join!(working, runner.deliver(&attempt));
            runner.end(&attempt, is_settled).await;
        };
        span.in_scope(|| task::spawn("task", followed));
    }

    /// Removes an attempt that is settled or not wanted.
    async fn end(&self, attempt: &Arc<Attempt>, is_settled: bool) {
        let is_wanted = !is_settled && !attempt.cancel.is_cancelled();
        if !is_wanted {
            let (depot, job, lease) = (self.depot.clone(), attempt.job, attempt.lease);
            let removed = tokio::task::spawn_blocking(move || depot.remove_result(job, lease));
            if let Err(error) = removed.await {
                tracing::warn!(%error, "the result of a task could not be removed");
            }
        }
        self.attempts().remove(&attempt.lease);
        attempt.observer.ended(&attempt.outcome(is_settled));
        if !is_settled {
            attempt.events.ended(Outcome::Abandoned);
        }
    }

    /// The list of a job's records in the depot: one message or several.
    fn depot_list(&self, job: JobId) -> Vec<TaskFromWorker> {
        let (used_bytes, free_bytes) = self.depot.usage();
        let blobs = self.depot.list(job);
        let mut parts: Vec<Vec<Sha256Digest>> =
            blobs.chunks(MAX_BLOBS_PER_MESSAGE).map(<[Sha256Digest]>::to_vec).collect();
        if parts.is_empty() {
            parts.push(Vec::new());
        }
        let last = parts.len() - 1;
        let message = |(number, blobs)| {
            let more = number < last;
            TaskFromWorker::Depot { job, blobs, more, used_bytes, free_bytes }
        };
        parts.into_iter().enumerate().map(message).collect()
    }

    /// Sends the list of a job's records in the depot, because one was lost.
    fn list_depot(&self, job: JobId) {
        if let Some(connection) = *self.connection.borrow() {
            for message in self.depot_list(job) {
                self.say(connection, message);
            }
        }
    }

    fn say(&self, connection: u64, message: TaskFromWorker) {
        // Without a receiver the program is ending.
        let _ = self.said.send(Said { connection, message });
    }

    fn attempts(&self) -> MutexGuard<'_, BTreeMap<LeaseId, Arc<Attempt>>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All jobs of which Hierophant may expect records in the depot.
    fn jobs(&self) -> BTreeSet<JobId> {
        let mut jobs = self.executed().clone();
        jobs.extend(self.depot.jobs());
        jobs.extend(self.attempts().values().map(|attempt| attempt.job));
        jobs
    }

    fn executed(&self) -> MutexGuard<'_, BTreeSet<JobId>> {
        self.executed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows the bytes of the depot.
async fn figures(mut used: watch::Receiver<u64>, metrics: Metrics) {
    loop {
        metrics.set_depot(*used.borrow_and_update());
        if used.changed().await.is_err() {
            return;
        }
    }
}

fn not_taken(kind: TaskKind) -> TaskStop {
    let message = format!("tasks of kind {kind} are not taken by this worker");
    Failure::new(FailureClass::Infrastructure, message).into()
}
