//! The tasks as which several workers make one proof.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use hierophant_admin_model::{JobTasks, Refusal, Task, TaskSummary};
use hierophant_model::records::{AttemptOutcome, TaskRecord, TaskState};
use hierophant_scheduler::proofs::WaitingTask;
use hierophant_store::{DividedJob, TriedTask};
use network_lib::ids::{JobId, TaskId, WorkerId};
use network_lib::job::BlobInfo;
use network_lib::shard::TaskKind;

use super::page::{ApiResult, ErrorResponse, actor_timeout, job_id, not_found, store_unavailable};
use super::render;
use crate::api::AdminContext;

/// Maximum number of tasks that are shown of a job: its oldest.
const MAX_TASKS: u32 = 5000;

/// The tasks as which several workers make the proof of a job, with what each waits for.
#[utoipa::path(get, path = "/jobs/{id}/tasks", tag = "jobs",
    params(("id" = String, Path, description = "job id")), responses(
    (status = 200, body = JobTasks),
    (status = 400, description = "invalid id", body = Refusal),
    (status = 404, description = "not divided into tasks, or they are deleted", body = Refusal),
    (status = 503, description = "store unavailable", body = Refusal),
))]
pub(super) async fn tasks(
    State(context): State<AdminContext>,
    Path(id): Path<String>,
) -> ApiResult<JobTasks> {
    let id = job_id(&id)?;
    // What waits is read first: a task that has ended since is shown by its record.
    let waiting = context.proofs.waiting_tasks(id).await.map_err(actor_timeout)?;
    let divided = context.store.divided_job(id, MAX_TASKS).await.map_err(store_unavailable)?;
    let divided = divided.ok_or_else(|| {
        not_found("no tasks: the job is proved as a whole, or its tasks were deleted 7 days after")
    })?;
    let counts = context.store.task_counts(id).await.map_err(store_unavailable)?;
    let known = context.registry.workers().await.map_err(actor_timeout)?;
    let names = known.into_iter().map(|known| (known.worker, known.name)).collect();
    let mut shown = shown(divided, &waiting, &names);
    (shown.summary.done, shown.summary.all) = (counts.done, counts.all);
    Ok(Json(shown))
}

/// Numbers of the tasks of a job that several workers prove or have proved; `None` for one without tasks.
pub(super) async fn summary_of(
    context: &AdminContext,
    id: JobId,
) -> Result<Option<TaskSummary>, ErrorResponse> {
    let scheduler = context.proofs.overview().await.map_err(actor_timeout)?;
    let running = scheduler.divided.iter().find(|divided| divided.proof.job == id);
    if let Some(summary) = running.and_then(|divided| render::divided(divided).tasks) {
        return Ok(Some(summary));
    }
    let counts = context.store.task_counts(id).await.map_err(store_unavailable)?;
    let (done, all, workers) = (counts.done, counts.all, counts.workers);
    Ok((all > 0).then_some(TaskSummary { done, all, running: 0, workers }))
}

