//! Executions: the program is executed, and its shards are announced as they are cut.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use network_lib::ids::Sha256Digest;
use network_lib::job::{BlobInfo, Failure, FailureClass, JobSpec, Phase};
use network_lib::shard::{NewShard, TaskFromWorker};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::TaskRunner;
use super::announced::{Announced, News};
use super::attempt::Attempt;
use super::stop::TaskStop;
use crate::depot::results::Delivery;
use crate::depot::{Depot, DepotError};
use crate::executor::tasks::{CutShard, ExecuteTask, Executed, ShardNews, ShardReceiver};
use crate::finished::{Kept, KeptBytes};
use crate::runner::meter::Meter;

/// News that wait until the execution takes them.
const NEWS_WAITING: usize = 16;

/// Longest time between two attempts to keep a record for which there is no room.
const ROOM_LIMIT: Duration = Duration::from_secs(10);

/// What an execution works on.
pub(super) struct ExecutionInputs {
    pub(super) spec: JobSpec,
    pub(super) program: BlobInfo,
    pub(super) stdin: BlobInfo,
    pub(super) max_elements: u64,
}

impl TaskRunner {
    /// Executes a program and fills the attempt's parcel.
    pub(super) async fn execute(
        &self,
        attempt: &Arc<Attempt>,
        inputs: ExecutionInputs,
    ) -> Result<(), TaskStop> {
        let announced = attempt.announced.as_ref().ok_or(TaskStop::Abandoned)?;
        self.check_version(&inputs.spec)?;
        attempt.observer.phase(Phase::Downloading);
        let meter = Meter::start(&attempt.events, Phase::Downloading);
        let files = self.inputs.both(attempt.lease, (inputs.program, inputs.stdin), &meter);
        let files = attempt.stop.run_until_cancelled(files).await;
        let (elf, stdin) = files.ok_or(TaskStop::Abandoned)??;

        attempt.observer.phase(Phase::Executing);
        attempt.events.phase(Phase::Executing);
        let task = ExecuteTask {
            spec: inputs.spec,
            program_digest: inputs.program.sha256,
            elf,
            stdin,
            max_elements: inputs.max_elements,
        };
        let sink = ShardSink {
            attempt: Arc::clone(attempt),
            depot: self.depot.clone(),
            turn: Mutex::default(),
        };
        let (news, received) = mpsc::channel(NEWS_WAITING);
        let execution =
            self.executor.execute(task, Arc::new(sink), received, attempt.stop.child_token());
        tokio::pin!(execution);
        let executed = tokio::select! {
            executed = &mut execution => executed,
            stop = self.feed(attempt, announced, news) => {
                attempt.fail(stop);
                execution.await
            }
        };
        // The result of an execution that was stopped is not used: shards may be missing.
        if attempt.stop.is_cancelled() {
            return Err(TaskStop::Abandoned);
        }
        let Executed { execution, public_values } = executed?;
        tracing::info!(
            cycles = execution.cycles,
            gas = execution.gas,
            shards = announced.count(),
            "executed"
        );
        let public_values = in_memory(public_values);
        let message = TaskFromWorker::ExecuteEnded {
            lease_id: attempt.lease,
            shards: announced.count(),
            execution,
            public_values: public_values.info,
        };
        attempt.deliver(Delivery { blobs: vec![public_values], message });
        Ok(())
    }

    /// Passes news about shards to the execution, with the lists of their events. Returns only when a list is lost.
    async fn feed(
        &self,
        attempt: &Attempt,
        announced: &Announced,
        news: mpsc::Sender<ShardNews>,
    ) -> TaskStop {
        let Some(mut received) = announced.take_news() else { return TaskStop::Abandoned };
        let meter = Meter::silent();
        while let Some(next) = received.recv().await {
            let next = match next {
                News::Done { no } => ShardNews::Done { no },
                News::Traced { no, deferred, named } => {
                    let fetched =
                        self.fetch(attempt, "list of events", &deferred.blob, &meter).await;
                    match fetched {
                        Ok(bytes) => {
                            ShardNews::Traced { no, deferred: (deferred.id, bytes), named }
                        }
                        Err(stop) => return stop,
                    }
                }
            };
            if news.send(next).await.is_err() {
                break;
            }
        }
        // The execution takes no more news: it ends.
        std::future::pending().await
    }

