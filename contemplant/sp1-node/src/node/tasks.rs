//! Execution of SP1's tasks: takes them from their queues and runs them on SP1's engine.

use std::sync::Arc;

use sp1_prover::worker::{CoreExecuteTaskRequest, RawTaskRequest, TaskId};
use sp1_prover_types::{ArtifactClient, TaskStatus, TaskType};
use tokio::sync::mpsc;

use super::Node;
use crate::BoxFuture;
use crate::attempt::{Attempt, TaskFailure, isolated, joined};
use crate::runtime::spawn;
use crate::tally::Tally;

/// Most attempts at a task whose errors SP1 calls retryable.
const MAX_TRIES: u32 = 3;

/// One of SP1's queues.
pub(super) type Queue = mpsc::Receiver<(TaskId, RawTaskRequest)>;

/// A task on the engine.
type Running = BoxFuture<Result<(), TaskFailure>>;

impl Node {
    /// Runs the tasks of one of SP1's queues.
    pub(super) async fn serve(self: Arc<Self>, kind: TaskType, mut queue: Queue) {
        while let Some((id, request)) = queue.recv().await {
            if kind == TaskType::MarkerDeferredRecord {
                // A placeholder: the shard that fills it reports its status.
                continue;
            }
            let Some(attempt) = self.attempt_of(&request) else {
                self.report_status(id, TaskStatus::FailedFatal).await;
                continue;
            };
            let step = self.step_of(kind, &request).await;
            if let Some(step) = step {
                attempt.count(|tally| tally.submitted(step));
            }
            // Waiting here for the engine is the backpressure that keeps SP1 from cutting up the whole
            // program into memory at once.
            let submitted = self.submit(kind, &id, &request, &attempt);
            let Some(submitted) = attempt.stop.run_until_cancelled(submitted).await else {
                self.report_status(id, TaskStatus::FailedFatal).await;
                continue;
            };
            let node = Arc::clone(&self);
            let tracked = attempt.tasks.track_future({
                let attempt = Arc::clone(&attempt);
                async move {
                    let work = node.finish(kind, &id, &request, &attempt, submitted);
                    let succeeded = attempt.stop.run_until_cancelled(work).await.unwrap_or(false);
                    if succeeded && let Some(step) = step {
                        attempt.count(|tally| tally.done(step, attempt.start.elapsed()));
                    }
                    let status =
                        if succeeded { TaskStatus::Succeeded } else { TaskStatus::FailedFatal };
                    node.report_status(id, status).await;
                }
            });
            spawn(tracked);
        }
    }

    /// Waits for a submitted task, and submits it again after an error that SP1 calls retryable. Answers
    /// whether it succeeded.
    async fn finish(
        &self,
        kind: TaskType,
        id: &TaskId,
        request: &RawTaskRequest,
        attempt: &Arc<Attempt>,
        mut submitted: Result<Running, TaskFailure>,
    ) -> bool {
        for tries_left in (0..MAX_TRIES).rev() {
            let outcome = match submitted {
                Ok(running) => running.await,
                Err(trouble) => Err(trouble),
            };
            let Err(TaskFailure { retryable, reason }) = outcome else { return true };
            tracing::warn!(task = kind.as_str_name(), reason, retryable, "a prover task failed");
            if !retryable || tries_left == 0 {
                attempt.record_error(format!("{}: {reason}", kind.as_str_name()));
                return false;
            }
            submitted = self.submit(kind, id, request, attempt).await;
        }
        false
    }

    /// Hands a task to SP1's engine.
    async fn submit(
        &self,
        kind: TaskType,
        id: &TaskId,
        request: &RawTaskRequest,
        attempt: &Arc<Attempt>,
    ) -> Result<Running, TaskFailure> {
        let engine = self.worker.prover_engine();
        let request = request.clone();
        let worker = self.worker.clone();
        let running: Running = match kind {
            TaskType::SetupVkey => {
                // The key is known: it was checked before the execution.
                let output = request
                    .outputs
                    .first()
                    .ok_or_else(|| TaskFailure::fatal("task without an output"))?;
                let artifacts = self.worker.artifact_client();
                artifacts.upload(output, attempt.key.clone()).await.map_err(TaskFailure::fatal)?;
                Box::pin(async { Ok(()) })
            }
            TaskType::ProveShard => {
                let handle = engine.submit_prove_core_shard(request).await?;
                Box::pin(async move { joined(handle.await) })
            }
            TaskType::RecursionReduce => {
                let handle = engine.submit_recursion_reduce(request).await?;
                Box::pin(async move { joined(handle.await) })
            }
            TaskType::RecursionDeferred => {
                let handle = engine.submit_prove_deferred(request).await?;
                Box::pin(async move { joined(handle.await) })
            }
            TaskType::CoreExecute => {
                let id = id.clone();
                let attempt = Arc::clone(attempt);
                Box::pin(isolated(async move {
                    let request = CoreExecuteTaskRequest::from_raw(request)?;
                    worker.controller().execute(id, request).await?;
                    attempt.count(Tally::all_shards_submitted);
                    Ok(())
                }))
            }
            TaskType::ShrinkWrap => Box::pin(isolated(async move {
                worker.prover_engine().run_shrink_wrap(request).await.map(drop)
            })),
            TaskType::PlonkWrap => {
                Box::pin(isolated(async move { worker.prover_engine().run_plonk(request).await }))
            }
            TaskType::Groth16Wrap => {
                Box::pin(isolated(async move { worker.prover_engine().run_groth16(request).await }))
            }
            _ => return Err(TaskFailure::fatal("unexpected kind of task")),
        };
        Ok(running)
    }

    /// Tells SP1 how a task ended.
    async fn report_status(&self, id: TaskId, status: TaskStatus) {
        // An error means that nothing waits for the task.
        let _ = self.client.update_task_status(id, status).await;
    }

    /// The current attempt, if the task belongs to it and it was not stopped.
    fn attempt_of(&self, request: &RawTaskRequest) -> Option<Arc<Attempt>> {
        let current = self.lock_current().clone()?;
        let wanted = current.proof_id == request.context.proof_id && !current.stop.is_cancelled();
        wanted.then_some(current)
    }
}