/// JSON of a division. `names` are those of the known workers.
fn shown(
    divided: DividedJob,
    waiting: &[WaitingTask],
    names: &BTreeMap<WorkerId, String>,
) -> JobTasks {
    let DividedJob { sharding, ended_at, mut tasks } = divided;
    tasks.sort_by_key(|it| place(&it.task));
    let needed = || tasks.iter().filter(|it| it.task.state != TaskState::Obsolete);
    let shards = || needed().map(|it| &it.task).filter(|task| task.shard.is_some());
    let done = || shards().filter(|task| task.state == TaskState::Done);
    let (shards_done, all) = (done().count(), shards().count());
    let ends = || done().filter_map(|task| task.ended_at);
    let all_are_done = sharding.executed_at.is_some() && shards_done == all;
    let total = |size: fn(&TaskRecord) -> Option<BlobInfo>| {
        let sizes = needed().filter_map(|it| size(&it.task)).map(|blob| blob.size);
        sizes.fold(0, u64::saturating_add)
    };
    let mut workers: Vec<WorkerId> = tasks
        .iter()
        .filter_map(|it| {
            let running = it.latest.as_ref().filter(|attempt| attempt.ended_at.is_none());
            it.task.maker.or_else(|| Some(running?.prover.worker))
        })
        .collect();
    workers.sort_unstable();
    workers.dedup();
    let is_running = |it: &&TriedTask| it.task.state == TaskState::Leased;
    JobTasks {
        job: sharding.job.to_string(),
        summary: TaskSummary {
            done: needed().filter(|it| it.task.state == TaskState::Done).count() as u64,
            all: needed().count() as u64,
            running: needed().filter(is_running).count() as u64,
            workers: workers.len() as u64,
        },
        engine: sharding.engine,
        max_elements: sharding.max_elements,
        shards_done: shards_done as u64,
        shards: all as u64,
        record_bytes: total(|task| task.record),
        result_bytes: total(|task| task.output),
        restarts: sharding.restarts,
        divided_at: sharding.created_at.0,
        executed_at: sharding.executed_at.map(|at| at.0),
        first_shard_at: ends().min().map(|at| at.0),
        last_shard_at: ends().max().filter(|_| all_are_done).map(|at| at.0),
        ended_at: ended_at.map(|at| at.0),
        tasks: {
            let waits: BTreeMap<TaskId, &WaitingTask> =
                waiting.iter().map(|waiting| (waiting.task, waiting)).collect();
            let shown = |tried: &TriedTask| task(tried, waits.get(&tried.task.id).copied(), names);
            tasks.iter().map(shown).collect()
        },
    }
}

/// Place of a task in its proof: executions, then shards in their order, then what is made of their proofs.
fn place(task: &TaskRecord) -> impl Ord + use<> {
    let rank = match task.kind {
        TaskKind::Measure | TaskKind::Execute | TaskKind::Retrace => 0,
        TaskKind::ProveShard | TaskKind::Deferred => 1,
        TaskKind::Reduce => 2,
        TaskKind::ShrinkWrap | TaskKind::Plonk | TaskKind::Groth16 => 3,
    };
    (rank, task.complete, task.range, task.created_at, task.id)
}

fn task(
    tried: &TriedTask,
    waiting: Option<&WaitingTask>,
    names: &BTreeMap<WorkerId, String>,
) -> Task {
    let TriedTask { task, attempts, latest } = tried;
    let is_open = matches!(task.state, TaskState::Waiting | TaskState::Leased);
    let waiting = waiting.filter(|_| is_open);
    let holder = waiting.and_then(|waiting| waiting.holder);
    let outcome = latest.as_ref().map(|attempt| attempt.outcome);
    let size = |blob: Option<BlobInfo>| blob.map(|blob| blob.size);
    let events = task
        .deferred
        .as_ref()
        .map(|deferred| deferred.blobs().map(|blob| blob.size).fold(0, u64::saturating_add));
    Task {
        id: task.id.to_string(),
        kind: task.kind.into(),
        shard: task.shard.map(Into::into),
        state: task.state.into(),
        worker: latest.as_ref().map(|attempt| attempt.prover.worker.to_string()),
        contemplant: latest.as_ref().map(|attempt| attempt.prover.name.clone()),
        outcome: outcome.map(Into::into),
        message: latest
            .as_ref()
            .filter(|attempt| attempt.outcome != AttemptOutcome::Completed)
            .and_then(|attempt| attempt.message.clone()),
        attempts: *attempts,
        failures: task.failures,
        waits_for: waiting.map(|waiting| waiting.wait.into()),
        record_on: holder.map(|id| names.get(&id).cloned().unwrap_or_else(|| id.to_string())),
        record_bytes: size(task.record),
        result_bytes: size(task.output),
        event_bytes: events,
        created_at: task.created_at.0,
        started_at: latest.as_ref().map(|attempt| attempt.started_at.0),
        ended_at: latest.as_ref().and_then(|attempt| attempt.ended_at).map(|at| at.0),
    }
}
