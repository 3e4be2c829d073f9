//! Execution of single tasks on SP1's engine.

use sp1_prover::worker::{RawTaskRequest, TaskMetadata};
use sp1_prover_types::TaskType;

use super::Worker;
use crate::BoxFuture;
use crate::attempt::{TaskFailure, isolated, joined};

/// Most tries of a task whose errors SP1 calls retryable.
const MAX_TRIES: u32 = 3;

/// A task on the engine.
type Running = BoxFuture<Result<TaskMetadata, TaskFailure>>;

/// Runs a task on SP1's engine until it succeeds, and again after an error that SP1 calls retryable. Waits while the
/// engine has as many tasks of this kind as it takes. Returns how long the prover worked.
///
/// # Errors
///
/// The last try's error, with the kind of the task.
pub(super) async fn run(
    worker: &Worker,
    kind: TaskType,
    request: &RawTaskRequest,
) -> Result<TaskMetadata, TaskFailure> {
    let mut tries = 1;
    loop {
        let outcome = match submit(worker, kind, request.clone()).await {
            Ok(running) => running.await,
            Err(failure) => Err(failure),
        };
        let failure = match outcome {
            Ok(metadata) => return Ok(metadata),
            Err(failure) => failure,
        };
        let TaskFailure { retryable, ref reason, .. } = failure;
        tracing::warn!(task = kind.as_str_name(), reason, retryable, "a prover task failed");
        if !retryable || tries == MAX_TRIES {
            let reason = format!("{}: {reason}", kind.as_str_name());
            return Err(TaskFailure { reason, ..failure });
        }
        tries += 1;
    }
}

/// Hands a task to SP1's engine.
async fn submit(
    worker: &Worker,
    kind: TaskType,
    request: RawTaskRequest,
) -> Result<Running, TaskFailure> {
    let engine = worker.prover_engine();
    let worker = worker.clone();
    Ok(match kind {
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
        TaskType::ShrinkWrap => {
            Box::pin(isolated(async move { worker.prover_engine().run_shrink_wrap(request).await }))
        }
        TaskType::PlonkWrap => {
            let running = async move { worker.prover_engine().run_plonk(request).await };
            Box::pin(isolated(async { running.await.map(|()| TaskMetadata::default()) }))
        }
        TaskType::Groth16Wrap => {
            let running = async move { worker.prover_engine().run_groth16(request).await };
            Box::pin(isolated(async { running.await.map(|()| TaskMetadata::default()) }))
        }
        _ => return Err(TaskFailure::fatal("unexpected kind of task")),
    })
}