    /// Rejects a program of another circuit version, which Hierophant should not send.
    fn check_version(&self, spec: &JobSpec) -> Result<(), Failure> {
        let capabilities = self.capabilities.borrow();
        if capabilities.circuit_versions.contains(&spec.circuit_version) {
            return Ok(());
        }
        let message = format!(
            "circuit version {} cannot be proved by this worker: expected {}",
            spec.circuit_version,
            capabilities.circuit_versions.join(", ")
        );
        Err(Failure::new(FailureClass::Request, message))
    }
}

/// The receiver of an execution's shards.
struct ShardSink {
    attempt: Arc<Attempt>,
    depot: Depot,
    /// One shard at a time, so that numbers follow the order of the calls.
    turn: Mutex<()>,
}

#[async_trait]
impl ShardReceiver for ShardSink {
    async fn common(&self, bytes: Vec<u8>) {
        self.attempt.set_common(in_memory(bytes));
    }

    async fn shard(&self, shard: CutShard) {
        let _turn = self.turn.lock().await;
        let added = self.attempt.stop.run_until_cancelled(self.add(shard)).await;
        if let Some(Err(stop)) = added {
            self.attempt.fail(stop);
        }
    }
}

impl ShardSink {
    /// Keeps a shard and announces it, once there is room. Returns when there is room for another one.
    async fn add(&self, shard: CutShard) -> Result<(), TaskStop> {
        let attempt = &self.attempt;
        let announced = attempt.announced.as_ref().ok_or(TaskStop::Abandoned)?;
        announced.room(shard.record.len() as u64).await;
        let named = announced.events(shard.named).map_err(|id| {
            let message = format!("a shard refers to unknown precompile events {id:?}");
            Failure::new(FailureClass::Worker, message)
        })?;
        let record = self.keep(announced, shard.record).await?;
        let no = announced.add(record);
        let (key, kind, range) = (Sha256Digest(shard.key.0), shard.kind, shard.range);
        tracing::debug!(no, kind = kind.as_str(), bytes = record.size, "shard cut");
        if !attempt.announce(NewShard { no, key, kind, range, record, named }) {
            let message = "a shard refers to too many precompile events for one message";
            return Err(Failure::new(FailureClass::Worker, message).into());
        }
        attempt.events.steps(Phase::Executing, announced.steps());
        announced.room(0).await;
        Ok(())
    }

    /// Keeps a record in the depot. Waits for room as long as the ends of other shards of this execution can make it.
    async fn keep(&self, announced: &Announced, record: Vec<u8>) -> Result<BlobInfo, TaskStop> {
        let record = Arc::new(record);
        let mut used = self.depot.used();
        let mut was_open = true;
        loop {
            used.mark_unchanged();
            let (depot, job, bytes) = (self.depot.clone(), self.attempt.job, Arc::clone(&record));
            let kept = tokio::task::spawn_blocking(move || depot.keep(job, &bytes)).await;
            let kept = kept.map_err(|error| {
                let message = format!("a record could not be stored: {error}");
                Failure::new(FailureClass::Worker, message)
            })?;
            let error = match kept {
                Ok(info) => return Ok(info),
                Err(error) => error,
            };
            let can_fit =
                matches!(error, DepotError::Full { wanted, limit, .. } if wanted <= limit);
            if !can_fit || !was_open {
                return Err(Failure::new(FailureClass::Infrastructure, error.to_string()).into());
            }
            tracing::debug!("the depot is full; the execution waits until a shard is done");
            // The record of the last open shard may be removed after that shard is done.
            was_open = announced.has_open();
            // An error says that the time is over; the channel cannot close, because the depot holds the other end.
            let _ = timeout(ROOM_LIMIT, used.changed()).await;
        }
    }
}

fn in_memory(bytes: Vec<u8>) -> Kept {
    let info =
        BlobInfo { size: bytes.len() as u64, sha256: Sha256Digest(Sha256::digest(&bytes).into()) };
    Kept { info, bytes: KeptBytes::Memory(bytes.into()) }
}
